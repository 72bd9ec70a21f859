"""Every fault that the server can play, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading

import pytest
import websocket
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from responses_ws.testing import (
    ScriptedServer,
    accept,
    close,
    close_frame,
    connect_reply,
    deaf,
    eof,
    expect,
    expect_close,
    expect_gone,
    expect_ping,
    expect_pong,
    fragments,
    frame,
    gate,
    half_frame,
    hang,
    mark,
    no_pong,
    ping,
    raw,
    raw_handshake,
    read_bytes,
    refuse,
    reset,
    send,
    silence,
)

MASKED = 6
"""Bytes of head that a client's frame of up to 125 bytes has: two, and the mask."""


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request):
    with ScriptedServer(tls=request.param) as server:
        yield server


@pytest.mark.parametrize(
    ("steps", "sent"),
    [
        ([raw(b"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00")], b"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00"),
        ([raw(frame(b"x", rsv=4))], b"\xc1\x01x"),
        ([half_frame("0123456789")], b"\x81\x0a0123"),
        ([half_frame({"a": 1})], b'\x81\x08{"a'),
        ([send(b"\xff\xfe")], b"\x81\x02\xff\xfe"),
        ([send({"d": "\ud83d"})], b'\x81\x0f{"d": "\\ud83d"}'),
        ([fragments("h\u00e9", size=2, between=[ping(b"!")])], b"\x01\x02h\xc3\x89\x01!\x80\x01\xa9"),
        ([fragments(b"\xf0\x9f\x98", size=1)], b"\x01\x01\xf0\x00\x01\x9f\x80\x01\x98"),
        ([close_frame(b"")], b"\x88\x00"),
        ([close_frame(b"\x03")], b"\x88\x01\x03"),
        ([close_frame(struct.pack(">H", 1005))], b"\x88\x02\x03\xed"),
        ([close_frame(b"\x03\xe8\xff")], b"\x88\x03\x03\xe8\xff"),
        ([close_frame(b"\x03\xe8"), raw(frame(b"late"))], b"\x88\x02\x03\xe8\x81\x04late"),
        ([raw(frame(b"x" * 126, opcode=9))], b"\x89\x7e\x00\x7e" + b"x" * 126),
    ],
)
def test_bytes_of_a_fault(server, raw_client, steps, sent):
    """The faulty bytes leave as they were asked for, and nothing else before the end."""
    server.connection(*steps, eof(), expect_gone())
    client = raw_client(server)
    client.upgrade()
    assert client.read(len(sent)) == sent


@pytest.mark.parametrize(
    ("step", "payload"),
    [(close(), b"\x03\xe8"), (close(1006, "no"), b"\x03\xeeno"), (close(0), b"\x00\x00"), (close(None), b"")],
)
def test_close_sends_any_code(server, raw_client, step, payload):
    """A close frame may carry a code that RFC 6455 forbids, or none; its answer is not answered again."""
    server.connection(step)
    client = raw_client(server)
    client.upgrade()
    assert client.read(2 + len(payload)) == bytes([0x88, len(payload)]) + payload
    client.send_close()
    assert client.read_all() == b""


def test_eof_is_bare(server, raw_client):
    """A bare end has no close frame, and under TLS no word of goodbye."""
    server.connection(send("x"), eof())
    client = raw_client(server)
    client.upgrade()
    assert client.read(3) == b"\x81\x01x"
    if server.ssl_context:
        with pytest.raises(ssl.SSLEOFError):
            client.read_all()
    else:
        assert client.read_all() == b""
    client.close()
    assert server.connections[0].gone.wait(10)
    assert server.connections[0].close_code is None


def test_reset(server, raw_client):
    """A reset comes as one; what was sent before may still be read."""
    server.connection(expect(), close_frame(b"\x03\xf1"), reset(), expect_gone())
    client = raw_client(server)
    client.upgrade()
    client.send(b"{}")
    assert server.connections[0].gone.wait(10)
    assert client.read(4) == b"\x88\x02\x03\xf1"
    with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
        client.read_all()
    assert server.connections[0].ended == "server"


def test_silence_neither_reads_nor_answers(server, raw_client):
    """Behind a dead link nothing is answered, also not at the end."""
    server.connection(mark("dead"), silence())
    client = raw_client(server)
    client.upgrade()
    server.wait_for("dead")
    client.send(b"are you there?", Opcode.PING)
    client.send_close()
    server.close()
    with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
        client.read_all()
    assert [entry.kind for entry in server.log] == ["handshake", "handshake"]


def test_a_silence_that_ends(raw_client):
    """Reading that is held goes on with the next step that waits for the client."""
    with ScriptedServer() as server:
        server.connection(
            read_bytes(0), mark("held"), gate("go"), send("first"), expect_ping(), expect_gone()
        )
        client = raw_client(server)
        client.upgrade()
        server.wait_for("held")
        client.send(b"p", Opcode.PING)
        server.open("go")
        assert client.read(10) == b"\x81\x05first\x8a\x01p"
        client.close()


@pytest.mark.parametrize(("step", "answer"), [(no_pong(), b"\x88\x02\x03\xe8"), (deaf(), b"")])
def test_a_server_that_answers_no_pings(raw_client, step, answer):
    """Without pongs the server goes on reading; a deaf one does not answer a close frame either."""
    with ScriptedServer() as server:
        server.connection(step, expect_ping(), send("heard"), expect_close(1000), eof())
        client = raw_client(server)
        client.upgrade()
        client.send(b"p", Opcode.PING)
        assert client.read(7) == b"\x81\x05heard"
        client.send_close()
        assert client.read_all() == answer


def test_an_upload_is_held_half_way(raw_client):
    """After the bytes asked for the server reads no more: a large message does not get through."""
    with ScriptedServer(receive_buffer=65536) as server:
        server.connection(read_bytes(100_000), mark("held"), gate("go"), expect(n=1), expect_gone())
        client = raw_client(server)
        client.upgrade()
        message = b'{"n": 1, "pad": "' + b"x" * 10_000_000 + b'"}'
        sender = threading.Thread(target=client.send, args=(message,))
        sender.start()
        server.wait_for("held")
        assert sender.is_alive()
        assert server.requests == []
        server.open("go")
        sender.join()
        client.close()
    assert len(server.requests) == 1


def test_a_ping_in_the_middle_of_an_upload():
    """A client that sends in fragments answers a ping before the upload is over."""
    with ScriptedServer(receive_buffer=4096) as server:
        server.connection(read_bytes(100_000), ping(b"mid"), expect_pong(b"mid"), mark("ponged"), expect())

        def pieces():
            yield '{"pad": "'
            yield from ["x" * 65536] * 4
            server.wait_for("ponged")
            yield '"}'

        with connect(server.url) as client:
            client.send(pieces())
    kinds = [entry.kind for entry in server.log if entry.direction == "in"]
    assert kinds.index("pong") < kinds.index("text")


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        (
            refuse(401, body={"error": {"code": "invalid_api_key"}}),
            b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b'Content-Length: 38\r\n\r\n{"error": {"code": "invalid_api_key"}}',
        ),
        (refuse(403), b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        (refuse(426, reason=""), b"HTTP/1.1 426 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        (
            refuse(502, {"X-Request-Id": "r1"}, "<html>", framing="close"),
            b"HTTP/1.1 502 Bad Gateway\r\nX-Request-Id: r1\r\nConnection: close\r\n\r\n<html>",
        ),
        (
            refuse(500, body=b"x" * 1025, reason="Oops", framing="chunked"),
            b"HTTP/1.1 500 Oops\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"400\r\n" + b"x" * 1024 + b"\r\n1\r\nx\r\n0\r\n\r\n",
        ),
        (refuse(799), b"HTTP/1.1 799 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        (raw_handshake(b"gibberish\r\n"), b"gibberish\r\n"),
        (raw_handshake(b""), b""),
    ],
)
def test_bytes_of_a_refusal(server, raw_client, step, answer):
    """The upgrade is answered with exactly these bytes and then the end."""
    server.connection(step, eof(), expect_gone())
    client = raw_client(server)
    client.request_upgrade()
    got = b""
    try:
        while piece := client.sock.recv(65536):
            got += piece
    except ssl.SSLEOFError:
        pass
    assert got == answer


def test_refusals_reach_independent_clients():
    """websockets and websocket-client read status and body of a refusal."""
    with ScriptedServer() as server:
        server.connection(refuse(429, {"Retry-After": "3"}, "slow down"))
        server.connection(refuse(429, {"Retry-After": "3"}, "slow down"))
        with pytest.raises(InvalidStatus) as refused, connect(server.url):
            pass
        assert refused.value.response.body == b"slow down"
        assert refused.value.response.headers["Retry-After"] == "3"
        with pytest.raises(websocket.WebSocketBadStatusException) as bad:
            websocket.create_connection(server.url)
        assert (bad.value.status_code, bad.value.resp_body) == (429, b"slow down")


def test_a_refusal_of_unknown_framing_is_refused():
    """A framing that does not exist is an error where it is written."""
    with pytest.raises(ValueError, match="framing"):
        refuse(500, framing="gzip")


def test_accept_adds_and_replaces_headers(raw_client):
    """The upgrade may be answered with more headers, or with wrong ones."""
    with ScriptedServer() as server:
        server.connection(accept({"X-Request-Id": "r1"}), send("on"), expect_gone())
        server.connection(accept({"Sec-WebSocket-Accept": "wrong"}), expect_gone())
        client = raw_client(server)
        assert b"\r\nX-Request-Id: r1\r\n" in client.upgrade()
        assert client.read(4) == b"\x81\x02on"
        client.close()
        with pytest.raises(InvalidHandshake), connect(server.url):
            pass


def test_an_upgrade_by_hand_goes_on(raw_client):
    """After a 101 by hand the script goes on as after any other."""
    with ScriptedServer() as server:
        server.connection(
            raw_handshake(b"HTTP/1.1 101 Sure\r\n\r\n"), expect(n=1), send("on"), expect_close()
        )
        client = raw_client(server)
        assert client.upgrade() == b"HTTP/1.1 101 Sure\r\n\r\n"
        client.send(b'{"n": 1}')
        assert client.read(4) == b"\x81\x02on"
        client.send_close()
        assert client.read_all() == b"\x88\x02\x03\xe8"


def test_a_client_may_leave_a_large_refusal(raw_client):
    """A client that hangs up in the middle of a megabyte of headers is what such a script expects."""
    with ScriptedServer() as server:
        endless = raw_handshake(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 30_000_000)
        server.connection(endless, expect_gone())
        client = raw_client(server)
        client.request_upgrade()
        client.read(1000)
        client.close()


def test_hang_reads_and_never_answers(server, raw_client):
    """The upgrade request is taken and nothing comes back."""
    server.connection(hang(), expect_gone())
    client = raw_client(server)
    client.request_upgrade()
    socket.socket.shutdown(client.sock, socket.SHUT_WR)
    with pytest.raises(ssl.SSLEOFError) if server.ssl_context else contextlib.nullcontext():
        assert client.read_all() == b""
    assert [entry.kind for entry in server.log] == ["handshake", "eof"]


def test_hang_at_once(server, raw_client):
    """Not even the request, or the beginning of TLS, is read."""
    server.connection(hang(read=False))
    client = raw_client(server, tls=False)
    client.request_upgrade()
    server.close()
    with pytest.raises(ConnectionResetError):
        client.read_all()
    assert server.log == []


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n"]
)
def test_a_proxy_is_played(server, raw_client, reply):
    """A CONNECT is answered, then the same TCP connection goes on as the target, under TLS if any."""
    server.connection(connect_reply(reply), send("through"))
    client = raw_client(server, tls=False)
    client.sock.sendall(b"CONNECT api.example:443 HTTP/1.1\r\nProxy-Authorization: Basic abc\r\n\r\n")
    assert client.read_head() == reply
    if server.ssl_context:
        client.start_tls()
    client.upgrade()
    assert client.read(9) == b"\x81\x07through"
    client.send_close()
    client.read_all()
    heads = [entry.data for entry in server.log if (entry.kind, entry.direction) == ("handshake", "in")]
    assert heads[0].startswith(b"CONNECT api.example:443 HTTP/1.1\r\nProxy-Authorization: Basic abc\r\n")
    assert heads[1].startswith(b"GET /v1/responses HTTP/1.1\r\n")


def test_a_proxy_refuses(raw_client):
    """A refusal of the proxy is a reply that the client leaves on."""
    with ScriptedServer() as server:
        reply = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
        server.connection(connect_reply(reply), expect_gone())
        client = raw_client(server)
        client.sock.sendall(b"CONNECT api.example:443 HTTP/1.1\r\n\r\n")
        assert client.read_head() == reply
        client.close()


def test_bytes_that_come_with_the_request_are_not_lost(raw_client):
    """A client that sends its first message along with the upgrade request is understood."""
    with ScriptedServer() as server:
        server.connection(expect(n=1), send("on"), expect_gone())
        client = raw_client(server)
        early = Frame(Opcode.TEXT, b'{"n": 1}').serialize(mask=True)
        client.sock.sendall(
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: c2l4dGVlbiAgbGV0dGVycw==\r\nSec-WebSocket-Version: 13\r\n\r\n" + early
        )
        client.read_head()
        assert client.read(4) == b"\x81\x02on"
        client.close()


def test_read_bytes_counts_the_bytes_of_the_connection(raw_client):
    """So many bytes are taken and no more, whatever messages they hold."""
    with ScriptedServer() as server:
        server.connection(
            read_bytes(2 * (MASKED + 2)), mark("read"), gate("go"), expect(), expect(), expect()
        )
        client = raw_client(server)
        client.upgrade()
        for _ in range(3):
            client.send(b"{}")
        server.wait_for("read")
        assert len(server.requests) == 2
        server.open("go")
        client.send_close()
        client.read_all()
    assert len(server.requests) == 3
