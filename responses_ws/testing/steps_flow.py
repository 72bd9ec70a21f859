"""The steps that order a script against the test, and change how the server listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from responses_ws.testing.interruptions import ClientGone, ScriptError
from responses_ws.testing.model_http import serve_request
from responses_ws.testing.script import perform
from responses_ws.testing.step import Step, flattened

if TYPE_CHECKING:
    from responses_ws.testing.connection import Connection
    from responses_ws.testing.http import HttpSide
    from responses_ws.testing.model import Model

__all__ = [
    "deaf",
    "delay",
    "gate",
    "mark",
    "no_pong",
    "optional",
    "read_bytes",
    "repeat",
    "run",
    "serve",
    "silence",
]


@dataclass(frozen=True)
class Silence(Step):
    @property
    def required(self) -> bool:
        return False

    def play(self, connection: Connection) -> None:
        connection.pause()
        connection.wait(lambda: False)


def silence() -> Step:
    """Neither read nor answer anything until the server is closed: a peer behind a dead link.

    That the client leaves is not noticed either; ``gone`` of the record is set when the server is closed.
    For a silence that ends, hold the reading with ``read_bytes(0)`` and wait in a :func:`gate`.
    """
    return Silence()


@dataclass(frozen=True)
class Deaf(Step):
    to_close: bool

    def play(self, connection: Connection) -> None:
        connection.answers_pings = False
        connection.answers_close = not self.to_close


def deaf() -> Step:
    """From here on answer neither pings nor a close frame, but go on reading."""
    return Deaf(to_close=True)


def no_pong() -> Step:
    """From here on answer no pings, but go on reading."""
    return Deaf(to_close=False)


@dataclass(frozen=True)
class ReadBytes(Step):
    count: int
    needs_client = True

    def play(self, connection: Connection) -> None:
        connection.pause(after=self.count)
        connection.wait(lambda: connection.paused or connection.over)
        if not connection.paused:
            raise ClientGone


def read_bytes(count: int) -> Step:
    """Take so many more bytes from the TCP connection, then stop reading.

    Reading goes on at the next step that waits for the client; until then a large message of the client is
    held half-way by flow control, as far as the kernel's buffers do not take the rest of it.
    """
    return ReadBytes(count)


@dataclass(frozen=True)
class Gate(Step):
    name: str

    def play(self, connection: Connection) -> None:
        gates = connection.shared.gates
        connection.wait(lambda: self.name in gates or (connection.optional and connection.gone))
        if self.name not in gates:
            raise ClientGone


def gate(name: str) -> Step:
    """Wait until the test opens the gate with ``server.open(name)``. A gate stays open."""
    return Gate(name)


@dataclass(frozen=True)
class Mark(Step):
    name: str

    def play(self, connection: Connection) -> None:
        connection.shared.mark(self.name)


def mark(name: str) -> Step:
    """Let ``server.wait_for(name)`` return."""
    return Mark(name)


@dataclass(frozen=True)
class Delay(Step):
    seconds: float

    def play(self, connection: Connection) -> None:
        connection.wait(lambda: False, self.seconds)


def delay(seconds: float) -> Step:
    """Wait by the clock. To order threads use :func:`gate` and :func:`mark`."""
    return Delay(seconds)


@dataclass(frozen=True)
class Optional(Step):
    steps: tuple[Step, ...]
    opens = True

    @property
    def required(self) -> bool:
        return False

    def play(self, connection: Connection) -> None:
        outer, connection.optional = connection.optional, True
        try:
            for step in self.steps:
                perform(step, connection)
        except ClientGone:
            pass
        finally:
            connection.optional = outer


def optional(*steps: Step) -> Step:
    """Steps that need not be played: the client may leave, or the server be closed, before or in them."""
    return Optional(flattened(steps))


@dataclass(frozen=True)
class Repeat(Step):
    steps: tuple[Step, ...]
    times: int

    def flatten(self) -> tuple[Step, ...]:
        return self.steps * self.times


def repeat(times: int, *steps: Step) -> Step:
    """The steps, so many times over."""
    return Repeat(flattened(steps), times)


@dataclass(frozen=True)
class Run(Step):
    function: Callable[[Connection], object]

    def play(self, connection: Connection) -> None:
        self.function(connection)


def run(function: Callable[[Connection], object]) -> Step:
    """Call a function with the :class:`Connection`, on the server's thread. What it raises fails the test."""
    return Run(function)


@dataclass(frozen=True)
class Serve(Step):
    model: Model | None
    turns: int | None
    opens = True
    needs_client = True

    @property
    def required(self) -> bool:
        return self.turns is not None

    def play(self, connection: Connection) -> None:
        try:
            if connection.answered or self._begin(connection):
                self._answer(connection, self.model or connection.model)
        except ClientGone:
            if self.turns is not None:
                raise

    def _begin(self, connection: Connection) -> bool:
        """Whether there is something to serve: the upgrade of another address is refused."""
        head = connection.take_request()
        if connection.http:
            return True
        path = connection.record.path
        if path is None or path.partition("?")[0].endswith("/responses"):
            connection.upgrade(head)
            return True
        connection.refuse_address()
        return False

    def _answer(self, connection: Connection, model: Model | None) -> None:
        if model is None:
            raise ScriptError("there is no model to serve")
        if connection.http:
            self._answer_http(connection.http, model)
            return
        memory = connection.memories.setdefault(model, model.connect())
        answered = 0
        while answered != self.turns and not memory.over:
            for event in model.receive(connection.receive_message(), memory):
                connection.send(event)
            answered += 1
        if memory.over:
            connection.close(1000)

    def _answer_http(self, side: HttpSide, model: Model) -> None:
        answered = 0
        while answered != self.turns:
            serve_request(model, side, side.receive())
            answered += 1


def serve(model: Model | None = None, turns: int | None = None) -> Step:
    """Let a model answer. An upgrade of an address that does not end in ``/responses`` gets a 404.

    :param model: None takes the server's own.
    :param turns: requests to answer before the next step; None goes on until the client leaves, which it may
        do before it asks for anything.
    """
    return Serve(model, turns)
