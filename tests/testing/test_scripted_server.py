"""The scripted server, seen by conforming clients."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import threading
from functools import partial

import pytest
import websocket
from websockets.frames import Opcode
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


def test_a_script_is_played_to_websocket_client(server):
    """websocket-client gets what the script sends."""
    server.connection(expect(input="hi"), send({"n": 1}), close(1001, "enough"))
    options = {"context": server.ssl_context} if server.ssl_context else {}
    client = websocket.create_connection(f"{server.url}/responses", sslopt=options, timeout=10)
    client.send(CREATE)
    assert client.recv() == '{"n": 1}'
    assert client.recv_data() == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xe9enough")
    client.shutdown()


def test_a_script_is_played_to_websockets():
    """The threaded client of websockets gets what the script sends."""
    with ScriptedServer() as server:
        server.connection(
            ping(b"p"), expect_pong(b"p"), expect(n=1), send({"n": 1}, "two"), expect_close(1000)
        )
        with connect(f"{server.url}/responses") as client:
            client.send('{"n": 1}')
            assert [client.recv(timeout=10) for _ in range(2)] == ['{"n": 1}', "two"]


def test_a_script_is_played(server, dial):
    """Objects go out as JSON, text as it is, all in UTF-8."""
    server.connection(expect(input="hi"), send({"n": 1}, "two", {"n": "drei\u00e9"}), expect_close(1000))
    with dial(server) as client:
        client.send(CREATE)
        assert [client.recv() for _ in range(3)] == ['{"n": 1}', "two", '{"n": "drei\u00e9"}']


def test_connections_take_scripts_in_order(server, dial):
    """Each connection plays the next script."""
    for name in ("first", "second"):
        server.connection(send(name))
    heard = []
    for _ in range(2):
        with dial(server) as client:
            heard.append(client.recv())
    assert heard == ["first", "second"]
    assert [record.number for record in server.connections] == [1, 2]


def test_binary_and_fragments(server, dial):
    """Binary messages and fragments, cut inside a character, arrive whole."""
    between = [ping(b"p"), expect_pong(b"p")]
    server.connection(send_binary(b"\x00\x01"), fragments("\u00e9" * 10, size=3, between=between))
    with dial(server) as client:
        assert client.recv() == b"\x00\x01"
        assert client.recv() == "\u00e9" * 10
    sent = [entry for entry in server.log if (entry.direction, entry.kind) == ("out", "text")]
    assert [(entry.frames, entry.text) for entry in sent] == [(7, "\u00e9" * 10)]
    assert [entry.kind for entry in server.log].count("ping") == 6


def test_one_fragment_is_one_frame(server, dial):
    """A message no longer than a fragment, also an empty one, is a single frame."""
    server.connection(fragments("abc", size=3), fragments("", size=3))
    with dial(server) as client:
        assert [client.next_frame(1).fin, client.next_frame(1).fin] == [True, True]


def test_pings_are_answered_while_a_script_waits(server, dial):
    """A server that waits in a gate goes on answering pings."""
    server.connection(gate("end"), expect_ping())
    with dial(server) as client:
        client.ping(b"there?")
        server.open("end")


@pytest.mark.parametrize("code", [1000, 1011, 4402])
def test_server_closes(server, dial, server_closed, code):
    """The client gets the code and the reason, and its own close frame is recorded."""
    server.connection(close(code, "because"))
    with dial(server) as client:
        with pytest.raises(server_closed) as caught:
            client.recv()
        assert caught.value.args == (code, "because")
    assert server.connections[0].gone.wait(10)
    assert server.connections[0].ended == "close"
    assert server.connections[0].close_code == code


def test_client_closes(server, dial):
    """A client's close frame is answered, and its code and reason are recorded."""
    server.connection(expect_close(3001))
    with dial(server) as client:
        client.close(3001, "tired")
    record = server.connections[0]
    assert record.gone.wait(10)
    assert (record.close_code, record.close_reason, record.ended) == (3001, "tired", "close")


@pytest.mark.parametrize(("payload", "code"), [(b"\x03\xe9", 1001), (b"", 1005)])
def test_client_closes_between_two_fragments(server, raw_client, payload, code):
    """A close frame may come in the middle of a message (RFC 6455, 5.4), with or without a code."""
    server.connection(expect_close(code))
    client = raw_client(server)
    client.upgrade()
    client.send(b"half", fin=False)
    client.send_close(payload)
    client.read_all()
    client.close()
    assert server.connections[0].gone.wait(10)
    assert server.connections[0].close_code == code
    assert [entry.close_code for entry in server.log if (entry.direction, entry.kind) == ("in", "close")] == [
        code
    ]


def test_client_says_goodbye_in_tls_only(raw_client):
    """The end of TLS without a close frame is an end of the TCP connection."""
    with ScriptedServer(tls=True) as server:
        server.connection(expect_gone())
        client = raw_client(server)
        client.upgrade()
        with contextlib.suppress(ssl.SSLEOFError):  # the server's answer, which it owes nobody
            client.sock.unwrap()
        assert server.connections[0].gone.wait(10)
        assert server.connections[0].ended == "eof"


def test_pongs_with_other_data_are_passed_over(server, raw_client):
    """A client may answer several pings by the last one alone (RFC 6455, 5.5.3), or send a pong unasked."""
    server.connection(expect_pong(b"b"), send("seen"), expect_pong(), send("another"), expect_gone())
    client = raw_client(server)
    client.upgrade()
    for data in (b"a", b"b", b"c"):
        client.send(data, Opcode.PONG)
    assert client.read(15) == b"\x81\x04seen\x81\x07another"
    client.close()


def test_gates_and_marks_order_threads(server, dial):
    """A mark tells the test where the script is, and a gate holds it there."""
    server.connection(expect(), mark("asked"), gate("answer"), send("late"))
    with dial(server) as client:
        client.send(CREATE)
        server.wait_for("asked")
        assert [entry.kind for entry in server.log if entry.direction == "out"] == ["handshake"]
        server.open("answer")
        assert client.recv() == "late"


def test_a_wait_for_a_mark_is_woken(server, dial):
    """A thread that waits without limit goes on when the script comes to the mark."""
    woken = threading.Event()

    def wait() -> None:
        server.wait_for("m", timeout=None)
        woken.set()

    server.connection(gate("go"), mark("m"))
    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    with dial(server):
        server.open("go")
        assert woken.wait(10)
    waiter.join(10)


def test_a_gate_may_be_opened_before(server, dial):
    """A gate that is open already holds nobody, on any connection."""
    server.open("g")
    server.connection(repeat(2, gate("g")), send("1"))
    server.connection(gate("g"), send("2"))
    for text in ("1", "2"):
        with dial(server) as client:
            assert client.recv() == text


def test_repeat(server, dial):
    """Steps can be played several times."""
    server.connection(repeat(3, expect(), send("again")))
    with dial(server) as client:
        for _ in range(3):
            client.send(CREATE)
            assert client.recv() == "again"


def test_run_gets_the_connection(server, dial):
    """A function of the test may talk on the connection itself."""

    def answer(connection):
        connection.send({"echo": connection.receive()["input"], "path": connection.record.path})

    server.connection(run(answer))
    with dial(server) as client:
        client.send(CREATE)
        assert json.loads(client.recv()) == {"echo": "hi", "path": "/v1/responses"}


def test_delay_lets_the_script_go_on(server, dial):
    """After a delay comes the next step."""
    server.connection(delay(0.001), send("done"))
    with dial(server) as client:
        assert client.recv() == "done"


def test_requests_and_log_hold_all_traffic(server, dial):
    """Requests are the JSON objects in order; the log has every message with its direction."""
    server.connection(expect(), expect(), send("bye"), expect_close())
    with dial(server) as client:
        client.send('{"input": "hi", "n": 1}')
        client.send_fragments('{"input":', ' "hi",', ' "n": 2}')
        assert client.recv() == "bye"
    assert [request["n"] for request in server.requests] == [1, 2]
    assert [(entry.direction, entry.kind, entry.frames) for entry in server.log][:7] == [
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


def test_nothing_is_recorded_where_it_would_fill_the_memory(dial):
    """A server for load keeps neither messages nor requests."""
    with ScriptedServer(record=False) as server:
        server.connection(expect(input="hi"), send("x"))
        with dial(server) as client:
            client.send(CREATE)
            assert client.recv() == "x"
    assert (server.log, server.requests) == ([], [])


def test_the_upgrade_is_recorded(server, raw_client):
    """The record has the path with its query and the headers in lower case; a repr has neither."""
    server.connection(expect_gone())
    client = raw_client(server)
    client.upgrade(
        "/v1/responses?model=m", "Authorization: Bearer sentinel\r\nX-Twice: a\r\nX-TWICE:  b \r\n"
    )
    (record,) = server.connections
    client.close()
    assert record.path == "/v1/responses?model=m"
    assert record.headers["authorization"] == "Bearer sentinel"
    assert record.headers["x-twice"] == "a, b"
    assert "sentinel" not in repr(server.connections) + repr(server.log)


def test_a_client_may_leave_where_steps_are_optional(server, dial):
    """Optional steps are played as far as the client stays."""
    server.connection(send("one"), optional(gate("never"), send("two"), expect()), expect_gone())
    with dial(server) as client:
        assert client.recv() == "one"


def test_optional_steps_are_played_while_the_client_stays(server, dial):
    """Optional steps are steps like others for a client that stays."""
    server.connection(optional(expect(), repeat(2, send("yes"))), send("end"))
    with dial(server) as client:
        client.send(CREATE)
        assert [client.recv() for _ in range(3)] == ["yes", "yes", "end"]


def test_a_server_that_closes_says_so(server, dial, server_closed):
    """A client that is idle when the server closes gets a close frame with 1001."""
    server.connection(send("hello"))
    with dial(server) as client:
        assert client.recv() == "hello"
        server.close()
        with pytest.raises(server_closed) as caught:
            client.recv()
    assert caught.value.code == 1001


def test_what_came_before_closing_counts(server, raw_client):
    """Messages and leavings that reached the server before it is closed are still played."""
    server.connection(gate("late"), expect(n=1), expect(n=2), mark("both"), expect_gone())
    client = raw_client(server)
    client.upgrade()
    client.send(b'{"n": 1}')
    client.send(b'{"n": 2}')
    client.close()
    server.open("late")
    server.close()
    server.check()
    server.wait_for("both", timeout=0)


def test_many_connections_at_once(dial):
    """Connections are served in parallel."""
    together = threading.Barrier(8, timeout=20)
    with ScriptedServer() as server, contextlib.ExitStack() as stack:
        for _ in range(8):
            server.connection(expect(), run(lambda connection: together.wait()), send("all here"))
        clients = [stack.enter_context(dial(server)) for _ in range(8)]
        for client in clients:
            client.send(CREATE)
        assert [client.recv() for client in clients] == ["all here"] * 8


def test_large_messages_both_ways_at_once(server, dial):
    """A server that sends to a client that sends blocks neither."""
    big = "x" * 8_000_000
    server.connection(send(big), expect(input=lambda text: len(text) == len(big)))
    with dial(server) as client:
        client.send(json.dumps({"input": big}))
        assert client.recv() == big


def test_tls_is_trusted_through_the_context_and_the_file(raw_client):
    """Both ways of trusting the throw-away authority work; without either the client refuses."""
    with ScriptedServer(tls=True) as server:
        assert server.url.startswith("wss://127.0.0.1:")
        for context in (server.ssl_context, ssl.create_default_context(cafile=server.ca_file)):
            server.connection(expect_gone())
            with context.wrap_socket(raw_client(server, tls=False).sock, server_hostname="localhost"):
                pass
        server.connection(expect_gone())
        with pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(
                raw_client(server, tls=False).sock, server_hostname="localhost"
            )
        path = server.ca_file
    assert not os.path.exists(path)


def test_without_tls_there_is_no_context():
    """A plain server offers neither context nor file."""
    with ScriptedServer() as server:
        assert server.url.startswith("ws://127.0.0.1:")
        assert (server.ssl_context, server.ca_file) == (None, None)


def test_a_chosen_port():
    """The port can be chosen; one that is taken is an error at the start."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            ScriptedServer(port=port).start()
    with ScriptedServer(port=port) as server:
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


def test_scripts_may_be_given_before_the_start(dial):
    """A script given to a server that does not run yet is played later."""
    server = ScriptedServer()
    server.connection(send("early"))
    with server, dial(server) as client:
        assert client.recv() == "early"


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


@pytest.mark.parametrize("port", [65536, -1, "8080", True])
def test_a_port_that_there_is_not_is_refused(port):
    """When the server is made, and nothing stays open."""
    with pytest.raises(ValueError, match="port must be a number from 0 to 65535"):
        ScriptedServer(port=port)


@pytest.mark.parametrize("step", [expect, [expect()], None, {"type": "response.created"}])
def test_what_is_no_step_is_refused(step):
    """Where it was given."""
    with pytest.raises(TypeError, match="a script is made of steps, such as expect"):
        ScriptedServer().connection(expect(), step)


@pytest.mark.parametrize("step", [expect, [expect()], None, {"type": "response.created"}])
def test_what_is_no_step_is_refused_inside_of_another(step):
    """Where it was given, too."""
    for wrap in (partial(repeat, 2), optional, lambda step: fragments("text", 2, between=[step])):
        with pytest.raises(TypeError, match="a script is made of steps, such as expect"):
            wrap(step)
