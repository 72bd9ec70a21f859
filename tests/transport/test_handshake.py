"""The opening handshake: what is sent, what is accepted, what is refused and what is left of a refusal."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import websocket
from opened import given_back, target_of
from shell import SECONDS
from websocket import _handshake

from responses_ws._core.secret import Secret
from responses_ws._transport.base import unused
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.websocket_client import MAX_BODY_BYTES, MAX_HEAD_BYTES
from responses_ws._transport.ws import SocketTransport
from responses_ws.errors import (
    AuthenticationError,
    Delivery,
    HandshakeError,
    PermissionDeniedError,
    RateLimitError,
    ResponsesWSError,
)
from responses_ws.testing import ScriptedServer, Step, frame, hang, raw_handshake, refuse, reset, send
from responses_ws.testing.interruptions import ClientGone

KIB = 1024
SENTINEL = "sesame-0123456789"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SWITCH = "HTTP/1.1 101 Switching Protocols"
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}")


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=request.param) as server:
        yield server


@pytest.fixture
def plain() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@dataclass(frozen=True)
class Answer(Step):
    """Answers the upgrade with its own lines; ``{accept}`` stands for the right value, ``after`` follows."""

    lines: tuple[str, ...]
    after: bytes = b""
    opens = True

    def play(self, connection: Any) -> None:
        connection.read_request()
        key = connection.record.headers["sec-websocket-key"].encode()
        right = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest()).decode()
        head = "".join(f"{line}\r\n" for line in (*self.lines, "")).replace("{accept}", right)
        connection.answer(head.encode("latin-1") + self.after)


@dataclass(frozen=True)
class Trickle(Step):
    """Sends a byte at a time, each with a packet of its own, until the client leaves."""

    data: bytes
    after: float = 0.0
    opens = True

    def play(self, connection: Any) -> None:
        connection.read_request()
        connection.answered = True
        with contextlib.suppress(ClientGone):
            for place in range(len(self.data)):
                connection.send_raw(self.data[place : place + 1], kind=None)
                if self.after:
                    connection.wait(lambda: connection.over, self.after)


def upgraded(server: ScriptedServer, seconds: float = SECONDS, **options: Any) -> SocketTransport:
    return SocketTransport.connect(target_of(server, **options), Deadline(seconds), unused)


def refused(server: ScriptedServer, seconds: float = SECONDS, **options: Any) -> ResponsesWSError:
    """The error of an upgrade that must fail."""
    with pytest.raises(ResponsesWSError) as caught:
        upgraded(server, seconds, **options)
    error = caught.value
    assert error.delivery is Delivery.NOT_SENT
    assert len(str(error)) < 1000
    return error


# -- the request


def test_the_request_is_what_rfc_6455_asks_for_and_our_headers(server):
    """RFC 6455, 4.1, and nothing besides: no Origin, no Cookie, no extension, no subprotocol."""
    server.connection()
    ours = {"User-Agent": Secret("responses_ws/1"), "Authorization": Secret(f"Bearer {SENTINEL}")}
    with given_back(upgraded(server, headers=ours)):
        (record,) = server.connections
    assert record.path == "/v1/responses"
    key = record.headers.pop("sec-websocket-key")
    assert len(base64.b64decode(key, validate=True)) == 16
    assert record.headers == {
        "host": f"127.0.0.1:{server.port}",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "user-agent": "responses_ws/1",
        "authorization": f"Bearer {SENTINEL}",
    }


def test_every_handshake_has_a_key_of_its_own(plain):
    """RFC 6455, 4.1: the nonce is chosen anew for each connection."""
    for _ in range(5):
        plain.connection()
        with given_back(upgraded(plain)):
            pass
    assert len({record.headers["sec-websocket-key"] for record in plain.connections}) == 5


def test_no_cookie_is_kept_or_sent(plain, monkeypatch):
    """websocket-client has one jar for the process; what others or a server put into it stays there."""
    jar = websocket._cookiejar.SimpleCookieJar()
    jar.add("theirs=1; domain=127.0.0.1")
    monkeypatch.setattr(_handshake, "CookieJar", jar)
    assert jar.get("127.0.0.1") == "theirs=1"
    cookies = ("Set-Cookie: ours=2; Domain=127.0.0.1", " set-cookie: ours=3; domain=127.0.0.1")
    for _ in range(2):
        plain.connection(Answer((SWITCH, *UPGRADE, *cookies)))
        with given_back(upgraded(plain)) as transport:
            assert "set-cookie" not in transport.headers
    heads = [
        entry.text.lower() for entry in plain.log if (entry.direction, entry.kind) == ("in", "handshake")
    ]
    assert len(heads) == 2
    assert not [head for head in heads if "cookie" in head or "origin" in head]
    assert jar.get("127.0.0.1") == "theirs=1"


# -- answers that are accepted

ACCEPTED = [
    pytest.param((SWITCH, *UPGRADE), id="usual"),
    pytest.param(("HTTP/1.1 101", *UPGRADE), id="no reason, no space"),
    pytest.param(("HTTP/1.1 101 ", *UPGRADE), id="no reason"),
    pytest.param(("HTTP/1.1 101 M\u00e4\u00dfig", *UPGRADE), id="latin-1 reason"),
    pytest.param((SWITCH, "UPGRADE: WebSocket", "connection: keep-alive, upgrade", UPGRADE[2]), id="case"),
    pytest.param((SWITCH, *UPGRADE[:2], "sec-websocket-accept:{accept}  "), id="spaces"),
    pytest.param((SWITCH, *UPGRADE, "X-Request-ID: req_1", "Server: Z\u00fcrich"), id="latin-1 header"),
    pytest.param((SWITCH, *UPGRADE, *(f"X-{n}: y" for n in range(300))), id="many headers"),
    pytest.param((SWITCH, *UPGRADE, f"X-Long: {'y' * 60_000}"), id="long header"),
    pytest.param(
        (SWITCH, *UPGRADE, "Set-Cookie: a=1", "Set-Cookie: b=2", "Location: http://evil/"), id="foreign"
    ),
    pytest.param((SWITCH, *UPGRADE, "X-Folded: a", " b: c"), id="folded"),
]


@pytest.mark.parametrize("lines", ACCEPTED)
def test_a_right_answer_is_accepted(plain, lines):
    """RFC 6455, 4.2.2, as servers and gateways write it; frames in the same packet are received."""
    plain.connection(Answer(lines, frame(b"hello")), send("more"))
    with given_back(upgraded(plain)) as transport:
        found: list[bytes] = []
        while len(found) < 2:
            found += transport.receive(SECONDS)
        assert found == [b"hello", b"more"]
        if "X-Request-ID: req_1" in lines:
            assert transport.headers["x-request-id"] == "req_1"
            assert transport.headers["server"] == "Z\u00fcrich"


# -- answers with 101 that are none

NOT_VALID = [
    pytest.param((SWITCH, *UPGRADE[:2]), id="no accept"),
    pytest.param((SWITCH, *UPGRADE[:2], "Sec-WebSocket-Accept: "), id="empty accept"),
    pytest.param(
        (SWITCH, *UPGRADE[:2], "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), id="wrong accept"
    ),
    pytest.param((SWITCH, *UPGRADE[1:]), id="no upgrade"),
    pytest.param((SWITCH, "Upgrade: h2c", *UPGRADE[1:]), id="another upgrade"),
    pytest.param((SWITCH, UPGRADE[0], UPGRADE[2]), id="no connection"),
    pytest.param((SWITCH, UPGRADE[0], "Connection: close", UPGRADE[2]), id="connection close"),
    pytest.param((SWITCH, *UPGRADE, "Sec-WebSocket-Extensions: permessage-deflate"), id="extension"),
    pytest.param((SWITCH, *UPGRADE, "Sec-WebSocket-Protocol: chat"), id="subprotocol"),
    pytest.param((SWITCH, *UPGRADE, "no header"), id="line without a colon"),
    pytest.param((SWITCH, *UPGRADE, " ", "Sec-WebSocket-Extensions: x"), id="line of a space"),
    pytest.param(("HTTP/1.0 101 Switching Protocols", *UPGRADE), id="HTTP/1.0"),
    pytest.param(("HTTP/2 101", *UPGRADE), id="HTTP/2"),
    pytest.param(("ICY 101 Switching Protocols", *UPGRADE), id="no HTTP"),
    pytest.param((SWITCH,), id="nothing"),
]


@pytest.mark.parametrize("lines", NOT_VALID)
def test_a_wrong_answer_is_refused(plain, lines):
    """RFC 6455, 4.1: what the client must check of a 101. Nothing was offered, so nothing may be chosen."""
    plain.connection(Answer(lines, frame(b"must not be taken")))
    error = refused(plain)
    assert type(error) is HandshakeError
    assert error.status in (101, None)
    assert plain.connections[0].gone.wait(SECONDS)


# -- refusals

JSON_ERROR = {
    "error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "bad_key"}
}
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"

REFUSALS = [
    pytest.param(refuse(401, body=JSON_ERROR), AuthenticationError, 401, id="401"),
    pytest.param(refuse(401), AuthenticationError, 401, id="401 empty"),
    pytest.param(refuse(403, reason=""), PermissionDeniedError, 403, id="403 empty"),
    pytest.param(refuse(403, body=HTML), PermissionDeniedError, 403, id="403 HTML"),
    pytest.param(refuse(404, body={"detail": "Not Found"}), HandshakeError, 404, id="404"),
    pytest.param(refuse(405, {"Allow": "POST"}), HandshakeError, 405, id="405"),
    pytest.param(refuse(426, {"Upgrade": "h2c"}, reason=""), HandshakeError, 426, id="426 empty reason"),
    pytest.param(refuse(429, {"Retry-After": "7"}, body=JSON_ERROR), RateLimitError, 429, id="429"),
    pytest.param(refuse(429, {"retry-after-ms": "1500"}), RateLimitError, 429, id="429 ms"),
    pytest.param(refuse(400, body="no"), HandshakeError, 400, id="400"),
    pytest.param(refuse(407), HandshakeError, 407, id="407"),
    pytest.param(refuse(500, body=JSON_ERROR), HandshakeError, 500, id="500"),
    pytest.param(refuse(502, {"Content-Type": "text/html"}, body=HTML), HandshakeError, 502, id="502 HTML"),
    pytest.param(refuse(503, {"Retry-After": "30"}), HandshakeError, 503, id="503"),
    pytest.param(refuse(200, body=JSON_ERROR), HandshakeError, 200, id="200 JSON"),
    pytest.param(refuse(204), HandshakeError, 204, id="204"),
    pytest.param(refuse(103, {"Link": "x"}), HandshakeError, 103, id="103"),
    pytest.param(refuse(599, reason="What"), HandshakeError, 599, id="599"),
    pytest.param(refuse(301, {"Location": "https://evil.example/v1"}), HandshakeError, 301, id="301"),
]


@pytest.mark.parametrize(("step", "kind", "status"), REFUSALS)
def test_a_refused_upgrade_is_told_by_its_status(server, step, kind, status):
    """401, 403 and 429 speak about the caller and have their class; all else is a HandshakeError."""
    server.connection(step)
    error = refused(server)
    assert type(error) is kind
    assert error.status == status
    assert error.headers["connection"] == "close"
    assert str(status) in str(error)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_refusal_carries_headers_and_body(server, framing):
    """However the body is framed, its beginning is kept."""
    server.connection(refuse(502, {"X-Request-ID": "req_1", "Server": "edge"}, HTML * 100, framing=framing))
    error = refused(server)
    assert isinstance(error, HandshakeError)
    assert error.body == HTML * 100
    assert (error.headers["x-request-id"], error.headers["server"]) == ("req_1", "edge")
    assert str(error) == "the server refused the upgrade: 502 Bad Gateway"


def test_a_refusal_about_the_caller_is_read_like_any_error(server):
    """Code, message, type, the wait and the request's id come from the body and the headers."""
    server.connection(refuse(429, {"Retry-After": "7", "x-request-id": "req_1"}, JSON_ERROR))
    error = refused(server)
    assert isinstance(error, RateLimitError)
    assert (error.code, error.type, error.message) == (
        "bad_key",
        "invalid_request_error",
        "Incorrect API key provided",
    )
    assert (error.retry_after, error.request_id) == (7.0, "req_1")
    assert error.raw == JSON_ERROR


def test_an_empty_refusal_about_the_caller_says_so(server):
    """A bare 403 still tells the status."""
    server.connection(refuse(403, reason=""))
    assert str(refused(server)) == "403: the service gave no message"


ODD = [
    pytest.param(
        b"HTTP/1.1 503 x\r\nContent-Length: 100000\r\n\r\nshort", 503, "short", id="length too long"
    ),
    pytest.param(b"HTTP/1.1 503 x\r\nContent-Length: 2\r\n\r\nlonger", 503, "lo", id="length too short"),
    pytest.param(b"HTTP/1.1 503 x\r\nContent-Length: -5\r\n\r\nbody", 503, "body", id="length negative"),
    pytest.param(b"HTTP/1.1 503 x\r\nContent-Length: what\r\n\r\nbody", 503, "body", id="length no number"),
    pytest.param(b"HTTP/1.1 503 x\r\n\r\nbody", 503, "body", id="no length"),
    pytest.param(b"HTTP/1.0 503 x\r\n\r\nbody", 503, "body", id="HTTP/1.0"),
    pytest.param(b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nbody", 503, "", id="bad chunk"),
    pytest.param(b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbo", 503, "bo", id="cut chunk"),
    pytest.param(
        b"HTTP/1.1 503 x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", 503, None, id="gzip"
    ),
    pytest.param(b"HTTP/1.1 502 x\r\n\r\n\xff\xfe\x00", 502, "\ufffd\ufffd\x00", id="no text"),
    pytest.param(b"HTTP/1.1 302 x\r\n\r\n", 302, "", id="redirect to nowhere"),
    pytest.param(b"HTTP/1.1 302 x\r\nLocation: /elsewhere\r\n\r\n", 302, "", id="redirect to a path"),
    pytest.param(b"HTTP/1.1 302 x\r\nLocation: http://[::1\r\n\r\n", 302, "", id="redirect to no URL"),
    pytest.param(b"HTTP/1.1 302 x\r\nLocation: \xff\xfe\r\n\r\n", 302, "", id="redirect to bytes"),
    pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n", None, "", id="500 headers"),
    pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", None, "", id="100 and no more"),
    pytest.param(b"HTTP/1.1 99999 x\r\n\r\n", None, "", id="status of five digits"),
    pytest.param(b"HTTP/1.1 abc x\r\n\r\n", None, "", id="status no number"),
    pytest.param(b"HTTP/9.9\r\n\r\n", None, "", id="no status"),
    pytest.param(b"\x00\x01\x02garbage\r\n\r\n", None, "", id="garbage"),
    pytest.param(b"\r\n\r\n", None, "", id="nothing but its end"),
    pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", None, "", id="another protocol"),
    pytest.param(b"HTTP/1.1 101 Swi", None, "", id="cut"),
    pytest.param(b"", None, "", id="no answer"),
]


@dataclass(frozen=True)
class Reply(Step):
    """Answers the upgrade with any bytes and ends TCP."""

    data: bytes
    opens = True

    def play(self, connection: Any) -> None:
        connection.read_request()
        connection.answered = True
        connection.send_raw(self.data, kind="handshake")
        connection.finish(notify=True)


@pytest.mark.parametrize(("data", "status", "body"), ODD)
def test_an_odd_answer_is_a_handshake_error_with_what_there_is(server, data, status, body):
    """No answer of a server is anything but a typed error."""
    server.connection(Reply(data))
    error = refused(server)
    assert type(error) is HandshakeError
    assert error.status == status
    if body is not None:
        assert error.body == body


def test_a_reset_in_place_of_an_answer(server):
    """A connection that breaks under the upgrade is a HandshakeError; TLS may take it for an end."""

    server.connection(Act(lambda connection: connection.reset()))
    error = refused(server)
    assert type(error) is HandshakeError
    assert error.status is None


@dataclass(frozen=True)
class Act(Step):
    """Does something in place of an answer to the upgrade, as long as the client stays."""

    function: Any
    opens = True

    def play(self, connection: Any) -> None:
        connection.read_request()
        connection.answered = True
        with contextlib.suppress(ClientGone):
            self.function(connection)


@pytest.mark.parametrize("status", [401, 502])
def test_a_refusal_whose_body_never_ends_is_over_in_time(plain, status):
    """The rest of a body is waited for two seconds at most, and not longer than the deadline."""
    head = f"HTTP/1.1 {status} x\r\nContent-Length: 100000\r\n\r\nbegun".encode()
    plain.connection(raw_handshake(head))
    begun = time.monotonic()
    error = refused(plain, seconds=0.3)
    assert time.monotonic() - begun < 3
    assert error.status == status
    assert "begun" in str(getattr(error, "body", None) or error)


# -- bounds


POURED = 8_000_000


@pytest.mark.parametrize(
    ("head", "piece", "status"),
    [
        pytest.param(f"{SWITCH}\r\n", b"X-Filler: y\r\n", None, id="head of lines"),
        pytest.param(f"{SWITCH}\r\nX: ", b"y", None, id="head of one line"),
        pytest.param("", b"x", None, id="one endless line"),
        pytest.param("", b"\n", None, id="empty lines"),
        pytest.param("HTTP/1.1 502 x\r\n\r\n", b"y", 502, id="body to the end"),
        pytest.param(f"HTTP/1.1 502 x\r\nContent-Length: {POURED}\r\n\r\n", b"y", 502, id="body"),
        pytest.param(
            "HTTP/1.1 502 x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n", 502, id="small chunks"
        ),
        pytest.param(
            "HTTP/1.1 502 x\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"e", 502, id="chunk extension"
        ),
        pytest.param("HTTP/1.1 100 x\r\n\r\n", b"HTTP/1.1 100 x\r\n\r\n", None, id="provisional answers"),
    ],
)
def test_an_answer_of_megabytes_is_not_kept(server, head, piece, status):
    """64 KiB of head and 64 KiB of body are read, whatever is sent."""
    pieces = piece * (64 * KIB // len(piece))

    def pour(connection: Any) -> None:
        connection.send_raw(head.encode(), kind=None)
        for _ in range(POURED // len(pieces)):
            connection.send_raw(pieces, kind=None)

    server.connection(Act(pour))
    tracemalloc.start()
    try:
        error = refused(server)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert type(error) is HandshakeError
    assert error.status == status
    assert len(error.body) <= MAX_BODY_BYTES + 16 * KIB
    assert peak < 2_000_000


def test_an_endless_head_byte_by_byte_is_bounded(plain):
    """A head that comes a byte at a time is refused after the same 64 KiB.

    A busy machine may need more than the usual seconds for so many packets.
    """
    plain.connection(Trickle(b"HTTP/1.1 101 x\r\nX: " + b"y" * (MAX_HEAD_BYTES + 20 * KIB)))
    error = refused(plain, seconds=10 * SECONDS)
    assert type(error) is HandshakeError
    assert "head of more than 65536 bytes" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 10_000, id="head"),
        pytest.param(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 10000\r\n\r\n" + b"y" * 10_000, id="body"),
    ],
)
def test_a_trickle_does_not_prolong_the_deadline(server, data):
    """One byte every 20 ms past the deadline: the deadline is for all of them together."""
    server.connection(Trickle(data, after=0.02))
    begun = time.monotonic()
    error = refused(server, seconds=0.5)
    assert 0.4 < time.monotonic() - begun < 5
    assert type(error) is HandshakeError


def test_no_answer_at_all_ends_at_the_deadline(server):
    """The error names the step, the host and the seconds."""
    server.connection(hang())
    error = refused(server, seconds=0.3)
    assert type(error) is HandshakeError
    assert str(error) == f"could not upgrade the connection to 127.0.0.1:{server.port} within 0.3 seconds"


# -- secrets


@pytest.mark.parametrize("status", [101, 302, 401, 403, 404, 429, 502])
@pytest.mark.parametrize("tracing", [False, True])
def test_a_key_that_the_server_echoes_is_masked(plain, caplog, status, tracing):
    """In message, headers, body, raw and traceback, and in the library's own log while it traces."""
    head = [f"HTTP/1.1 {status} no {SENTINEL}", f"X-Echo: {SENTINEL}", f"Location: http://{SENTINEL}/"]
    body = json.dumps({"error": {"message": f"bad key {SENTINEL}", "code": SENTINEL, "param": SENTINEL}})
    plain.connection(Answer((*head, *UPGRADE[:2]), body.encode()), reset())
    caplog.set_level(logging.DEBUG)
    key = Secret(SENTINEL)
    headers = {"Authorization": Secret(f"Bearer {SENTINEL}")}
    if tracing:
        websocket.enableTrace(True)
    try:
        error = refused(plain, headers=headers, secrets=(key,))
    finally:
        websocket.enableTrace(False)
    shown = [
        repr(error),
        str(error),
        error.message,
        repr(error.__dict__),
        repr(error.__context__),
        caplog.text,
    ]
    assert SENTINEL not in " ".join(shown)
    assert error.status == status


def test_no_request_reaches_the_target_of_a_redirect(server):
    """The key and the prompt stay with the host that was asked for."""
    with ScriptedServer() as other:
        for status in (301, 302, 303, 307, 308):
            server.connection(refuse(status, {"Location": f"http://127.0.0.1:{other.port}/v1/responses"}))
            error = refused(server)
            assert type(error) is HandshakeError
            assert error.status == status
            assert "redirects the upgrade to 127.0.0.1" in str(error)
            assert "not followed" in str(error)
        assert other.connections == []
