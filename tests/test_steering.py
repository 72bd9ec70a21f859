"""Input for a response that is already running (``response.steer``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from shell import Event, Task, answer, ask, completed, created, delta, error_event

from responses_ws import ConfigurationError, ConnectionError, ConnectionLost, Delivery, Endpoint, WebSocket
from responses_ws.testing import ScriptedServer, Step, close, expect, gate, mark, read_bytes, send

STEERED = {"reason": "steered"}


@pytest.fixture(params=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=request.param == "wss") as server:
        yield server


def steerable(server: ScriptedServer, **options: Any) -> WebSocket:
    endpoint = Endpoint(f"{server.url}/responses", steering=True)
    return WebSocket("", endpoint=endpoint, ssl_context=server.ssl_context, **options)


def steer_event(kind: str, target: str = "resp_1", steer_id: str | None = "steer_1", **fields: Any) -> Event:
    steer = {"id": steer_id, "previous_response_id": target}
    return {"type": f"response.steer.{kind}", "steer": steer, **fields}


def failed(code: str, target: str = "resp_1", steer_id: str | None = None) -> Event:
    error = {"code": code, "message": "told to", "type": "invalid_request_error"}
    return steer_event("failed", target, steer_id, error=error)


def superseded(response_id: str, status: str = "incomplete") -> Event:
    event = completed(response_id, status, f"response.{status}")
    if status == "incomplete":
        event["response"]["incomplete_details"] = STEERED
    return event


BEGUN: tuple[Step, ...] = (expect(), send(created("resp_1"), delta("one ", "msg_a")))
STEER = expect(type="response.steer", previous_response_id="resp_1", input="shorter")
ACCEPTED = steer_event("accepted")
TWO = answer("resp_2", "two")
NEXT: tuple[Step, ...] = (expect(), send(*answer("resp_3", "three")))
PENDING = steer_event("pending", reason="waiting_for_required_input", required_input=[])


def begin(ws: WebSocket) -> tuple[Any, Iterator[str]]:
    """A stream of which the first piece was read."""
    stream = ws.stream(model="m", input="hi")
    pieces = stream.text
    assert next(pieces) == "one "
    return stream, pieces


@pytest.mark.parametrize("status", ["incomplete", "completed"])
@pytest.mark.parametrize("order", ["accepted before the end", "accepted after the end", "never acknowledged"])
def test_the_successor_is_part_of_the_stream(server, order, status):
    """However the answer and the acknowledgement meet, the turn ends with the successor and not before."""
    end, accepted = superseded("resp_1", status), steer_event("accepted")
    met = {
        "accepted before the end": [accepted, end],
        "accepted after the end": [end, accepted],
        "never acknowledged": [end],
    }
    server.connection(*BEGUN, STEER, send(*met[order], *answer("resp_2", "two")), *NEXT)
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        steer = stream.steer("shorter")
        assert list(pieces) == ["two"]
        assert steer.state == "committed"
        assert (stream.message.content, stream.message.response_id) == ("two", "resp_2")
        (earlier,) = stream.superseded
        assert (earlier.content, earlier.status, earlier.response_id) == ("one ", status, "resp_1")
        assert ws.last_response_id == "resp_2"
        assert ask(ws) == "three"
    assert server.requests[-1]["previous_response_id"] == "resp_2"


def test_nothing_but_its_fields_travels(server):
    """An extra key would be refused."""
    items = [{"role": "user", "content": "shorter"}]
    server.connection(*BEGUN, expect(), send(ACCEPTED, superseded("resp_1"), *TWO))
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        stream.steer(items)
        assert list(pieces) == ["two"]
    sent = {"type": "response.steer", "previous_response_id": "resp_1", "input": items}
    assert server.requests[1] == sent


@pytest.mark.parametrize("early", [True, False])
def test_a_steer_that_failed_leaves_the_response_as_it_was(server, early):
    """Before its end the response goes on; after it the turn ends with what was held back."""
    refusal, end = failed("response_already_completed"), completed("resp_1")
    server.connection(
        *BEGUN,
        STEER,
        send(*([refusal, end] if early else [end, refusal])),
        *NEXT,
    )
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        steer = stream.steer("shorter")
        assert list(pieces) == []
        assert stream.message.status == "completed"
        assert stream.superseded == ()
        assert steer.state == "failed"
        assert (steer.error.code, steer.error.status) == ("response_already_completed", 400)
        assert steer.error.delivery is Delivery.REJECTED
        assert ws.last_response_id == "resp_1"
        assert ask(ws) == "three"


def test_outputs_of_tools_are_wanted_first(server):
    """The turn ends, and the input waits at the service for the request that brings them."""
    server.connection(
        *BEGUN,
        STEER,
        send(ACCEPTED, completed("resp_1"), PENDING),
        *NEXT,
    )
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        steer = stream.steer("shorter")
        assert list(pieces) == []
        assert steer.state == "pending"
        assert steer.id == "steer_1"
        assert ask(ws) == "three"
    assert server.requests[-1]["previous_response_id"] == "resp_1"


def test_several_steers_and_a_steer_of_the_successor(server):
    """Answers come in the order of sending; a successor takes what was accepted before it."""
    server.connection(
        *BEGUN,
        expect(input="a"),
        expect(input="b"),
        send(
            steer_event("accepted", steer_id="s_a"), failed("too_many_pending_steers"), superseded("resp_1")
        ),
        send(created("resp_2"), delta("two ", "msg_b")),
        expect(input="c", previous_response_id="resp_2"),
        send(steer_event("accepted", "resp_2", "s_c"), superseded("resp_2"), *answer("resp_3", "three")),
    )
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        first, second = stream.steer("a"), stream.steer("b")
        assert next(pieces) == "two "
        assert (first.state, first.id, second.state) == ("committed", "s_a", "failed")
        third = stream.steer("c")
        assert list(pieces) == ["three"]
        assert (third.state, third.id) == ("committed", "s_c")
        assert [message.content for message in stream.superseded] == ["one ", "two "]


def test_a_successor_that_never_came_keeps_the_answer_before_it(server):
    """It was whole, so it ends the turn, and the chain goes on from it."""
    failure = failed("successor_creation_failed", steer_id="steer_1")
    server.connection(*BEGUN, STEER, send(ACCEPTED, completed("resp_1"), failure))
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        steer = stream.steer("shorter")
        assert list(pieces) == []
        assert steer.state == "failed"
        assert (stream.message.content, ws.last_response_id) == ("one ", "resp_1")


@pytest.mark.parametrize("cut", [close(1011), send(error_event())], ids=["lost", "error"])
def test_a_successor_that_breaks_is_an_error_and_the_answer_before_it_counts(server, cut):
    """The chain goes on from the answer that was whole."""
    server.connection(
        *BEGUN,
        STEER,
        send(ACCEPTED, completed("resp_1"), created("resp_2"), delta("tw", "msg_b")),
        cut,
    )
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        stream.steer("shorter")
        assert next(pieces) == "tw"
        with pytest.raises(Exception, match=r"1011|told to") as caught:
            list(pieces)
        assert (caught.value.partial.content, caught.value.response_id) == ("tw", "resp_2")
        assert [message.content for message in stream.superseded] == ["one "]
        assert ws.last_response_id == "resp_1"


def test_an_abandoned_response_is_followed_to_the_end_of_its_successor(server):
    """Nothing of either reaches the next answer, which waits for both on the same connection."""
    server.connection(
        *BEGUN,
        STEER,
        send(ACCEPTED, superseded("resp_1")),
        gate("left"),
        send(*TWO),
        *NEXT,
    )
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        stream.steer("shorter")
        stream.close()
        del pieces
        asking = Task(ask, ws)
        server.open("left")
        assert asking.result() == "three"
    assert len(server.connections) == 1


def test_what_is_said_late_of_an_earlier_response_is_dropped(server):
    """It names its response; the one that runs now is not touched."""
    late = [steer_event("accepted", "resp_1", "s"), failed("response_not_active", "resp_1", "s")]
    server.connection(
        expect(), send(*answer("resp_1", "1")), expect(), send(created("resp_2"), *late, completed("resp_2"))
    )
    with steerable(server) as ws:
        ask(ws)
        chunks = [chunk.type for chunk in ws.stream(model="m", input="hi")]
        assert chunks == ["response.created", "response.completed"]


def test_steering_from_another_thread(server):
    """While the first thread waits for the next event."""
    server.connection(*BEGUN, STEER, send(ACCEPTED, superseded("resp_1"), *TWO))
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        reading = Task(list, pieces)
        assert Task(stream.steer, "shorter").result().state in ("sent", "accepted", "committed")
        assert reading.result() == ["two"]


@pytest.mark.parametrize(
    "input", [None, 1, [1], ["x"], {"role": "user"}, "half \ud800", [{"n": float("nan")}]]
)
def test_bad_input_is_refused_and_nothing_is_lost(server, input):
    """The error names it, nothing leaves, and the response goes on."""
    server.connection(*BEGUN, gate("refused"), send(delta("rest", "msg_a"), completed("resp_1")))
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        with pytest.raises(ConfigurationError, match="input"):
            stream.steer(input)
        server.open("refused")
        assert list(pieces) == ["rest"]


def test_a_service_without_steering(server):
    """The error says so before anything leaves, and the response goes on."""
    server.connection(*BEGUN, gate("refused"), send(completed("resp_1")))
    with WebSocket("", api_base=server.url, ssl_context=server.ssl_context) as ws:
        stream, pieces = begin(ws)
        with pytest.raises(ConfigurationError, match="no steering"):
            stream.steer("shorter")
        server.open("refused")
        assert list(pieces) == []


def test_there_must_be_a_running_response(server):
    """Not before it has begun, and not after its end."""
    server.connection(expect(), gate("begin"), send(*answer("resp_1", "1")))
    with steerable(server) as ws:
        stream = ws.stream(model="m", input="hi")
        for _ in range(2):
            with pytest.raises(ConnectionError, match="not begun, or is over") as caught:
                stream.steer("shorter")
            assert caught.value.delivery is Delivery.NOT_SENT
            server.open("begin")
            assert stream.message.content == "1"


def test_a_lost_connection_while_steering(server):
    """The steer raises and so does the stream: what became of the input is not known."""
    server.connection(*BEGUN, read_bytes(100_000), mark("half"), gate("never"))
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        steering = Task(stream.steer, "x" * 10_000_000)
        server.wait_for("half")
        ws.disconnect()
        assert isinstance(steering.error(), ConnectionLost)
        with pytest.raises(ConnectionLost):
            list(pieces)
        server.open("never")


def test_a_steer_over_the_limit_is_refused(server):
    """Like a request."""
    server.connection(*BEGUN, gate("refused"), send(completed("resp_1")))
    with steerable(server) as ws:
        stream, pieces = begin(ws)
        with pytest.raises(ConnectionError, match="input"):
            stream.steer("x" * 16 * 1024 * 1024)
        server.open("refused")
        assert list(pieces) == []
