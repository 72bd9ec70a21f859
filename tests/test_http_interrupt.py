"""Ctrl-C over HTTP at every step: it comes out, the next answer is the right one, no connection is left."""

from __future__ import annotations

import gc
import http.client
import os
import queue
import sys
import threading
from collections.abc import Callable
from types import FrameType

import pytest
import requests
import urllib3
from over_http import transport
from shell import SECONDS, Task, until
from test_interrupt import AtStep, press

from responses_ws import ConnectionLost, ResponsesWSError, _http_call
from responses_ws._http_call import HttpCall
from responses_ws.http_transport import HTTPTransport
from responses_ws.testing import Model, ScriptedServer, optional, serve

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")

LIBRARIES = (
    http.client.__file__,
    os.path.dirname(requests.__file__) + os.sep,
    os.path.dirname(urllib3.__file__) + os.sep,
)
Life = Callable[[HTTPTransport], None]


class AtHttpStep(AtStep):
    """Counts the places in the libraries too, which hold our socket."""

    @staticmethod
    def _ours(frame: FrameType) -> bool:
        return AtStep._ours(frame) or frame.f_code.co_filename.startswith(LIBRARIES)


class InQueue(AtStep):
    """Counts the places in a queue that a library keeps connections in, with those of its lock."""

    @staticmethod
    def _ours(frame: FrameType) -> bool:
        within = frame if frame.f_code.co_filename == queue.__file__ else frame.f_back
        caller = within and within.f_back
        return (
            within is not None
            and caller is not None
            and within.f_code.co_filename == queue.__file__
            and caller.f_code.co_filename.startswith(LIBRARIES)
        )


def one(http_transport: HTTPTransport) -> None:
    """On a new connection."""
    http_transport.create_response(model="m", input="one")


def several(http_transport: HTTPTransport) -> None:
    """On one that is kept, the last of them left."""
    http_transport.create_response(model="m", input="one")
    with http_transport.stream(model="m", input="two") as stream:
        for _ in stream:
            pass
    for _ in http_transport.stream(model="m", input="three"):
        break
    http_transport.call({"model": "m", "input": "four"})


def stored(http_transport: HTTPTransport) -> None:
    """Beside the responses themselves."""
    response_id = str(http_transport.call({"model": "m", "input": "one", "background": True}).response_id)
    http_transport.poll(response_id, interval=0.001)
    list(http_transport.input_items(response_id))
    http_transport.delete(response_id)


LIVES = [one, several, stored]


CONNECTIONS = 6
"""More than any life opens."""


class Led:
    """A life that was broken into at a step.

    :param by: makes of the transport what is done at the step.
    :param again: see :class:`AtStep`.
    :param counting: what counts the steps.
    :ivar place: where; an empty string when the life was shorter.
    :ivar kind: the class of what came out of it.
    """

    def __init__(
        self,
        server: ScriptedServer,
        life: Life,
        step: int,
        by: Callable[[HTTPTransport], Callable[[], object]] = lambda http_transport: press,
        again: int | None = None,
        counting: type[AtStep] = AtHttpStep,
    ) -> None:
        for _ in range(CONNECTIONS):
            server.connection(optional(serve()))  # the client may leave before it asks
        self.http_transport = transport(server)
        self.kind: type[BaseException] | None = None
        at_step = counting(step, by(self.http_transport), again)
        Task(self._lead, life, at_step).result()
        self.place = at_step.place

    def _lead(self, life: Life, at_step: AtStep) -> None:
        try:
            with at_step.watching():
                life(self.http_transport)
        except (KeyboardInterrupt, ResponsesWSError) as error:
            self.kind = type(error)

    def check(self, server: ScriptedServer) -> None:
        """The next answer is the right one, and close leaves nothing behind."""
        try:
            said = Task(
                self.http_transport.create_response, model="m", input="after", previous_response_id=None
            ).result()
            assert said.content == "You said: after."
            self.http_transport.close()
            gc.collect()
            until(lambda: all(record.gone.is_set() for record in server.connections))
            until(lambda: not any(thread.name == "responses_ws-dial" for thread in threading.enumerate()))
        except (ResponsesWSError, AssertionError) as error:
            raise AssertionError(f"after {self.place}") from error


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may be slow with the last bytes of an answer."""
    # CPython drops an interrupt that falls into a finalizer, after saying so.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    monkeypatch.setattr(_http_call, "SETTLE_SECONDS", SECONDS)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("stride", [307, pytest.param(61, marks=pytest.mark.slow)])
def test_anywhere(life: Life, tls: bool, stride: int) -> None:
    """Wherever the interrupt falls, in the libraries too."""
    with ScriptedServer(model=Model(background_polls=2), tls=tls) as server:
        for step in range(1, 100_000, stride):
            led = Led(server, life, step)
            led.check(server)
            if not led.place:
                break
    assert step > 1000


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("stride", [311, pytest.param(67, marks=pytest.mark.slow)])
def test_twice(life: Life, stride: int) -> None:
    """A second interrupt on the first one's way out."""
    both = 0
    with ScriptedServer(model=Model(background_polls=2)) as server:
        for step in range(1, 100_000, stride):
            led = Led(server, life, step, again=step % 11 + 1)
            led.check(server)
            both += "then" in led.place
            if not led.place:
                break
    assert both


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("stride", [397, pytest.param(71, marks=pytest.mark.slow)])
def test_a_handler_that_closes(life: Life, stride: int) -> None:
    """As servers do at SIGTERM."""
    with ScriptedServer(model=Model(background_polls=2)) as server:
        for step in range(1, 100_000, stride):
            led = Led(server, life, step, by=lambda http_transport: http_transport.close)
            assert led.kind in (None, ConnectionLost), led.place
            led.check(server)
            if not led.place:
                break
    assert step > 1000


def test_its_traceback_keeps_no_response_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks keep the last one. Here it holds the response that was about to be sent."""

    def interrupt(_: HttpCall) -> None:
        raise KeyboardInterrupt

    with ScriptedServer(model=Model()) as server, transport(server) as http_transport:
        server.connection(serve())
        one(http_transport)
        monkeypatch.setattr(HttpCall, "settle", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            one(http_transport)
        monkeypatch.undo()
        assert not http_transport.in_flight
        one(http_transport)
    assert caught.tb is not None


@pytest.mark.parametrize("life", LIVES)
def test_in_a_queue(life: Life) -> None:
    """An interrupt in one with a lock may leave it locked, and the way out leads through it again."""
    with ScriptedServer(model=Model(background_polls=2)) as server:
        for step in range(1, 1000):
            led = Led(server, life, step, counting=InQueue)
            led.check(server)
            if not led.place:
                break
