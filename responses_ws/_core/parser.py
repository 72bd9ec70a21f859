"""Text to event. JSON is parsed here and nowhere else.

An event is the object as the server sent it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from responses_ws.errors import ProtocolError

__all__ = ["Event", "Payload", "parse", "parse_exactly"]

Event = dict[str, Any]

Payload = bytes | bytearray
"""A message as it was received. One that came in pieces is a bytearray, the memory that it was received into:
another copy would cost as much as reading it."""

MAX_DEPTH = 500
"""Levels of nesting. The parsers' own limits differ between versions and count the caller's stack."""

SHALLOW_BYTES = 2 * MAX_DEPTH
"""Every level takes two characters, so a message of this size cannot be too deep."""

LARGE_BYTES = 64 * 1024
MOST_KEPT_BYTES = 31 * 1024 * 1024
"""glibc takes no notice of blocks above 32 MiB (``DEFAULT_MMAP_THRESHOLD_MAX``)."""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
_scan = _DECODER.scan_once  # type: ignore[attr-defined]  # JSONDecoder.raw_decode calls it; typeshed lacks it


def _scan_message(payload: Payload) -> Any:
    """The value of a message that has no whitespace around it, else None: half the cost of ``json.loads``."""
    message = str(payload, "utf-8")
    value, end = _scan(message, 0)
    return value if end == len(message) else None


def _choose(payload: Payload) -> Any:
    """The first message decides, and not the import: orjson brings a tenth of what this package takes."""
    global _loads  # noqa: PLW0603 - chosen once, and the same whoever chooses
    try:
        import orjson
    except ImportError:
        _loads = _scan_message
    else:
        _loads = orjson.loads
    return _loads(payload)


_loads: Callable[[Payload], Any] = _choose


def parse(payload: Payload) -> Event:
    """The event of one message. A bytearray is given up: it may be empty afterwards.

    Uses orjson where it is installed (extra ``speed``). Raises :class:`ProtocolError`, without the payload,
    for what is no UTF-8 (``close_code`` 1007), no JSON, no object, or nested too deeply (1008).
    """
    if type(payload) is bytearray:
        _keep_memory(len(payload))
        if _loads is _scan_message:
            return parse_exactly(payload)
    try:
        value = _loads(payload)
    except (ValueError, RecursionError, StopIteration):
        value = None
    if type(value) is dict and (
        len(payload) <= SHALLOW_BYTES or _brackets(payload) <= MAX_DEPTH or not _too_deep(value)
    ):
        return value
    return parse_exactly(payload)


def parse_exactly(payload: Payload) -> Event:
    """The same at leisure, and with every digit of a large integer, which orjson makes a float.

    Decides about what the fast path did not accept: whitespace, half characters (orjson), faults.
    """
    deep = _brackets(payload) > MAX_DEPTH
    try:
        text = str(payload, "utf-8")
        if type(payload) is bytearray:
            # The values take the place of the message: a large one needs two thirds of the memory.
            payload.clear()
        value = _DECODER.decode(text)
    except UnicodeDecodeError:
        close_code, fault = 1007, "is no UTF-8"
    except RecursionError:
        close_code, fault = 1008, "is nested too deeply"
    except ValueError:
        close_code, fault = 1008, "is no JSON"
    else:
        if isinstance(value, dict) and not (deep and _too_deep(value)):
            return value
        close_code, fault = (
            1008,
            "is nested too deeply" if isinstance(value, dict) else "is JSON but no object",
        )
    # Raised outside the handlers: the errors of the decoders hold the payload.
    raise ProtocolError(f"the server sent a message that {fault}", close_code=close_code)


_kept = 0


def _keep_memory(size: int) -> None:
    """Have the memory that a message of this size takes kept for the next one.

    The C library gives large blocks back to the system. Then each large message is read and parsed in fresh
    memory, which the kernel clears page by page: up to half of its time. What counts as large is the size of
    the largest block that was freed so far (mallopt(3), ``M_MMAP_THRESHOLD``). A message takes three blocks,
    its bytes, its text and its values; so one of that size is freed, once. Nothing is written to it, and so
    it is no memory yet.
    """
    global _kept  # noqa: PLW0603 - the C library's own number is one of the process too
    wanted = min(3 * size, MOST_KEPT_BYTES)
    if size >= LARGE_BYTES and wanted > _kept:
        _kept = wanted
        with contextlib.suppress(MemoryError):  # there may still be enough for the message
            bytes(wanted)


def _too_deep(value: Event) -> bool:
    """Whether it has more levels than :data:`MAX_DEPTH`."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _brackets(payload: Payload) -> int:
    """How many objects and lists begin in it, or a number above :data:`MAX_DEPTH`."""
    if len(payload) < LARGE_BYTES:
        return payload.count(b"{") + payload.count(b"[")
    # ``find`` passes over text ten times as fast as ``count``, and can stop.
    found = 0
    for bracket in (b"{", b"["):
        position = payload.find(bracket)
        while position >= 0 and found <= MAX_DEPTH:
            found += 1
            position = payload.find(bracket, position + 1)
    return found
