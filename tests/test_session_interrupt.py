"""Ctrl-C at every step of a session: its conversation is whole, and the next call gets its own answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from sessions import MODEL, rejection, user
from shell import Task, created
from test_interrupt import AtStep

from responses_ws import ConnectionLost, Endpoint, ResponsesWSError, Timeouts, _linked
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
