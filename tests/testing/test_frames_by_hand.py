"""Frames built by hand, read by an independent parser."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from responses_ws.testing.frames import encode, frame


def parse(data: bytes, *, masked: bool = False) -> Frame:
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parser = Frame.parse(reader.read_exact, mask=masked, max_size=None, extensions=None)
    try:
        next(parser)
    except StopIteration as result:
        assert not reader.buffer
        return result.value
    raise AssertionError("the frame is not whole")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_000])
@pytest.mark.parametrize("masked", [False, True])
def test_every_length_is_read_back(size, masked):
    """The three forms of the length (RFC 6455, 5.2) hold what they say."""
    payload = bytes(index % 251 for index in range(size))
    found = parse(frame(payload, masked=masked), masked=masked)
    assert (found.opcode, bytes(found.data), found.fin) == (Opcode.TEXT, payload, True)


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"opcode": 1}, 0x81),
        ({"opcode": 0, "fin": False}, 0x00),
        ({"opcode": 9}, 0x89),
        ({"opcode": 3}, 0x83),
        ({"rsv": 4}, 0xC1),
        ({"rsv": 1}, 0x91),
    ],
)
def test_first_byte(options, first):
    """FIN, the reserved bits and the opcode stand where RFC 6455, 5.2 puts them."""
    assert frame(b"x", **options) == bytes([first, 1]) + b"x"


def test_length_may_lie():
    """A header can announce 4 GiB that never come."""
    assert frame(b"x", length=1 << 32) == b"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00x"


def test_wrong_frames_are_wrong():
    """What is asked to be wrong is refused by a strict parser."""
    with pytest.raises(ProtocolError):
        parse(frame(b"x", rsv=1))


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("plain", b"plain"),
        (b"\xff\xfe", b"\xff\xfe"),
        ({"delta": "\u00e9"}, '{"delta": "\u00e9"}'.encode()),
        ({"delta": "\ud83d"}, b'{"delta": "\\ud83d"}'),
    ],
)
def test_encode(message, data):
    """Text travels as UTF-8, bytes as they are, a lone surrogate as an escape."""
    assert encode(message) == data
    if isinstance(message, dict):
        assert json.loads(data) == message
