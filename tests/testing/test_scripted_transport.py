"""The transport in memory."""

from __future__ import annotations

import queue
import socket
import threading

import pytest

from responses_ws._transport.base import Connector, Target, Transport, unused
from responses_ws._transport.deadline import Deadline
from responses_ws.errors import ConnectionError, ConnectionLost, ResponseTimeout
from responses_ws.testing import Model, ScriptedConnector, ScriptedTransport

TARGET = Target("wss://api.example/v1/responses")


def in_thread(function, *args):
    """Start it; the queue gets its result or its exception."""
    outcome: queue.SimpleQueue = queue.SimpleQueue()

    def call() -> None:
        try:
            outcome.put(function(*args))
        except BaseException as error:
            outcome.put(error)

    threading.Thread(target=call, daemon=True).start()
    return outcome


def test_it_fits_the_protocols():
    """Both ends have everything that the connection asks for."""
    transport: Transport = ScriptedTransport()
    connector: Connector = ScriptedConnector()
    for needed, given in ((Transport, transport), (Connector, connector)):
        names = {name for name in vars(needed) if not name.startswith("_")}
        assert all(hasattr(given, name) for name in names | set(needed.__annotations__))


def test_delivered_messages_are_received():
    """One delivery is one receive; without messages it is a sign of life; nothing is None."""
    transport = ScriptedTransport({"x-request-id": "r1"})
    transport.deliver({"n": 1}, "two", b"\xff")
    transport.deliver()
    assert transport.receive(None) == [b'{"n": 1}', b"two", b"\xff"]
    assert transport.receive(0) == []
    assert transport.receive(0) is None
    assert transport.receive(0.001) is None
    assert transport.headers == {"x-request-id": "r1"}


def test_the_end_comes_after_what_was_delivered():
    """Everything delivered before is returned, then the error is raised, again and again."""
    transport = ScriptedTransport()
    transport.deliver("last")
    transport.end(ConnectionLost("over", close_code=1011))
    assert transport.receive(None) == [b"last"]
    for _ in range(2):
        with pytest.raises(ConnectionLost) as caught:
            transport.receive(None)
        assert caught.value.close_code == 1011


def test_delivery_wakes_a_waiting_receive():
    """A reader that waits without limit is woken."""
    transport = ScriptedTransport()
    outcome = in_thread(transport.receive, None)
    transport.deliver("here")
    assert outcome.get(timeout=10) == [b"here"]


def test_abort_wakes_a_waiting_receive():
    """An abort ends the reader with a loss that this side made."""
    transport = ScriptedTransport()
    outcome = in_thread(transport.receive, None)
    transport.abort()
    error = outcome.get(timeout=10)
    assert isinstance(error, ConnectionLost)
    assert error.close_code is None


def test_requests_are_recorded():
    """What was sent is decoded, and the callback may answer on the spot."""
    transport = ScriptedTransport(on_send=lambda request: transport.deliver({"echo": request["n"]}))
    transport.send(b'{"n": 1}')
    assert transport.sent == [{"n": 1}]
    assert transport.receive(0) == [b'{"echo": 1}']


def test_the_model_answers_in_memory():
    """The model is a pure generator, so it fits behind a transport too."""
    model = Model()
    memory = model.connect()
    transport = ScriptedTransport(on_send=lambda request: transport.deliver(*model.respond(request, memory)))
    transport.send(b'{"type": "response.create", "model": "m", "input": "hi"}')
    events = transport.receive(0)
    assert b"You said: hi." in events[-1]


def test_a_send_is_held():
    """A blocked send waits until it is let go; meanwhile it says that it is sending."""
    transport = ScriptedTransport()
    transport.block_send()
    outcome = in_thread(transport.send, b"{}")
    transport.wait_for("blocked")
    assert transport.sending
    assert transport.sent == []
    transport.unblock_send()
    assert outcome.get(timeout=10) is None
    assert transport.sent == [{}]
    assert not transport.sending
    transport.send(b'{"n": 2}')
    assert len(transport.sent) == 2


def test_a_held_send_fails():
    """A send that waits can be made to fail: the request did not leave, later ones do."""
    transport = ScriptedTransport()
    transport.block_send()
    outcome = in_thread(transport.send, b"{}")
    transport.wait_for("blocked")
    transport.fail_send(ResponseTimeout("stuck", clock="send", seconds=30))
    assert isinstance(outcome.get(timeout=10), ResponseTimeout)
    transport.send(b'{"n": 2}')
    assert transport.sent == [{"n": 2}]


def test_the_next_send_fails():
    """A failure told before is for the next send, and for no other."""
    transport = ScriptedTransport()
    transport.fail_send(ConnectionLost("gone"))
    with pytest.raises(ConnectionLost):
        transport.send(b"{}")
    transport.send(b'{"n": 2}')
    assert transport.sent == [{"n": 2}]
    assert not transport.sending


def test_abort_ends_a_held_send():
    """An abort wakes a blocked send, and nothing is sent afterwards."""
    transport = ScriptedTransport()
    transport.block_send()
    outcome = in_thread(transport.send, b"{}")
    transport.wait_for("blocked")
    transport.abort()
    assert isinstance(outcome.get(timeout=10), ConnectionLost)
    with pytest.raises(ConnectionLost):
        transport.send(b"{}")
    assert transport.sent == []


def test_calls_are_recorded_in_order():
    """Every call leaves its name; closes their code and reason."""
    transport = ScriptedTransport()
    transport.ping()
    transport.ping()
    transport.close(1007, "bad UTF-8")
    transport.forget()
    transport.abort()
    transport.release()
    assert transport.calls == ["ping", "ping", "close", "forget", "abort", "release"]
    assert transport.pings == 2
    assert transport.closes == [(1007, "bad UTF-8")]


def test_waiting_for_calls():
    """Each wait passes one call; a call that does not come is an error with those that did."""
    transport = ScriptedTransport()
    outcome = in_thread(transport.wait_for, "ping")
    transport.close()
    transport.ping()
    assert outcome.get(timeout=10) is None
    with pytest.raises(AssertionError, match=r"no call of 'ping' came; there were \['close', 'ping'\]"):
        transport.wait_for("ping", timeout=0.01)


def test_a_connector_hands_out_transports():
    """Each attempt is recorded and gives a new transport, prepared by the test."""
    connector = ScriptedConnector(on_connect=lambda transport: transport.deliver("hello"))
    first = connector.connect(TARGET, Deadline(None), unused)
    second = connector.connect(TARGET, Deadline(None), unused)
    assert connector.transports == [first, second]
    assert connector.targets == [TARGET, TARGET]
    assert first.receive(0) == second.receive(0) == [b"hello"]


def test_connecting_fails():
    """Failures are for the next attempts, one each; afterwards it works."""
    connector = ScriptedConnector()
    connector.fail_connect(ConnectionError("one"), ConnectionError("two"))
    for told in ("one", "two"):
        with pytest.raises(ConnectionError, match=told):
            connector.connect(TARGET, Deadline(None), unused)
    connector.connect(TARGET, Deadline(None), unused)
    assert (len(connector.transports), len(connector.targets)) == (1, 3)


def test_connecting_is_held():
    """Blocked attempts wait until they are let go."""
    connector = ScriptedConnector()
    connector.block_connect()
    outcomes = [in_thread(connector.connect, TARGET, Deadline(None), unused) for _ in range(2)]
    for _ in outcomes:
        connector.wait_for("blocked")
    assert connector.transports == []
    connector.unblock_connect()
    assert {outcome.get(timeout=10) for outcome in outcomes} == set(connector.transports)
    connector.connect(TARGET, Deadline(None), unused)


def test_held_connecting_is_aborted():
    """The socket that the holder was told of ends the attempt when it is shut down."""
    connector = ScriptedConnector()
    connector.block_connect()
    held: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    outcome = in_thread(connector.connect, TARGET, Deadline(None), held.put)
    held.get(timeout=10).shutdown(socket.SHUT_RDWR)
    error = outcome.get(timeout=10)
    assert isinstance(error, ConnectionError)
    assert "given up" in str(error)


@pytest.mark.parametrize("seconds", [0.01, 1e-9])
def test_held_connecting_has_its_deadline(seconds):
    """A blocked attempt ends when its time is over."""
    connector = ScriptedConnector()
    connector.block_connect()
    with pytest.raises(ConnectionError, match="within"):
        connector.connect(TARGET, Deadline(seconds), unused)
    connector.unblock_connect()


def test_a_holder_that_refuses():
    """What the holder raises ends the attempt, and no socket stays."""

    def refuse(sock: socket.socket) -> None:
        raise ConnectionError("connecting was given up")

    connector = ScriptedConnector()
    connector.block_connect()
    with pytest.raises(ConnectionError):
        connector.connect(TARGET, Deadline(None), refuse)
