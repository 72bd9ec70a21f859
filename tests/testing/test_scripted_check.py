"""What a test hears when the client, or the test, did something else than the script."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from websockets.frames import Opcode

from responses_ws.testing import (
    Model,
    ScriptedServer,
    close,
    deaf,
    delay,
    eof,
    expect,
    expect_close,
    expect_gone,
    expect_ping,
    expect_pong,
    gate,
    mark,
    optional,
    ping,
    read_bytes,
    repeat,
    reset,
    run,
    send,
    serve,
    silence,
)
from responses_ws.testing import server as server_module


def leave(client) -> None:
    """Go without a word."""
    client.close()


def leave_politely(client) -> None:
    client.send_close()
    client.read_all()


def answer_close(client) -> None:
    """Leave when the server wants to: its close frame has a code and no reason."""
    client.read(4)
    leave_politely(client)


def stay(client) -> None:
    """Do nothing; the server closes first."""


def read_on(client) -> None:
    with contextlib.suppress(ConnectionResetError):
        client.read_all()


def say(*messages: bytes, then=stay):
    def say_all(client) -> None:
        for message in messages:
            client.send(message)
        then(client)

    return say_all


def send_unmasked(client) -> None:
    client.send(b"{}", masked=False)
    client.read_all()


def send_bad_text(client) -> None:
    client.send(b"\xff")
    client.read_all()


def send_binary(client) -> None:
    client.send(b"{}", Opcode.BINARY)
    client.read_all()


def fail(connection) -> None:
    raise KeyError("lost")


def fail_like_pytest(connection) -> None:
    pytest.fail("not like this")


@pytest.mark.parametrize(
    ("steps", "behaviour", "told"),
    [
        ([expect(input="hi")], stay, "connection 1: not played: Expect(match={'input': 'hi'})"),
        ([expect(input="hi")], say(b'{"input": "ho"}'), "input: expected 'hi', got 'ho'"),
        ([expect(input="hi")], say(b'{"n": 1}'), "input: missing"),
        ([expect(lambda message: False)], say(b"{}"), "message: <lambda> is not true of {}"),
        ([expect()], say(b"not json"), "a message came that is not JSON"),
        ([expect()], say(b"[1]"), "a message came that is no JSON object"),
        ([expect()], send_binary, "a binary message came"),
        ([expect()], leave, "step 1 of 1 Expect(match={}): the client was gone (its TCP connection ended)"),
        ([expect()], leave_politely, "the client was gone (it sent a close frame with code 1000)"),
        ([expect(), expect_gone()], leave, "not played: Expect(match={}), ExpectGone()"),
        ([gate("g"), send("x")], leave_politely, "not played: Gate(name='g'), Send(events=('x',))"),
        ([expect_ping()], stay, "not played: ExpectPing()"),
        ([ping(b"a"), expect_pong(b"b")], stay, "not played: ExpectPong(data=b'b')"),
        ([expect_close()], leave, "the client ended the TCP connection without a close frame"),
        ([expect_close(1001)], leave_politely, "the client closed with 1000, not 1001"),
        ([expect_gone()], stay, "not played: ExpectGone()"),
        ([read_bytes(99)], leave, "step 1 of 1 ReadBytes(count=99): the client was gone"),
        ([serve(Model(), turns=1)], leave, "step 1 of 1 Serve("),
        ([serve(Model(), turns=1), expect_gone()], leave, "step 1 of 2 Serve("),
        ([serve()], stay, "there is no model to serve"),
        ([repeat(2, expect())], say(b"{}"), "not played: Expect(match={})"),
        ([expect(), repeat(999, send("x"))], stay, "Send(events=('x',)) and 992 more"),
        ([delay(600)], stay, "not played: Delay(seconds=600)"),
        ([send("x")], say(b"{}"), "after its last step: a message came after the end of the script"),
        ([run(fail)], stay, "KeyError: 'lost'"),
        ([run(fail_like_pytest)], stay, "not like this"),
        ([optional(expect(n=1))], say(b"{}"), "n: missing"),
        ([expect()], send_unmasked, "the client broke RFC 6455"),
        ([expect()], send_bad_text, "the client broke RFC 6455: a text message is not UTF-8"),
    ],
)
def test_a_report_names_what_went_wrong(raw_client, steps, behaviour, told):
    """The report has the connection, the step, the reason and what was not played."""
    server = ScriptedServer().start()
    server.connection(*steps)
    client = raw_client(server)
    client.upgrade()
    behaviour(client)
    server.close()
    with pytest.raises(AssertionError) as caught:
        server.check()
    assert told in str(caught.value)
    assert str(caught.value).startswith("the scripted server saw something else:\n- connection 1")


@pytest.mark.parametrize(
    ("steps", "behaviour"),
    [
        ([], stay),
        ([], leave),
        ([], leave_politely),
        ([expect_gone()], leave),
        ([expect_gone()], leave_politely),
        ([expect_close()], leave_politely),
        ([send(*["x" * 100_000] * 300), mark("m"), expect_gone()], leave),
        ([send(*["x" * 100_000] * 300), ping(), optional(expect()), expect_close()], leave_politely),
        ([ping(), send("x"), reset()], read_on),
        ([optional(expect(), send("x"))], stay),
        ([optional(expect(), send("x"))], leave),
        ([optional(serve(Model(), 1))], leave),
        ([optional(gate("never")), expect_gone()], leave),
        ([optional(gate("never")), optional(gate("never")), expect_gone()], leave),
        ([optional(optional(mark("m")), gate("never")), expect_gone()], leave),
        ([silence()], stay),
        ([silence()], leave),
        ([serve(Model())], leave),
        ([serve(Model())], stay),
        ([close()], stay),
        ([deaf(), eof()], leave),
        ([expect(), close(1000)], say(b"{}", then=answer_close)),
    ],
)
def test_nothing_is_reported_when_all_went_as_scripted(raw_client, steps, behaviour):
    """Scripts that are over, that expect the client to leave, or that need not end, are no fault."""
    with ScriptedServer() as server:
        server.connection(*steps)
        client = raw_client(server)
        client.upgrade()
        behaviour(client)


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [(leave, "its TCP connection ended"), (leave_politely, "it sent a close frame with code 1000")],
)
def test_sending_to_a_client_that_has_left(raw_client, behaviour, told):
    """A send after the client left is told, unless a later step expects the leaving."""
    server = ScriptedServer().start()
    server.connection(gate("left"), send("x"))
    server.connection(gate("left"), send("x"), expect_gone())
    for _ in range(2):
        client = raw_client(server)
        client.upgrade()
        behaviour(client)
    server.open("left")
    server.close()
    with pytest.raises(AssertionError) as caught:
        server.check()
    assert f"connection 1, step 2 of 2 Send(events=('x',)): the client was gone ({told})" in str(caught.value)
    assert "connection 2" not in str(caught.value)


def test_a_script_that_nobody_came_for():
    """A script that no connection took is told."""
    server = ScriptedServer()
    server.connection(expect(n=1))
    with pytest.raises(AssertionError, match=r"a script without a connection: not played: Expect"), server:
        pass


def test_a_connection_that_nobody_expected(raw_client):
    """Without script and model a connection is refused, and told."""
    server = ScriptedServer().start()
    client = raw_client(server)
    head = client.upgrade()
    assert head.startswith(b"HTTP/1.1 500 ")
    assert client.read_all() == b"no script for this connection"
    server.close()
    with pytest.raises(AssertionError, match=r"connection 1.*was not expected"):
        server.check()


def test_the_client_is_told_too(raw_client):
    """A client whose message does not match gets a close frame with 1011 and no silence."""
    server = ScriptedServer().start()
    server.connection(expect(n=1))
    client = raw_client(server)
    client.upgrade()
    client.send(b"{}")
    assert client.read_all()[2:] == b"\x03\xf3the script was not followed"
    server.close()


def test_the_exception_of_the_test_code_is_the_cause(raw_client):
    """What a function of the test raised is chained to the report."""
    server = ScriptedServer().start()
    server.connection(run(fail))
    raw_client(server).upgrade()
    server.close()
    with pytest.raises(AssertionError, match="fail") as caught:
        server.check()
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_flying_exception_is_not_replaced():
    """Leaving the block by an exception closes the server and keeps the exception."""
    server = ScriptedServer()
    server.connection(expect())
    with pytest.raises(ZeroDivisionError), server:
        _ = 1 / 0


def test_waiting_for_a_mark_ends_with_a_failing_script(raw_client):
    """A wait does not go on when the script has failed; it raises the report."""
    server = ScriptedServer().start()
    server.connection(expect(n=1), mark("m"))
    client = raw_client(server)
    client.upgrade()
    client.send(b"{}")
    with pytest.raises(AssertionError, match="the mark 'm' was not reached\n- connection 1, step 1 of 2"):
        server.wait_for("m", timeout=None)
    server.close()


def test_waiting_for_a_mark_is_bounded():
    """A mark that does not come raises after the seconds given."""
    with ScriptedServer() as server, pytest.raises(AssertionError, match="'m' was not reached"):
        server.wait_for("m", timeout=0.01)


def test_code_of_the_test_that_holds_a_thread(raw_client, monkeypatch):
    """A function that does not return cannot hold the test; it is told by the name of its thread."""
    monkeypatch.setattr(server_module, "CLOSE_SECONDS", 0.05)
    let_go = threading.Event()
    server = ScriptedServer().start()
    server.connection(run(lambda connection: let_go.wait(20)))
    raw_client(server).upgrade()
    server.close()
    with pytest.raises(AssertionError, match="testing connection 1 did not end: code of the test holds it"):
        server.check()
    let_go.set()


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (b"GET /v1/responses HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 426 Upgrade Required\r\n"),
        (b"PUT /v1/responses HTTP/1.1\r\nHost: h\r\n\r\n", b""),
        (b"\x16\x03\x01\r\n\r\n", b""),
    ],
)
def test_what_is_no_upgrade(raw_client, head, answer):
    """A request that asks for no WebSocket is told."""
    server = ScriptedServer().start()
    server.connection(send("x"))
    client = raw_client(server)
    client.sock.sendall(head)
    assert client.read_all().startswith(answer)
    server.close()
    with pytest.raises(AssertionError, match="no WebSocket upgrade"):
        server.check()


def test_a_client_without_tls(raw_client):
    """A client that speaks plainly to a TLS server is told and recorded."""
    server = ScriptedServer(tls=True).start()
    server.connection(send("x"))
    client = raw_client(server, tls=False)
    client.request_upgrade()
    with contextlib.suppress(ConnectionResetError):
        client.read_all()
    assert server.connections[0].gone.wait(10)
    assert server.connections[0].ended == "tls"
    server.close()
    with pytest.raises(AssertionError, match="the client was gone"):
        server.check()


def test_a_client_that_corrupts_tls(raw_client):
    """A record that does not decrypt is a fault of the client, also where a model answers."""
    server = ScriptedServer(tls=True, model=Model()).start()
    client = raw_client(server)
    client.upgrade()
    with socket.socket(fileno=client.sock.detach()) as sock:
        sock.sendall(b"\x17\x03\x03\x00\x20" + b"?" * 32)
        assert server.connections[0].gone.wait(10)
    assert server.connections[0].ended == "tls"
    server.close()
    with pytest.raises(AssertionError, match="the client broke TLS"):
        server.check()


def test_a_report_is_short(raw_client):
    """A script with megabytes in its steps does not print them."""
    server = ScriptedServer().start()
    server.connection(expect(), send("x" * 10_000_000))
    raw_client(server).upgrade()
    server.close()
    with pytest.raises(AssertionError) as caught:
        server.check()
    assert len(str(caught.value)) < 1000
