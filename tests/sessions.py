"""What the tests of the session share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from shell import KEY, Event

from responses_ws import Message, Usage
from responses_ws._core.continuation import Ledger
from responses_ws.session import Session
from responses_ws.testing import Model, ScriptedServer

MODEL = {"model": "m"}


def session(server: ScriptedServer, **options: Any) -> Session:
    """A session over the socket with the server."""
    options.setdefault("transport", "websocket")
    return Session(KEY, api_base=server.url, ssl_context=server.ssl_context, **options)


def user(text: str) -> Event:
    return {"type": "message", "role": "user", "content": text}


def ask(session: Session, ledger: Ledger, text: str, **fields: Any) -> Message:
    """One step of a conversation."""
    return session.respond(ledger, [user(text)], {**MODEL, **fields}).message


def rejection(code: str = "rate_limit_exceeded", status: int = 429, **headers: str) -> Event:
    """An error in place of a response; with ``retry_after_ms="1"`` and the like as its headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error = {"type": code, "code": code, "message": "told to", "headers": named}
    return {"type": "error", "status": status, "error": error}


def inputs(server: ScriptedServer) -> list[Any]:
    """The texts of the items of each request, and whether it named a response."""
    return [
        ([item.get("content", item["type"]) for item in request["input"]], "previous_response_id" in request)
        for request in server.requests
    ]


def spoken(model: Model, message: Message) -> list[str]:
    """The texts of all that the model has seen and said up to this answer."""
    assert message.response_id is not None
    found = []
    for item in model.history(message.response_id):
        content = item["content"]
        found.append(content if isinstance(content, str) else content[0]["text"])
    return found


class Costs:
    """An ``on_usage`` that remembers, and can be waited for."""

    def __init__(self, fail: BaseException | None = None) -> None:
        self.told: list[tuple[Usage, str | None]] = []
        self.threads: list[str] = []
        self._fail = fail
        self._changed = threading.Condition()

    def __call__(self, usage: Usage, response_id: str | None) -> None:
        with self._changed:
            self.told.append((usage, response_id))
            self.threads.append(threading.current_thread().name)
            self._changed.notify_all()
        if self._fail is not None:
            raise self._fail

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 10), f"told only {self.told}"
