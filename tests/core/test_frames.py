"""The receiving half of RFC 6455, clause by clause, however the bytes are cut."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame as PeerFrame
from websockets.frames import Opcode as PeerOpcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from responses_ws._core import frames
from responses_ws._core.frames import FrameParser, Opcode, close_payload, encode_frame
from responses_ws._core.parser import parse
from responses_ws._core.secret import Secret
from responses_ws.errors import ConnectionLost, PayloadTooLarge, ProtocolError

CONT, TEXT, BINARY, CLOSE, PING, PONG = Opcode
MINIMAL, SIXTEEN, SIXTY_FOUR = 0, 126, 127


@pytest.fixture(autouse=True, scope="module", params=[frames.LITTLE, 0], ids=["some wait", "none waits"])
def little(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything holds for a frame that waits for its rest, and for one that has a place of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "LITTLE", request.param)
        yield


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    form: int = MINIMAL,
    length: int | None = None,
) -> bytes:
    """A server's frame. ``form`` is the form of the length (5.2), ``length`` what it says if it lies."""
    size = len(payload) if length is None else length
    form = form or (size if size < SIXTEEN else SIXTEEN if size < 1 << 16 else SIXTY_FOUR)
    extended = {SIXTEEN: 2, SIXTY_FOUR: 8}.get(form, 0)
    head = bytes([fin << 7 | reserved << 4 | opcode, form])
    return head + (size.to_bytes(extended, "big") if extended else b"") + payload


def fragments(*payloads: bytes, opcode: int = TEXT) -> list[bytes]:
    """A message in as many frames as payloads (5.4)."""
    last = len(payloads) - 1
    return [frame(CONT if i else opcode, part, fin=i == last) for i, part in enumerate(payloads)]


def masked(data: bytes) -> bytes:
    """The same frame as a client must send it and a server must not (5.1, 5.3), with a key of zeros."""
    start = 2 + {SIXTEEN: 2, SIXTY_FOUR: 8}.get(data[1], 0)
    return bytes([data[0], data[1] | 0x80]) + data[2:start] + bytes(4) + data[start:]


class End(NamedTuple):
    """How the reading ended: the code that is answered, or that the peer gave."""

    kind: type[Exception]
    code: int | None = None
    reason: str = ""


class Outcome(NamedTuple):
    messages: list[bytes]
    pings: list[bytes]
    end: End | None


BROKEN = End(ProtocolError, 1002)


def read(pieces: Iterable[bytes], parser: FrameParser | None = None, at_least: int | None = None) -> Outcome:
    """What a parser makes of the pieces, which go into its room where it has so much (None: never)."""
    parser = parser or FrameParser()
    messages = [message for piece in pieces for message in taken(parser, piece, at_least)]
    failure = parser.failure
    end = None if failure is None else End(type(failure), getattr(failure, "close_code", None))
    if isinstance(failure, ConnectionLost):
        end = End(ConnectionLost, failure.close_code, failure.close_reason)
    return Outcome(messages, parser.pings, end)


def taken(parser: FrameParser, piece: bytes, at_least: int | None) -> Iterator[bytes]:
    """The messages of a piece, as a socket gives it that never has more than the room that it is shown."""
    while piece:
        room = None if at_least is None else parser.room(at_least)
        if room is None:
            yield from parser.feed(piece)
            return
        size = min(len(room), len(piece))
        room[:size] = piece[:size]
        room.release()
        yield from parser.filled(size)
        piece = piece[size:]


def slices(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def one_by_one(data: bytes) -> list[bytes]:
    return slices(data, 1)


def every_cut(data: bytes) -> Iterator[list[bytes]]:
    """The data whole, byte by byte, and cut in two at every position."""
    yield [data]
    yield one_by_one(data)
    for position in range(1, len(data)):
        yield [data[:position], data[position:]]


def good(*messages: bytes, pings: tuple[bytes, ...] = ()) -> Outcome:
    return Outcome(list(messages), list(pings), None)


def closed(code: int, reason: str = "") -> Outcome:
    return Outcome([], [], End(ConnectionLost, code, reason))


BAD = Outcome([], [], BROKEN)
NO_TEXT = Outcome([], [], End(ProtocolError, 1003))
NOT_UTF_8 = Outcome([], [], End(ProtocolError, 1007))

CLAUSES: dict[str, tuple[bytes, Outcome]] = {
    "5.1 a masked text frame": (masked(frame(TEXT, b"{}")), BAD),
    "5.1 a masked empty frame": (masked(frame(TEXT)), BAD),
    "5.1 a masked frame with a 16-bit length": (masked(frame(TEXT, b"x" * 126)), BAD),
    "5.1 a masked frame with a 64-bit length": (masked(frame(TEXT, b"x", form=SIXTY_FOUR)), BAD),
    "5.1 a masked fragment": (frame(TEXT, b"{", fin=False) + masked(frame(CONT, b"}")), BAD),
    "5.1 a masked ping": (masked(frame(PING, b"x")), BAD),
    "5.1 a masked pong": (masked(frame(PONG)), BAD),
    "5.1 a masked close frame": (masked(frame(CLOSE, b"\x03\xe8")), BAD),
    "5.2 no extension, so no RSV1": (frame(TEXT, b"{}", reserved=4), BAD),
    "5.2 no extension, so no RSV2": (frame(TEXT, b"{}", reserved=2), BAD),
    "5.2 no extension, so no RSV3": (frame(TEXT, b"{}", reserved=1), BAD),
    "5.2 no extension, so no RSV bits at all": (frame(TEXT, b"{}", reserved=7), BAD),
    "5.2 no RSV1 on an empty frame": (frame(TEXT, reserved=4), BAD),
    "5.2 no RSV1 on a fragment": (frame(TEXT, b"{", fin=False) + frame(CONT, b"}", reserved=4), BAD),
    "5.2 no RSV1 on a ping": (frame(PING, reserved=4), BAD),
    "5.2 no RSV1 on a pong": (frame(PONG, reserved=4), BAD),
    "5.2 no RSV1 on a close frame": (frame(CLOSE, reserved=4), BAD),
    **{f"5.2 opcode {code:#x} is reserved": (frame(code, b"x"), BAD) for code in [3, 4, 5, 6, 7]},
    **{f"5.2 opcode {code:#x} is reserved": (frame(code, b"x"), BAD) for code in range(0xB, 0x10)},
    "5.2 a reserved opcode that is no last fragment": (frame(3, b"x", fin=False), BAD),
    "5.2 a length of 0": (frame(TEXT), good(b"")),
    "5.2 a length of 1": (frame(TEXT, b"1"), good(b"1")),
    "5.2 a length of 125": (frame(TEXT, b"x" * 125), good(b"x" * 125)),
    "5.2 a length of 126": (frame(TEXT, b"x" * 126), good(b"x" * 126)),
    "5.2 a length of 127": (frame(TEXT, b"x" * 127), good(b"x" * 127)),
    "5.2 a length in more bytes than it needs, 16 bits": (frame(TEXT, b"{}", form=SIXTEEN), good(b"{}")),
    "5.2 a length in more bytes than it needs, 64 bits": (frame(TEXT, b"{}", form=SIXTY_FOUR), good(b"{}")),
    "5.2 a length of 0 in 64 bits": (frame(TEXT, form=SIXTY_FOUR), good(b"")),
    "5.2 a length with its highest bit set": (frame(TEXT, length=1 << 63), BAD),
    "5.2 the longest length": (frame(TEXT, length=(1 << 64) - 1), BAD),
    "5.2 the longest length of a fragment": (frame(TEXT, fin=False, length=(1 << 64) - 1), BAD),
    "5.3 what would be a masking key is payload": (frame(TEXT, b"\0\0\0\0{}"), good(b"\0\0\0\0{}")),
    "5.4 two fragments": (b"".join(fragments(b"{", b"}")), good(b"{}")),
    "5.4 many fragments": (b"".join(fragments(*[b"%d" % i for i in range(9)])), good(b"012345678")),
    "5.4 an empty first fragment": (b"".join(fragments(b"", b"{}")), good(b"{}")),
    "5.4 an empty middle fragment": (b"".join(fragments(b"{", b"", b"}")), good(b"{}")),
    "5.4 an empty last fragment": (b"".join(fragments(b"{}", b"")), good(b"{}")),
    "5.4 nothing but empty fragments": (b"".join(fragments(b"", b"", b"")), good(b"")),
    "5.4 a fragment of 126 bytes": (b"".join(fragments(b"x" * 126, b"y")), good(b"x" * 126 + b"y")),
    "5.4 a message that is not finished": (frame(TEXT, b"{", fin=False) + frame(CONT, fin=False), good()),
    "5.4 messages one after the other": (
        b"".join([*fragments(b"{", b"}"), frame(TEXT, b"[]"), *fragments(b"4", b"2")]),
        good(b"{}", b"[]", b"42"),
    ),
    "5.4 control frames between fragments": (
        b"".join([frame(PING, b"1"), frame(PONG), frame(PING, b"2")]).join(fragments(b"{", b'"', b'"', b"}")),
        good(b'{""}', pings=(b"1", b"2") * 3),
    ),
    "5.4 a character cut by fragments": (
        b"".join(fragments(*one_by_one("\U0001f600".encode()))),
        good("\U0001f600".encode()),
    ),
    "5.4 a close frame between fragments": (
        frame(TEXT, b"{", fin=False) + frame(CLOSE, b"\x03\xe9away"),
        closed(1001, "away"),
    ),
    "5.4 a last fragment of nothing": (frame(CONT, b"}"), BAD),
    "5.4 a middle fragment of nothing": (frame(CONT, b"}", fin=False), BAD),
    "5.4 a fragment after the last": (
        b"".join(fragments(b"{", b"}")) + frame(CONT),
        good(b"{}")._replace(end=BROKEN),
    ),
    "5.4 a fragment after a whole message": (
        frame(TEXT, b"{}") + frame(CONT),
        good(b"{}")._replace(end=BROKEN),
    ),
    "5.4 a whole message inside another": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"{}"), BAD),
    "5.4 one of middle size inside another": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"x" * 126), BAD),
    "5.4 the beginning of a message inside another": (frame(TEXT, b"{", fin=False) * 2, BAD),
    "5.4 a binary message inside another": (frame(TEXT, b"{", fin=False) + frame(BINARY, b"{}"), BAD),
    "5.5 a fragmented ping": (frame(PING, b"x", fin=False), BAD),
    "5.5 a fragmented pong": (frame(PONG, b"x", fin=False), BAD),
    "5.5 a fragmented close frame": (frame(CLOSE, b"\x03\xe8", fin=False), BAD),
    "5.5 a fragmented ping between fragments": (frame(TEXT, fin=False) + frame(PING, fin=False), BAD),
    "5.5 a ping of 126 bytes": (frame(PING, b"x" * 126), BAD),
    "5.5 a pong of 126 bytes": (frame(PONG, b"x" * 126), BAD),
    "5.5 a close frame of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), BAD),
    "5.5 a ping of 64 KiB": (frame(PING, length=1 << 16), BAD),
    "5.5 a ping with the longest length": (frame(PING, length=(1 << 64) - 1), BAD),
    "5.5 a ping of 125 bytes in the 16-bit form": (
        frame(PING, b"x" * 125, form=SIXTEEN),
        good(pings=(b"x" * 125,)),
    ),
    "5.5.1 a close frame of 125 bytes": (
        frame(CLOSE, b"\x03\xe8" + b"x" * 123),
        closed(1000, "x" * 123),
    ),
    "5.5.1 half a close code": (frame(CLOSE, b"\x03"), BAD),
    "5.5.1 nothing is read after a close frame": (
        frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"{}") + frame(PING, b"x") + frame(3),
        closed(1000),
    ),
    "5.5.1 a reason beyond ASCII": (
        frame(CLOSE, b"\x03\xe8" + "\u00e9\u20ac\U0001f600".encode()),
        closed(1000, "\u00e9\u20ac\U0001f600"),
    ),
    "5.5.2 an empty ping": (frame(PING), good(pings=(b"",))),
    "5.5.2 a ping of 125 bytes": (frame(PING, bytes(125)), good(pings=(bytes(125),))),
    "5.5.2 pings in their order": (frame(PING, b"1") + frame(PING, b"2"), good(pings=(b"1", b"2"))),
    "5.5.3 a pong that nobody asked for": (frame(PONG, b"x") + frame(TEXT, b"{}"), good(b"{}")),
    "5.5.3 an empty pong": (frame(PONG), good()),
    "5.6 a text message": (frame(TEXT, b"{}"), good(b"{}")),
    "5.6 text messages in their order": (frame(TEXT, b"1") + frame(TEXT, b"2"), good(b"1", b"2")),
    "5.6 a binary message": (frame(BINARY, b"{}"), NO_TEXT),
    "5.6 an empty binary message": (frame(BINARY), NO_TEXT),
    "5.6 a binary message in fragments": (b"".join(fragments(b"{", b"}", opcode=BINARY)), NO_TEXT),
    "7.1.5 a close frame without a code": (frame(CLOSE), closed(1005)),
    "7.1.6 a close frame without a reason": (frame(CLOSE, b"\x03\xf3"), closed(1011)),
    "7.1.6 a close frame with a reason": (frame(CLOSE, b"\x03\xf3why"), closed(1011, "why")),
    "7.1.7 nothing is read after a failure": (
        frame(3) + frame(TEXT, b"{}") + frame(PING, b"x") + frame(CLOSE, b"\x03\xe8"),
        BAD,
    ),
    **{
        f"7.4.1 code {code} may be sent": (
            frame(CLOSE, code.to_bytes(2, "big") + b"why"),
            closed(code, "why"),
        )
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
    },
    **{
        f"7.4.1 code {code} may not be sent": (frame(CLOSE, code.to_bytes(2, "big") + b"why"), BAD)
        for code in [1004, 1005, 1006, 1015]
    },
    **{
        f"7.4.2 code {code} is the registry's or the service's": (
            frame(CLOSE, code.to_bytes(2, "big")),
            closed(code),
        )
        for code in [3000, 3999, 4000, 4402, 4999]
    },
    **{
        f"7.4.2 code {code} may not be sent": (frame(CLOSE, code.to_bytes(2, "big")), BAD)
        for code in [0, 999, 1016, 1999, 2000, 2999, 5000, 65535]
    },
    "8.1 a reason that is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), NOT_UTF_8),
    "8.1 a reason with half a character": (frame(CLOSE, b"\x03\xe8" + "\u20ac".encode()[:2]), NOT_UTF_8),
    "8.1 a reason with half a surrogate pair": (frame(CLOSE, b"\x03\xe8\xed\xa0\x80"), NOT_UTF_8),
}


@pytest.mark.parametrize(("data", "outcome"), CLAUSES.values(), ids=CLAUSES)
def test_clause(data: bytes, outcome: Outcome) -> None:
    """A rule of RFC 6455 holds, whole, byte by byte, and cut at every position."""
    for pieces in every_cut(data):
        assert read(pieces) == outcome
        assert read(pieces, at_least=1) == outcome


@pytest.mark.parametrize(("data", "outcome"), CLAUSES.values(), ids=CLAUSES)
def test_what_was_complete_before_is_returned(data: bytes, outcome: Outcome) -> None:
    """Messages and pings before a failure or a close frame are neither lost nor read twice."""
    before = frame(TEXT, b"first") + frame(PING, b"before") + b"".join(fragments(b"sec", b"ond"))
    expected = Outcome([b"first", b"second", *outcome.messages], [b"before", *outcome.pings], outcome.end)
    for pieces in ([before + data], [before, data], one_by_one(before + data)):
        assert read(pieces) == expected


@pytest.mark.parametrize("size", [65535, 65536, 65537])
@pytest.mark.parametrize("opcode", [TEXT, CONT])
def test_a_length_at_the_border_of_its_form(size: int, opcode: int) -> None:
    """Where 16 bits give way to 64, a frame is read whole, cut anywhere near its ends."""
    payload = bytes(i % 251 for i in range(size))
    data = frame(TEXT, b"[", fin=False) if opcode == CONT else b""
    data += frame(opcode, payload) + frame(TEXT, b"next")
    expected = good(b"[" * (opcode == CONT) + payload, b"next")
    edges = [*range(1, 20), *range(len(data) - 20, len(data))]
    for edge in edges:
        assert read([data[:edge], data[edge:]]) == expected
    assert read(one_by_one(data)) == expected


NO_UTF_8 = {
    "a continuation byte alone": b"\x80",
    "a first byte alone": b"\xc3",
    "half of three bytes": b"\xe2\x82",
    "three of four bytes": b"\xf0\x9f\x98",
    "an overlong slash": b"\xc0\xaf",
    "an overlong character in three bytes": b"\xe0\x80\xaf",
    "an overlong character in four bytes": b"\xf0\x80\x80\xaf",
    "half a surrogate pair": b"\xed\xa0\x80",
    "a surrogate pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "a byte that never occurs": b"\xff",
}


def fault(pieces: Iterable[bytes]) -> int | None:
    """The code with which the messages in the pieces fail as events, or None."""
    outcome = read(pieces)
    assert outcome.end is None
    try:
        for message in outcome.messages:
            parse(message)
    except ProtocolError as error:
        return error.close_code
    return None


def every_fragmentation(message: bytes) -> Iterator[bytes]:
    """The message in one frame, in two cut at every position, and in one for each byte."""
    yield frame(TEXT, message)
    yield b"".join(fragments(*one_by_one(message)))
    for position in range(len(message) + 1):
        yield b"".join(fragments(message[:position], message[position:]))


@pytest.mark.parametrize(
    ("text", "code"),
    [*[(text, 1007) for text in NO_UTF_8.values()], ("\u00e9\u20ac\U0001f600\U0010ffff".encode(), None)],
    ids=[*NO_UTF_8, "good characters"],
)
def test_clause_8_1_a_text_message_is_utf_8(text: bytes, code: int | None) -> None:
    """Bytes that are no UTF-8 fail with 1007, good ones do not, cut at every byte and over fragments."""
    for data in every_fragmentation(b'{"type":"' + text + b'"}'):
        for pieces in every_cut(data):
            assert fault(pieces) == code


# -- limits, memory and time


@pytest.mark.parametrize(
    ("data", "limit", "size"),
    [
        (frame(TEXT, b"x" * 98), 100, None),
        (frame(TEXT, b"x" * 99), 100, 101),
        (frame(TEXT, b"x" * 126), 130, None),
        (frame(TEXT, b"x" * 127), 130, 131),
        (frame(TEXT, b"x" * 116, form=SIXTY_FOUR), 126, None),
        (frame(TEXT, b"x" * 117, form=SIXTY_FOUR), 126, 127),
        (frame(TEXT, b"x" * 98) * 3, 100, None),
        (b"".join(fragments(b"x" * 48, b"x" * 48)), 100, None),
        (b"".join(fragments(b"x" * 48, b"x" * 49)), 100, 101),
        (b"".join(fragments(b"x" * 48, b"x" * 48, b"")), 100, 102),
        (b"".join(fragments(b"x" * 48, b"x" * 48)) * 2, 100, None),
        (b"".join(fragments(b"", *[b""] * 49)), 100, None),
        (b"".join(fragments(b"", *[b""] * 50)), 100, 102),
        (frame(PING, b"x" * 125).join(fragments(b"x" * 48, b"x" * 48)), 100, None),
        (frame(TEXT, length=1 << 32), 64 << 20, (1 << 32) + 10),
        (frame(TEXT, fin=False, length=1 << 32), 64 << 20, (1 << 32) + 10),
        (frame(TEXT, b"", fin=False) + frame(CONT, length=1 << 32), 64 << 20, (1 << 32) + 12),
        (frame(TEXT, length=(1 << 63) - 1), 64 << 20, (1 << 63) + 9),
    ],
)
def test_a_message_over_the_limit_is_refused_at_its_header(data: bytes, limit: int, size: int | None) -> None:
    """A message of ``max_message_bytes`` is read, one byte more is not; the headers of its frames count."""
    for pieces in every_cut(data):
        parser = FrameParser(limit)
        outcome = read(pieces, parser)
        assert outcome.end == (None if size is None else End(PayloadTooLarge))
        if size is not None:
            assert isinstance(parser.failure, PayloadTooLarge)
            assert (parser.failure.size, parser.failure.limit) == (size, limit)


BEGUN = frame(TEXT, fin=False)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (frame(TEXT, reserved=4, length=9), ProtocolError),
        (frame(3, length=9), ProtocolError),
        (frame(PING, fin=False, length=9), ProtocolError),
        (frame(PING, length=126), ProtocolError),
        (frame(CONT, length=9), ProtocolError),
        (BEGUN + frame(TEXT, length=9), ProtocolError),
        (frame(BINARY, length=9), ProtocolError),
        (frame(TEXT, length=1000), PayloadTooLarge),
        (BEGUN + frame(CONT, length=1000), PayloadTooLarge),
    ],
)
def test_a_little_frame_is_refused_at_its_header(header: bytes, kind: type[Exception]) -> None:
    """Nobody waits for a payload that will not be taken, and that may never come."""
    for pieces in ([header], [header[:-1], header[-1:]]):
        outcome = read(pieces, FrameParser(1000))
        assert outcome.end is not None
        assert outcome.end.kind is kind


def test_a_length_that_cannot_be_is_no_question_of_the_limit() -> None:
    """A length with its highest bit set (5.2) is a fault of the peer and not of the limit."""
    assert read([frame(TEXT, length=1 << 63)], FrameParser(100)).end == BROKEN


def held(feed: Callable[[FrameParser], object], parser: FrameParser) -> int:
    """Bytes that the feeding takes at its height."""
    tracemalloc.start()
    try:
        feed(parser)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def feed_pieces(size: int, count: int) -> Callable[[FrameParser], object]:
    def feed(parser: FrameParser) -> None:
        for i in range(count):
            parser.feed(bytes([i % 256]) * size)

    return feed


SIZE = 1 << 18


@pytest.mark.parametrize(
    ("begun", "size", "count", "at_most"),
    [
        # A header that announces more than will ever come costs nothing.
        (frame(TEXT, length=1 << 32), 1, 10, 10_000),
        # What is held weighs what it weighs on the wire, however small the pieces that the peer sends it in.
        (frame(TEXT, length=SIZE), 2, SIZE // 2 - 1, 4 * SIZE),
        (frame(TEXT, length=SIZE), 2, SIZE // 2, 4 * SIZE),
        (frame(TEXT, length=SIZE), 1024, SIZE // 1024, 4 * SIZE),
        (frame(TEXT, fin=False) + frame(CONT, length=SIZE), 64, SIZE // 64, 6 * SIZE),
    ],
)
def test_a_message_in_pieces_takes_little_more_than_its_size(
    begun: bytes, size: int, count: int, at_most: int
) -> None:
    parser = FrameParser(None)
    parser.feed(begun)
    assert held(feed_pieces(size, count), parser) < at_most
    assert parser.failure is None


def test_the_room_for_a_message_grows_as_it_is_filled() -> None:
    """Neither does a header get the memory that it announces from one who receives in place."""
    parser = FrameParser(None)
    parser.feed(frame(TEXT, length=1 << 32))
    assert held(lambda parser: parser.room(1 << 16), parser) < 3 << 16
    for size in (1 << 16, 1 << 16, 1 << 17, 1 << 18):
        room = parser.room(1 << 16)
        assert room is not None
        assert len(room) == size
        room.release()
        parser.filled(size)


@pytest.mark.parametrize("size", [(1 << 21) + (1 << 17), (1 << 22) - 1, 3 << 20], ids=hex)
def test_the_room_for_a_message_is_not_twice_its_size(size: int) -> None:
    """Where doubling would end far beyond the message, which keeps what was taken for it."""
    parser = FrameParser(None)
    parser.feed(frame(TEXT, length=size) + b"x" * 10)

    def receive(parser: FrameParser) -> None:
        while (room := parser.room(1 << 16)) is not None:
            received = len(room)
            room.release()
            parser.filled(received)

    assert held(receive, parser) < size * 1.3


@pytest.mark.parametrize("size", [(1 << 16) + 1, 8_389_701, (1 << 23) - 1, 1 << 23], ids=hex)
@pytest.mark.parametrize("begun", [0, 1, 1 << 14, (1 << 16) - 10])
def test_the_room_for_a_message_ends_where_the_message_does(size: int, begun: int) -> None:
    """Or a few bytes later, as it has doubled up to there: a last step would move all of it."""
    parser = FrameParser(None)
    parser.feed(frame(TEXT, length=size) + b"x" * begun)
    sizes = []
    while (room := parser.room(1)) is not None:
        sizes.append(len(parser._payload or b""))
        received = len(room)
        room.release()
        (*messages,) = parser.filled(received)
    assert [len(message) for message in messages] == [size]
    assert size <= sizes[-1] < size + 256
    assert all(after == 2 * before for before, after in pairwise(sizes))


def test_a_secret_in_what_was_received_in_place_is_masked() -> None:
    payload = b"a" * 70_000 + b"sk-0123456789abcdef" + b"b" * 70_000
    data = frame(TEXT, payload)
    for size in (len(payload), 70_025):  # whole, and cut inside the secret
        parser = FrameParser(None, (Secret("sk-0123456789abcdef"),))
        (message,) = read([data[:20], *slices(data[20:], size)], parser, 1).messages
        assert b"0123456789" not in message
        assert message.startswith(b"a" * 70_000)
        assert message.endswith(b"b" * 70_000)


@pytest.mark.parametrize("begun", [b"", BEGUN], ids=["a message", "a fragment"])
@pytest.mark.parametrize("size", [frames.LITTLE, 1 << 17])
def test_a_large_frame_has_a_place_of_its_own(begun: bytes, size: int) -> None:
    """It is not copied again with each read that brings a piece of it."""
    parser = FrameParser()
    parser.feed(begun + frame(CONT if begun else TEXT, length=size))
    assert parser._payload is not None


def test_the_rest_of_a_small_frame_is_read_with_what_follows_it() -> None:
    parser = FrameParser()
    parser.feed(frame(TEXT, length=1 << 16) + b"{}")
    assert parser.room(1 << 16) is None


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "of one byte"])
@pytest.mark.parametrize("pieces", [1, 1000], ids=["at once", "one by one"])
def test_a_flood_of_fragments_ends(payload: bytes, pieces: int) -> None:
    """Fragments without end, be they empty, stop at the limit and are not kept."""
    limit = 64 * 1024
    flood = frame(CONT, payload, fin=False) * 1000

    def feed(parser: FrameParser) -> None:
        parser.feed(frame(TEXT, fin=False))
        for _ in range(100):
            for piece in slices(flood, len(flood) // pieces):
                parser.feed(piece)

    parser = FrameParser(limit)
    assert held(feed, parser) < 4 * limit
    assert isinstance(parser.failure, PayloadTooLarge)
    assert limit < parser.failure.size <= limit + len(flood)


def run(*frames: bytes) -> bytes:
    return b"".join([frame(TEXT, b"<", fin=False), *frames])


ALIKE = frame(CONT, b"abc", fin=False)
LAST = frame(CONT, b">")


@pytest.mark.parametrize(
    "data",
    [
        run(*[ALIKE] * 20, LAST),
        run(*[ALIKE] * 5, frame(CONT, b"other", fin=False), *[ALIKE] * 5, LAST),
        run(*[ALIKE] * 5, frame(PING, b"p"), *[ALIKE] * 5, LAST),
        run(*[frame(CONT, fin=False)] * 20, LAST),
        run(*[frame(CONT, b"x" * 300, fin=False)] * 3, LAST, frame(TEXT, b"{}")),
        run(*[frame(CONT, b"abc", fin=False, form=SIXTEEN)] * 5, *[ALIKE] * 5, LAST),
        run(*[ALIKE] * 5, frame(CONT, b"abc", fin=False, reserved=4), *[ALIKE] * 5, LAST),
        run(*[ALIKE] * 5, frame(TEXT, b"abc", fin=False), LAST),
        run(*[ALIKE] * 5, masked(ALIKE), LAST),
        run(*[ALIKE] * 5, frame(CLOSE)),
        run(*[ALIKE] * 5)[:-1],
    ],
)
@pytest.mark.parametrize("limit", [None, 50])
def test_fragments_taken_together_are_those_taken_one_by_one(data: bytes, limit: int | None) -> None:
    """Byte by byte no fragment is followed by another."""
    slow = FrameParser(limit)
    outcome = read(one_by_one(data), slow)
    for pieces in every_cut(data):
        parser = FrameParser(limit)
        assert read(pieces, parser) == outcome
        assert getattr(parser.failure, "size", None) == getattr(slow.failure, "size", None)


@pytest.mark.parametrize(
    "data",
    [
        b"".join(frame(TEXT, b"x" * size) for size in range(1000)),
        run(*[frame(CONT, b"x" * 99, fin=False)] * 1000),
    ],
    ids=["messages", "fragments of one size"],
)
def test_a_thousand_frames_are_not_looked_at_one_by_one(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick ways are taken, whose outcome is that of the slow one."""
    looks: list[int] = []
    header = frames._header

    def look(data: bytes, position: int) -> tuple[int, int, int] | None:
        looks.append(position)
        return header(data, position)

    monkeypatch.setattr(frames, "_header", look)
    read(slices(data, 1 << 16))
    assert len(looks) < 10


def seconds(work: Callable[[], object]) -> float:
    """Processor time of the best of three runs."""
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize(
    "pieces",
    [
        lambda count: [b"".join(fragments(*[b"x"] * count))],
        lambda count: fragments(*[b"x" * 1024] * count),
        lambda count: slices(b"".join(fragments(*[b"x" * 1024] * count)), 512),
        lambda count: [frame(TEXT, b"{}") * count],
        lambda count: slices(frame(TEXT, b"x" * 1024 * count), 512),
        lambda count: one_by_one(frame(TEXT, b"x" * 8 * count)),
        lambda count: [b"\x01\x00" + frame(PING, b"x") * count],
    ],
    ids=["tiny fragments", "fragments", "fragments in pieces", "messages", "pieces", "bytes", "pings"],
)
def test_the_time_grows_with_the_bytes(pieces: Callable[[int], list[bytes]]) -> None:
    """Ten times the frames take about ten times as long; what is quadratic takes a hundred times."""
    few, many = pieces(1000), pieces(10_000)
    assert seconds(lambda: read(many)) < 50 * max(seconds(lambda: read(few)), 0.0002)


# -- secrets

KEY = "sk-sentinel-0123456789"
LONGER = f"{KEY}-and-more"
STARS = b"*" * len(KEY)


def shown(pieces: Iterable[bytes], *secrets: str) -> Outcome:
    return read(pieces, FrameParser(secrets=tuple(map(Secret, secrets))))


def test_a_key_in_a_message_is_masked() -> None:
    """Its length is kept, and it is found wherever the bytes are cut, within fragments too."""
    message = b'{"message":"bad key ' + KEY.encode() + b'."}'
    hidden = good(message.replace(KEY.encode(), STARS))
    for data in every_fragmentation(message):
        for pieces in every_cut(data):
            assert shown(pieces, KEY) == hidden


def test_a_key_in_the_reason_of_a_close_frame_is_masked() -> None:
    """The reason becomes part of an exception."""
    for pieces in every_cut(frame(CLOSE, b"\x0f\xa1no " + KEY.encode())):
        parser = FrameParser(secrets=(Secret(KEY),))
        assert read(pieces, parser) == closed(4001, f"no {STARS.decode()}")
        assert KEY not in f"{parser.failure!r}{parser.failure}"


def test_a_key_that_begins_with_another_is_masked_whole() -> None:
    """The shorter one must not be taken out of the longer, whose rest would then show."""
    message = b"{" + LONGER.encode() + b"|" + KEY.encode() + b"}"
    hidden = good(b"{" + b"*" * len(LONGER) + b"|" + STARS + b"}")
    for data in every_fragmentation(message):
        for pieces in every_cut(data):
            assert shown(pieces, LONGER, KEY) == hidden


@pytest.mark.parametrize("form", [MINIMAL, SIXTEEN])
def test_a_length_that_looks_like_the_beginning_of_a_key_stays(form: int) -> None:
    """Masking is for what is shown; the frame is cut where its header says."""
    key = chr(100) + "-sentinel-0123456789"
    message = key[1:].encode().ljust(ord(key[0]), b".")
    data = frame(TEXT, message, form=form) + frame(TEXT, b"{}")
    for pieces in every_cut(data):
        assert shown(pieces, key) == good(message, b"{}")


@pytest.mark.parametrize(
    ("before", "after", "messages"),
    [
        (b"", frame(TEXT, b"{}"), [b"{}"]),
        (frame(TEXT, b"{", fin=False), frame(CONT, b"}"), [b"{}"]),
        (frame(TEXT, length=4) + b"{}", b"", [b"{}" + frame(PONG)]),
        (frame(TEXT, length=2), b"", [frame(PONG)]),
        (frame(TEXT, length=0x8A00, form=SIXTEEN)[:2], bytes(0x8A00), [bytes(0x8A00)]),
        (frame(CLOSE), b"", []),
    ],
    ids=["at rest", "between fragments", "end of a payload", "payload", "in a header", "after the close"],
)
def test_the_bytes_of_a_bare_pong_are_one_where_a_frame_begins(
    before: bytes, after: bytes, messages: list[bytes]
) -> None:
    """Alone they have a way of their own, and mean what they mean in one piece with the rest."""
    alone, together = FrameParser(), FrameParser()
    found = [*alone.feed(before), *alone.feed(frame(PONG)), *alone.feed(after)]
    assert found == together.feed(before + frame(PONG) + after) == messages
    assert repr(alone.failure) == repr(together.failure)


def test_clause_5_5_3_a_pong_holds_what_the_ping_held() -> None:
    """A ping goes back to whom it came from, unchanged, and is shown to nobody else."""
    for pieces in every_cut(frame(PING, KEY.encode())):
        assert shown(pieces, KEY) == good(pings=(KEY.encode(),))


@pytest.mark.parametrize(
    "data",
    [
        frame(CLOSE, b"\x03\xe8" + KEY.encode() + b"\xff"),
        frame(CLOSE, b"\x00\x01" + KEY.encode()),
        frame(TEXT, KEY.encode()) + frame(3, KEY.encode()),
        frame(TEXT, KEY.encode()) + frame(TEXT, b"x" * 1000),
    ],
)
def test_a_failure_holds_nothing_that_was_received(data: bytes) -> None:
    """Neither its text, nor a cause, nor the locals of a frame of its traceback."""
    parser = FrameParser(200)
    parser.feed(data)
    failure = parser.failure
    assert failure is not None
    assert KEY not in f"{failure!r}{failure}{vars(failure)}"
    assert (failure.__cause__, failure.__context__, failure.__traceback__) == (None, None, None)


# -- against another implementation


class Peer(NamedTuple):
    messages: list[bytes]
    pings: list[bytes]
    failure: Exception | None
    end: End | None
    inside: bool
    """Whether a message has begun and not ended."""
    binary: bool


LIMIT = 200_000


def other(data: bytes, limit: int | None = LIMIT) -> Peer:
    """What ``websockets`` makes of the same bytes, up to the first binary frame."""
    protocol = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN, max_size=limit)
    protocol.receive_data(data)
    messages: list[bytes] = []
    pings: list[bytes] = []
    message = bytearray()
    frames = [event for event in protocol.events_received() if isinstance(event, PeerFrame)]
    kinds = [event.opcode for event in frames]
    binary = PeerOpcode.BINARY in kinds
    for event in frames[: kinds.index(PeerOpcode.BINARY) if binary else None]:
        if event.opcode is PeerOpcode.PING:
            pings.append(bytes(event.data))
        elif event.opcode in (PeerOpcode.TEXT, PeerOpcode.CONT):
            message += event.data
            if event.fin:
                messages.append(bytes(message))
                message.clear()
    close = protocol.close_rcvd
    end = None if close is None else End(ConnectionLost, int(close.code), close.reason)
    inside = protocol.current_size is not None
    return Peer(messages, pings, protocol.parser_exc, end, inside, binary)


def size_of(payload: tuple[int, int]) -> bytes:
    size, seed = payload
    return bytes((seed + i) % 256 for i in range(min(size, 300))).ljust(size, b"\xfe")


SMALL = st.binary(max_size=130)
BORDERS = [0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 65535, 65536, 65537]
PAYLOADS = SMALL | st.tuples(st.sampled_from(BORDERS), st.integers(0, 255)).map(size_of)
FORMS = st.sampled_from([MINIMAL, SIXTEEN, SIXTY_FOUR])
CONTROLS = st.builds(
    frame, st.sampled_from([PING, PONG]), st.binary(max_size=125), form=st.sampled_from([MINIMAL, SIXTEEN])
)
CLOSES = st.builds(
    lambda code, reason: frame(CLOSE, close_payload(code, reason)),
    st.sampled_from([1000, 1001, 1011, 3000, 4999]),
    st.text(max_size=60),
) | st.just(frame(CLOSE))


@st.composite
def conversations(draw: st.DrawFn, payloads: st.SearchStrategy[bytes] = PAYLOADS) -> bytes:
    """Valid frames: messages, whole and in fragments, control frames anywhere, at times a close frame."""
    frames: list[bytes] = []
    for parts in draw(st.lists(st.lists(payloads, min_size=1, max_size=4), max_size=4)):
        for i, part in enumerate(parts):
            frames += draw(st.lists(CONTROLS, max_size=2))
            form = draw(FORMS) if len(part) < SIXTEEN else MINIMAL
            last = i == len(parts) - 1
            frames.append(frame(CONT if i else TEXT, part, fin=last, form=form))
    frames += draw(st.lists(CONTROLS, max_size=1))
    frames += draw(st.lists(CLOSES, max_size=1))
    return b"".join(frames)


def cut(data: bytes, positions: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(position % (len(data) + 1) for position in positions)})
    return [data[start:stop] for start, stop in pairwise(edges)]


CUTS = st.lists(st.integers(0, 1 << 20), max_size=20)
EXAMPLES: dict[str, Any] = {"deadline": None, "derandomize": True}


@settings(max_examples=150, **EXAMPLES)
@given(conversations(), CUTS)
def test_valid_frames_are_read_as_websockets_reads_them(data: bytes, positions: list[int]) -> None:
    """Messages, pings and the close, however the bytes are cut."""
    peer = other(data, limit=None)
    assert peer.failure is None
    expected = Outcome(peer.messages, peer.pings, peer.end)
    for at_least in (None, 1, 100):
        assert read(cut(data, positions), at_least=at_least) == expected


@st.composite
def corrupted(draw: st.DrawFn) -> bytes:
    """Valid frames of which a few bytes were changed, lost or added."""
    data = bytearray(draw(conversations(SMALL)))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(data)))
        data[position : position + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


FILLER = bytes(LIMIT + 14)
"""Enough to complete any frame within the limit."""


@settings(max_examples=500, **EXAMPLES)
@given(corrupted() | st.binary(max_size=40), CUTS)
def test_corrupted_bytes_fail_where_websockets_fails(data: bytes, positions: list[int]) -> None:
    """Nothing is raised, and both agree about what is a failure and about all that came before it.

    They differ in this: here a fault of a header is found as soon as the header is whole, there the opcode
    earlier and everything else when the payload is; binary messages are refused here; a close frame inside a
    message counts as the end that it is here (5.4 allows it), and as a fault there. Both take lengths in more
    bytes than they need.
    """
    ours = read(cut(data, positions), FrameParser(LIMIT))
    theirs = other(data)
    assert (ours.messages, ours.pings) == (theirs.messages, theirs.pings)
    completed = other(data + FILLER)
    if theirs.binary or ours.end == NO_TEXT.end:
        assert ours.end == NO_TEXT.end
        assert completed.binary or isinstance(completed.failure, PayloadTooBig)
    elif ours.end is not None and ours.end.kind is ConnectionLost:
        assert ours.end == theirs.end
        assert theirs.failure is None or theirs.inside
    elif ours.end is not None:
        assert completed.failure is not None
        assert (completed.messages, completed.pings) == (theirs.messages, theirs.pings)
    elif theirs.failure is not None:
        assert read([data, FILLER], FrameParser(LIMIT)) == ours._replace(end=BROKEN)


# -- the body of a close frame


@pytest.mark.parametrize(
    ("code", "reason", "payload"),
    [
        (1000, "", b"\x03\xe8"),
        (1002, "why", b"\x03\xeawhy"),
        (4999, "\u20ac", b"\x13\x87\xe2\x82\xac"),
        (1000, "x" * 123, b"\x03\xe8" + b"x" * 123),
        (1000, "x" * 124, b"\x03\xe8" + b"x" * 123),
        (1000, "x" * 122 + "\u00e9", b"\x03\xe8" + b"x" * 122),
        (1000, "x" * 120 + "\U0001f600", b"\x03\xe8" + b"x" * 120),
        (1000, "x" * 119 + "\U0001f600", b"\x03\xe8" + b"x" * 119 + "\U0001f600".encode()),
    ],
)
def test_a_reason_is_cut_to_what_a_control_frame_holds(code: int, reason: str, payload: bytes) -> None:
    """At most 125 bytes (5.5), and never half a character."""
    assert close_payload(code, reason) == payload


@settings(**EXAMPLES)
@given(st.sampled_from([1000, 1011, 3000, 4999]), st.text())
def test_a_close_frame_is_read_back(code: int, reason: str) -> None:
    end = read([frame(CLOSE, close_payload(code, reason))]).end
    assert end is not None
    assert (end.kind, end.code) == (ConnectionLost, code)
    assert reason.startswith(end.reason)
    assert len(reason.encode()) <= 123 or len(end.reason.encode()) > 119


def test_opcodes_are_those_of_the_rfc() -> None:
    assert {opcode.name: opcode.value for opcode in Opcode} == {
        name: PeerOpcode[name].value for name in ["CONT", "TEXT", "BINARY", "CLOSE", "PING", "PONG"]
    }


# -- what is sent


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 127, 65535, 65536, 65537])
@pytest.mark.parametrize("key", [b"\0\0\0\0", b"\x01\x80\xff\x0a"])
@pytest.mark.parametrize("opcode", [TEXT, CONT])
def test_clause_5_3_a_frame_is_masked_as_another_implementation_masks_it(
    opcode: Opcode, key: bytes, size: int
) -> None:
    """Octet by octet, with a length in the fewest bytes (5.2)."""
    payload = bytes(range(256)) * (size // 256 + 1)
    peer = PeerFrame(PeerOpcode(opcode), payload[:size])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("websockets.frames.secrets.token_bytes", lambda _: key)
        expected = peer.serialize(mask=True)
    assert encode_frame(opcode, payload[:size], key) == expected


def test_clause_5_4_all_fragments_but_the_last_say_that_more_comes() -> None:
    key = b"1234"
    assert encode_frame(TEXT, b"{", key, final=False)[0] == TEXT
    assert encode_frame(CONT, b"}", key)[0] == 0x80 | CONT
