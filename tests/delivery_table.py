"""How many requests each row of the delivery table makes, counted by a scripted server.

``python tests/delivery_table.py`` prints the table. Every row is played over both transports, with and
without ``store``, as the second step of a conversation.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sessions import ask, rejection, session
from shell import created, delta, error_event, join_readers

from responses_ws._breakers import _breakers
from responses_ws._core.continuation import Ledger
from responses_ws._core.retry import Retry
from responses_ws.errors import ResponsesWSError
from responses_ws.testing import (
    Connection,
    Model,
    ScriptedServer,
    Step,
    close,
    eof,
    optional,
    reset,
    respond,
    run,
    send,
)
from responses_ws.testing.script import perform

__all__ = ["COLUMNS", "ROWS", "Row", "count"]

ANSWER = "answer"
NO_RETRIES = Retry(max_retries=0, replay="unknown")
REPLAY = Retry(replay="unknown")
SOCKET = ("websocket",)
HTTP = ("http",)
MCP = [{"type": "mcp", "server_label": "s", "server_url": "https://example.com"}]
CONNECTIONS = 6
"""More than any row opens."""

Answer = tuple[Step, ...]


@dataclass(frozen=True)
class Row:
    """A fault, and what is allowed after it.

    :param answers: to the requests of the second step, one after the other; then a model answers.
    :param creates: the requests that the second step may make, the first of them included.
    :param outcome: what the caller gets: an answer, or an error of this name.
    :param where: the transports that can have it.
    :param at_rest: what befalls the connection after the first step.
    :param forget: whether the service loses the first response.
    :param unstored: ``creates`` where the first response was not stored, by transport, if another number.
    """

    delivery: str
    fault: str
    creates: int
    outcome: str
    policy: Retry = field(default_factory=Retry)
    answers: tuple[Answer, ...] = ()
    where: tuple[str, ...] = ("websocket", "http")
    at_rest: Answer = ()
    forget: bool = False
    unstored: dict[str, int] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)

    def allowed(self, transport: str, store: bool) -> int:
        return self.creates if store else self.unstored.get(transport, self.creates)


def not_sent(fault: str, *at_rest: Step, policy: Retry | None = None) -> Row:
    return Row("NOT_SENT", fault, 1, ANSWER, policy or Retry(), where=SOCKET, at_rest=at_rest)


def rejected(fault: str, creates: int, outcome: str, *answers: Step, **row: Any) -> Row:
    return Row("REJECTED", fault, creates, outcome, answers=tuple((step,) for step in answers), **row)


def unknown(fault: str, creates: int, outcome: str, *answer: Step, **row: Any) -> Row:
    return Row("UNKNOWN", fault, creates, outcome, answers=(answer,), **row)


def started(fault: str, outcome: str, *answer: Step) -> Row:
    return Row("STARTED", fault, 1, outcome, REPLAY, answers=(answer,))


BUSY = send(rejection(retry_after_ms="1"))
LIMIT = send(rejection("websocket_connection_limit_reached", 400))
BEGUN = send(created("r"))
SPOKEN = send(created("r"), delta("hel"))

ROWS = [
    not_sent("closed at rest", close(1001)),
    not_sent("gone at rest, no retries", eof(), policy=NO_RETRIES),
    rejected("429 once", 2, ANSWER, BUSY),
    rejected("429 twice", 3, ANSWER, BUSY, BUSY),
    rejected("429 for ever", 3, "RateLimitError", *[BUSY] * 9),
    rejected("429, no retries", 1, "RateLimitError", BUSY, policy=NO_RETRIES),
    rejected("429, Retry-After over 120 s", 1, "RateLimitError", send(rejection(retry_after="121"))),
    rejected("429, Retry-After over the budget", 1, "RateLimitError", send(rejection(retry_after="61"))),
    rejected("429, x-should-retry false", 1, "RateLimitError", send(rejection(x_should_retry="false"))),
    rejected("429, no quota", 1, "RateLimitError", send(rejection("insufficient_quota"))),
    rejected("overloaded", 2, ANSWER, send(rejection("server_is_overloaded", 503, retry_after_ms="1"))),
    rejected("server_error", 2, ANSWER, send(rejection("server_error", 500))),
    rejected("server_error, no retries", 1, "ServerError", send(error_event()), policy=NO_RETRIES),
    rejected("400", 1, "BadRequestError", send(rejection("invalid_value", 400))),
    rejected("401", 1, "AuthenticationError", send(rejection("invalid_api_key", 401))),
    rejected("404", 1, "NotFoundError", send(rejection("model_not_found", 404))),
    rejected("lost id", 2, ANSWER, forget=True, unstored={"http": 1}),
    rejected(
        "lost id, no retries", 1, "PreviousResponseNotFound", policy=NO_RETRIES, forget=True, where=SOCKET
    ),
    rejected("age limit", 2, ANSWER, LIMIT, where=SOCKET),
    rejected("age limit twice", 2, "ConnectionLimitReached", LIMIT, LIMIT, where=SOCKET),
    rejected("age limit, no retries", 1, "ConnectionLimitReached", LIMIT, policy=NO_RETRIES, where=SOCKET),
    rejected("502 of a gateway", 2, ANSWER, respond(502), where=HTTP),
    unknown("504 of a gateway", 1, "ServerError", respond(504), where=HTTP),
    unknown("504 of a gateway, replay", 2, ANSWER, respond(504), where=HTTP, policy=REPLAY),
    unknown("closed unheard", 1, "ConnectionLost", close(1011)),
    unknown("reset unheard", 1, "ConnectionLost", reset()),
    unknown("closed unheard, replay", 2, ANSWER, close(1011), policy=REPLAY),
    unknown("gone unheard, replay", 2, ANSWER, eof(), policy=REPLAY),
    unknown("gone unheard, replay, no retries", 1, "ConnectionLost", eof(), policy=NO_RETRIES),
    unknown(
        "gone unheard, replay, a tool that acts",
        1,
        "ConnectionLost",
        eof(),
        policy=REPLAY,
        fields={"tools": MCP},
    ),
    started("gone before any output, replay", "ConnectionLost", BEGUN, eof()),
    started("gone after output, replay", "ConnectionLost", SPOKEN, eof()),
    started("closed with 1000 after output, replay", "ConnectionLost", SPOKEN, close(1000)),
    started("error before any output, replay", "ServerError", BEGUN, send(error_event())),
    started("error after output, replay", "ServerError", SPOKEN, send(error_event())),
    started("429 after output, replay", "RateLimitError", SPOKEN, BUSY),
]

COLUMNS = [(transport, store) for transport in ("websocket", "http") for store in (True, False)]


def play_steps(steps: Answer, connection: Connection) -> None:
    for step in steps:
        perform(step, connection)


def player(row: Row, model: Model, numbers: Iterator[int]) -> Callable[[Connection], None]:
    """Serves one connection: the model's answers, but for those that the row has instead."""

    def play(connection: Connection) -> None:
        memory = model.connect()
        while True:
            request = {"type": "response.create", **connection.receive()}
            number = next(numbers)
            if 1 <= number <= len(row.answers):
                play_steps(row.answers[number - 1], connection)
                continue
            for event in model.respond(request, model.connect() if connection.http else memory):
                connection.send(event)
            if number == 0:
                play_steps(row.at_rest, connection)

    return play


def count(row: Row, transport: str, store: bool) -> tuple[int, str]:
    """Play a row: the requests that the server got for the second step, and what became of it."""
    _breakers.clear()
    model, numbers = Model(), itertools.count()
    with ScriptedServer() as server:
        for _ in range(CONNECTIONS):
            server.connection(optional(run(player(row, model, numbers))))
        with session(server, transport=transport, retry=row.policy) as mine:
            ledger = Ledger()
            ask(mine, ledger, "one", store=store)
            if row.forget:
                model.forget()
            if row.at_rest:
                join_readers()
            try:
                ask(mine, ledger, "two", store=store, **row.fields)
            except ResponsesWSError as error:
                return len(server.requests) - 1, type(error).__name__
            return len(server.requests) - 1, ANSWER


def table() -> str:
    """All rows as text; a number that is not allowed is marked."""
    lines = [
        f"{'':10}{'':42}{'websocket':>20}{'http':>20}",
        f"{'delivery':10}{'fault':42}" + f"{'store':>10}{'no store':>10}" * 2 + "   outcome",
    ]
    for row in ROWS:
        cells, outcomes = "", set()
        for transport, store in COLUMNS:
            if transport not in row.where:
                cells += f"{'-':>10}"
                continue
            creates, outcome = count(row, transport, store)
            allowed = row.allowed(transport, store)
            cells += f"{creates if creates == allowed else f'{creates} not {allowed}':>10}"
            outcomes.add(outcome)
        lines.append(f"{row.delivery:10}{row.fault:42}{cells}   {', '.join(sorted(outcomes))}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
