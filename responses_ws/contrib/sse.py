"""A chat's answer as server-sent events, for any web framework that can stream a body.

The events, each with a JSON object as its data:

- ``text``: a piece of the answer, ``text``.
- ``tool_call``: a tool is called: ``id``, ``name`` and ``arguments`` (text; null for the service's own).
- ``tool_done``: it has its output: ``id``. What it returned stays on the server.
- ``message``: the end, with ``content``, ``refusal``, ``status``, ``incomplete_reason`` and ``usage``.
- ``failure``: there is no answer: ``type`` (an error's class), ``code``, ``message`` (a sentence of this
  module), ``retry_after`` (seconds). It comes in place of ``message``.

Comment lines in between keep proxies from hanging up, and find out whether the browser is still there. The
format is that of the HTML standard, section "Server-sent events".
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from responses_ws._core.events import terminal_status
from responses_ws._core.fields import mapping, text
from responses_ws._core.items import CALLS
from responses_ws._core.transcript import AnnouncedCalls
from responses_ws.errors import (
    ConcurrencyError,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    PoolTimeout,
    RateLimitError,
    ResponseCancelled,
    ResponseError,
    ResponsesWSError,
    ResponseTimeout,
    StoreError,
    ToolError,
)
from responses_ws.messages import check_seconds

if TYPE_CHECKING:
    from responses_ws._core.content import Input
    from responses_ws.chat import Chat
    from responses_ws.messages import Chunk, Message

__all__ = ["CONTENT_TYPE", "HEADERS", "event_stream"]

logger = logging.getLogger("responses_ws")

CONTENT_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "Content-Encoding": "identity", "X-Accel-Buffering": "no"}
"""What keeps caches, compression (``GZipMiddleware`` of Django) and nginx from holding pieces back."""

COMMENT = b":\n\n"
ITEM_DONE = "response.output_item.done"
ITEM_EVENTS = ("response.output_item.added", ITEM_DONE)
CODE = re.compile(r"[\w.-]{1,64}")
SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (ConcurrencyError, "This conversation is being used elsewhere."),
    (PoolTimeout, "There are too many questions at the moment. Try again soon."),
    (RateLimitError, "The service has too much to do. Try again later."),
    (ResponseTimeout, "The service took too long."),
    (ConnectionLost, "The connection to the service was lost before the answer was complete."),
    (ConnectionError, "The service cannot be reached."),
    (ResponseCancelled, "The answer was cancelled."),
    (ToolError, "A tool failed."),
    (ResponseError, "The service could not answer."),
    (Exception, "Something went wrong here."),
)
"""What a browser is told: never the text of an error, which may quote the server or a tool. First fit."""

OWN_TEXTS = (ConcurrencyError, ConfigurationError, ConnectionError, StoreError)
"""Errors whose texts are of this package."""


def event_stream(
    conversation: AbstractContextManager[Chat], input: Input, *, heartbeat: float = 15.0
) -> Generator[bytes, None, None]:
    """Ask, and tell what happens as server-sent events, until the answer or a failure.

    Nothing is asked before the first piece was taken, so that a browser that has gone costs nothing. Closing
    the iterator, which a WSGI server does when it cannot write, abandons the response and leaves the
    conversation at once.

    :param conversation: a chat, or a context manager that gives one. It is entered for the question and left
        before ``message`` is told; a chat by itself is closed then.
    :param input: as for :meth:`Chat.ask`.
    :param heartbeat: seconds of silence before each comment line. A browser that left in such a silence is
        noticed at the second one.
    :raises ConfigurationError: the heartbeat cannot be waited. Later, when it is iterated, only what is no
        error of this package comes out of it, after ``failure`` was told.
    """
    check_seconds("heartbeat", heartbeat)
    return _events(conversation, input, heartbeat)


def _events(
    conversation: AbstractContextManager[Chat], input: Input, heartbeat: float
) -> Generator[bytes, None, None]:
    yield COMMENT
    left = False
    try:
        with conversation as chat:
            try:
                message = yield from _answer(chat, input, heartbeat)
            except GeneratorExit:
                left = True
                raise
        yield _event("message", _as_data(message))
    except ResponsesWSError as error:
        logger.warning("an answer was not given: %s", _for_log(error))
        if not left:
            yield _event("failure", _as_failure(error))
    except Exception as error:
        if not left:
            yield _event("failure", _as_failure(error))
        raise


def _answer(chat: Chat, input: Input, heartbeat: float) -> Generator[bytes, None, Message]:
    telling = Telling(chat)
    with chat.stream(input) as stream:
        for chunk in stream.chunks(heartbeat=heartbeat):
            yield from telling.tell(chunk)
        return stream.message


class Telling:
    """One answer as events: what of its chunks is worth telling, and which tools still run."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._running: set[str] = set()
        self._told: set[str] = set()
        self._announced = AnnouncedCalls()
        self._over = False

    def tell(self, chunk: Chunk | None) -> Iterator[bytes]:
        """The events for a chunk, or for a silence."""
        if self._over:
            yield from self._ended()
        if chunk is None:
            yield COMMENT
            return
        if self._over:  # some services count their calls anew in each response
            self._told, self._announced = set(), AnnouncedCalls()
        self._over = terminal_status(chunk.raw) is not None
        if chunk.content:
            yield _event("text", {"text": chunk.content})
        yield from self._calls(chunk.raw)

    def _calls(self, raw: dict[str, Any]) -> Iterator[bytes]:
        call = self._announced.feed(raw)
        if call is None:
            if raw.get("type") in ITEM_EVENTS:
                yield from self._built_in(mapping(raw.get("item")), ended=raw["type"] == ITEM_DONE)
        elif call.id is not None and call.id not in self._told:
            self._running.add(call.id)
            yield self._begun(call.id, call.name, call.arguments)

    def _built_in(self, item: dict[str, Any], *, ended: bool) -> Iterator[bytes]:
        """A call that the service makes itself."""
        item_id, kind = text(item.get("id")), text(item.get("type")) or ""
        if item_id is None or not kind.endswith("_call") or kind in CALLS:
            return
        if item_id not in self._told:
            yield self._begun(item_id, text(item.get("name")) or kind.removesuffix("_call"), None)
        if ended:
            yield _event("tool_done", {"id": item_id})

    def _begun(self, call_id: str, name: str | None, arguments: str | None) -> bytes:
        self._told.add(call_id)
        return _event("tool_call", {"id": call_id, "name": name, "arguments": arguments})

    def _ended(self) -> Iterator[bytes]:
        """The calls of the last response that wait for no output any more."""
        waiting: set[str | None] = set()
        for item in self._chat.items if self._running else ():
            change = waiting.discard if str(item.get("type")).endswith("_output") else waiting.add
            change(text(item.get("call_id")))
        for call_id in sorted(self._running - waiting):
            self._running.discard(call_id)
            yield _event("tool_done", {"id": call_id})


def _as_data(message: Message) -> dict[str, Any]:
    return {
        "content": message.content,
        "refusal": message.refusal,
        "status": message.status,
        "incomplete_reason": message.incomplete_reason,
        "usage": asdict(message.usage),
    }


def _as_failure(error: Exception) -> dict[str, Any]:
    code = text(getattr(error, "code", None)) or ""
    return {
        "type": type(error).__name__ if isinstance(error, ResponsesWSError) else "Exception",
        "code": code if CODE.fullmatch(code) else None,
        "message": next(sentence for kind, sentence in SENTENCES if isinstance(error, kind)),
        "retry_after": getattr(error, "retry_after", None),
    }


def _for_log(error: ResponsesWSError) -> str:
    """What happened. The text of the service or of a tool may quote the question."""
    kind = type(error).__name__
    if isinstance(error, ResponseError):
        return f"{kind} (status {error.status}, code {error.code}, request {error.request_id})"
    return f"{kind}: {error}" if isinstance(error, OWN_TEXTS) else kind


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
