"""The model over HTTP, and one memory for both transports."""

from __future__ import annotations

import http.client
import json

import pytest

from responses_ws import WebSocket
from responses_ws.testing import Model, ScriptedServer

PATH = "/v1/responses"
ASK = {"model": "m", "input": "hi"}


class Client:
    """JSON over one HTTP connection."""

    def __init__(self, server: ScriptedServer) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        self.headers: dict[str, str] = {}

    def ask(self, method, path="", body=None):
        self.connection.request(method, PATH + path, None if body is None else json.dumps(body))
        with self.connection.getresponse() as response:
            self.headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, response.read().decode()

    def json(self, method, path="", body=None, status=200):
        given, text = self.ask(method, path, body)
        assert given == status, text
        return json.loads(text)

    def events(self, body):
        status, text = self.ask("POST", "", {**body, "stream": True})
        assert status == 200, text
        return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def server(model):
    with ScriptedServer(model=model) as running:
        yield running


@pytest.fixture
def client(server):
    made = Client(server)
    yield made
    made.connection.close()


def text_of(response):
    return response["output"][0]["content"][0]["text"]


def test_a_stream_has_the_events_of_the_socket(client, server):
    """The same types in the same order, numbered from 0."""
    events = client.events(ASK)
    assert client.headers["content-type"].startswith("text/event-stream")
    assert client.headers["x-request-id"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    with WebSocket("k" * 20, api_base=server.url) as ws, ws.stream(**ASK) as stream:
        assert [chunk.type for chunk in stream] == [event["type"] for event in events]


def test_without_stream_the_answer_is_the_response(client):
    """As JSON."""
    response = client.json("POST", "", ASK)
    assert response["status"] == "completed"
    assert text_of(response) == "You said: hi."


def test_a_conversation_goes_on_over_the_other_transport(client, server):
    """What one stored the other continues."""
    first = client.json("POST", "", ASK)
    with WebSocket("k" * 20, api_base=server.url) as ws:
        second = ws.create_response(model="m", input="and", previous_response_id=first["id"])
    third = client.events({"model": "m", "input": "so", "previous_response_id": second.response_id})
    assert text_of(third[-1]["response"]) == "You said: so. Before that: hi; and."


def test_what_was_not_stored_is_gone(client, server):
    """Over HTTP there is no connection that could hold it."""
    first = client.json("POST", "", {**ASK, "store": False})
    error = client.json("POST", "", {**ASK, "previous_response_id": first["id"]}, 400)["error"]
    assert error["code"] == "previous_response_not_found"
    assert client.json("GET", f"/{first['id']}", status=404)["error"]["param"] == "id"


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"generate": False}, "generate"), ({"stream_id": "a"}, "stream_id"), ({"model": None}, "model")],
)
def test_what_is_refused_has_a_status(client, fields, param):
    """Fields of the socket alone are unknown here."""
    assert client.json("POST", "", {**ASK, **fields, "stream": True}, 400)["error"]["param"] == param


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_at_the_start_is_a_status(client, model, stream):
    """Its headers are headers."""
    model.fail_next("rate_limit_exceeded", 429, headers={"retry-after": "7"})
    error = client.json("POST", "", {**ASK, "stream": stream}, 429)["error"]
    assert error["code"] == "rate_limit_exceeded"
    assert "headers" not in error
    assert client.headers["retry-after"] == "7"


def test_a_failure_later_is_a_flat_event(client, model):
    """And without a stream a status."""
    model.fail_next("server_error", 500, when="created", then_failed=True)
    *_, error, failed = client.events(ASK)
    assert (error["type"], error["code"]) == ("error", "server_error")
    assert "error" not in error
    assert failed["type"] == "response.failed"
    model.fail_next("server_error", 500, when="created")
    assert client.json("POST", "", ASK, 500)["error"]["code"] == "server_error"


@pytest.mark.parametrize("model", [Model(errors="flat")], ids=["flat"])
@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"background": True}])
def test_the_shape_of_errors_is_one_of_the_socket(client, model, fields):
    """Here an error is an object with a status."""
    model.fail_next("rate_limit_exceeded", 429, headers={"retry-after": "7"})
    error = client.json("POST", "", {**ASK, **fields}, 429)["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert client.headers["retry-after"] == "7"


@pytest.mark.parametrize("limit", ["x", "0", "-1", "101"])
def test_a_page_that_there_is_not(client, limit):
    """400, and the connection goes on."""
    response_id = client.json("POST", "", ASK)["id"]
    error = client.json("GET", f"/{response_id}/input_items?limit={limit}", status=400)["error"]
    assert error["param"] == "limit"
    client.json("GET", f"/{response_id}/input_items?limit=100")


def test_what_was_stored_can_be_asked_about(client):
    """And deleted, after which nothing is known of it."""
    response_id = client.json("POST", "", {**ASK, "input": [{"role": "user", "content": "hi"}] * 3})["id"]
    assert client.json("GET", f"/{response_id}")["status"] == "completed"
    listed = client.json("GET", f"/{response_id}/input_items?order=asc&limit=2")
    assert [item["content"] for item in listed["data"]] == ["hi", "hi"]
    assert listed["has_more"] is True
    rest = client.json("GET", f"/{response_id}/input_items?order=asc&after={listed['last_id']}")
    assert (len(rest["data"]), rest["has_more"]) == (1, False)
    newest = client.json("GET", f"/{response_id}/input_items")
    assert newest["first_id"] == rest["last_id"]
    assert client.json("DELETE", f"/{response_id}")["deleted"] is True
    for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")]:
        client.json(method, f"/{response_id}{path}", status=404)
    client.json("POST", "", {**ASK, "previous_response_id": response_id}, 400)


def test_a_background_response_takes_its_time(client, model):
    """It is queued, then in progress, then there."""
    response = client.json("POST", "", {**ASK, "background": True})
    assert (response["status"], response["output"]) == ("queued", [])
    assert client.json("GET", f"/{response['id']}")["status"] == "in_progress"
    finished = client.json("GET", f"/{response['id']}")
    assert finished["status"] == "completed"
    assert text_of(finished) == "You said: hi."
    assert model.creates == 1


def test_a_background_response_can_be_cancelled(client):
    """While it runs; afterwards it stays as it is. Others cannot."""
    response = client.json("POST", "", {**ASK, "background": True})
    for _ in range(2):
        assert client.json("POST", f"/{response['id']}/cancel")["status"] == "cancelled"
    assert client.json("GET", f"/{response['id']}")["status"] == "cancelled"
    ordinary = client.json("POST", "", ASK)
    assert "synchronous" in client.json("POST", f"/{ordinary['id']}/cancel", status=400)["error"]["message"]


def test_a_background_response_that_is_refused(client, model):
    """It never begins."""
    model.fail_next("server_error", 500)
    client.json("POST", "", {**ASK, "background": True}, 500)


def test_a_background_response_is_stored(client):
    """Else nobody could ask for it."""
    error = client.json("POST", "", {**ASK, "background": True, "store": False}, 400)["error"]
    assert error["param"] == "store"


def test_a_background_response_that_fails(client, model):
    """It is there, with what it was given, and cannot be continued."""
    model.fail_next("server_error", 500, when="created", then_failed=True)
    response_id = client.json("POST", "", {**ASK, "background": True})["id"]
    assert client.json("GET", f"/{response_id}")["status"] == "in_progress"
    assert client.json("GET", f"/{response_id}")["status"] == "failed"
    assert client.json("GET", f"/{response_id}/input_items")["data"][0]["content"] == "hi"
    client.json("POST", "", {**ASK, "previous_response_id": response_id}, 400)


def test_a_chain_is_compacted_by_its_last_response(client):
    """Not only what comes with the request."""
    made = client.json("POST", "", {**ASK, "input": "one"})
    body = {"model": "m", "input": "two", "previous_response_id": made["id"]}
    kept = client.json("POST", "/compact", body)["output"][:-1]
    assert [item["content"] for item in kept] == ["one", "two"]
    client.json("POST", "/compact", {"model": "m", "input": 5}, 400)


@pytest.mark.parametrize(("method", "path"), [("DELETE", ""), ("GET", "/r/what"), ("POST", "/r/input_items")])
def test_other_addresses_are_unknown(client, method, path):
    """404, as JSON."""
    assert "Invalid URL" in client.json(method, path, status=404)["error"]["message"]


def test_a_body_that_is_no_json(client):
    """400."""
    client.connection.request("POST", PATH, b"{")
    with client.connection.getresponse() as response:
        assert response.status == 400
