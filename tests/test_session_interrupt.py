"""Ctrl-C at every step of a session: its conversation is whole, and the next call gets its own answer."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from sessions import MODEL, rejection, user
from shell import Task, created
from test_interrupt import AtStep

from responses_ws import ConnectionLost, ConnectionPool, Endpoint, ResponsesWSError, Timeouts, _linked
from responses_ws._core.continuation import Ledger
from responses_ws.session import Session
from responses_ws.testing import ScriptedConnector, ScriptedTransport

Event = dict[str, Any]
OLD = Endpoint("ws://localhost/v1/responses", max_age=1e-6)
"""Every turn replaces the connection of the last."""
YOUNG = Endpoint("ws://localhost/v1/responses")


def said(text: str) -> Event:
    part = {"type": "output_text", "text": text}
    return {"type": "message", "id": f"msg_{text}", "role": "assistant", "content": [part]}


def play(transport: ScriptedTransport) -> None:
    """A peer that says the last text of the input again, at once; ``busy`` it refuses once."""
    refused: list[str] = []

    def reply(request: Event) -> None:
        text = request["input"][-1]["content"]
        if text == "busy" and not refused:
            refused.append(text)
            transport.deliver(rejection(retry_after_ms="1"))
            return
        response = {"id": f"resp_{text}", "status": "completed", "output": [said(text)]}
        transport.deliver(created(f"resp_{text}"), {"type": "response.completed", "response": response})

    transport.on_send = reply


class Led:
    """A session's life that was broken into at a step.

    :ivar place: where; an empty string when the life was shorter.
    """

    def __init__(self, life: Callable[[Led], None], endpoint: Endpoint, step: int) -> None:
        self.connector = ScriptedConnector(play)
        self.session = Session(
            "any",
            endpoint=endpoint,
            client_class=self.connector,
            transport="websocket",
            timeouts=Timeouts(drain=0.001, close=0.000001),
        )
        self.ledger = Ledger()
        at_step = AtStep(step)
        Task(self._lead, life, at_step).result()
        self.place = at_step.place

    def _lead(self, life: Callable[[Led], None], at_step: AtStep) -> None:
        try:
            with at_step.watching():
                life(self)
        except (KeyboardInterrupt, ResponsesWSError):
            pass

    def ask(self, text: str) -> str:
        return self.session.respond(self.ledger, [user(text)], {**MODEL, "store": False}).message.content

    def check(self) -> None:
        """The history is in pairs, each once; the next answer is the right one; close ends everything."""
        try:
            Task(self._use).result()
        except (ResponsesWSError, AssertionError) as error:
            raise AssertionError(f"after {self.place}") from error
        self.session.close()
        for transport in self.connector.transports:
            transport.abort()

    def _use(self) -> None:
        assert self.ask("after") == "after"
        items = self.ledger.items
        texts = [item["content"] for item in items[0::2]]
        assert list(items[1::2]) == [said(text) for text in texts]
        assert len(set(texts)) == len(texts)
        sent = [request for transport in self.connector.transports for request in transport.sent]
        whole = sent[-1].get("previous_response_id") is None
        assert len(sent[-1]["input"]) == (len(items) - 1 if whole else 1)


def conversation(led: Led) -> None:
    """A few turns, one of which must be asked twice."""
    for text in ("one", "busy", "three"):
        led.ask(text)


def left(led: Led) -> None:
    """An answer that is left early, between two that are not."""
    led.ask("one")
    for _ in led.session.respond(led.ledger, [user("two")], MODEL):
        break
    led.ask("three")


def lost(led: Led) -> None:
    """A connection that turns out dead by the send."""
    led.ask("one")
    led.connector.transports[-1].fail_send(ConnectionLost("gone", close_code=1006))
    led.ask("two")


@pytest.mark.parametrize("endpoint", [YOUNG, OLD], ids=["kept", "replaced"])
@pytest.mark.parametrize("life", [conversation, left, lost])
@pytest.mark.parametrize("stride", [53, pytest.param(1, marks=pytest.mark.slow)])
def test_an_interrupt_anywhere(
    monkeypatch: pytest.MonkeyPatch, life: Callable[[Led], None], endpoint: Endpoint, stride: int
) -> None:
    """Wherever it falls, nothing comes twice into the history and nothing of it is missing."""
    # CPython drops an interrupt that falls into a finalizer, after saying so.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    monkeypatch.setattr(_linked, "RELEASE_SECONDS", 0.005)
    monkeypatch.setattr("random.random", lambda: 0.0)
    step = 1
    while True:
        led = Led(life, endpoint, step)
        led.check()
        if not led.place:
            return
        step += stride


# -- an answer that takes its time


class AtStepOrReturn(AtStep):
    """Also where a Python function has returned, as CPython 3.10 does, and where a named tuple is made.

    From CPython 3.12 on what is raised at a return comes out of the function that returns, where no signal
    does.

    :ivar returned: whether it was at a return, and so has the frame of the function that returned in its own.
    """

    returns = sys.version_info < (3, 12)
    returned = False

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        caller = frame.f_back
        self.returned = event == "return" and self.returns
        if self.returned and caller is not None and sys.exc_info()[0] is None:
            frame, event = caller, "c_return"
        super().__call__(frame, event, argument)

    @staticmethod
    def _ours(frame: FrameType) -> bool:
        generated = frame.f_code.co_filename == "<string>" and frame.f_back is not None
        return AtStep._ours(frame.f_back if generated and frame.f_back is not None else frame)


def play_one(transport: ScriptedTransport) -> None:
    """A peer that answers ``one`` at once, and nothing else."""

    def reply(request: Event) -> None:
        if request["input"] == "one":
            response = {"id": f"resp_{len(transport.sent)}", "status": "completed", "output": []}
            lane = {"stream_id": request["stream_id"]} if "stream_id" in request else {}
            transport.deliver({"type": "response.completed", "response": response, **lane})

    transport.on_send = reply


@pytest.mark.parametrize("endpoint", [YOUNG, OLD], ids=["kept", "replaced"])
@pytest.mark.parametrize("pooled", [False, True], ids=["own", "pooled"])
@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_an_interrupt_of_a_request_frees_its_place(
    monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint, pooled: bool, stride: int
) -> None:
    """Nobody has its response: the next request waits for the end of it as long as for any that was left."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    monkeypatch.setattr(_linked, "RELEASE_SECONDS", 0.005)
    options: dict[str, Any] = {"endpoint": endpoint, "timeouts": Timeouts(drain=0.001, close=0.000001)}

    def life(step: int) -> str:
        connector = ScriptedConnector(play_one)
        options["client_class"] = connector
        with contextlib.ExitStack() as stack:
            if pooled:
                pool = stack.enter_context(
                    ConnectionPool("any", max_connections=1, lease_timeout=1, **options)
                )
                session = stack.enter_context(Session(pool=pool, transport="websocket"))
            else:
                session = stack.enter_context(Session("any", transport="websocket", **options))
            session.call({**MODEL, "input": "one"})
            at_step = AtStepOrReturn(step)
            kept = None
            try:
                with at_step.watching():
                    stream = session.stream({**MODEL, "input": "two"})
                stream.close()
            except KeyboardInterrupt as error:
                # Notebooks keep it, with the frames of its traceback.
                kept = None if at_step.returned else error
            try:
                session.call({**MODEL, "input": "one"})
            except ResponsesWSError as error:
                raise AssertionError(f"after {at_step.place}") from error
            del kept
        for transport in connector.transports:
            transport.abort()
        return at_step.place

    step = 1
    while Task(life, step).result():
        step += stride
