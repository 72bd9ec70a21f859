"""Ctrl-C at every step of a chat's stream: the chat is free again, or the stream's ``close`` makes it so."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chatting import add
from shell import KEY, Task, created
from test_interrupt import AtStep

from responses_ws import Chat, ResponsesWSError, Timeouts
from responses_ws.chat import ChatStream
from responses_ws.testing import ScriptedConnector, ScriptedTransport

Event = dict[str, Any]


def play(transport: ScriptedTransport) -> None:
    """A peer that calls a tool when it is told to, and says any other text again."""
    sent = transport.sent

    def reply(request: Event) -> None:
        text = request["input"][-1].get("content", "the sum")
        number = f"{id(transport)}_{len(sent)}"
        call = {
            "type": "function_call",
            "call_id": f"call_{number}",
            "name": "add",
            "arguments": '{"a":1,"b":2}',
        }
        said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        output = {"id": f"item_{number}", **(call if text == "use" else said)}
        response = {"id": f"resp_{number}", "status": "completed", "output": [output]}
        transport.deliver(created(f"resp_{number}"), {"type": "response.completed", "response": response})

    transport.on_send = reply


class Led:
    """A chat whose use was broken into at a step. What came out is kept, as notebooks keep the last error.

    :ivar place: where; an empty string when the use was shorter.
    """

    def __init__(self) -> None:
        self.connector = ScriptedConnector(play)
        self.chat = Chat(
            "m",
            tools=[add],
            api_key=KEY,
            api_base="ws://localhost/v1",
            client_class=self.connector,
            transport="websocket",
            timeouts=Timeouts(drain=0.001, close=0.000001),
        )
        self.place = ""
        self.kept: list[object] = []

    def stream(self, text: str) -> ChatStream:
        stream = self.chat.stream(text)
        self.kept.append(stream)
        return stream

    @contextlib.contextmanager
    def broken(self, step: int) -> Iterator[None]:
        at_step = AtStep(step)
        try:
            with at_step.watching():
                yield
        except (KeyboardInterrupt, ResponsesWSError) as error:
            self.kept.append(error)
        self.place = at_step.place

    def close_streams(self) -> None:
        for stream in self.kept:
            if isinstance(stream, ChatStream):
                stream.close()

    def check_after(self, use: Use, step: int) -> None:
        """The chat can go on in the same thread. What a thread has left that is gone holds up nobody."""
        use(self, step)
        try:
            assert self.chat.ask("after").content == "after"
        except (ResponsesWSError, AssertionError) as error:
            raise AssertionError(f"after {self.place}") from error
        finally:
            for transport in self.connector.transports:
                transport.abort()


Use = Callable[[Led, int], None]


def ended_a_generator(led: Led, name: str) -> bool:
    """A profile function that raises ends a generator before its ``finally``, which no signal does."""
    return led.place.startswith("call") and led.place.endswith(f" {name}")


def leave_the_loop(led: Led, step: int) -> None:
    """The loop's iterator goes away in a finalizer, where CPython swallows the interrupt."""
    chunks = iter(led.stream("use"))
    next(chunks)
    with led.broken(step):
        del chunks
    if ended_a_generator(led, "_chunks"):
        led.close_streams()


def close(led: Led, step: int) -> None:
    """Whoever closes is interrupted, and closes again."""
    stream = led.stream("use")
    chunks = iter(stream)
    next(chunks)
    with led.broken(step):
        stream.close()
    led.close_streams()


def close_unread(led: Led, step: int) -> None:
    """The same before the first chunk."""
    stream = led.stream("use")
    with led.broken(step):
        stream.close()
    led.close_streams()


def cancel(led: Led, step: int) -> None:
    """Whoever cancels is interrupted, and cancels again."""
    chunks = iter(led.stream("use"))
    next(chunks)
    with led.broken(step):
        led.chat.cancel()
    led.chat.cancel()


def cancel_unread(led: Led, step: int) -> None:
    """The same before the first chunk."""
    led.stream("use")
    with led.broken(step):
        led.chat.cancel()
    led.chat.cancel()


def read_to_the_end(led: Led, step: int) -> None:
    """A loop over everything, with a tool in between."""
    stream = led.stream("use")
    with led.broken(step):
        list(stream)
    led.close_streams()


def begin(led: Led, step: int) -> None:
    """There is no stream yet that could be closed."""
    with led.broken(step):
        led.stream("use")
    led.close_streams()


def ask(led: Led, step: int) -> None:
    """There is no stream at all."""
    with led.broken(step):
        led.chat.ask("use")


def change(led: Led, step: int) -> None:
    """What takes the chat for a moment."""
    with led.broken(step):
        led.chat.with_model("other")
    if ended_a_generator(led, "alone"):
        led.kept.clear()


SHORT = [leave_the_loop, close, close_unread, cancel, cancel_unread, begin, change]
LONG = [read_to_the_end, ask]


@pytest.mark.parametrize(
    ("use", "stride"),
    [
        *((use, 1) for use in SHORT),
        *((use, 17) for use in LONG),
        *(pytest.param(use, 1, marks=pytest.mark.slow) for use in LONG),
    ],
)
def test_an_interrupt_anywhere(monkeypatch: pytest.MonkeyPatch, use: Use, stride: int) -> None:
    """Wherever it falls, the next question gets its own answer."""
    # CPython drops an interrupt that falls into a finalizer, after saying so.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    for step in range(1, 10_000, stride):
        led = Led()
        Task(led.check_after, use, step).result()
        if not led.place:
            break
    assert step > 5
