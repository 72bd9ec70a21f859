"""A request's value as JSON in UTF-8. Requests are written here and nowhere else."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["ENCODER", "dump", "reason"]

PIECE = 64 * 1024
LEVELS = 4
"""How deep a long text is looked for: the input, an item, its parts, a field, and one more for audio."""

ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

TO_ESCAPE = bytes(octet < 0x20 or octet in b'"\\' for octet in range(256))
"""What an octet is (RFC 8259, 7): one for those that a string in JSON cannot hold as they are."""


def dump(value: object) -> bytes | None:
    """The text, or None if there is none: the encoder's own error would hold the value."""
    try:
        if isinstance(value, dict) and _holds_long_text((value.get("input"),), LEVELS):
            return _gathered(_pieces(value, LEVELS + 1))
        return ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError):
        return None


def reason(value: object) -> str | None:
    """Why there is no text, without the value; None when there is one."""
    try:
        ENCODER.encode(value).encode()
    except RecursionError:
        return "it is nested too deep"
    except UnicodeEncodeError:
        return "it holds half of a surrogate pair, which UTF-8 cannot express"
    except TypeError as error:
        return str(error)
    except ValueError:
        return "it holds itself, NaN, Infinity, or an integer of thousands of digits"
    return None


# Images and files are megabytes of text with nothing to escape in it. The encoder would look at every
# character and copy them three times, each time to fresh memory; in pieces it takes a quarter of the time.


def _holds_long_text(values: Iterable[Any], levels: int) -> bool:
    for value in values:
        if isinstance(value, str):
            if len(value) >= PIECE:
                return True
        elif levels and isinstance(value, (dict, list, tuple)):
            # A copy of what another thread may add to meanwhile.
            inner = tuple(value.values()) if isinstance(value, dict) else value
            if _holds_long_text(inner, levels - 1):
                return True
    return False


def _pieces(value: Any, levels: int) -> Iterator[bytes]:
    """What the encoder would write, in order."""
    if not _holds_long_text((value,), levels):
        yield ENCODER.encode(value).encode()
    elif isinstance(value, str):
        yield b'"'
        yield from _text_pieces(value)
        yield b'"'
    elif isinstance(value, dict):
        before = b"{"
        for key, inner in tuple(value.items()):
            # The encoder knows what may be a key, and how it is written.
            yield before + ENCODER.encode({key: 0})[1:-2].encode()
            yield from _pieces(inner, levels - 1)
            before = b","
        yield b"}"
    else:
        before = b"["
        for inner in value:
            yield before
            yield from _pieces(inner, levels - 1)
            before = b","
        yield b"]"


def _text_pieces(text: str) -> Iterator[bytes]:
    for start in range(0, len(text), PIECE):
        piece = text[start : start + PIECE]
        octets = piece.encode()
        yield ENCODER.encode(piece)[1:-1].encode() if 1 in octets.translate(TO_ESCAPE) else octets


def _gathered(pieces: Iterable[bytes]) -> bytes:
    """All in one. The buffer gives away its memory, where ``join`` would need as much again."""
    gathered = io.BytesIO()
    for piece in pieces:
        gathered.write(piece)
    return gathered.getvalue()
