"""Frames by hand, for what a conforming library refuses to write."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

__all__ = ["MessageData", "encode", "frame"]

MessageData = Mapping[str, Any] | str | bytes
"""A message to send: a JSON object, text, or bytes as they shall travel."""


def encode(message: MessageData) -> bytes:
    """The bytes of a message. Lone surrogates, which UTF-8 cannot hold, travel as JSON escapes."""
    if isinstance(message, bytes):
        return message
    if isinstance(message, str):
        return message.encode()
    try:
        return json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(message).encode()


def frame(
    payload: bytes = b"",
    *,
    opcode: int = 1,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = False,
    length: int | None = None,
) -> bytes:
    """One frame as a server writes it (RFC 6455, 5.2), with any fault wanted; for :func:`raw`.

    :param rsv: the three reserved bits as a number from 0 to 7.
    :param masked: mask it, which a server must not.
    :param length: bytes announced in the header; None announces the true number.
    """
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack(">BB", first, mask_bit | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", first, mask_bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, mask_bit | 127, size)
    if not masked:
        return head + payload
    key = b"\x01\x02\x03\x04"
    return head + key + bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
