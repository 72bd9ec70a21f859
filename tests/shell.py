"""What the tests of the public connection share: events by hand, a WebSocket, threads with results."""

from __future__ import annotations

import faulthandler
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from responses_ws import Chunk, WebSocket
from responses_ws.testing import ScriptedServer, Step, expect_pong, mark, ping

KEY = "sk-test-0123456789abcdef"
SECONDS = 10.0
"""How long a test waits for what must come; only a failing test waits so long."""

Event = dict[str, Any]
PAUSE = threading.Event()
"""Never set: for waiting without a word of it elsewhere."""


def websocket(server: ScriptedServer, **options: Any) -> WebSocket:
    """A WebSocket to the server, not yet connected."""
    return WebSocket(KEY, api_base=server.url, ssl_context=server.ssl_context, **options)


def created(response_id: str) -> Event:
    response = {"id": response_id, "status": "in_progress", "model": "m", "output": []}
    return {"type": "response.created", "response": response}


def delta(text: str, item_id: str = "msg_1") -> Event:
    return {
        "type": "response.output_text.delta",
        "item_id": item_id,
        "output_index": 0,
        "content_index": 0,
        "delta": text,
    }


def completed(response_id: str, status: str = "completed", kind: str = "response.completed") -> Event:
    return {"type": kind, "response": {"id": response_id, "status": status, "model": "m", "output": []}}


def answer(response_id: str, *pieces: str) -> list[Event]:
    """A whole answer, its text in pieces."""
    item_id = f"msg_{response_id}"
    return [created(response_id), *(delta(piece, item_id) for piece in pieces), completed(response_id)]


def error_event(code: str = "server_error", status: int = 500) -> Event:
    return {"type": "error", "status": status, "error": {"code": code, "message": "told to", "type": code}}


def delivered(name: str) -> list[Step]:
    """Steps that come to the mark ``name`` once the client's reader has handed on all that was sent before.

    A pong leaves before the messages that were read with its ping are handed on, so one is not enough.
    """
    turns = [step for data in (b"1", b"2") for step in (ping(data), expect_pong(data))]
    return [*turns, mark(name)]


def join_readers() -> None:
    """Wait until every reader thread has ended: the client has noticed the end of its connections."""
    for thread in threading.enumerate():
        if thread.name.startswith("responses_ws-reader"):
            thread.join(SECONDS)
            assert not thread.is_alive(), "the client still reads"


def ask(ws: WebSocket, text: str = "hi", **fields: Any) -> str:
    """The text of the answer."""
    return ws.create_response(model="m", input=text, **fields).content


def read_deltas(chunks: Iterator[Chunk], count: int) -> list[str]:
    """Read until so many pieces of text have come."""
    pieces: list[str] = []
    while len(pieces) < count:
        content = next(chunks).content
        if content:
            pieces.append(content)
    return pieces


def until(condition: Callable[[], object]) -> None:
    """Wait until it is true, for what no thread can tell."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        PAUSE.wait(0.001)


def stack(thread: int) -> list[str]:
    """The names of the functions that a thread is in, the innermost first.

    Of one moment: whoever walks the frames of a thread that goes on meanwhile may crash CPython 3.11.
    """
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        text = file.read()
    for part in text.split("\n\n"):
        head, *frames = part.splitlines()
        if f"0x{thread:016x} " in head:
            return [frame.rpartition(" in ")[2] for frame in frames]
    return []


def wait_until_in(thread: int, function: str) -> None:
    """Wait until the thread is inside a function of this name, with nothing of Python above it."""
    until(lambda: sys._current_frames()[thread].f_code.co_name == function)


class Task(threading.Thread):
    """A function on a thread of its own; :meth:`result` or :meth:`error` brings what became of it."""

    def __init__(self, function: Callable[..., Any], *args: Any, **named: Any) -> None:
        super().__init__(daemon=True)
        self._work = (function, args, named)
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        function, args, named = self._work
        try:
            self._value = function(*args, **named)
        except BaseException as error:  # brought to the test
            self._error = error

    def result(self) -> Any:
        self._wait()
        if self._error is not None:
            raise self._error
        return self._value

    def error(self) -> BaseException:
        self._wait()
        assert self._error is not None, f"nothing was raised; the result is {self._value!r}"
        return self._error

    def _wait(self) -> None:
        self.join(SECONDS)
        assert not self.is_alive(), "the thread still waits"
