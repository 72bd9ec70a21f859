"""The scripted server, seen by two independent WebSocket clients."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import threading

import pytest
import websocket
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.sync.client import connect

from responses_ws.testing import (
    ScriptedServer,
    close,
    delay,
    expect,
    expect_close,
    expect_gone,
    expect_ping,
    expect_pong,
    fragments,
    gate,
    mark,
    optional,
    ping,
    repeat,
    run,
    send,
    send_binary,
)

CREATE = json.dumps({"type": "response.create", "input": "hi"})


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request):
    with ScriptedServer(tls=request.param) as server:
        yield server


def dial(server: ScriptedServer, **options):
    return connect(f"{server.url}/responses", ssl=server.ssl_context, proxy=None, **options)


def dial_websocket_client(server: ScriptedServer) -> websocket.WebSocket:
    options = {"context": server.ssl_context} if server.ssl_context else {}
    return websocket.create_connection(f"{server.url}/responses", sslopt=options, timeout=10)


def test_a_script_is_played_to_websockets(server):
    """The sync client of websockets gets what the script sends."""
    server.connection(expect(input="hi"), send({"n": 1}, "two", {"n": "drei\u00e9"}), expect_close(1000))
    with dial(server) as client:
        client.send(CREATE)
        assert [client.recv(timeout=10) for _ in range(3)] == ['{"n": 1}', "two", '{"n": "drei\u00e9"}']


def test_a_script_is_played_to_websocket_client(server):
    """websocket-client gets what the script sends."""
    server.connection(expect(input="hi"), send({"n": 1}), close(1001, "enough"))
    client = dial_websocket_client(server)
    client.send(CREATE)
    assert client.recv() == '{"n": 1}'
    assert client.recv_data() == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xe9enough")
    client.shutdown()


def test_connections_take_scripts_in_order(server):
    """Each connection plays the next script."""
    for name in ("first", "second"):
        server.connection(send(name))
    heard = []
    for _ in range(2):
        with dial(server) as client:
            heard.append(client.recv(timeout=10))
    assert heard == ["first", "second"]
    assert [record.number for record in server.connections] == [1, 2]


def test_binary_and_fragments(server):
    """Binary messages and fragments, cut inside a character, arrive whole."""
    server.connection(send_binary(b"\x00\x01"), fragments("\u00e9" * 10, size=3, between=[ping(b"p"), expect_pong(b"p")]))
    with dial(server) as client:
        assert client.recv(timeout=10) == b"\x00\x01"
        assert client.recv(timeout=10) == "\u00e9" * 10
    sent = [entry for entry in server.log if (entry.direction, entry.kind) == ("out", "text")]
    assert [(entry.frames, entry.text) for entry in sent] == [(7, "\u00e9" * 10)]


def test_one_fragment_is_one_frame(server):
    """A message no longer than a fragment, also an empty one, is a single frame."""
    server.connection(fragments("abc", size=3), fragments("", size=3))
    with dial(server) as client:
        assert [client.recv(timeout=10), client.recv(timeout=10)] == ["abc", ""]


def test_pings_are_answered_while_a_script_waits(server):
    """A server that waits in a gate goes on answering pings."""
    server.connection(gate("end"), expect_ping())
    with dial(server) as client:
        assert client.ping(b"there?").wait(10)
        server.open("end")


@pytest.mark.parametrize("code", [1000, 1011, 4402])
def test_server_closes(server, code):
    """The client gets the code and the reason, and its own close frame is recorded."""
    server.connection(close(code, "because"))
    with dial(server) as client:
        with pytest.raises((ConnectionClosedOK, ConnectionClosedError)) as caught:
            client.recv(timeout=10)
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, "because")
    assert server.connections[0].gone.wait(10)
    assert server.connections[0].ended == "close"
    assert server.connections[0].close_code == code


def test_client_closes(server):
    """A client's close frame is answered, and its code and reason are recorded."""
    server.connection(expect_close(3001))
    with dial(server) as client:
        client.close(3001, "tired")
    record = server.connections[0]
    assert record.gone.wait(10)
    assert (record.close_code, record.close_reason, record.ended) == (3001, "tired", "close")


def test_gates_and_marks_order_threads(server):
    """A mark tells the test where the script is, and a gate holds it there."""
    server.connection(expect(), mark("asked"), gate("answer"), send("late"))
    with dial(server) as client:
        client.send(CREATE)
        server.wait_for("asked")
        with pytest.raises(TimeoutError):
            client.recv(timeout=0)
        server.open("answer")
        assert client.recv(timeout=10) == "late"


def test_a_gate_may_be_opened_before(server):
    """A gate that is open already holds nobody, on any connection."""
    server.open("g")
    server.connection(repeat(2, gate("g")), send("1"))
    server.connection(gate("g"), send("2"))
    for text in ("1", "2"):
        with dial(server) as client:
            assert client.recv(timeout=10) == text


def test_repeat(server):
    """Steps can be played several times."""
    server.connection(repeat(3, expect(), send("again")))
    with dial(server) as client:
        for _ in range(3):
            client.send(CREATE)
            assert client.recv(timeout=10) == "again"


def test_run_gets_the_connection(server):
    """A function of the test may talk on the connection itself."""

    def answer(connection):
        connection.send({"echo": connection.receive()["input"], "path": connection.record.path})

    server.connection(run(answer))
    with dial(server) as client:
        client.send(CREATE)
        assert json.loads(client.recv(timeout=10)) == {"echo": "hi", "path": "/v1/responses"}


def test_delay_waits_by_the_clock(server):
    """A delay of no length lets the script go on; pings are answered in it."""
    server.connection(delay(0.001), send("done"))
    with dial(server) as client:
        assert client.recv(timeout=10) == "done"


def test_requests_and_log_hold_all_traffic(server):
    """Requests are the JSON objects in order; the log has every message with its direction."""
    server.connection(expect(), expect(), send("bye"), expect_close())
    with dial(server) as client:
        client.send('{"input": "hi", "n": 1}')
        client.send(iter(['{"input":', ' "hi", "n": 2}']))
        assert client.recv(timeout=10) == "bye"
    assert [request["n"] for request in server.requests] == [1, 2]
    kinds = [(entry.direction, entry.kind, entry.frames) for entry in server.log if entry.kind != "eof"]
    assert kinds == [
        ("in", "handshake", 1),
        ("out", "handshake", 1),
        ("in", "text", 1),
        ("in", "text", 3),
        ("out", "text", 1),
        ("in", "close", 1),
        ("out", "close", 1),
    ]
    assert server.log[2].json == {"input": "hi", "n": 1}
    assert server.log[4].text == "bye"
    assert server.log[5].close_code == 1000
    assert {entry.connection for entry in server.log} == {1}


def test_the_upgrade_is_recorded(server):
    """The record has the path with its query and the headers in lower case."""
    server.connection(expect_gone())
    options = {"additional_headers": [("X-Twice", "a"), ("X-Twice", "b"), ("Authorization", "Bearer sentinel")]}
    with connect(f"{server.url}/responses?model=m", ssl=server.ssl_context, proxy=None, **options):
        record = server.connections[0]
        assert record.path == "/v1/responses?model=m"
        assert record.headers["authorization"] == "Bearer sentinel"
        assert record.headers["x-twice"] == "a, b"
    assert "sentinel" not in repr(server.connections) + repr(server.log)


def test_a_client_may_leave_where_steps_are_optional(server):
    """Optional steps are played as far as the client stays."""
    server.connection(send("one"), optional(gate("never"), send("two"), expect()), expect_gone())
    with dial(server) as client:
        assert client.recv(timeout=10) == "one"


def test_a_server_that_closes_says_so(server):
    """A client that is idle when the server closes gets a close frame with 1001."""
    server.connection(send("hello"))
    with dial(server) as client:
        assert client.recv(timeout=10) == "hello"
        server.close()
        with pytest.raises(ConnectionClosedOK) as caught:
            client.recv(timeout=10)
    assert caught.value.rcvd.code == 1001


def test_what_came_before_closing_counts(server):
    """Messages and leavings that reached the server before it is closed are still played."""
    server.connection(expect(n=1), expect(n=2), mark("both"), expect_gone())
    with dial(server) as client:
        client.send('{"n": 1}')
        client.send('{"n": 2}')
    server.close()
    server.check()
    server.wait_for("both", timeout=0)


def test_many_connections_at_once():
    """Connections are served in parallel."""
    together = threading.Barrier(8, timeout=20)
    with ScriptedServer() as server:
        for _ in range(8):
            server.connection(expect(), run(lambda connection: together.wait()), send("all here"))
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(dial(server)) for _ in range(8)]
            for client in clients:
                client.send(CREATE)
            assert [client.recv(timeout=20) for client in clients] == ["all here"] * 8


def test_large_messages_both_ways_at_once(server):
    """A server that sends while the client sends blocks neither."""
    big = "x" * 8_000_000
    server.connection(send(big), expect(input=lambda text: len(text) == len(big)))
    with dial(server, max_size=None) as client:
        client.send(json.dumps({"input": big}))
        assert client.recv(timeout=20) == big


def test_tls_is_trusted_through_the_context_and_the_file():
    """Both ways of trusting the throw-away authority work; without either the client refuses."""
    with ScriptedServer(tls=True) as server:
        server.connection(send("a"))
        server.connection(send("b"))
        server.connection(expect_gone())
        assert server.url.startswith("wss://127.0.0.1:")
        for context in (server.ssl_context, ssl.create_default_context(cafile=server.ca_file)):
            with connect(f"{server.url}/responses", ssl=context, proxy=None) as client:
                client.recv(timeout=10)
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(f"{server.url}/responses", ssl=ssl.create_default_context(), proxy=None)
        assert server.connections[2].gone.wait(10)
        assert server.connections[2].ended == "tls"
        path = server.ca_file
    assert not os.path.exists(path)


def test_without_tls_there_is_no_context():
    """A plain server offers neither context nor file."""
    with ScriptedServer() as server:
        assert server.url.startswith("ws://127.0.0.1:")
        assert (server.ssl_context, server.ca_file) == (None, None)


def test_a_chosen_port_and_buffer():
    """The port and the size of the receive buffer can be chosen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            ScriptedServer(port=port).start()
    with ScriptedServer(port=port, receive_buffer=4096) as server:
        assert server.port == port


def test_start_once_close_often():
    """A server starts once; closing again does nothing."""
    server = ScriptedServer().start()
    with pytest.raises(RuntimeError):
        server.start()
    server.close()
    server.close()
    with pytest.raises(RuntimeError):
        _ = server.url


def test_scripts_may_be_given_before_the_start():
    """A script given to a server that does not run yet is played later."""
    server = ScriptedServer()
    server.connection(send("early"))
    with server, dial(server) as client:
        assert client.recv(timeout=10) == "early"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: expect(lambda message: True, input="hi"),
        lambda: fragments("x", size=0),
        lambda: close(None, "reason"),
    ],
)
def test_impossible_steps_are_refused(wrong):
    """A step that cannot be played raises where it is written."""
    with pytest.raises((TypeError, ValueError)):
        wrong()
