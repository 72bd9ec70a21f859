"""Server-sent events (WHATWG HTML, 9.2), however the bytes are cut."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from responses_ws._core.parser import parse
from responses_ws._core.secret import Secret
from responses_ws._core.sse import EventStreamParser
from responses_ws.errors import PayloadTooLarge, ProtocolError

BOM = b"\xef\xbb\xbf"


def read(pieces: Iterable[bytes], parser: EventStreamParser | None = None) -> list[bytes]:
    """The payloads that a parser makes of the pieces."""
    parser = parser or EventStreamParser()
    return [payload for piece in pieces for payload in parser.feed(piece)]


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """The stream in pieces, cut at the places."""
    marks = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:stop] for start, stop in pairwise(marks)]


# -- what a stream holds


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        (b"", []),
        (b"\n\n\n", []),
        (b"data: {}\n\n", [b"{}"]),
        (b"data:{}\n\n", [b"{}"]),
        (b"data:  {}\n\n", [b" {}"]),
        (b"data: 1\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"data: 1\r\n\r\ndata: 2\r\n\r\n", [b"1", b"2"]),
        (b"data: 1\r\rdata: 2\r\r", [b"1", b"2"]),
        (b"data: 1\r\n\ndata: 2\n\r\n", [b"1", b"2"]),
        (b"data: 1\n\r\rdata: 2\r\n\r", [b"1", b"2"]),
        (b"data: 1\r\ndata: 2\r\n\r\n", [b"1\n2"]),
        (b"data: {\ndata: }\n\n", [b"{\n}"]),
        (b"data: 1\ndata:\ndata: 2\n\n", [b"1\n\n2"]),
        (b"data: 1\ndata\ndata: 2\n\n", [b"1\n\n2"]),
        (b"event: response.created\ndata: 1\n\n", [b"1"]),
        (b"data: 1\nevent: response.created\nid: 7\nretry: 10\nother: x\nword\n\n", [b"1"]),
        (b"Data: 1\nxdata: 2\n data: 3\n\n", []),
        (b"event: ping\n\ndata: 1\n\n", [b"1"]),
        (b": hello\n\ndata: 1\n: in between\ndata: 2\n\n:\n", [b"1\n2"]),
        (b":data: 1\n\n", []),
        (b"data\n\ndata:\n\ndata: \n\n", []),
        (b"data:\ndata:\n\n", []),
        (b"data: a:b: c\n\n", [b"a:b: c"]),
        (BOM + b"data: 1\n\n", [b"1"]),
        (BOM + b"\ndata: 1\n\n", [b"1"]),
        (b"\n" + BOM + b"data: 1\n\n", []),
        (BOM + BOM + b"data: 1\n\n", []),
        (
            "data: \u2028\u2029\x85\x0b\x0c\x1c\x1eü€😀\n\n".encode(),
            ["\u2028\u2029\x85\x0b\x0c\x1c\x1eü€😀".encode()],
        ),
        (b"data: \x00\n\n", [b"\x00"]),
        (b"data: \xff\xfe\n\n", [b"\xff\xfe"]),
        (b"data: 1\n\ndata: 2\n", [b"1"]),
        (b"data: 1\n\ndata: 2", [b"1"]),
        (b"data: 1", []),
    ],
)
def test_what_a_stream_holds(stream: bytes, payloads: list[bytes]) -> None:
    """Whole, byte by byte, and cut in two at every place."""
    assert read([stream]) == payloads
    assert read(stream[place : place + 1] for place in range(len(stream))) == payloads
    for place in range(len(stream) + 1):
        assert read([stream[:place], stream[place:]]) == payloads, place


@pytest.mark.parametrize(
    ("stream", "payloads", "done"),
    [
        (b"data: 1\n\ndata: [DONE]\n\n", [b"1"], True),
        (b"data:[DONE]\r\n\r\n", [], True),
        (b"data: 1\n\n", [b"1"], False),
        (b"data: [DONE]\n", [], False),
        (b'data: "[DONE]"\n\n', [b'"[DONE]"'], False),
        (b"event: [DONE]\n: [DONE]\n\n", [], False),
    ],
)
def test_done_is_noticed_and_is_no_event(stream: bytes, payloads: list[bytes], done: bool) -> None:
    """Some services end with it, others without."""
    parser = EventStreamParser()
    assert read([stream], parser) == payloads
    assert parser.done is done


def test_an_event_is_there_with_the_byte_that_ends_it() -> None:
    """Not with the next one: at a CR nobody waits for what may follow."""
    parser = EventStreamParser()
    assert parser.feed(b"data: 1\r") == []
    assert parser.feed(b"\r") == [b"1"]
    assert parser.feed(b"\n") == []
    assert parser.feed(b"data: 2\n\n") == [b"2"]


def test_what_is_no_utf_8_is_refused_by_who_parses_it() -> None:
    """The bytes pass unchanged, and never as latin-1."""
    (payload,) = read([b'data: {"type": "\xff"}\n\n'])
    with pytest.raises(ProtocolError) as caught:
        parse(payload)
    assert caught.value.close_code == 1007


# -- any stream, any cut

LINES = st.one_of(
    st.sampled_from(
        [b"", b"", b"data", b"data:", b"data: ", b":", b": ping", b"event: x", b"id: 1", b"data: [DONE]", BOM]
    ),
    st.binary(max_size=12).map(lambda value: b"data: " + value.replace(b"\r", b"").replace(b"\n", b"")),
    st.text(max_size=6).map(lambda text: b"data:" + text.translate({10: None, 13: None}).encode()),
)
STREAMS = st.tuples(
    st.sampled_from([b"", BOM]),
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=20),
    st.sampled_from([b"", b"da", b"data: x"]),
).map(lambda parts: parts[0] + b"".join(line + end for line, end in parts[1]) + parts[2])
PLACES = st.lists(st.integers(0, 1000), max_size=8)


def expected(stream: bytes) -> list[bytes]:
    """The rules of the standard, applied to the whole stream at once."""
    text = stream.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found, data = [], []
    for line in text.split(b"\n")[:-1]:
        if line.startswith(b"data:"):
            data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            data.append(b"")
        elif not line:
            found.append(b"\n".join(data))
            data = []
    return [payload for payload in found if payload.strip() and payload != b"[DONE]"]


@given(STREAMS, PLACES)
def test_any_cut_gives_what_the_standard_says(stream: bytes, places: list[int]) -> None:
    """Whatever stands in the stream."""
    assert read(cut(stream, places)) == expected(stream)


@given(STREAMS, PLACES, st.integers(1, 30))
@example(BOM + b"data: 1\n", [9], 7)
def test_any_cut_meets_the_limit_at_the_same_event(stream: bytes, places: list[int], limit: int) -> None:
    """What came before it is returned; afterwards nothing is."""
    whole, pieces = EventStreamParser(limit), EventStreamParser(limit)
    assert read([stream], whole) == read(cut(stream, places), pieces)
    assert (whole.failure is None) == (pieces.failure is None)
    assert pieces.failure is None or pieces.feed(b"\n\ndata: 1\n\n") == []


# -- bounds


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        (b"data: 1234\n\n", [b"1234"]),
        (b"data: 12345\n\n", []),
        (b"data: 1\n\ndata: 12345\n\n", [b"1"]),
        (b"data: 1\ndata: 2\ndata: 3\n\n", []),
        (b"data: 1\n\n" * 50, [b"1"] * 50),
        (b"data\n" * 20, []),
        (b": 1234567890\n\n", []),
        (b"event: 1234\n\n", []),
        (b"1234567890 and no end", []),
        (b":\n" * 50 + b"data: 1\n\n", [b"1"]),
    ],
)
def test_the_limit_counts_one_event_and_one_line(stream: bytes, payloads: list[bytes]) -> None:
    """Ten bytes here; comments do not add up."""
    parser = EventStreamParser(10)
    assert read([stream], parser) == payloads
    failed = parser.failure is not None
    assert failed == (payloads == [] or stream.endswith(b"12345\n\n"))
    if parser.failure is not None:
        assert type(parser.failure) is PayloadTooLarge
        assert parser.failure.limit == 10
        assert parser.failure.size > 10
        assert parser.failure.__traceback__ is None


def test_a_large_event_in_small_pieces_costs_what_it_weighs() -> None:
    """In time and in memory."""
    size = 8 * 1024 * 1024
    piece = b"x" * 1024
    parser = EventStreamParser(2 * size)
    tracemalloc.start()
    started = time.perf_counter()
    try:
        payloads = read([b"data: ", *[piece] * (size // len(piece)), b"\n\n"], parser)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [len(payload) for payload in payloads] == [size]
    assert time.perf_counter() - started < 5
    assert peak < 5 * size


def test_an_event_of_short_lines_costs_what_it_weighs() -> None:
    """The limit counts bytes, of which a line by itself would take twenty for each of its own."""
    limit = 2**20
    lines = b"data:ab\n" * 8192
    parser = EventStreamParser(limit)
    tracemalloc.start()
    try:
        while parser.failure is None:
            parser.feed(lines)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * limit


def test_an_endless_event_is_held_no_longer_than_its_limit() -> None:
    """A server that never ends a line does not fill the memory."""
    parser = EventStreamParser(1000)
    assert read([b"data: ", *[b"x" * 100] * 9], parser) == []
    assert parser.failure is None
    assert read([b"x" * 100], parser) == []
    assert parser.failure is not None


# -- secrets


def test_secrets_are_masked_in_the_payloads() -> None:
    """As they are and as JSON escapes them, wherever the pieces end; lengths stay as they are."""
    secret = Secret('sk-/abc"defghijkl')
    for stream in (b'data: {"a": "sk-/abc\\"defghijkl"}\n\n', b'data: {"a": "sk-\\/abc\\"defghijkl"}\n\n'):
        for place in range(len(stream)):
            (payload,) = read([stream[:place], stream[place:]], EventStreamParser(None, (secret,)))
            assert b"abc" not in payload
            assert len(payload) == len(stream) - len(b"data: \n\n")
