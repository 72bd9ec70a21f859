"""The scripted server over HTTP: the same steps, those of its own, and every fault."""

from __future__ import annotations

import http.client
import json
import threading

import pytest

from responses_ws.testing import (
    Model,
    ScriptedServer,
    begin_stream,
    close,
    end_stream,
    eof,
    expect,
    expect_gone,
    expect_request,
    fragments,
    gate,
    hang,
    mark,
    ping,
    raw,
    raw_handshake,
    refuse,
    repeat,
    reset,
    respond,
    run,
    send,
    serve,
    stream_bytes,
)
from responses_ws.testing.http import HttpSide

CREATED = {"type": "response.created"}
COMPLETED = {"type": "response.completed"}
PATH = "/v1/responses"


@pytest.fixture
def client(request):
    """Makes a connection to a server, closed with the test."""

    def connect(server):
        if server.ssl_context:
            made = http.client.HTTPSConnection(
                "127.0.0.1", server.port, timeout=10, context=server.ssl_context
            )
        else:
            made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        request.addfinalizer(made.close)
        return made

    return connect


def post(connection, body=None, path=PATH):
    """Ask for a response; its status and its body."""
    connection.request("POST", path, json.dumps(body or {"input": "hi"}))
    with connection.getresponse() as response:
        return response.status, response.read().decode()


def events(body):
    """The payloads of an event stream."""
    return [json.loads(line.removeprefix("data: ")) for line in body.split("\n") if line.startswith("data: ")]


@pytest.mark.parametrize("tls", [False, True])
def test_one_script_serves_both(client, dial, tls):
    """``expect`` and ``send`` mean the same over WebSocket and over HTTP."""
    with ScriptedServer(tls=tls) as server:
        for _ in range(2):
            server.connection(expect(input="hi"), send(CREATED), ping(), send(COMPLETED))
        status, body = post(client(server))
        assert status == 200
        assert events(body) == [CREATED, COMPLETED]
        assert ": ping\n\n" in body
        assert body.startswith("event: response.created\ndata: ")
        with dial(server) as ws:
            ws.send(json.dumps({"input": "hi"}))
            assert [json.loads(ws.recv()) for _ in range(2)] == [CREATED, COMPLETED]


def test_a_connection_is_kept(client):
    """Several requests on one connection, whatever answers them."""
    with ScriptedServer(model=Model()) as server:
        server.connection(
            repeat(2, expect(input="hi"), send(CREATED, COMPLETED)),
            expect(),
            send(CREATED),
            end_stream(),
            respond(503),
            serve(),
        )
        connection = client(server)
        assert [events(post(connection)[1]) for _ in range(3)] == [*[[CREATED, COMPLETED]] * 2, [CREATED]]
        assert post(connection) == (503, "")
        assert post(connection, {"input": "hi", "model": "m"})[0] == 200
        assert [request.method for request in server.http_requests] == ["POST"] * 5
        assert [request["input"] for request in server.requests] == ["hi"] * 5


def test_a_client_may_leave_with_the_last_event(client, monkeypatch):
    """It may be faster than the end of the body, which it does not need."""
    end = HttpSide.end_stream

    def late(side):
        side._connection.wait(lambda: side._connection.over)
        end(side)

    monkeypatch.setattr(HttpSide, "end_stream", late)
    with ScriptedServer() as server:
        server.connection(expect(), send(COMPLETED))
        connection = client(server)
        connection.request("POST", PATH, "{}")
        with connection.getresponse() as response:
            assert b"response.completed" in response.readline() + response.readline()
        connection.close()
        assert server.connections[0].gone.wait(10)


def test_an_open_answer_ends_with_the_next_request(client):
    """What was sent after the end of a response is part of its body."""
    with ScriptedServer() as server:
        server.connection(
            expect(), send(COMPLETED, CREATED), mark("sent"), expect(), send(COMPLETED), expect_gone()
        )
        connection = client(server)
        connection.request("POST", PATH, b"{}")
        connection.sock.sendall(f"POST {PATH} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        with connection.getresponse() as response:
            assert events(response.read().decode()) == [COMPLETED, CREATED]
        connection.close()


def test_requests_are_compared(client):
    """Method, path, headers and body, each named where it differs."""
    with ScriptedServer() as server:
        server.connection(
            expect_request("GET", "/responses/r1", headers={"x-a": "1"}), respond(200, body={"id": "r1"})
        )
        connection = client(server)
        connection.request("GET", f"{PATH}/r1?include=a&include=b", headers={"X-A": "1"})
        assert json.loads(connection.getresponse().read()) == {"id": "r1"}
        (request,) = server.http_requests
        assert (request.method, request.path, request.query) == (
            "GET",
            f"{PATH}/r1",
            {"include": ["a", "b"]},
        )
        assert request.headers["x-a"] == "1"
        assert server.requests == []


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (expect_request("DELETE", "/responses"), "POST /v1/responses came, not DELETE /responses"),
        (expect_request("POST", "/cancel"), "came, not POST /cancel"),
        (expect_request(body={"model": "m"}), "model: missing"),
        (expect_request(headers={"x-a": "1"}), "x-a: missing"),
        (expect(input="no"), "input: expected 'no', got 'hi'"),
    ],
)
def test_another_request_fails_the_test(client, step, fault):
    """The client sees the end of the connection."""
    server = ScriptedServer().start()
    server.connection(step, respond(200))
    with pytest.raises(ConnectionResetError):
        post(client(server))
    server.close()
    with pytest.raises(AssertionError, match=fault):
        server.check()


@pytest.mark.parametrize(
    ("method", "body", "fault"),
    [
        ("GET", b"", "creates no response"),
        ("POST", b"no json", "whose body is not JSON"),
        ("POST", b"[1]", "whose body is no JSON object"),
    ],
)
def test_expect_wants_a_create(client, method, body, fault):
    """Over HTTP it is a POST with an object."""
    server = ScriptedServer().start()
    server.connection(expect())
    connection = client(server)
    connection.request(method, f"{PATH}/r1" if method == "GET" else PATH, body)
    with pytest.raises(ConnectionResetError):
        connection.getresponse()
    server.close()
    with pytest.raises(AssertionError, match=fault):
        server.check()


def test_a_request_after_the_script_fails_the_test(client):
    """As a message does."""
    server = ScriptedServer().start()
    server.connection(expect(), send(COMPLETED))
    connection = client(server)
    post(connection)
    with pytest.raises(ConnectionResetError):
        post(connection)
    server.close()
    with pytest.raises(AssertionError, match="a message came after the end of the script"):
        server.check()


def test_http_steps_need_http(raw_client):
    """Not an upgrade."""
    server = ScriptedServer().start()
    server.connection(respond(200))
    client = raw_client(server)
    client.request_upgrade()
    assert client.read_all() == b""
    server.close()
    with pytest.raises(AssertionError, match="the client asked for an upgrade"):
        server.check()


# -- faults


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_any_answer(client, framing):
    """Status, headers, body, reason and framing are the test's."""
    with ScriptedServer() as server:
        server.connection(respond(429, {"Retry-After": "7"}, {"error": {}}, "Slow down", framing))
        connection = client(server)
        connection.request("POST", PATH, b"{}")
        with connection.getresponse() as response:
            assert (response.status, response.reason) == (429, "Slow down")
            assert response.headers["Retry-After"] == "7"
            assert json.loads(response.read()) == {"error": {}}
        assert (connection.sock is None) == (framing == "close")


def test_a_refusal_takes_the_body_first(client):
    """A large request does not hide the answer behind a reset."""
    with ScriptedServer() as server:
        server.connection(refuse(413, body={"error": {}}))
        assert post(client(server), {"input": "x" * 4_000_000}) == (413, '{"error": {}}')


@pytest.mark.parametrize("last", [eof(), reset(), close()])
def test_a_stream_that_is_cut(client, last):
    """In mid-event, without its last chunk; ``close`` alone ends the body in good order."""
    with ScriptedServer() as server:
        server.connection(expect(), stream_bytes(b"data: {"), mark("half"), gate("go"), last)
        connection = client(server)
        connection.request("POST", PATH, b"{}")
        server.wait_for("half")
        response = connection.getresponse()
        assert response.read1() == b"data: {"
        server.open("go")
        if last == close():
            assert response.read() == b""
        else:
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                response.read()
        response.close()


def test_a_stream_by_hand(client):
    """Its head, its framing and its pieces are the test's."""
    with ScriptedServer() as server:
        server.connection(
            begin_stream({"X-Request-Id": "r1", "Content-Type": "text/plain"}, chunked=False),
            stream_bytes(b"da"),
            stream_bytes(b"ta: 1\r\r"),
            fragments({"type": "x"}, 4),
            end_stream(),
        )
        connection = client(server)
        connection.request("POST", PATH, b"{}")
        with connection.getresponse() as response:
            assert response.headers["X-Request-Id"] == "r1"
            assert response.headers["Content-Type"] == "text/plain"
            assert response.headers["Transfer-Encoding"] is None
            assert response.read() == b'data: 1\r\rdata: {"type": "x"}\n\n'


def test_garbage_for_an_answer(client):
    """Past all HTTP."""
    with ScriptedServer() as server:
        server.connection(raw_handshake(b"what?\r\n\r\n"), raw(b"more"), eof())
        with pytest.raises(http.client.BadStatusLine):
            post(client(server))


def test_no_answer_at_all(client):
    """Until the client leaves."""
    with ScriptedServer() as server:
        server.connection(hang())
        connection = client(server)
        connection.timeout = 0.1
        connection.request("POST", PATH, b"{}")
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()
        assert server.connections[0].gone.wait(10)


def test_a_body_without_its_length(client):
    """The server says so, to the client and to the test."""
    server = ScriptedServer().start()
    server.connection(expect())
    connection = client(server)
    connection.putrequest("POST", PATH)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    assert connection.getresponse().status == 411
    server.close()
    with pytest.raises(AssertionError, match="without Content-Length"):
        server.check()


def test_a_stalled_upload(client):
    """Reading can be held, as for a message."""
    with ScriptedServer() as server:
        held = threading.Event()
        server.connection(
            run(lambda connection: held.wait(10)), expect(input="hi"), send(COMPLETED), expect_gone()
        )
        connection = client(server)
        connection.request("POST", PATH, json.dumps({"input": "hi"}))
        held.set()
        with connection.getresponse() as response:
            assert events(response.read().decode()) == [COMPLETED]
        connection.close()
