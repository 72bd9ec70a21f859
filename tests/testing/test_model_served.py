"""The model behind the scripted server."""

from __future__ import annotations

import json
import socket
import ssl
import threading

import pytest
import websocket
from shell import until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from responses_ws.testing import Model, ScriptedServer, expect, expect_gone, reset, send, serve


def create(given, **fields) -> str:
    return json.dumps({"type": "response.create", "model": "m", "input": given, **fields})


def answer(recv) -> dict:
    """Read to the terminal event; the response of it, or the event itself when it has none."""
    while True:
        event = json.loads(recv())
        if event["type"] in ("response.completed", "response.failed", "error"):
            return event.get("response", event)


def text(response: dict) -> str:
    return response["output"][0]["content"][0]["text"]


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request):
    with ScriptedServer(tls=request.param, model=Model()) as server:
        yield server


def test_connections_share_what_is_stored(server, dial):
    """A chain goes on over another connection when it was stored, and only then."""
    with dial(server) as client:
        client.send(create("one"))
        stored = answer(client.recv)
        client.send(create("two", store=False, previous_response_id=stored["id"]))
        unstored = answer(client.recv)
    with dial(server) as client:
        client.send(create("three", previous_response_id=unstored["id"]))
        assert answer(client.recv)["error"]["code"] == "previous_response_not_found"
        client.send(create("three", previous_response_id=stored["id"]))
        assert text(answer(client.recv)) == "You said: three. Before that: one."
    assert server.model.creates == len(server.requests) == 4


def test_requests_queue_on_a_connection(server, dial):
    """Requests sent at once are answered one after the other."""
    with dial(server) as client:
        client.send(create("one"))
        client.send(create("two"))
        assert [text(answer(client.recv)) for _ in range(2)] == ["You said: one.", "You said: two."]


def test_independent_clients_are_answered():
    """websockets and websocket-client both hold a conversation with the model."""
    with ScriptedServer(model=Model()) as server:
        with connect(server.url + "/responses") as client:
            client.send(create("hi"))
            assert text(answer(lambda: client.recv(timeout=10))) == "You said: hi."
        other = websocket.create_connection(server.url + "/responses", timeout=10)
        other.send(create("hi"))
        assert text(answer(other.recv)) == "You said: hi."
        other.close()


def test_clients_in_parallel(dial):
    """Eight conversations at once stay apart."""
    with ScriptedServer(model=Model()) as server:
        chains: dict[int, str] = {}

        def talk(number: int) -> None:
            with dial(server) as client:
                previous = None
                for turn in range(5):
                    client.send(create(f"{number}-{turn}", previous_response_id=previous, store=False))
                    response = answer(client.recv)
                    previous = response["id"]
                chains[number] = text(response)

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    for number in range(8):
        before = "; ".join(f"{number}-{turn}" for turn in range(4))
        assert chains[number] == f"You said: {number}-4. Before that: {before}."


def test_the_age_limit_ends_the_connection(dial, server_closed):
    """After the error the server closes; a new connection is served."""
    with ScriptedServer(model=Model(max_age=1)) as server:
        for _ in range(2):
            with dial(server) as client:
                client.send(create("hi"))
                assert answer(client.recv)["status"] == "completed"
                client.send(create("hi"))
                assert answer(client.recv)["error"]["code"] == "websocket_connection_limit_reached"
                with pytest.raises(server_closed) as caught:
                    client.recv()
                assert caught.value.code == 1000


def test_a_script_hands_over_to_the_model(server, dial):
    """A connection may be served for some turns and then fail; its memory lasts as long as it."""
    server.connection(serve(turns=1), serve(turns=1), expect(input="three"), send({"type": "x"}), reset())
    client = dial(server)
    client.send(create("one", store=False))
    first = answer(client.recv)
    client.send(create("two", store=False, previous_response_id=first["id"]))
    assert text(answer(client.recv)) == "You said: two. Before that: one."
    client.send(create("three"))
    assert client.recv() == '{"type": "x"}'
    with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
        client.recv()
    client.raw.close()
    with dial(server) as client:
        client.send(create("four"))
        assert text(answer(client.recv)) == "You said: four."


def test_a_model_of_a_script(dial):
    """A script may bring its own model."""
    with ScriptedServer() as server:
        server.connection(serve(Model(lambda items, request: "mine")))
        with dial(server) as client:
            client.send(create("hi"))
            assert text(answer(client.recv)) == "mine"


def test_binary_is_answered(server, dial):
    """A binary message gets an error and the connection goes on."""
    with dial(server) as client:
        client.protocol.send_binary(create("hi").encode())
        client.flush()
        assert answer(client.recv)["error"]["code"] == "invalid_json"
        client.send(create("hi"))
        assert answer(client.recv)["status"] == "completed"


def test_deltas_are_gated(dial):
    """A hook holds the answer between two events."""
    go = threading.Event()

    def hold(event) -> None:
        if event["type"] == "response.output_text.done":
            assert go.wait(10)

    with ScriptedServer(model=Model(before_event=hold)) as server, dial(server) as client:
        client.send(create("hi"))
        while json.loads(client.recv())["type"] != "response.output_text.delta":
            pass
        assert not any(b"output_text.done" in entry.data for entry in server.log)
        go.set()
        assert answer(client.recv)["status"] == "completed"


def test_a_client_may_leave_in_mid_answer(raw_client):
    """A client that leaves while the model speaks is no fault, and the answer is not made."""
    reply = "word " * 200_000
    with ScriptedServer(model=Model(lambda items, request: reply)) as server:
        client = raw_client(server)
        client.upgrade()
        client.send(create("hi").encode())
        client.read(1000)
        client.close()
        assert server.connections[0].gone.wait(20)
    server.check()


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_a_client_may_leave_before_it_asks_for_anything(tls):
    """One who looks whether the port is open, or who was interrupted while it connected."""
    with ScriptedServer(tls=tls, model=Model()) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            if tls:  # it does not trust the certificate
                with pytest.raises(ssl.SSLError):
                    ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")
        until(lambda: [record.gone.is_set() for record in server.connections] == [True])


def test_an_upgrade_of_another_address_is_refused():
    """As a request over HTTP is: it would fail at the service too."""
    with ScriptedServer(model=Model()) as server:
        with pytest.raises(InvalidStatus) as caught:
            connect(server.url + "/response")
        assert caught.value.response.status_code == 404
        with connect(server.url + "/responses?model=m") as client:
            client.send(create("hi"))
            assert text(answer(client.recv)) == "You said: hi."


def test_a_reply_that_raises_is_told(raw_client):
    """An exception in the test's reply function is in the report and closes the connection with 1011."""
    server = ScriptedServer(model=Model(lambda items, request: 1 // 0)).start()
    client = raw_client(server)
    client.upgrade()
    client.send(create("hi").encode())
    assert client.read_all()[2:4] == b"\x03\xf3"
    server.close()
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        server.check()


def test_a_turn_that_the_client_does_not_wait_for(raw_client):
    """A script that wants two turns tells when there was one."""
    server = ScriptedServer(model=Model()).start()
    server.connection(serve(turns=2), expect_gone())
    client = raw_client(server)
    client.upgrade()
    client.send(create("hi").encode())
    while b"response.completed" not in client.sock.recv(65536):
        pass
    client.close()
    server.close()
    with pytest.raises(AssertionError, match="step 1 of 2 Serve"):
        server.check()
