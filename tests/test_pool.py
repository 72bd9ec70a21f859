"""A pool: when it opens, whom it serves and in which order, its limits, and what it says of itself."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import re
import threading
import time
import warnings
import weakref
from typing import Any

import pytest
from pooling import LANES, ONE_BY_ONE, Service, chat, counts, pool_of
from shell import KEY, Task, ask, until

from responses_ws import (
    Chat,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    ConnectionPool,
    Delivery,
    Endpoint,
    PoolClosed,
    PoolTimeout,
    ResponseTimeout,
    Session,
    Timeouts,
)

MODEL = {"model": "m"}


@pytest.fixture
def service() -> Service:
    return Service()


def unopened(service: Service, **options: Any) -> ConnectionPool:
    return ConnectionPool(KEY, endpoint=ONE_BY_ONE, client_class=service.connector, **options)


def lines(pool: ConnectionPool, count: int) -> None:
    """Wait until so many wait."""
    until(lambda: pool.stats().waiting == count)


# -- open and closed


def test_nothing_is_opened_before_it_is_needed(service: Service) -> None:
    threads = threading.active_count()
    with pool_of(service) as pool:
        talk = chat(pool)
        session = Session(pool=pool)
        assert service.connector.targets == []
        assert threading.active_count() == threads
        assert counts(pool) == (0, 0, 0)
        talk.close()
        session.close()
    assert service.connector.targets == []


VERBS = {
    "lease": lambda pool: pool.lease(),
    "prewarm": lambda pool: pool.prewarm(),
    "session": lambda pool: Session(pool=pool).call({**MODEL, "input": "hi"}),
    "chat": lambda pool: Chat("m", pool=pool).ask("hi"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", ["never opened", "closed"])
def test_a_pool_that_is_not_open_serves_nobody(service: Service, verb: str, state: str) -> None:
    """Not over HTTP either: that is no way around the caller's own word."""
    pool = unopened(service)
    if state == "closed":
        pool.open().close()
    with pytest.raises(PoolClosed) as caught:
        VERBS[verb](pool)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert "open" in str(caught.value)
    assert service.connector.targets == []


def test_a_pool_can_be_opened_again(service: Service) -> None:
    pool = unopened(service)
    talk = chat(pool)
    for turn in ("one", "two", "three"):
        with pool:
            assert talk.ask(turn).content == f"re {turn}"
    assert pool.stats().opened == 3
    assert pool.stats().closed == 3
    assert len(service.model.history(talk.last_response_id or "")) == 6


def test_with_and_open_twice(service: Service) -> None:
    with unopened(service).open() as pool:
        assert pool.open() is pool
        assert chat(pool).ask("hi").content == "re hi"


@pytest.mark.parametrize("verb", ["lease", "session", "chat"])
def test_close_ends_all_waiting(service: Service, verb: str) -> None:
    with pool_of(service, max_connections=1) as pool:
        lease = pool.lease()
        tasks = [Task(VERBS[verb], pool) for _ in range(3)]
        lines(pool, 3)
        pool.close()
        assert [type(task.error()) for task in tasks] == [PoolClosed] * 3
        assert counts(pool) == (0, 0, 0)
        lease.close()


def test_close_ends_what_runs(service: Service) -> None:
    service.hold("hi")
    with pool_of(service, max_connections=1) as pool:
        talk = chat(pool)
        task = Task(talk.ask, "hi")
        service.wait_for("hi")
        pool.close()
        assert isinstance(task.error(), ConnectionLost)
        with pytest.raises(PoolClosed):
            talk.ask("after")
    assert (1000, "") in service.transports[0].closes


def test_many_connections_are_closed_in_the_time_of_one(service: Service) -> None:
    """In memory nobody answers a close frame."""
    seconds = 0.3
    with pool_of(service, max_connections=20, timeouts=Timeouts(close=seconds)) as pool:
        pool.prewarm(20)
        before = time.monotonic()
        pool.close()
        assert time.monotonic() - before < seconds + 2
    assert all((1000, "") in transport.closes for transport in service.transports)


# -- leases


def test_a_lease_is_a_conversation_of_its_own(service: Service) -> None:
    """It continues by itself what was asked on it, and nothing of who had the connection before."""
    with pool_of(service, max_connections=1) as pool:
        for store in (True, False):
            with pool.lease() as lease:
                assert lease.last_response_id is None
                ask(lease, "one", store=store)
                kept = lease.last_response_id
                ask(lease, "two", store=store)
            assert lease.last_response_id is None
            *_, first, second = (request for _, request in service.requests)
            assert "previous_response_id" not in first
            assert second["previous_response_id"] == kept
    assert len(service.transports) == 1


def test_what_is_read_after_a_lease_is_nobodys_chain(service: Service) -> None:
    """An answer of the lease before, read only now, is not what the next one continues."""
    with pool_of(service, max_connections=1) as pool:
        with pool.lease() as lease:
            late = lease.stream(**MODEL, input="one")
            until(lambda: late._source.terminal)
            ask(lease, "two")
        with pool.lease() as other:
            assert late.message.content == "re one"
            assert other.last_response_id is None
            ask(other, "three")
    assert "previous_response_id" not in service.requests[-1][1]


def test_a_lease_goes_back_once(service: Service) -> None:
    with pool_of(service) as pool:
        lease = pool.lease()
        lease.close()
        lease.close()
        with lease:
            pass
        assert counts(pool) == (1, 0, 0)
        with pytest.raises(ConnectionError, match="over") as caught:
            ask(lease, "hi")
        assert caught.value.delivery is Delivery.NOT_SENT
    assert service.requests == []


def test_a_lease_that_is_closed_leaves_what_runs_on_it(service: Service) -> None:
    """Who comes next waits for the end of it, and gets nothing of it."""
    service.hold("left")
    with pool_of(service, max_connections=1) as pool:
        with pool.lease() as lease:
            lease.stream(**MODEL, input="left")
        assert counts(pool) == (1, 1, 0)
        task = Task(chat(pool).ask, "next")
        lines(pool, 1)
        service.let_go("left")
        assert task.result().content == "re next"
    assert len(service.transports) == 1


def test_a_lease_that_outlives_the_pools_opening(service: Service) -> None:
    pool = unopened(service).open()
    lease = pool.lease()
    pool.close()
    pool.open()
    with pytest.raises(PoolClosed):
        ask(lease, "hi")
    lease.close()
    with pool.lease() as fresh:
        assert ask(fresh, "hi") == "re hi"
    pool.close()
    assert counts(pool) == (0, 0, 0)


@pytest.mark.parametrize("key", ["name", ("tuple", 1), 7])
@pytest.mark.parametrize("endpoint", [ONE_BY_ONE, LANES], ids=["whole", "lanes"])
def test_who_comes_with_the_same_key_gets_the_same_seat(
    service: Service, key: Any, endpoint: Endpoint
) -> None:
    """Also when the key is another object that is equal, and others were served meanwhile."""
    with pool_of(service, endpoint, max_connections=4) as pool:
        with pool.lease(copy.deepcopy(key)) as lease, pool.lease("other"), pool.lease():
            ask(lease, "first")
        with pool.lease() as one, pool.lease() as two:
            ask(one, "one")
            ask(two, "two")
        with pool.lease(copy.deepcopy(key)) as lease:
            ask(lease, "again")
        assert service.seats("first") == service.seats("again")
        assert not set(service.seats("one", "two")) & set(service.seats("first"))


def test_a_key_that_can_be_weakly_referenced_is_a_name_too(service: Service) -> None:
    """A web application makes its keys anew for each request."""

    class Name(str):
        pass

    with pool_of(service, max_connections=2) as pool:
        for turn in ("one", "two", "three"):
            with pool.lease(Name("ada")) as lease, pool.lease():
                ask(lease, turn)
        assert len(set(service.seats("one", "two", "three"))) == 1


def test_an_equal_key_of_a_derived_type_is_the_same_key(service: Service) -> None:
    """Frameworks mark texts with types of their own."""

    class Marked(str):
        __slots__ = ()

    with pool_of(service, max_connections=2) as pool:
        for turn, key in (("one", "ada"), ("two", Marked("ada")), ("three", "ada")):
            with pool.lease(key) as lease, pool.lease():
                ask(lease, turn)
        assert len(set(service.seats("one", "two", "three"))) == 1


def test_the_same_key_at_the_same_time(service: Service) -> None:
    """The second one gets another seat, and does not wait."""
    with pool_of(service) as pool, pool.lease("a") as first, pool.lease("a") as second:
        ask(first, "one")
        ask(second, "two")
        assert service.seats("one") != service.seats("two")


def test_a_lease_that_is_forgotten_comes_back(service: Service) -> None:
    with pool_of(service, max_connections=1) as pool:
        line = forget_a_lease.__code__.co_firstlineno + 1
        where = re.escape(f"a lease taken at {__file__}:{line} was never closed")
        with pytest.warns(ResourceWarning, match=where) as warned:
            forget_a_lease(pool)
        assert len(warned) == 1
        assert pool.stats().reclaimed == 1
        with pool.lease(timeout=1) as lease:
            assert ask(lease, "hi") == "re hi"
        assert counts(pool) == (1, 0, 0)


def forget_a_lease(pool: ConnectionPool) -> None:
    ask(pool.lease(), "hi")
    gc.collect()


def test_who_waits_gets_the_seat_of_a_forgotten_lease(service: Service) -> None:
    """Soon: nobody tells, so it is looked for."""
    with pool_of(service, max_connections=1) as pool:
        leases = [pool.lease()]
        task = Task(pool.lease)
        lines(pool, 1)
        with pytest.warns(ResourceWarning, match="never closed"):
            leases.clear()
        task.result().close()


class Ending:
    """Who gives the seat back right after it was seen to be taken."""

    def __init__(self) -> None:
        self.seen = False

    @property
    def over(self) -> bool:
        seen, self.seen = self.seen, True
        return seen


def test_a_seat_that_becomes_free_while_one_is_looked_for_costs_no_connection(service: Service) -> None:
    with pool_of(service, max_connections=1) as pool:
        pool.lease().close()
        ending = Ending()
        [member] = pool._desk.roster.members
        member.seats[0].occupant = lambda: ending
        with pool.lease() as lease:
            assert lease.create_response(**MODEL, input="next").content == "re next"
    assert len(service.transports) == 1


def test_a_stream_keeps_its_lease(service: Service) -> None:
    """Not forgotten as long as it is read."""
    service.hold("hi")
    with pool_of(service, max_connections=1) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = pool.lease().stream(**MODEL, input="hi")
        gc.collect()
        assert counts(pool) == (1, 1, 0)
        lease = stream._owner  # which the stream lets go of at its end
        service.let_go("hi")
        assert stream.message.content == "re hi"
        lease.close()


def test_what_else_is_forgotten_gives_its_seat_back(service: Service) -> None:
    """A chat in mid-answer, a session, and a stream of each; without a word, as with any connection."""
    with pool_of(service, max_connections=1) as pool:
        for number, forget in enumerate([leave_chat, leave_session, leave_chat_stream]):
            service.hold(f"left {number}")
            forget(pool, f"left {number}")
            gc.collect()
            assert counts(pool) == (1, 1, 0)
            service.let_go(f"left {number}")
            until(lambda: counts(pool) == (1, 0, 0))
        assert pool.stats().reclaimed == 0
    assert len(service.transports) == 1


def leave_chat(pool: ConnectionPool, text: str) -> None:
    for _ in chat(pool).stream(text):
        break


def leave_session(pool: ConnectionPool, text: str) -> None:
    Session(pool=pool, transport="websocket").stream({**MODEL, "input": text})


def leave_chat_stream(pool: ConnectionPool, text: str) -> None:
    next(iter(chat(pool).stream(text)))


# -- limits and the queue


def test_no_more_connections_than_allowed(service: Service) -> None:
    texts = [f"question {number}" for number in range(12)]
    service.hold(*texts)
    with pool_of(service, max_connections=3) as pool:
        tasks = [Task(chat(pool).ask, text) for text in texts]
        until(lambda: counts(pool) == (3, 3, 9))
        answered = 0
        while answered < 12:
            for text in list(service.asked)[answered:]:
                service.let_go(text)
                answered += 1
        assert [task.result().content for task in tasks] == [f"re {text}" for text in texts]
        assert counts(pool) == (3, 0, 0)
    assert len(service.transports) == 3
    assert service.most == 1


def test_as_many_on_a_connection_as_the_service_runs_in_parallel(service: Service) -> None:
    texts = [f"question {number}" for number in range(9)]
    endpoint = Endpoint(ONE_BY_ONE.url, max_in_flight=3, max_lanes=32)
    with pool_of(service, endpoint, max_connections=2) as pool:
        chat(pool).ask("first")  # shows that there are lanes
        service.hold(*texts)
        tasks = [Task(chat(pool).ask, text) for text in texts]
        until(lambda: counts(pool) == (2, 6, 3))
        answered = 1
        while answered < 10:
            for text in list(service.asked)[answered:]:
                service.let_go(text)
                answered += 1
        for task in tasks:
            task.result()
    assert service.most == 3
    assert len(service.transports) == 2


def test_names_of_lanes_are_used_again(service: Service) -> None:
    """The service never takes one back: 32 for the life of a connection."""
    endpoint = Endpoint(ONE_BY_ONE.url, max_in_flight=2, max_lanes=2)
    with pool_of(service, endpoint, max_connections=1) as pool:
        talks = [chat(pool, store=False) for _ in range(6)]
        for turn in range(3):
            for number, talk in enumerate(talks):
                assert talk.ask(f"{turn} {number}").content == f"re {turn} {number}"
    assert len({request["stream_id"] for _, request in service.requests}) == 2
    assert len(service.transports) == 1


def test_first_come_first_served(service: Service) -> None:
    """Whoever they are."""
    with pool_of(service, max_connections=1) as pool:
        lease = pool.lease()

        def lease_and_ask(text: str) -> None:
            with pool.lease() as mine:
                ask(mine, text)

        tasks = []
        for number in range(10):
            tasks.append(Task(lease_and_ask if number % 2 else chat(pool).ask, str(number)))
            lines(pool, number + 1)
        lease.close()
        for task in tasks:
            task.result()
        assert service.asked == list("0123456789")


def test_who_comes_back_does_not_pass_who_waits(service: Service) -> None:
    """A conversation whose seat has just become free, for one."""
    with pool_of(service, max_connections=1) as pool:
        mine, other = chat(pool), chat(pool)
        service.hold("one", "two")
        first = Task(mine.ask, "one")
        service.wait_for("one")
        second = Task(other.ask, "two")
        lines(pool, 1)
        service.let_go("one")
        first.result()
        again = Task(mine.ask, "again")
        service.wait_for("two")
        assert service.asked == ["one", "two"]
        service.let_go("two")
        second.result()
        assert again.result().content == "re again"


def test_who_waits_too_long_is_told_why(service: Service) -> None:
    with pool_of(service, max_connections=2, lease_timeout=0.05) as pool:
        with pool.lease(), pool.lease():
            for verb in ("lease", "session", "chat"):
                with pytest.raises(PoolTimeout) as caught:
                    VERBS[verb](pool)
                assert caught.value.delivery is Delivery.NOT_SENT
                assert re.fullmatch(
                    r"no connection became free within 0\.05 seconds "
                    r"\(max_connections=2, taken \d\.\d, \d\.\d seconds ago\)",
                    str(caught.value),
                )
        assert counts(pool) == (2, 0, 0)
    assert service.requests == []


def test_not_every_age_is_told(service: Service) -> None:
    with pool_of(service, max_connections=11) as pool, contextlib.ExitStack() as stack:
        for _ in range(11):
            stack.enter_context(pool.lease())
        with pytest.raises(PoolTimeout, match=r"taken (\d\.\d, ){7}\d\.\d seconds ago and 3 less long\)$"):
            pool.lease(timeout=0.01)


def test_a_lease_has_a_timeout_of_its_own(service: Service) -> None:
    with pool_of(service, max_connections=1, lease_timeout=0.01) as pool:
        lease = pool.lease()
        patient = Task(pool.lease, timeout=None)
        lines(pool, 1)
        with pytest.raises(PoolTimeout, match=r"within 0\.02 seconds"):
            pool.lease(timeout=0.02)
        with pytest.raises(PoolTimeout, match=r"within 0\.01 seconds"):
            pool.lease()
        lease.close()
        patient.result().close()


def test_the_total_of_a_call_counts_too(service: Service) -> None:
    """And is named, when it is the shorter one."""
    with pool_of(service, max_connections=1, timeouts=Timeouts(total=0.05)) as pool, pool.lease():
        with pytest.raises(ResponseTimeout) as caught:
            chat(pool).ask("hi")
        assert caught.value.clock == "total"
        assert caught.value.seconds == 0.05
    assert service.requests == []


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_wait_than_allowed(service: Service, most: int) -> None:
    with pool_of(service, max_connections=1, max_waiting=most) as pool:
        lease = pool.lease()
        tasks = []
        for number in range(most):
            tasks.append(Task(pool.lease))
            lines(pool, number + 1)
        before = time.monotonic()
        with pytest.raises(PoolTimeout, match=f"max_waiting={most}, taken ") as caught:
            pool.lease()
        assert time.monotonic() - before < 1
        assert caught.value.delivery is Delivery.NOT_SENT
        assert counts(pool) == (1, 1, most)
        lease.close()
        while tasks:
            until(lambda: any(not task.is_alive() for task in tasks))
            done = next(task for task in tasks if not task.is_alive())
            tasks.remove(done)
            done.result().close()
        with pool.lease():
            assert counts(pool) == (1, 1, 0)


# -- prewarm


def test_prewarm_opens_so_many(service: Service) -> None:
    with pool_of(service, max_connections=3) as pool:
        pool.prewarm(2)
        assert counts(pool) == (2, 0, 0)
        pool.prewarm(1)
        pool.prewarm(2)
        assert counts(pool) == (2, 0, 0)
        pool.prewarm(9)
        assert counts(pool) == (3, 0, 0)
        chat(pool).ask("hi")
    assert len(service.transports) == 3


def test_prewarm_raises_what_connecting_raises(service: Service) -> None:
    service.connector.fail_connect(ConnectionError("no way"))
    with pool_of(service) as pool:
        with pytest.raises(ConnectionError, match="no way"):
            pool.prewarm(3)
        assert counts(pool) == (0, 0, 0)
        pool.prewarm(1)
        assert (pool.stats().opened, pool.stats().closed) == (2, 1)


def test_prewarm_does_not_go_on_for_ever(service: Service) -> None:
    """With a service that lets go of each connection at once."""
    service.connector.on_connect = lambda transport: transport.end(ConnectionLost("no", close_code=1013))
    with pool_of(service, max_connections=2) as pool, contextlib.suppress(ConnectionLost):
        pool.prewarm(2)
    assert len(service.connector.targets) <= 2


def test_a_prewarmed_connection_that_is_dead_costs_nothing(service: Service) -> None:
    """It was open before the call, so that another one is tried in its place."""
    with pool_of(service) as pool:
        pool.prewarm()
        service.transports[0].fail_send(ConnectionLost("gone", close_code=1006))
        assert Session(pool=pool).call({**MODEL, "input": "hi"}).transport == "websocket"
    assert len(service.transports) == 2


# -- what it says of itself


def test_repr_and_stats_tell_the_truth(service: Service) -> None:
    pool = unopened(service, max_connections=2)
    assert repr(pool) == "<ConnectionPool localhost closed, 0 connections, 0 taken, 0 waiting>"
    with pool:
        leases = [pool.lease(), pool.lease()]
        task = Task(pool.lease)
        lines(pool, 1)
        assert repr(pool) == "<ConnectionPool localhost open, 2 connections, 2 taken, 1 waiting>"
        service.lose(0)
        until(lambda: counts(pool)[0] == 1)
        for lease in leases:
            lease.close()
        task.result().close()
        stats = pool.stats()
        assert (stats.connections, stats.taken, stats.waiting) == (2, 0, 0)
        assert (stats.opened, stats.closed, stats.reclaimed) == (3, 1, 0)
        assert stats.lanes is False
    assert repr(pool) == "<ConnectionPool localhost closed, 0 connections, 0 taken, 0 waiting>"
    assert (pool.stats().opened, pool.stats().closed) == (3, 3)


def test_no_secret_is_shown(service: Service) -> None:
    with pool_of(service, max_connections=1, headers={"X-Token": "geheim"}, lease_timeout=0.01) as pool:
        with pool.lease("a name that is private") as lease:
            shown = [repr(pool), str(pool.stats()), repr(lease), repr(chat(pool)), repr(Session(pool=pool))]
            with pytest.raises(PoolTimeout) as caught:
                pool.lease("another")
            shown.append(repr(caught.value))
        shown.append(repr(lease))
    text = " ".join(shown)
    assert not [secret for secret in (KEY, "geheim", "private", "another") if secret in text]


def test_nothing_of_it_can_be_pickled_or_copied(service: Service) -> None:
    with pool_of(service) as pool, pool.lease() as lease:
        for held in (pool, lease):
            for made in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match="cannot be pickled"):
                    made(held)


# -- options


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_connections": 0}, "max_connections"),
        ({"max_connections": True}, "max_connections"),
        ({"max_connections": 2.5}, "max_connections"),
        ({"max_waiting": -1}, "max_waiting"),
        ({"max_waiting": "3"}, "max_waiting"),
        ({"max_idle": 0}, "max_idle"),
        ({"max_idle": float("nan")}, "max_idle"),
        ({"lease_timeout": 0}, "lease_timeout"),
        ({"lease_timeout": "1"}, "lease_timeout"),
        ({"client_class": object()}, "client_class"),
        ({"timeouts": 3}, "timeouts"),
        ({"api_base": "ftp://x"}, "api_base"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}"):
        ConnectionPool(KEY, **options)


def test_a_bad_argument_is_named(service: Service) -> None:
    with pool_of(service) as pool:
        for call, name in [
            (lambda: pool.lease(timeout=0), "timeout"),
            (lambda: pool.lease(tenant=3), "tenant"),  # type: ignore[arg-type]
            (lambda: pool.prewarm(0), "count"),
            (lambda: pool.prewarm(tenant=b"x"), "tenant"),  # type: ignore[arg-type]
            (lambda: Chat("m", pool=3), "pool"),  # type: ignore[arg-type]
            (lambda: Chat("m", pool=pool, tenant=3), "tenant"),  # type: ignore[arg-type]
            (lambda: Session(pool=pool, api_key="x"), "api_key"),
            (lambda: Session(pool=pool, timeouts=Timeouts()), "timeouts"),
            (lambda: Session(api_key="x", tenant="a"), "tenant"),
        ]:
            with pytest.raises(ConfigurationError, match=f"^{name}"):
                call()
        assert counts(pool) == (0, 0, 0)


# -- who keeps whom


def test_a_pool_that_is_forgotten_closes_its_connections(service: Service) -> None:
    pool = unopened(service, max_connections=2).open()
    pool.prewarm(2)
    weak = weakref.ref(pool)
    del pool
    gc.collect()
    assert weak() is None
    until(lambda: all("release" in transport.calls for transport in service.transports))


@pytest.mark.parametrize("make", [chat, lambda pool: Session(pool=pool, transport="websocket")])
def test_a_pool_is_kept_by_who_uses_it(service: Service, make: Any) -> None:
    """A function that makes a chat with a pool of its own, and returns the chat."""
    used = make(unopened(service).open())
    gc.collect()
    answer = used.ask("hi") if isinstance(used, Chat) else used.call({**MODEL, "input": "hi"})
    assert answer.content == "re hi"
    del used
    gc.collect()
    until(lambda: "release" in service.transports[0].calls)


def test_a_lease_keeps_its_pool(service: Service) -> None:
    lease = unopened(service).open().lease()
    gc.collect()
    assert ask(lease, "hi") == "re hi"
    lease.close()
    del lease
    gc.collect()
    until(lambda: "release" in service.transports[0].calls)


def test_a_pool_is_not_kept_by_what_is_gone(service: Service) -> None:
    """A thousand conversations come and go; nothing of them stays."""
    with pool_of(service, max_connections=2) as pool:
        talks = [chat(pool) for _ in range(20)]
        for talk in talks:
            talk.ask("hi")
        gone = [weakref.ref(talk) for talk in talks]
        del talk
        talks.clear()
        gc.collect()
        assert [talk() for talk in gone] == [None] * 20
        assert len([seat for member in pool._desk.roster.members for seat in member.seats]) <= 2
