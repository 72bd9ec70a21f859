"""Stored and background responses: what is asked about them over HTTP, and what no answer may pass for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from over_http import ASK, BEGUN, transport
from shell import KEY, Task, completed

from responses_ws import (
    BadRequestError,
    ConfigurationError,
    ConnectionLost,
    Delivery,
    Limits,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ResponseTimeout,
    ServerError,
    Timeouts,
)
from responses_ws.http_transport import HTTPTransport
from responses_ws.testing import (
    Model,
    ScriptedServer,
    eof,
    expect,
    expect_gone,
    expect_request,
    gate,
    hang,
    mark,
    optional,
    raw_handshake,
    respond,
    run,
    send,
)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def model() -> Iterator[ScriptedServer]:
    with ScriptedServer(model=Model()) as server:
        yield server


def test_a_stored_response_can_be_retrieved(model: ScriptedServer) -> None:
    """As the message that it was."""
    with transport(model) as http_transport:
        message = http_transport.create_response(**ASK, max_output_tokens=2)
        found = http_transport.retrieve(str(message.response_id))
    assert found.status == message.status == "incomplete"
    assert (found.content, found.usage, found.output) == (message.content, message.usage, message.output)
    assert (found.incomplete_reason, found.transport) == ("max_output_tokens", "http")


def test_what_a_response_was_given_comes_page_by_page(model: ScriptedServer) -> None:
    """All of it, oldest first."""
    items = [{"role": "user", "content": str(number)} for number in range(250)]
    with transport(model) as http_transport:
        message = http_transport.create_response(model="m", input=items)
        listed = list(http_transport.input_items(str(message.response_id)))
    assert [item["content"] for item in listed] == [item["content"] for item in items]
    assert sum(request.path.endswith("/input_items") for request in model.http_requests) == 3


def test_a_deleted_response_is_gone(model: ScriptedServer) -> None:
    """Whatever is asked about it."""
    with transport(model) as http_transport:
        response_id = str(http_transport.create_response(**ASK).response_id)
        http_transport.delete(response_id)
        for ask in (
            http_transport.delete,
            http_transport.retrieve,
            http_transport.cancel,
            http_transport.poll,
            lambda lost: list(http_transport.input_items(lost)),
        ):
            with pytest.raises(NotFoundError) as caught:
                ask(response_id)
            assert caught.value.request_id


@pytest.mark.parametrize("verb", ["call", "create_response"])
def test_a_background_response_is_polled(model: ScriptedServer, verb: str) -> None:
    """It is there at once without an answer, does not move the chain, and comes by and by."""
    with transport(model) as http_transport:
        payload = {**ASK, "background": True}
        message = (
            http_transport.call(payload) if verb == "call" else http_transport.create_response(**payload)
        )
        assert (message.status, message.content) == ("queued", "")
        assert http_transport.last_response_id is None
        assert http_transport.poll(str(message.response_id), interval=0.001).content == "You said: hi."
    assert model.requests == [{**ASK, "background": True, "stream": False}]


def test_a_background_response_can_be_streamed(model: ScriptedServer) -> None:
    """By who wants its chunks."""
    seen: list[Any] = []
    with transport(model) as http_transport:
        message = http_transport.create_response(**ASK, background=True, on_chunk=seen.append)
        assert message.content == "You said: hi."
        assert http_transport.call({**ASK, "background": True, "stream": True}).content == "You said: hi."
        with http_transport.stream(**ASK, background=True) as stream:
            assert "".join(stream.text).startswith("You said: hi.")
    assert seen
    assert all(request["stream"] for request in model.requests)


def test_a_background_response_can_be_cancelled() -> None:
    """What does not run in the background cannot."""
    with ScriptedServer(model=Model(background_polls=100)) as server, transport(server) as http_transport:
        message = http_transport.create_response(**ASK, background=True)
        assert http_transport.cancel(str(message.response_id)).status == "cancelled"
        assert http_transport.poll(str(message.response_id)).status == "cancelled"
        other = http_transport.create_response(**ASK)
        with pytest.raises(BadRequestError, match="synchronous"):
            http_transport.cancel(str(other.response_id))


def test_polling_ends_with_its_time() -> None:
    """And may be taken up again."""
    with ScriptedServer(model=Model(background_polls=10**6)) as server, transport(server) as http_transport:
        message = http_transport.create_response(**ASK, background=True)
        with pytest.raises(ResponseTimeout) as caught:
            http_transport.poll(str(message.response_id), interval=0.01, timeout=0.05)
    assert (caught.value.seconds, caught.value.response_id) == (0.05, message.response_id)
    assert caught.value.delivery is Delivery.STARTED


def test_a_background_response_that_failed_is_an_error(server: ScriptedServer) -> None:
    """As in a stream; retrieving it is none."""
    failed = {"id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "told to"}}
    server.connection(*[expect_request("GET", "/responses/resp_1"), respond(200, body=failed)] * 2)
    with transport(server) as http_transport:
        assert http_transport.retrieve("resp_1").status == "failed"
        with pytest.raises(ServerError) as caught:
            http_transport.poll("resp_1")
    assert caught.value.response_id == "resp_1"
    assert caught.value.partial is not None


@pytest.mark.parametrize("response_id", ["", None, 7, ".", "..", "half \ud800", "line\nbreak"])
def test_an_id_that_is_none(response_id: Any) -> None:
    """Nothing is asked."""
    fault = "is empty, or no name" if isinstance(response_id, str) else "must be a str, not"
    with pytest.raises(ConfigurationError, match=f"response_id {fault}"):
        HTTPTransport(KEY).retrieve(response_id)


def test_an_id_is_quoted(server: ScriptedServer) -> None:
    """It is opaque text, and never another address."""
    server.connection(expect_request("DELETE", "/responses/..%2Fa%3Fb%20%C3%BC"), respond(204))
    with transport(server) as http_transport:
        http_transport.delete("../a?b ü")


@pytest.mark.parametrize("interval", [0, -1, True, "1", None])
def test_a_bad_interval_is_refused_by_name(interval: Any) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigurationError, match="interval must be a positive number of seconds, not"):
        HTTPTransport(KEY).poll("resp_1", interval=interval)


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([respond(200, body=b"{")], ProtocolError),
        ([respond(200, body=b'{"a": 1}')], ProtocolError),
        ([raw_handshake(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), eof()], ConnectionLost),
        ([respond(200, body=b'{"id": "%b"}' % (b"x" * 2000))], ProtocolError),
    ],
    ids=["no json", "no response", "cut short", "too long"],
)
def test_an_answer_about_a_response_that_is_none(server: ScriptedServer, steps: Any, kind: type) -> None:
    """Errors as everywhere."""
    server.connection(*steps)
    limits = Limits(max_message_bytes=1000)
    with transport(server, limits=limits) as http_transport, pytest.raises(kind):
        http_transport.retrieve("resp_1")


def test_stored_responses_can_be_asked_about_while_another_runs(server: ScriptedServer) -> None:
    """From any thread, on connections of their own."""
    server.connection(expect(), send(*BEGUN), gate("go"), send(completed("resp_1")))
    server.connection(expect_request("GET", "/resp_0"), respond(200, body=completed("resp_0")["response"]))
    with transport(server) as http_transport:
        stream = http_transport.stream(**ASK)
        assert Task(lambda: http_transport.retrieve("resp_0")).result().response_id == "resp_0"
        server.open("go")
        assert stream.message.content == "one"


# -- answers that are not what was asked for

STORED = {"id": "resp_1", "status": "completed", "model": "m", "output": []}
PAGE = {"object": "list", "data": [{"id": "in_1"}], "has_more": True}

VERBS = {
    "retrieve": lambda http_transport: http_transport.retrieve("resp_1"),
    "poll": lambda http_transport: http_transport.poll("resp_1"),
    "cancel": lambda http_transport: http_transport.cancel("resp_1"),
    "delete": lambda http_transport: http_transport.delete("resp_1"),
    "input_items": lambda http_transport: list(http_transport.input_items("resp_1")),
}


def answered(server: ScriptedServer, verb: str, *bodies: Any, **options: Any) -> Any:
    """What a verb makes of these answers, one for each of its requests."""
    server.connection(*[respond(200, {"X-Request-Id": "req_1"}, body) for body in bodies])
    with transport(server, **options) as http_transport:
        return VERBS[verb](http_transport)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "rate_limit_exceeded", "message": "slow"}},
        {"error": {"code": "rate_limit_exceeded"}, "type": "api_error", "id": None},
    ],
)
def test_an_error_with_a_status_of_success_is_an_error(server: ScriptedServer, verb: str, body: Any) -> None:
    """Some gateways have no other status."""
    with pytest.raises(RateLimitError) as caught:
        answered(server, verb, body)
    assert (caught.value.delivery, caught.value.request_id) == (Delivery.REJECTED, "req_1")


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        *[(verb, b"{") for verb in VERBS],
        *[(verb, b"[]") for verb in VERBS],
        *[(verb, b"<html>") for verb in VERBS],
        *[(verb, STORED | {"id": "resp_2"}) for verb in ("retrieve", "poll", "cancel")],
        *[(verb, b"") for verb in ("retrieve", "poll", "cancel", "input_items")],
        ("delete", {"id": "resp_1", "deleted": False}),
        ("delete", {"id": "resp_2", "deleted": True}),
        ("delete", {"status": "ok"}),
        ("input_items", {"object": "list"}),
        ("input_items", {"object": "list", "data": {}}),
        ("input_items", {"object": "list", "data": [], "has_more": True}),
        ("input_items", {"object": "list", "data": [{"role": "user"}], "has_more": True}),
    ],
)
def test_an_answer_that_cannot_be_used(server: ScriptedServer, verb: str, body: Any) -> None:
    """It is no success. The request was sent, and what became of it nobody knows."""
    with pytest.raises(ProtocolError) as caught:
        answered(server, verb, body)
    assert (caught.value.delivery, caught.value.request_id) == (Delivery.UNKNOWN, "req_1")


@pytest.mark.parametrize("body", [b"", {}, {"deleted": True}, {"id": "resp_1", "deleted": True}])
def test_a_deletion_may_be_told_in_few_words(server: ScriptedServer, body: Any) -> None:
    assert answered(server, "delete", body) is None


def test_a_page_that_does_not_name_its_last_item_ends_with_it(server: ScriptedServer) -> None:
    """Nothing of the rest is lost in silence."""
    last = {"object": "list", "data": [{"id": "in_2"}], "has_more": False}
    assert answered(server, "input_items", PAGE, last) == [{"id": "in_1"}, {"id": "in_2"}]
    assert server.http_requests[1].query["after"] == ["in_1"]


def test_pages_that_go_round_in_a_circle_are_left(server: ScriptedServer) -> None:
    """A list without end would never be one."""
    pages = [PAGE | {"last_id": name} for name in ("in_1", "in_2", "in_1")]
    with pytest.raises(ProtocolError):
        answered(server, "input_items", *pages)


def test_an_id_of_input_items_is_looked_at_at_once() -> None:
    """And not with the first of the items."""
    with pytest.raises(ConfigurationError, match="response_id"):
        HTTPTransport(KEY).input_items("")


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_response_with_an_error_failed(server: ScriptedServer, status: str) -> None:
    """Whatever its status says; retrieving it is no failure."""
    body = STORED | {"status": status, "error": {"code": "server_error", "message": "told to"}}
    with pytest.raises(ServerError, match="told to") as caught:
        answered(server, "poll", body)
    assert caught.value.response_id == "resp_1"


# -- clocks


def drip(connection: Any) -> None:
    """Send the head of an answer and then, again and again, a byte of its body."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    connection.http.answer(head)
    while not connection.wait(lambda: connection.over, 0.01):
        connection.send_raw(b" ")


@pytest.mark.parametrize(
    ("options", "clock"),
    [({"response_timeout": 0.7}, "response_timeout"), ({"timeouts": Timeouts(total=0.7)}, "total")],
)
@pytest.mark.parametrize("verb", ["retrieve", "input_items", "create"])
def test_an_answer_that_drips_must_be_whole_in_time(
    server: ScriptedServer, options: Any, clock: str, verb: str
) -> None:
    """A byte now and then is no progress that anyone could use."""
    server.connection(optional(expect_request("POST" if verb == "create" else "GET", ""), run(drip)))
    verbs = {**VERBS, "create": lambda http_transport: http_transport.call({**ASK, "background": True})}
    with transport(server, **options) as http_transport, pytest.raises(ResponseTimeout) as caught:
        verbs[verb](http_transport)
    assert (caught.value.clock, caught.value.seconds) == (clock, 0.7)
    assert caught.value.delivery is Delivery.UNKNOWN


@pytest.mark.parametrize("position", ["in the head", "in the body", "connecting"])
def test_the_time_of_polling_bounds_its_requests(server: ScriptedServer, position: str) -> None:
    """And the response is known to run."""
    if position == "connecting":
        server = ScriptedServer(tls=True).start()
    steps = {
        "in the head": [optional(expect_request("GET", "resp_1"), expect_gone())],
        "in the body": [optional(expect_request("GET", "resp_1"), run(drip))],
        "connecting": [hang(read=False)],
    }[position]
    server.connection(*steps)
    with transport(server) as http_transport, pytest.raises(ResponseTimeout) as caught:
        http_transport.poll("resp_1", timeout=0.2)
    server.close()
    error = caught.value
    assert (error.clock, error.seconds, error.response_id) == ("total", 0.2, "resp_1")
    assert error.delivery is Delivery.STARTED


def test_polling_leaves_the_other_clocks_alone(server: ScriptedServer) -> None:
    """What is too slow for one look is told as that."""
    server.connection(expect_request("GET", "resp_1"), expect_gone())
    with transport(server, response_timeout=0.1) as http_transport, pytest.raises(ResponseTimeout) as caught:
        http_transport.poll("resp_1", timeout=60)
    assert (caught.value.clock, caught.value.seconds) == ("response_timeout", 0.1)


# -- close


def test_close_ends_a_request_about_a_response(server: ScriptedServer) -> None:
    """It is on a connection of its own."""
    server.connection(expect_request("GET", "resp_1"), mark("asked"), expect_gone())
    with transport(server) as http_transport:
        task = Task(http_transport.retrieve, "resp_1")
        server.wait_for("asked")
        http_transport.close()
        assert isinstance(task.error(), ConnectionLost)
