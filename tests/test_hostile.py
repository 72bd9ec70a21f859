"""Servers that mean harm or know no better: each costs a typed error, little memory and one connection."""

from __future__ import annotations

import logging
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from shell import KEY, answer, ask, created, delta, join_readers, websocket
from websocket import _handshake
from websockets.frames import Opcode

from responses_ws import (
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    HandshakeError,
    Limits,
    PayloadTooLarge,
    ProtocolError,
    ResponseError,
    ResponsesWSError,
    WebSocket,
)
from responses_ws.testing import (
    Connection,
    ScriptedServer,
    accept,
    close,
    expect,
    expect_close,
    expect_gone,
    fragments,
    frame,
    hang,
    raw,
    raw_handshake,
    refuse,
    run,
    send,
    send_binary,
)
from responses_ws.testing.interruptions import ClientGone

MIB = 1024 * 1024
GIB = 1024 * MIB
LIMITS = Limits(max_message_bytes=MIB)


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=request.param) as server:
        yield server
        join_readers()


@pytest.fixture
def plain() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server
        join_readers()


def nested(opening: str, closing: str, depth: int = 10_000) -> bytes:
    return b'{"type":"response.created","response":%b%b}' % (
        opening.encode() * depth,
        closing.encode() * depth,
    )


MESSAGES = [
    pytest.param(raw(frame(b"", length=4 * GIB)), PayloadTooLarge, 1009, id="header of 4 GiB"),
    pytest.param(raw(frame(b"{", length=4 * GIB)), PayloadTooLarge, 1009, id="header of 4 GiB and a byte"),
    pytest.param(raw(frame(b"", length=(1 << 63) - 1)), PayloadTooLarge, 1009, id="header of 8 EiB"),
    pytest.param(raw(frame(b"", length=1 << 63)), ProtocolError, 1002, id="length with the highest bit"),
    pytest.param(
        raw(frame(b"x", fin=False) + frame(b"", opcode=0, length=4 * GIB)), PayloadTooLarge, 1009, id="part"
    ),
    pytest.param(fragments(b"x" * (MIB + 1), 50_000), PayloadTooLarge, 1009, id="sum of fragments"),
    pytest.param(send(nested("[", "]")), ProtocolError, 1008, id="10,000 arrays"),
    pytest.param(send(nested('{"a":', "}")), ProtocolError, 1008, id="10,000 objects"),
    pytest.param(send(nested("[", "")), ProtocolError, 1008, id="10,000 arrays that do not end"),
    pytest.param(send(b"[" * 100_000), ProtocolError, 1008, id="100,000 brackets"),
    pytest.param(send("[1, 2]"), ProtocolError, 1008, id="an array"),
    pytest.param(send("null"), ProtocolError, 1008, id="null"),
    pytest.param(send('"text"'), ProtocolError, 1008, id="a string"),
    pytest.param(send("42"), ProtocolError, 1008, id="a number"),
    pytest.param(send('{"type": "response.created"'), ProtocolError, 1008, id="half an object"),
    pytest.param(send('{"a": NaN}'), ProtocolError, 1008, id="NaN"),
    pytest.param(send(""), ProtocolError, 1008, id="nothing"),
    pytest.param(send("not JSON"), ProtocolError, 1008, id="no JSON"),
    pytest.param(raw(frame(b'{"type":"\xff"}')), ProtocolError, 1007, id="no UTF-8"),
    pytest.param(raw(frame(b'{"type":"\xed\xa0\x80"}')), ProtocolError, 1007, id="a surrogate in UTF-8"),
    pytest.param(
        raw(frame(b'"\xc3', fin=False) + frame(b'x"', opcode=0)), ProtocolError, 1007, id="half a character"
    ),
    pytest.param(send_binary(b'{"type":"response.created"}'), ProtocolError, 1003, id="a binary message"),
    pytest.param(raw(frame(b"{}", masked=True)), ProtocolError, 1002, id="a masked frame"),
    pytest.param(raw(frame(b"{}", rsv=4)), ProtocolError, 1002, id="a compressed frame"),
    pytest.param(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ProtocolError, 1002, id="HTTP"),
]


@pytest.mark.parametrize(("step", "kind", "code"), MESSAGES)
def test_what_no_server_may_send_ends_the_connection(server, step, kind, code):
    """The caller gets a typed error, the server its close code, and the next call a connection of its own."""
    server.connection(expect(), step, expect_close(code))
    server.connection(expect(), send(*answer("resp_2", "fine")))
    with websocket(server, limits=LIMITS) as ws:
        with pytest.raises(ResponsesWSError) as caught:
            ask(ws)
        assert type(caught.value) is kind
        assert caught.value.delivery is Delivery.UNKNOWN
        assert len(str(caught.value)) < 1000
        assert not ws.connected
        assert ask(ws) == "fine"
    assert len(server.connections) == 2


@pytest.mark.parametrize(("step", "kind", "code"), MESSAGES)
def test_what_came_before_it_is_kept(plain, step, kind, code):
    """In the middle of an answer the error carries the part that was received."""
    plain.connection(expect(), send(created("resp_1"), delta("so far")), step, expect_close(code))
    with websocket(plain, limits=LIMITS) as ws:
        with pytest.raises(ResponsesWSError) as caught:
            ask(ws)
        assert type(caught.value) is kind
        assert caught.value.delivery is Delivery.STARTED
        assert caught.value.partial.content == "so far"
        assert caught.value.response_id == "resp_1"


@pytest.mark.parametrize(("step", "kind", "code"), MESSAGES)
def test_at_rest_it_costs_the_connection_and_no_call(plain, step, kind, code):
    """Between two calls nobody is told; the next call connects anew."""
    plain.connection(expect(), send(*answer("resp_1", "one")), step, expect_close(code))
    plain.connection(expect(), send(*answer("resp_2", "two")))
    with websocket(plain, limits=LIMITS) as ws:
        assert ask(ws) == "one"
        assert plain.connections[0].gone.wait(10)
        assert ask(ws) == "two"


def test_nothing_that_follows_a_fault_is_believed(plain):
    """A right event behind a wrong frame, in the same packet, belongs to nobody."""
    good = b"".join(
        frame(event.encode()) for event in ('{"type":"response.completed","response":{"id":"r"}}',)
    )
    plain.connection(expect(), raw(frame(b"[]") + good), expect_close(1008))
    with websocket(plain) as ws, pytest.raises(ProtocolError):
        ask(ws)


# -- memory


def flood(piece: bytes, total: int) -> Callable[[Connection], None]:
    """Sends so many bytes, or as many as the client takes."""
    pieces = piece * (64 * 1024 // len(piece) or 1)

    def pour(connection: Connection) -> None:
        try:
            for _ in range(total // len(pieces)):
                connection.send_raw(pieces, kind=None)
        except ClientGone:
            pass

    return pour


FLOODS = [
    pytest.param(frame(b"", opcode=0, fin=False), id="empty fragments"),
    pytest.param(frame(b"x", opcode=0, fin=False), id="fragments of a byte"),
    pytest.param(frame(b"x" * 1000, opcode=0, fin=False), id="fragments"),
    pytest.param(frame(b"", opcode=9) + frame(b"x", opcode=0, fin=False), id="fragments and pings"),
    pytest.param(b"x" * 1000, id="a frame of a byte too much"),
]


@pytest.mark.parametrize("piece", FLOODS)
def test_a_flood_takes_no_more_than_the_limit(plain, piece):
    """Of 8 MB no more is kept than ``max_message_bytes`` and what reading it takes."""
    limit = 128 * 1024
    start = frame(b"", length=limit) if piece[0] == ord("x") else frame(b"x", fin=False)
    plain.connection(expect(), raw(start), run(flood(piece, 8 * MIB)), expect_gone())
    plain.connection(expect(), send(*answer("resp_2", "fine")))
    with websocket(plain, limits=Limits(max_message_bytes=limit)) as ws:
        tracemalloc.start()
        try:
            with pytest.raises(PayloadTooLarge) as caught:
                ask(ws)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert caught.value.limit == limit
        assert peak < 2 * MIB
        assert ask(ws) == "fine"


def test_a_flood_of_pings_is_no_answer(plain):
    """Pings without end neither fill the memory nor count as events of the response."""
    plain.connection(
        expect(), run(flood(frame(b"p" * 100, opcode=Opcode.PING), 2 * MIB)), send(*answer("r", "late"))
    )
    with websocket(plain) as ws:
        tracemalloc.start()
        try:
            assert ask(ws) == "late"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2 * MIB


def test_an_error_of_a_megabyte_is_shown_cut(plain):
    """A close reason, a message and a body are cut where they are shown."""
    plain.connection(
        expect(), send({"type": "error", "error": {"message": "m" * MIB, "code": "c" * 1000, "type": "t"}})
    )
    with websocket(plain) as ws:
        with pytest.raises(ResponseError) as caught:
            ask(ws)
        assert len(str(caught.value)) < 1000


# -- the handshake

HANDSHAKES = [
    pytest.param(refuse(301, {"Location": "https://evil.example/"}), HandshakeError, id="301"),
    pytest.param(refuse(302, {"Location": "wss://evil.example/"}), HandshakeError, id="302"),
    pytest.param(refuse(303, {"Location": "//evil.example/"}), HandshakeError, id="303"),
    pytest.param(refuse(307, {"Location": "ws://127.0.0.1:9/"}), HandshakeError, id="307"),
    pytest.param(refuse(308, {"Location": "http://[::1"}), HandshakeError, id="308 to no URL"),
    pytest.param(raw_handshake(b"HTTP/1.1 101 S\r\nX: " + b"y" * MIB), HandshakeError, id="1 MB head"),
    pytest.param(refuse(502, body=b"y" * MIB), HandshakeError, id="1 MB body"),
    pytest.param(refuse(502, body=b"y" * MIB, framing="chunked"), HandshakeError, id="1 MB body in chunks"),
    pytest.param(raw_handshake(b"y" * MIB), HandshakeError, id="1 MB line"),
    pytest.param(raw_handshake(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), HandshakeError, id="bare 101"),
    pytest.param(accept({"Sec-WebSocket-Extensions": "permessage-deflate"}), HandshakeError, id="extension"),
    pytest.param(accept({"Sec-WebSocket-Protocol": "realtime"}), HandshakeError, id="subprotocol"),
    pytest.param(
        accept({"Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}), HandshakeError, id="accept"
    ),
    pytest.param(accept({"Upgrade": "h2c"}), HandshakeError, id="upgrade"),
    pytest.param(accept({"Connection": "close"}), HandshakeError, id="connection"),
    pytest.param(raw_handshake(b"\x00\xff\x00\xff" * 10 + b"\r\n\r\n"), HandshakeError, id="garbage"),
]


@pytest.mark.parametrize(("step", "kind"), HANDSHAKES)
def test_a_handshake_that_is_none_leaves_nothing_open(server, step, kind):
    """``connect`` raises, the object stays unconnected, and the next ``connect`` is a new connection."""
    server.connection(step, expect_gone())
    server.connection(expect(), send(*answer("resp_1", "fine")))
    ws = websocket(server)
    with pytest.raises(ResponsesWSError) as caught:
        ws.connect()
    assert type(caught.value) is kind
    assert caught.value.delivery is Delivery.NOT_SENT
    assert not ws.connected
    with pytest.raises(ConnectionError, match="not connected"):
        ask(ws)
    with ws:
        assert ask(ws) == "fine"
    assert len(server.connections) == 2
    assert server.connections[0].gone.wait(10)


def test_a_redirect_takes_neither_key_nor_prompt_along():
    """The host that a redirect names hears nothing, whatever the status, also within a call."""
    with ScriptedServer() as other, ScriptedServer() as server:
        server.connection(expect(), close(1012))
        for status in (301, 302, 303, 307, 308):
            server.connection(refuse(status, {"Location": f"http://127.0.0.1:{other.port}/v1/responses"}))
        with websocket(server) as ws:
            with pytest.raises(ConnectionLost):
                ask(ws, "a secret prompt")
            for status in (301, 302, 303, 307, 308):
                with pytest.raises(
                    HandshakeError, match=f"redirects the upgrade to 127.0.0.1 .{status} "
                ) as caught:
                    ask(ws, "a secret prompt")
                assert caught.value.status == status
        assert other.connections == []


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 5000,
        b"HTTP/1.1 503 No\r\nContent-Length: 5000\r\n\r\n" + b"y" * 5000,
    ],
    ids=["head", "body"],
)
def test_a_handshake_that_trickles_ends_at_the_deadline(server, data):
    """One byte at a time past ``connect(timeout=...)``."""

    def trickle(connection: Connection) -> None:
        try:
            for place in range(len(data)):
                connection.send_raw(data[place : place + 1], kind=None)
                connection.wait(lambda: connection.over, 0.02)
        except ClientGone:
            pass

    server.connection(raw_handshake(b""), run(trickle))
    server.connection(expect(), send(*answer("resp_1", "fine")))
    ws = websocket(server)
    begun = time.monotonic()
    with pytest.raises(HandshakeError):
        ws.connect(timeout=0.3)
    assert time.monotonic() - begun < 3
    with ws:
        assert ask(ws) == "fine"


def test_a_handshake_that_hangs_says_so(server):
    """The class and the text do not depend on which thread looks at its clock first."""
    seconds = 0.05 if server.ssl_context is None else 0.5  # TLS takes its time on a busy machine
    for _ in range(5):
        server.connection(hang())
        with pytest.raises(
            HandshakeError, match=rf"could not upgrade the connection to .* within {seconds} seconds"
        ):
            websocket(server).connect(timeout=seconds)


# -- what leaves this side


SENTINEL = "sk-sesame-0123456789"
INJECTIONS = [
    f"{SENTINEL}\r\nX-Evil: 1",
    f"{SENTINEL}\nX-Evil: 1",
    f"{SENTINEL}\rX",
    f"{SENTINEL}\0",
    f"{SENTINEL}\u2028x",
]


@pytest.mark.parametrize("value", INJECTIONS)
@pytest.mark.parametrize(
    "place", ["api_key", "headers", "header name", "organization_id", "project_id", "function"]
)
def test_nothing_can_be_injected_into_the_request(plain, caplog, place, value):
    """CR, LF and their like in a key, a header or an id are refused, and never shown."""
    caplog.set_level(logging.DEBUG)
    options: dict[str, Any] = {
        "api_key": {"api_key": value},
        "headers": {"headers": {"X-Own": value}},
        "header name": {"headers": {value: "x"}},
        "organization_id": {"organization_id": value},
        "project_id": {"project_id": value},
        "function": {"api_key": lambda: value},
    }[place]
    with pytest.raises(ConfigurationError) as caught:
        WebSocket(**{"api_key": KEY, "api_base": plain.url, **options}).connect()
    if place != "header name":
        assert SENTINEL not in str(caught.value) + caplog.text
    assert plain.connections == []


def test_no_cookie_and_no_origin_is_ever_sent(plain, monkeypatch):
    """Neither a cookie of the service, nor one that other code has left in the library's jar."""
    monkeypatch.setattr(_handshake, "CookieJar", type(_handshake.CookieJar)())
    _handshake.CookieJar.add("theirs=1; domain=127.0.0.1")
    for _ in range(3):
        plain.connection(
            accept({"Set-Cookie": "ours=2; Domain=127.0.0.1"}), expect(), send(*answer("r", "fine"))
        )
    ws = websocket(plain)
    for _ in range(3):
        assert ask(ws.connect()) == "fine"
        ws.disconnect()
    heads = [
        entry.text.lower() for entry in plain.log if (entry.direction, entry.kind) == ("in", "handshake")
    ]
    assert len(heads) == 3
    assert not [head for head in heads if "cookie" in head or "origin" in head]
    assert all("authorization: bearer" in head for head in heads)
