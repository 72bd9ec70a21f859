"""Ctrl-C at every step of a life on a pool: no seat is lost, and who comes next is served."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pooling import LANES, ONE_BY_ONE, Service, chat, counts
from shell import KEY, Task, ask, until
from test_interrupt import AtStep

from responses_ws import (
    ConnectionError,
    ConnectionLost,
    ConnectionPool,
    Endpoint,
    Lease,
    PoolTimeout,
    ResponsesWSError,
    Session,
    Timeouts,
    _linked,
)

MODEL = {"model": "m"}
CLOSE = Lease.close.__code__.co_firstlineno


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in vain is not waited for long."""
    # CPython drops an interrupt that falls into a finalizer, after saying so.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    monkeypatch.setattr(_linked, "RELEASE_SECONDS", 0.005)
    # A lease whose end was broken into warns when it goes.
    monkeypatch.setattr("warnings.warn", lambda *_, **__: None)


def never_closed(place: str) -> bool:
    """The interrupt came around the ``with``, or before the first line of close().

    Python's own files are not closed by then either: they go with the last frame that holds them.
    """
    return place.endswith((f"lease.py:{CLOSE} close", "__enter__", "__exit__"))


class Led:
    """A life on a pool of one connection that was broken into at a step.

    What came out of it is kept, as notebooks keep it, with all the frames that its traceback holds.

    :ivar place: where it was broken into; an empty string when the life was shorter.
    """

    def __init__(
        self, life: Callable[[Led], None], endpoint: Endpoint, step: int, again: int | None = None
    ) -> None:
        self.service = Service()
        self.pool = ConnectionPool(
            KEY,
            endpoint=endpoint,
            client_class=self.service.connector,
            max_connections=1,
            lease_timeout=5.0,
            timeouts=Timeouts(drain=0.001, close=0.5),
        ).open()
        self.kept: BaseException | None = None
        at_step = AtStep(step, again=again)
        Task(self._lead, life, at_step).result()
        self.place = at_step.place
        if never_closed(self.place):
            self.kept = None

    def _lead(self, life: Callable[[Led], None], at_step: AtStep) -> None:
        try:
            with at_step.watching():
                life(self)
        except (KeyboardInterrupt, ResponsesWSError) as error:
            self.kept = error

    def check(self) -> None:
        """The pool serves whoever comes, holds nothing, and ends with everything it has opened."""
        try:
            Task(self._use).result()
        except (ResponsesWSError, AssertionError) as error:
            raise AssertionError(f"after {self.place}") from error

    def _use(self) -> None:
        assert chat(self.pool).ask("after").content == "re after"
        with self.pool.lease() as lease:
            assert ask(lease, "and after") == "re and after"
        until(lambda: counts(self.pool)[1:] == (0, 0))
        self.pool.close()
        assert counts(self.pool) == (0, 0, 0)
        stats = self.pool.stats()
        assert stats.opened == stats.closed
        for transport in self.service.transports:
            # A connecting that was interrupted twice may have left its reader to the server.
            transport.abort()


def talking(led: Led) -> None:
    """A conversation and its fork."""
    talk = chat(led.pool, store=False)
    talk.ask("one")
    talk.fork().ask("fork")
    talk.ask("two")


def leasing(led: Led) -> None:
    with led.pool.lease("key") as lease:
        ask(lease, "one")
        ask(lease, "two")
    led.pool.lease().close()


def leaving(led: Led) -> None:
    """A response that is left, after which a lease waits for the end of it."""
    for _ in Session(pool=led.pool, transport="websocket").stream({**MODEL, "input": "one"}):
        break
    led.pool.lease().close()


def losing(led: Led) -> None:
    """A connection that turns out dead by the send, and another that cannot be opened."""
    talk = chat(led.pool)
    talk.ask("one")
    led.service.transports[-1].fail_send(ConnectionLost("gone", close_code=1006))
    talk.ask("two")
    led.service.lose(len(led.service.transports) - 1)
    led.service.connector.fail_connect(ConnectionError("no way"))
    led.pool.prewarm()


def waiting(led: Led) -> None:
    """In vain."""
    with led.pool.lease():
        with contextlib.suppress(PoolTimeout):
            led.pool.lease(timeout=0.001)
        led.pool.prewarm(2)


def changing(led: Led) -> None:
    """Tenants who make each other's connections end."""
    for tenant in "ab":
        chat(led.pool, tenant=tenant).ask(tenant)


LIVES = [talking, leasing, leaving, losing, waiting, changing]


@pytest.mark.parametrize("endpoint", [ONE_BY_ONE, LANES], ids=["whole", "lanes"])
@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("stride", [61, pytest.param(5, marks=pytest.mark.slow)])
def test_an_interrupt_anywhere(life: Callable[[Led], None], endpoint: Endpoint, stride: int) -> None:
    step = 1
    while True:
        led = Led(life, endpoint, step)
        led.check()
        if not led.place:
            break
        step += stride
    assert step > 100


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("stride", [97, pytest.param(7, marks=pytest.mark.slow)])
def test_two_interrupts(life: Callable[[Led], None], stride: int) -> None:
    """The second on the way out of the first."""
    step, both = 1, 0
    while True:
        led = Led(life, LANES, step, again=step % 13 + 1)
        led.check()
        both += "then" in led.place
        if not led.place:
            break
        step += stride
    assert both


class Waiting:
    """A thread that waits for a seat, and is broken into at a step from there on."""

    def __init__(self, pool: ConnectionPool, take: Callable[[], Any], step: int) -> None:
        self.place = ""
        self.kept: BaseException | None = None
        self._at_step = AtStep(step)
        self._task = Task(self._wait, take)
        until(lambda: pool.stats().waiting == 1 or not self._task.is_alive())

    def _wait(self, take: Callable[[], Any]) -> None:
        try:
            with self._at_step.watching():
                take()
        except KeyboardInterrupt as error:
            self.kept = error
        self.place = self._at_step.place
        if never_closed(self.place):
            self.kept = None

    def end(self) -> None:
        self._task.result()


@pytest.mark.parametrize("take", ["lease", "chat"])
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_an_interrupt_of_who_is_given_a_seat(take: str, stride: int) -> None:
    """Before, while, and between that and its use. The one who waits behind is served."""
    takes: dict[str, Callable[[ConnectionPool], Any]] = {
        "lease": lambda pool: pool.lease().close(),
        "chat": lambda pool: chat(pool).ask("hi"),
    }
    service = Service()
    options = {"endpoint": ONE_BY_ONE, "client_class": service.connector, "max_connections": 1}
    with ConnectionPool(KEY, **options) as pool:
        step, place = 1, "the first"
        while place:
            lease = pool.lease(timeout=5)
            first = Waiting(pool, lambda: takes[take](pool), step)
            behind = Task(pool.lease, timeout=5)
            lease.close()
            first.end()
            behind.result().close()
            until(lambda: counts(pool) == (1, 0, 0))
            place = first.place
            step += stride
    assert step > 50


def test_a_signal_handler_that_uses_the_pool() -> None:
    """It may come in the middle of a decision of this very thread, so it must not wait for an answer."""
    service = Service()
    options = {"endpoint": LANES, "client_class": service.connector, "max_connections": 2}

    def by(pool: ConnectionPool) -> Callable[[], None]:
        def handle() -> None:
            pool.stats()
            repr(pool)
            pool.lease(timeout=5).close()

        return handle

    def life(pool: ConnectionPool, at_step: AtStep) -> None:
        with at_step.watching():
            talk = chat(pool, store=False)
            talk.ask("one")
            talk.ask("two")
            pool.lease().close()

    with ConnectionPool(KEY, **options) as pool:
        step, place = 1, "the first"
        while place:
            at_step = AtStep(step, by(pool))
            Task(life, pool, at_step).result()
            place = at_step.place
            until(lambda: counts(pool)[1:] == (0, 0))
            assert counts(pool)[0] <= 2
            step += 7
    assert step > 200


def test_a_signal_handler_that_waits_in_vain_while_another_leaves() -> None:
    """Both come to a queue that nobody is served from, and go again."""
    with ConnectionPool(KEY, client_class=Service().connector, max_connections=1) as pool:

        def wait_in_vain() -> None:
            with pytest.raises(PoolTimeout):
                pool.lease(timeout=0.001)

        def life(at_step: AtStep) -> None:
            with at_step.watching():
                wait_in_vain()

        with pool.lease():
            step, place = 1, "the first"
            while place:
                at_step = AtStep(step, wait_in_vain)
                Task(life, at_step).result()
                place = at_step.place
                assert not pool._desk.roster.count_waiting()
                step += 1
    assert step > 100


def test_a_signal_handler_that_keeps_a_lease() -> None:
    """It may take what was about to be given. Each has one seat, and one of its own."""
    step, place = 1, "the first"
    while place:
        service, kept = Service(), []
        options = {"endpoint": ONE_BY_ONE, "client_class": service.connector, "max_connections": 4}
        with ConnectionPool(KEY, **options) as pool:
            at_step = AtStep(step, lambda: kept.append(pool.lease(timeout=5)))  # noqa: B023

            def life() -> None:
                with at_step.watching():  # noqa: B023
                    kept.append(pool.lease(timeout=5))  # noqa: B023

            Task(life).result()
            place = at_step.place
            assert len({id(lease._seat) for lease in kept}) == len(kept), place
            assert pool.stats().taken == len(kept), place
        step += 5
    assert step > 100


def test_a_signal_handler_that_closes_the_pool() -> None:
    """As servers do at SIGTERM."""
    step, place = 1, "the first"
    while place:
        service = Service()
        options = {"endpoint": LANES, "client_class": service.connector, "timeouts": Timeouts(close=0.2)}
        pool = ConnectionPool(KEY, **options).open()
        at_step = AtStep(step, pool.close)
        Task(until_closed, pool, at_step).result()
        place = at_step.place
        pool.close()
        gc.collect()
        until(lambda: all("release" in transport.calls for transport in service.transports))  # noqa: B023
        assert counts(pool) == (0, 0, 0)
        step += 31
    assert step > 200


def until_closed(pool: ConnectionPool, at_step: AtStep) -> None:
    try:
        with at_step.watching():
            talk = chat(pool, store=False)
            talk.ask("one")
            with pool.lease() as lease:
                ask(lease, "two")
    except ConnectionError:
        assert at_step.place
    assert threading.current_thread()
