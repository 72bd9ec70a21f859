"""The verbs of a WebSocket, what they put on the wire, and what a lost connection means for the next one."""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from shell import (
    KEY,
    SECONDS,
    Task,
    answer,
    ask,
    completed,
    created,
    delivered,
    delta,
    error_event,
    join_readers,
    read_deltas,
    websocket,
)

from responses_ws import (
    BadRequestError,
    Chunk,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    Endpoint,
    HandshakeError,
    Limits,
    Message,
    PayloadTooLarge,
    PreviousResponseNotFound,
    ProtocolError,
    ResponseCancelled,
    ResponseError,
    ResponseTimeout,
    Timeouts,
    WebSocket,
)
from responses_ws.testing import (
    Model,
    ScriptedServer,
    close,
    close_frame,
    deaf,
    eof,
    expect,
    expect_close,
    expect_gone,
    gate,
    hang,
    optional,
    read_bytes,
    refuse,
    reset,
    send,
    serve,
    silence,
)

BIG = "x" * (5 * 1024 * 1024)
"""More than the kernel's buffers take, so that a server can hold it half-way."""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(model=Model()) as server:
        yield server


def narrow_server(*, tls: bool = False) -> ScriptedServer:
    """A slow link to a model that says only how much of the conversation it sees."""
    model = Model(lambda items, request: f"{len(items)} items")
    return ScriptedServer(tls=tls, model=model, receive_buffer=16 * 1024)


@pytest.fixture
def narrow() -> Iterator[ScriptedServer]:
    with narrow_server() as server:
        yield server


@pytest.fixture
def ws(server: ScriptedServer) -> Iterator[WebSocket]:
    with websocket(server) as ws:
        yield ws


def last_request(server: ScriptedServer) -> dict[str, Any]:
    return server.requests[-1]


# -- the connection


def test_nothing_is_opened_before_connect(server: ScriptedServer) -> None:
    """A WebSocket that was only made has no socket and no thread."""
    threads = threading.active_count()
    ws = websocket(server)
    assert not ws.connected
    assert not ws.in_flight
    assert ws.last_response_id is None
    assert threading.active_count() == threads
    assert server.connections == []


def test_connect_returns_the_object_and_opens_once(server: ScriptedServer) -> None:
    """While it is open another connect does nothing."""
    ws = websocket(server)
    assert ws.connect() is ws
    assert ws.connected
    assert ws.connect(timeout=None) is ws
    assert len(server.connections) == 1
    ws.disconnect()


def test_with_connects_and_disconnects(server: ScriptedServer) -> None:
    """On entry and on exit, also on the way of an exception, and again and again."""
    ws = websocket(server)
    with ws as entered:
        assert entered is ws
        assert ws.connected
    assert not ws.connected
    with pytest.raises(LookupError), ws:
        raise LookupError
    assert not ws.connected
    assert [record.gone.wait(SECONDS) for record in server.connections] == [True, True]
    assert [record.close_code for record in server.connections] == [1000, 1000]


def test_with_inside_with_keeps_the_connection(server: ScriptedServer) -> None:
    """Entering an open object opens nothing."""
    with websocket(server) as ws:
        assert ask(ws) == "You said: hi."
        ws.__enter__()
        assert len(server.connections) == 1


def test_disconnect_may_come_at_any_time_and_again(server: ScriptedServer) -> None:
    """Before the first connect, and twice, it does nothing."""
    ws = websocket(server)
    ws.disconnect()
    ws.connect()
    ws.disconnect()
    ws.disconnect()
    assert not ws.connected
    assert len(server.connections) == 1


def test_disconnect_at_rest_ends_by_the_closing_handshake(server: ScriptedServer) -> None:
    """Our close frame has code 1000, and the answer is waited for."""
    server.connection(expect_close(1000))
    with websocket(server):
        pass
    assert server.connections[0].gone.wait(SECONDS)
    assert server.connections[0].ended == "close"
    assert [entry.close_code for entry in server.log if entry.kind == "close"] == [1000, 1000]


def test_disconnect_from_a_peer_that_does_not_answer_is_bounded(server: ScriptedServer) -> None:
    """``Timeouts.close`` is all that it costs."""
    server.connection(deaf(), expect_close(1000))
    ws = websocket(server, timeouts=Timeouts(close=0.05)).connect()
    Task(ws.disconnect).result()
    assert not ws.connected


def test_reconnect_closes_and_opens(server: ScriptedServer) -> None:
    """The old connection gets its close frame, the new one answers."""
    with websocket(server) as ws:
        assert ask(ws, "one") == "You said: one."
        assert ws.reconnect() is ws
        assert ask(ws, "two") == "You said: two. Before that: one."
    assert len(server.connections) == 2
    assert server.connections[0].close_code == 1000


def test_reconnect_opens_what_was_never_open(server: ScriptedServer) -> None:
    """It may be used in place of the first connect."""
    ws = websocket(server).reconnect(timeout=5)
    assert ask(ws) == "You said: hi."
    ws.disconnect()


def test_a_reconnect_that_fails_leaves_it_closed(server: ScriptedServer) -> None:
    """After it a call says so and does not try by itself."""
    with websocket(server) as ws:
        server.connection(refuse(503))
        with pytest.raises(HandshakeError):
            ws.reconnect()
        assert not ws.connected
        with pytest.raises(ConnectionError, match="connect"):
            ask(ws)
    assert len(server.connections) == 2


def test_a_websocket_is_not_pickled(server: ScriptedServer) -> None:
    """It holds a key and a connection."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(websocket(server))


def test_in_flight_says_whether_a_response_runs(server: ScriptedServer) -> None:
    """From sending to the terminal event; one that was left does not count, even while it drains."""
    server.connection(
        expect(),
        send(created("resp_1"), delta("one")),
        gate("end"),
        send(completed("resp_1")),
        expect(),
        send(created("resp_2"), delta("two")),
        expect_gone(),
    )
    with websocket(server) as ws:
        assert not ws.in_flight
        stream = ws.stream(model="m", input="hi")
        assert ws.in_flight
        read_deltas(chunks := iter(stream), 1)
        assert ws.in_flight
        server.open("end")
        assert [chunk.type for chunk in chunks] == ["response.completed"]
        assert not ws.in_flight
        stream = ws.stream(model="m", input="hi")
        assert ws.in_flight
        stream.close()
        assert not ws.in_flight


# -- what goes on the wire

ITEMS = [{"role": "user", "content": [{"type": "input_text", "text": "hi", "detail": None}]}]
TOOLS = [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": None}]


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"input": "hi"}, {"input": "hi"}),
        ({"input": ""}, {"input": ""}),
        ({"input": "\u00e9\U0001f600\x00\u2028"}, {"input": "\u00e9\U0001f600\x00\u2028"}),
        ({"input": ITEMS}, {"input": ITEMS}),
        ({"input": tuple(ITEMS)}, {"input": ITEMS}),
        ({"input": "hi", "tools": TOOLS}, {"input": "hi", "tools": TOOLS}),
        ({"input": "hi", "tools": []}, {"input": "hi", "tools": []}),
        ({"input": "hi", "tools": None}, {"input": "hi"}),
        ({"input": "hi", "instructions": "be brief"}, {"input": "hi", "instructions": "be brief"}),
        ({"input": "hi", "instructions": None}, {"input": "hi"}),
        ({"input": "hi", "previous_response_id": None}, {"input": "hi", "previous_response_id": None}),
        ({"input": "hi", "temperature": 0, "top_p": None}, {"input": "hi", "temperature": 0}),
        ({"input": "hi", "stream": True, "background": True}, {"input": "hi"}),
        ({"input": "hi", "type": "response.create"}, {"input": "hi"}),
        ({"input": "hi", "store": False}, {"input": "hi", "store": False}),
        ({"input": "hi", "store": None}, {"input": "hi"}),
        ({"input": "hi", "metadata": {"a": "b"}}, {"input": "hi", "metadata": {"a": "b"}}),
        ({"input": "hi", "metadata": {}}, {"input": "hi"}),
        (
            {"input": "hi", "compact_threshold": 9000},
            {"input": "hi", "context_management": [{"type": "compaction", "compact_threshold": 9000}]},
        ),
        (
            {"input": "hi", "context_management": [{"type": "compaction"}]},
            {"input": "hi", "context_management": [{"type": "compaction"}]},
        ),
        ({"input": "hi", "reasoning": {"effort": None}}, {"input": "hi", "reasoning": {"effort": None}}),
        ({"input": "hi", "made_up_field": [1, None]}, {"input": "hi", "made_up_field": [1, None]}),
    ],
)
@pytest.mark.parametrize("verb", ["create_response", "stream"])
def test_the_body_is_flat_and_holds_what_was_given(
    server: ScriptedServer, ws: WebSocket, verb: str, fields: dict[str, Any], sent: dict[str, Any]
) -> None:
    """The fields of ``POST /v1/responses`` beside the type; what is None is not sent."""
    if verb == "stream":
        assert ws.stream(model="m", **fields).message.status == "completed"
    else:
        assert ws.create_response(model="m", **fields).status == "completed"
    assert last_request(server) == {"type": "response.create", "model": "m", **sent}


def test_call_sends_the_payload_as_it_is(server: ScriptedServer, ws: WebSocket) -> None:
    """Less ``stream``, ``background`` and None at the top; the caller's mapping is left alone."""
    payload = {
        "model": "m",
        "input": ITEMS,
        "stream": True,
        "background": False,
        "user": None,
        "metadata": {},
    }
    copy = pickle.loads(pickle.dumps(payload))  # noqa: S301
    assert ws.call(payload).content == "You said: hi."
    assert payload == copy
    assert last_request(server) == {"type": "response.create", "model": "m", "input": ITEMS, "metadata": {}}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": b"hi"}, "input"),
        ({"input": {"role": "user"}}, "input"),
        ({"input": ["hi"]}, r"input\[0\]"),
        ({"input": [*ITEMS, None]}, r"input\[1\]"),
        ({"input": "half \ud800"}, "input"),
        ({"input": [{"content": {1, 2}}]}, r"input\[0\]"),
        ({"tools": "f"}, "tools"),
        ({"tools": ["f"]}, r"tools\[0\]"),
        ({"instructions": object()}, "instructions"),
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "conversation"),
        ({"temperature": float("nan")}, "temperature"),
        ({"compact_threshold": 0}, "compact_threshold"),
        ({"compact_threshold": True}, "compact_threshold"),
        ({"type": "response.steer"}, "type"),
    ],
)
@pytest.mark.parametrize("verb", ["create_response", "stream"])
def test_bad_input_is_refused_by_name_and_harms_nothing(
    server: ScriptedServer, ws: WebSocket, verb: str, fields: dict[str, Any], name: str
) -> None:
    """Nothing is sent, and the next call on the same connection works."""
    ask(ws, "first")
    with pytest.raises(ConfigurationError, match=name) as caught:
        getattr(ws, verb)(**{"model": "m", "input": "hi"} | fields)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert not ws.in_flight
    assert ask(ws, "second") == "You said: second. Before that: first."
    assert len(server.requests) == 2
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (None, "payload"),
        ("hi", "payload"),
        ([("model", "m")], "payload"),
        ({5: "m"}, "payload"),
        ({"model": "m", "input": {1}}, "input"),
        ({"type": "response.cancel"}, "type"),
    ],
)
def test_a_bad_payload_is_refused_by_name(
    server: ScriptedServer, ws: WebSocket, payload: Any, name: str
) -> None:
    """``call`` refuses what it cannot send, and nothing leaves."""
    with pytest.raises(ConfigurationError, match=name):
        ws.call(payload)
    assert ask(ws) == "You said: hi."
    assert len(server.requests) == 1


async def awaited(*_: Any) -> None:
    """Nothing here would await what it gives."""


@pytest.mark.parametrize("on_chunk", [5, "print", True, awaited, partial(awaited, 1)])
def test_a_callback_that_cannot_be_called_is_refused_before_sending(
    server: ScriptedServer, ws: WebSocket, on_chunk: Any
) -> None:
    """An answer that would be thrown away is not paid for."""
    with pytest.raises(ConfigurationError, match="on_chunk"):
        ws.call({"model": "m", "input": "hi"}, on_chunk=on_chunk)
    with pytest.raises(ConfigurationError, match="on_chunk"):
        ws.create_response(model="m", input="hi", on_chunk=on_chunk)
    assert ask(ws) == "You said: hi."
    assert len(server.requests) == 1


@pytest.mark.parametrize("verb", ["call", "create_response", "stream", "warmup"])
@pytest.mark.parametrize(("limit", "cap"), [(1000, None), (None, 1000), (1000, 5000), (5000, 1000)])
def test_a_request_over_the_limit_does_not_leave(
    server: ScriptedServer, verb: str, limit: int | None, cap: int | None
) -> None:
    """The smaller of the option and the endpoint's cap counts; the error names the largest item."""
    endpoint = Endpoint(f"{server.url}/responses", max_request_bytes=cap)
    fields = {"model": "m", "input": [{"role": "user", "content": "x" * 950}]}
    with websocket(server, limits=Limits(max_request_bytes=limit), endpoint=endpoint) as ws:
        with pytest.raises(PayloadTooLarge) as caught:
            ws.call(fields) if verb == "call" else getattr(ws, verb)(**fields)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert caught.value.limit == 1000
        assert caught.value.largest[0][0] == "input[0]"
        assert caught.value.size > 1000
        assert server.requests == []
        assert ask(ws) == "You said: hi."
    assert len(server.connections) == 1


def test_a_request_of_exactly_the_limit_leaves(server: ScriptedServer) -> None:
    """The limit itself is allowed, in bytes of UTF-8."""
    size = len('{"type":"response.create","model":"m","input":"\u00e9"}'.encode())
    with websocket(server, limits=Limits(max_request_bytes=size)) as ws:
        assert ask(ws, "\u00e9") == "You said: \u00e9."
        with pytest.raises(PayloadTooLarge):
            ask(ws, "\u00e9x", previous_response_id=None)


# -- what comes back


def test_every_verb_gives_the_same_answer(ws: WebSocket) -> None:
    """``call``, ``create_response`` and ``stream`` differ in what they take, not in the Message."""
    called = ws.call({"model": "m", "input": "hi"})
    created = ws.create_response(model="m", input="hi", previous_response_id=None)
    streamed = ws.stream(model="m", input="hi", previous_response_id=None).message
    for message in (called, created, streamed):
        assert isinstance(message, Message)
        assert message.content == "You said: hi."
        assert message.status == "completed"
        assert message.model_id == "m"
        assert message.transport == "websocket"
        assert message.input_tokens == 1
        assert message.raw is not None
        assert message.raw["id"] == message.response_id
    assert len({called.response_id, created.response_id, streamed.response_id}) == 3


def test_on_chunk_gets_every_chunk_in_this_thread(ws: WebSocket) -> None:
    """In order, from ``response.created`` to the terminal event."""
    seen: list[tuple[int, Chunk]] = []

    def note(chunk: Chunk) -> None:
        seen.append((threading.get_ident(), chunk))

    for run in (
        lambda: ws.call({"model": "m", "input": "one two"}, note),
        lambda: ws.create_response(model="m", input="one two", previous_response_id=None, on_chunk=note),
    ):
        seen.clear()
        message = run()
        chunks = [chunk for _, chunk in seen]
        assert {thread for thread, _ in seen} == {threading.get_ident()}
        assert chunks[0].type == "response.created"
        assert chunks[-1].type == "response.completed"
        assert "".join(chunk.content or "" for chunk in chunks) == message.content == "You said: one two."
        assert [chunk.raw["sequence_number"] for chunk in chunks] == list(range(len(chunks)))


def test_tool_calls_come_with_the_answer(ws: WebSocket) -> None:
    """The calls of the model, by call id, with their whole arguments."""
    message = ws.create_response(model="m", input='call f {"a": "one two"} call f {"b": 2}', tools=TOOLS)
    assert message.tool_calls is not None
    calls = list(message.tool_calls.values())
    assert [(call.name, call.arguments) for call in calls] == [("f", '{"a": "one two"}'), ("f", '{"b": 2}')]
    outputs = [{"type": "function_call_output", "call_id": call.id, "output": "done"} for call in calls]
    assert ask(ws, outputs).startswith("f returned: done. f returned: done.")


def test_an_incomplete_answer_is_a_message(ws: WebSocket) -> None:
    """It is no error; the message says why it stopped."""
    message = ws.create_response(model="m", input="one two three", max_output_tokens=2)
    assert (message.status, message.incomplete_reason) == ("incomplete", "max_output_tokens")
    assert message.content == "You said: "


# -- the chain


def test_responses_continue_the_last_one(server: ScriptedServer, ws: WebSocket) -> None:
    """``create_response`` and ``stream`` chain by themselves."""
    assert ask(ws, "one") == "You said: one."
    first = ws.last_response_id
    assert ws.stream(model="m", input="two").message.content == "You said: two. Before that: one."
    second = ws.last_response_id
    assert ask(ws, "three") == "You said: three. Before that: one; two."
    sent = [request.get("previous_response_id") for request in server.requests]
    assert sent == [None, first, second]
    assert "previous_response_id" not in server.requests[0]


def test_an_explicit_id_wins_and_none_begins_anew(server: ScriptedServer, ws: WebSocket) -> None:
    """What the caller says about the chain is sent as it is."""
    ask(ws, "one")
    first = ws.last_response_id
    ask(ws, "two")
    assert ask(ws, "three", previous_response_id=first) == "You said: three. Before that: one."
    assert ask(ws, "four", previous_response_id=None) == "You said: four."
    assert last_request(server)["previous_response_id"] is None
    assert ask(ws, "five") == "You said: five. Before that: four."


def test_clear_previous_response_id_begins_anew(server: ScriptedServer, ws: WebSocket) -> None:
    """The next request names no earlier response."""
    ask(ws, "one")
    ws.clear_previous_response_id()
    assert ws.last_response_id is None
    assert ask(ws, "two") == "You said: two."
    assert "previous_response_id" not in last_request(server)


def test_call_does_not_chain_and_is_continued(server: ScriptedServer, ws: WebSocket) -> None:
    """It sends what it is given and advances the id."""
    ask(ws, "one")
    message = ws.call({"model": "m", "input": "two"})
    assert message.content == "You said: two."
    assert "previous_response_id" not in last_request(server)
    assert ws.last_response_id == message.response_id
    assert ask(ws, "three") == "You said: three. Before that: two."


def test_a_conversation_holds_its_history_itself(server: ScriptedServer, ws: WebSocket) -> None:
    """With ``conversation`` no id is added, because the two exclude each other."""
    ask(ws, "one")
    ask(ws, "two", conversation="conv_1")
    assert "previous_response_id" not in last_request(server)
    ask(ws, "three", conversation=None)
    assert "previous_response_id" in last_request(server)


@pytest.mark.parametrize(
    ("end", "advances"),
    [
        ([completed("resp_2")], True),
        ([completed("resp_2", kind="response.done")], True),
        ([completed("resp_2", "queued")], True),
        ([completed("resp_2", "incomplete")], False),
        ([completed("resp_2", "failed")], False),
        ([completed("resp_2", "cancelled", "response.cancelled")], False),
        ([completed("resp_2", "incomplete", "response.incomplete")], False),
        ([completed("resp_2", "completed", "response.incomplete")], False),
        ([completed("resp_2", "failed", "response.failed")], False),
        ([error_event()], False),
    ],
)
def test_the_id_is_set_on_completed_only(end: list[dict[str, Any]], advances: bool) -> None:
    """An answer that stopped early, in any way, is not continued; the one before it is."""
    with ScriptedServer() as server:
        server.connection(
            expect(),
            send(*answer("resp_1", "one")),
            expect(previous_response_id="resp_1"),
            send(created("resp_2"), delta("two"), *end),
            expect(previous_response_id="resp_2" if advances else "resp_1"),
            send(*answer("resp_3", "three")),
        )
        with websocket(server) as ws:
            ask(ws)
            stream = ws.stream(model="m", input="hi")
            assert ws.last_response_id == "resp_1"
            with contextlib.suppress(ResponseError, ResponseCancelled):
                assert stream.message.response_id == "resp_2"
            assert ws.last_response_id == ("resp_2" if advances else "resp_1")
            assert ask(ws) == "three"


def test_an_answer_without_an_id_changes_nothing(server: ScriptedServer) -> None:
    """There is nothing to continue it by."""
    server.connection(
        expect(),
        send(*answer("resp_1", "one")),
        expect(previous_response_id="resp_1"),
        send({"type": "response.completed", "response": {"status": "completed"}}),
    )
    with websocket(server) as ws:
        ask(ws)
        assert ws.create_response(model="m", input="hi").response_id is None
        assert ws.last_response_id == "resp_1"


def test_the_id_is_not_set_before_the_end_is_taken(server: ScriptedServer) -> None:
    """An answer that came whole and was not read to its end advances nothing."""
    server.connection(expect(), send(*answer("resp_1", "a", "b", "c")), *delivered("read"), serve())
    with websocket(server) as ws:
        chunks = iter(ws.stream(model="m", input="hi"))
        read_deltas(chunks, 1)
        server.wait_for("read")
        assert not ws.in_flight
        assert ws.last_response_id is None
        chunks.close()  # type: ignore[attr-defined]
        assert ws.last_response_id is None
        assert ask(ws, "two") == "You said: two."
    assert len(server.connections) == 1


def test_an_abandoned_answer_never_advances_the_id(server: ScriptedServer) -> None:
    """Not even when it drains to ``response.completed`` before the next request."""
    server.connection(
        expect(),
        send(*answer("resp_1", "one")),
        expect(),
        send(created("resp_2"), delta("two")),
        gate("end"),
        send(completed("resp_2")),
        expect(previous_response_id="resp_1"),
        send(*answer("resp_3", "three")),
    )
    with websocket(server, timeouts=Timeouts(drain=SECONDS)) as ws:
        ask(ws)
        for chunk in ws.stream(model="m", input="hi"):
            if chunk.content:
                break
        server.open("end")
        assert ask(ws) == "three"
        assert ws.last_response_id == "resp_3"


@pytest.mark.parametrize("store", [None, True])
def test_a_stored_chain_outlives_its_connection(server: ScriptedServer, store: bool | None) -> None:
    """After a reconnect, and after a loss, the stored response is continued."""
    server.connection(serve(turns=1), gate("lose"), reset())
    with websocket(server) as ws:
        ask(ws, "one", store=store)
        first = ws.last_response_id
        server.open("lose")
        join_readers()
        assert ask(ws, "two", store=store) == "You said: two. Before that: one."
        assert server.requests[1]["previous_response_id"] == first
        ws.reconnect()
        assert ask(ws, "three", store=store) == "You said: three. Before that: one; two."
    assert len(server.connections) == 3


def test_a_chain_that_is_not_stored_lives_on_its_connection(server: ScriptedServer) -> None:
    """There it is continued."""
    with websocket(server) as ws:
        assert ask(ws, "one", store=False) == "You said: one."
        assert ask(ws, "two", store=False) == "You said: two. Before that: one."


def test_a_chain_that_is_not_stored_is_forgotten_with_its_connection(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A new connection, asked for or made by a call, begins a new chain and says so in the log."""
    server.connection(serve(turns=1), gate("lose"), reset())
    with websocket(server) as ws:
        ask(ws, "one", store=False)
        server.open("lose")
        join_readers()
        assert ask(ws, "two", store=False) == "You said: two."
        assert "previous_response_id" not in server.requests[1]
        assert "not stored" in caplog.text
        ws.reconnect()
        assert ws.last_response_id is None
        assert ask(ws, "three", store=False) == "You said: three."
        ws.disconnect()
        ws.connect()
        assert ws.last_response_id is None


def test_an_answer_that_is_read_after_its_connection_was_replaced(server: ScriptedServer) -> None:
    """With ``store=False`` its response went with the old connection and is not continued on the new one."""
    server.connection(expect(), send(*answer("resp_1", "one")), *delivered("read"), expect_gone())
    server.connection(
        expect(lambda request: "previous_response_id" not in request), send(*answer("r", "two"))
    )
    with websocket(server) as ws:
        stream = ws.stream(model="m", input="hi", store=False)
        server.wait_for("read")
        ws.reconnect()
        assert stream.message.content == "one"
        assert ws.last_response_id is None
        assert ask(ws) == "two"


def test_a_late_read_does_not_turn_the_chain_back(server: ScriptedServer) -> None:
    """An answer that is read after a later one was completed is not continued: the later one is."""
    server.connection(
        expect(),
        send(*answer("resp_1", "one")),
        *delivered("read"),
        expect(),
        send(*answer("resp_2", "two")),
        expect(previous_response_id="resp_2"),
        send(*answer("resp_3", "three")),
    )
    with websocket(server) as ws:
        stream = ws.stream(model="m", input="hi")
        server.wait_for("read")
        assert ask(ws) == "two"
        assert stream.message.content == "one"
        assert ws.last_response_id == "resp_2"
        assert ask(ws) == "three"


def test_a_request_continues_what_was_completed_while_it_waited(server: ScriptedServer) -> None:
    """The chain is read when the lane is the caller's, not when the call begins."""
    gates = {"ask": threading.Event(), "asked": threading.Event()}
    server.connection(
        expect(),
        send(*answer("resp_1", "one")),
        expect(previous_response_id="resp_1"),
        send(*answer("resp_2", "two")),
    )

    class Slow(dict[str, Any]):
        """Metadata whose reading waits, as a large request's encoding would."""

        def items(self) -> Any:
            gates["asked"].set()
            gates["ask"].wait(SECONDS)
            return super().items()

    with websocket(server) as ws:
        second = Task(ask, ws, metadata=Slow(a="b"))
        assert gates["asked"].wait(SECONDS)
        assert ask(ws) == "one"
        gates["ask"].set()
        assert second.result() == "two"


# -- warmup


@pytest.mark.parametrize("variant", ["created", "completed", "generate"])
@pytest.mark.parametrize("store", [None, False])
def test_a_warmup_gives_an_id_that_is_continued(variant: str, store: bool | None) -> None:
    """Whether the service announces the response, only completes it, or answers for real."""
    with ScriptedServer(model=Model(warmup=variant)) as server, websocket(server) as ws:
        response_id = ws.warmup(model="m", instructions="be brief", tools=TOOLS, input="one", store=store)
        assert response_id == ws.last_response_id
        assert response_id.startswith("resp_")
        assert server.requests[0]["generate"] is False
        assert server.requests[0]["instructions"] == "be brief"
        assert server.requests[0]["tools"] == TOOLS
        assert ask(ws, "two", store=store) == "You said: two. Before that: one."
        assert server.requests[1]["previous_response_id"] == response_id
        assert "generate" not in server.requests[1]


def test_a_warmup_sends_no_input_unless_it_has_some(server: ScriptedServer, ws: WebSocket) -> None:
    """Without history there is nothing to say."""
    first = ws.warmup(model="m")
    assert server.requests[0] == {"type": "response.create", "model": "m", "generate": False}
    second = ws.warmup(model="m", input=[])
    assert server.requests[1]["input"] == []
    assert server.requests[1]["previous_response_id"] == first
    ws.warmup(model="m", previous_response_id=None, generate=True)
    assert server.requests[2]["previous_response_id"] is None
    assert server.requests[2]["generate"] is False
    assert second != first


def test_a_service_without_warmup_refuses_it() -> None:
    """The refusal is an error of the service, and what was there before goes on."""
    with ScriptedServer(model=Model(warmup="unsupported")) as server, websocket(server) as ws:
        ask(ws, "one")
        last = ws.last_response_id
        ws.clear_previous_response_id()
        with pytest.raises(BadRequestError, match="Unsupported parameter: generate") as caught:
            ws.warmup(model="m")
        assert caught.value.delivery is Delivery.REJECTED
        assert caught.value.status == 400
        assert ws.last_response_id is None
        assert ask(ws, "two", previous_response_id=last) == "You said: two. Before that: one."
        assert len(server.connections) == 1


def test_a_warmup_without_an_id_is_an_error(server: ScriptedServer) -> None:
    """There would be nothing to return."""
    server.connection(expect(), send({"type": "response.completed", "response": {"output": []}}))
    with websocket(server) as ws:
        with pytest.raises(ProtocolError, match="id") as caught:
            ws.warmup(model="m")
        assert caught.value.delivery is Delivery.STARTED
        assert ws.connected


def test_bad_input_of_a_warmup_is_refused_by_name(server: ScriptedServer, ws: WebSocket) -> None:
    """Like that of the other verbs."""
    with pytest.raises(ConfigurationError, match="model"):
        ws.warmup(model="")
    with pytest.raises(ConfigurationError, match="input"):
        ws.warmup(model="m", input=5)
    assert server.requests == []


# -- before connect, after disconnect, after a loss

VERBS: dict[str, Callable[[WebSocket], object]] = {
    "call": lambda ws: ws.call({"model": "m", "input": "hi"}),
    "create_response": lambda ws: ws.create_response(model="m", input="hi"),
    "stream": lambda ws: ws.stream(model="m", input="hi").message,
    "warmup": lambda ws: ws.warmup(model="m"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_call_before_connect_and_after_disconnect_is_not_sent(server: ScriptedServer, verb: str) -> None:
    """It raises ConnectionError, opens nothing, and leaves the lane free."""
    ws = websocket(server)
    for used in (False, True):
        if used:
            ws.connect()
            ask(ws)
            ws.disconnect()
        with pytest.raises(ConnectionError, match="connect") as caught:
            VERBS[verb](ws)
        assert type(caught.value) is ConnectionError
        assert caught.value.delivery is Delivery.NOT_SENT
        assert not ws.in_flight
    assert len(server.connections) == 1
    assert len(server.requests) == 1
    with ws:
        VERBS[verb](ws)


ENDINGS = {
    "close 1000": close(1000),
    "close 1001": close(1001, "going away"),
    "close 1008": close(1008),
    "close 1011": close(1011),
    "close without a code": close(None),
    "end of TCP": eof(),
    "reset": reset(),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_after_a_loss_at_rest_the_next_call_connects_anew(server: ScriptedServer, ending: str) -> None:
    """``connected`` tells the truth meanwhile, and exactly one request reaches a server."""
    server.connection(serve(turns=1), gate("lose"), ENDINGS[ending])
    with websocket(server) as ws:
        ask(ws, "one")
        assert ws.connected
        server.open("lose")
        join_readers()
        assert not ws.connected
        assert not ws.in_flight
        assert ask(ws, "two") == "You said: two. Before that: one."
        assert ws.connected
    assert len(server.connections) == 2
    assert len(server.requests) == 2


def test_after_a_loss_connecting_is_tried_once_per_call(server: ScriptedServer) -> None:
    """A call that cannot connect raises why; the next one tries again."""
    server.connection(gate("lose"), reset())
    with websocket(server) as ws:
        server.open("lose")
        join_readers()
        for status in (503, 502):
            server.connection(refuse(status))
            with pytest.raises(HandshakeError) as caught:
                ask(ws)
            assert caught.value.status == status
            assert caught.value.delivery is Delivery.NOT_SENT
            assert not ws.in_flight
        assert ask(ws) == "You said: hi."
    assert len(server.connections) == 4
    assert len(server.requests) == 1


def test_a_loss_in_mid_answer_is_an_error_and_the_next_call_connects(server: ScriptedServer) -> None:
    """The broken answer is not asked for again."""
    server.connection(expect(), send(created("resp_1"), delta("one")), close(1011))
    with websocket(server) as ws:
        with pytest.raises(ConnectionLost):
            ask(ws, "one")
        assert not ws.connected
        assert ask(ws, "two") == "You said: two."
    assert len(server.requests) == 2


@pytest.mark.parametrize("ending", ["reset", "end of TCP"])
@pytest.mark.parametrize("tls", [False, True])
def test_a_used_socket_that_breaks_while_sending_is_replaced_once(tls: bool, ending: str) -> None:
    """The request had not left whole, so it goes to a new connection, and one server gets it."""
    with narrow_server(tls=tls) as server:
        server.connection(serve(turns=1), read_bytes(100_000), ENDINGS[ending], silence())
        with websocket(server) as ws:
            ask(ws, "one")
            assert ask(ws, BIG) == "3 items"
        assert len(server.connections) == 2
        assert len(server.requests) == 2


def test_a_used_socket_that_is_closed_while_sending_is_replaced_once(narrow: ScriptedServer) -> None:
    """Also when the server says goodbye."""
    narrow.connection(serve(turns=1), read_bytes(100_000), close_frame(b"\x03\xf4restart"), silence())
    with websocket(narrow) as ws:
        ask(ws, "one")
        assert ask(ws, BIG) == "3 items"
    assert len(narrow.connections) == 2
    assert len(narrow.requests) == 2


@pytest.mark.parametrize("code", [1008, 1009])
def test_a_socket_that_was_closed_because_of_the_request_is_not_replaced(
    narrow: ScriptedServer, code: int
) -> None:
    """The same request would meet the same end; the code is in the error."""
    narrow.connection(
        serve(turns=1), read_bytes(100_000), close_frame(code.to_bytes(2, "big") + b"no"), silence()
    )
    with websocket(narrow) as ws:
        ask(ws, "one")
        with pytest.raises(ConnectionLost) as caught:
            ask(ws, BIG)
        assert (caught.value.close_code, caught.value.close_reason) == (code, "no")
        assert caught.value.delivery is Delivery.NOT_SENT
        assert not ws.in_flight
        assert ask(ws, "two") == "3 items"
    assert len(narrow.connections) == 2
    assert len(narrow.requests) == 2


def test_a_replaced_socket_that_breaks_again_is_an_error(narrow: ScriptedServer) -> None:
    """Once is all: a fresh connection that breaks while sending is raised, NOT_SENT."""
    narrow.connection(serve(turns=1), read_bytes(100_000), reset())
    narrow.connection(read_bytes(100_000), reset())
    with websocket(narrow) as ws:
        ask(ws, "one")
        with pytest.raises(ConnectionLost) as caught:
            ask(ws, BIG)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert not ws.in_flight
        assert ask(ws, "two") == "3 items"
    assert len(narrow.connections) == 3
    assert len(narrow.requests) == 2


def test_a_connection_that_a_call_opened_is_not_replaced(narrow: ScriptedServer) -> None:
    """It was lost at rest, opened anew by the call, and broke while sending: that is an error."""
    narrow.connection(gate("lose"), reset())
    narrow.connection(read_bytes(100_000), reset())
    with websocket(narrow) as ws:
        narrow.open("lose")
        join_readers()
        with pytest.raises(ConnectionLost):
            ask(ws, BIG)
    assert len(narrow.connections) == 2
    assert narrow.requests == []


def test_a_request_that_left_is_not_sent_again(server: ScriptedServer) -> None:
    """Lost after the last byte and before an event: UNKNOWN, and nothing is repeated."""
    server.connection(serve(turns=1), expect(), reset())
    with websocket(server) as ws:
        ask(ws, "one")
        with pytest.raises(ConnectionLost) as caught:
            ask(ws, "two")
        assert caught.value.delivery is Delivery.UNKNOWN
        assert caught.value.partial is None
    assert len(server.requests) == 2
    assert len(server.connections) == 1


def test_a_lost_response_is_the_services_word(server: ScriptedServer, ws: WebSocket) -> None:
    """``previous_response_not_found`` is raised as what it is; the id stays for the caller to decide."""
    ask(ws, "one")
    assert server.model is not None
    server.model.forget()
    with pytest.raises(PreviousResponseNotFound) as caught:
        ask(ws, "two")
    assert caught.value.delivery is Delivery.REJECTED
    assert ask(ws, "three", previous_response_id=None) == "You said: three."


# -- age


def test_an_old_connection_is_replaced_between_turns(server: ScriptedServer) -> None:
    """A connection past its age is let go of by the next call, with a close frame."""
    endpoint = Endpoint(f"{server.url}/responses", max_age=1e-6)
    with websocket(server, endpoint=endpoint) as ws:
        assert ask(ws, "one") == "You said: one."
        assert ask(ws, "two") == "You said: two. Before that: one."
    assert len(server.connections) == 3
    assert [record.gone.wait(SECONDS) for record in server.connections] == [True] * 3
    assert [record.close_code for record in server.connections] == [1000] * 3


def test_a_connection_of_no_age_stays(server: ScriptedServer) -> None:
    """None means never."""
    endpoint = Endpoint(f"{server.url}/responses", max_age=None)
    with websocket(server, endpoint=endpoint) as ws:
        ask(ws, "one")
        ask(ws, "two")
    assert len(server.connections) == 1


def test_an_old_connection_is_not_replaced_within_a_turn(server: ScriptedServer) -> None:
    """A running answer ends on its connection, and a refused second call changes nothing."""
    endpoint = Endpoint(f"{server.url}/responses", max_age=1e-6)
    server.connection(optional(gate("never")))
    server.connection(
        expect(), send(created("resp_1"), delta("one")), gate("end"), send(delta("two"), completed("resp_1"))
    )
    with websocket(server, endpoint=endpoint) as ws:
        stream = ws.stream(model="m", input="hi")
        read_deltas(chunks := iter(stream), 1)
        with pytest.raises(Exception, match="running"):
            ask(ws)
        server.open("end")
        assert [chunk.content for chunk in chunks if chunk.content] == ["two"]
        assert stream.message.content == "onetwo"


def test_an_old_connection_is_kept_for_the_chain_that_lives_on_it(server: ScriptedServer) -> None:
    """What ``store=False`` keeps with the connection is worth more than its youth, until it is cleared."""
    endpoint = Endpoint(f"{server.url}/responses", max_age=1e-6)
    with websocket(server, endpoint=endpoint) as ws:
        assert ask(ws, "one", store=False) == "You said: one."
        assert ask(ws, "two", store=False) == "You said: two. Before that: one."
        assert len(server.connections) == 2
        ws.clear_previous_response_id()
        assert ask(ws, "three", store=False) == "You said: three."
    assert len(server.connections) == 3


# -- clocks of a whole call


def test_the_total_counts_from_the_call_on(server: ScriptedServer) -> None:
    """A connection that does not come about within it is a ResponseTimeout that names ``total``."""
    server.connection(gate("lose"), reset())
    with websocket(server, timeouts=Timeouts(total=0.2, connect=SECONDS)) as ws:
        server.open("lose")
        join_readers()
        server.connection(hang())
        with pytest.raises(ResponseTimeout, match=r"0\.2 seconds \(total\)") as caught:
            ask(ws)
        assert (caught.value.clock, caught.value.seconds) == ("total", 0.2)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert not ws.in_flight


def test_the_connect_clock_of_a_call(server: ScriptedServer) -> None:
    """``Timeouts.connect`` bounds a reconnect within a call, and the error names the option's seconds."""
    server.connection(gate("lose"), reset())
    with websocket(server, timeouts=Timeouts(total=SECONDS, connect=0.7)) as ws:
        server.open("lose")
        join_readers()
        server.connection(hang())
        with pytest.raises(ConnectionError, match=r"within 0\.7 seconds") as caught:
            ask(ws)
        assert not isinstance(caught.value, ResponseTimeout)
        assert ask(ws) == "You said: hi."


def test_the_connect_timeout_is_the_callers(server: ScriptedServer) -> None:
    """``connect(timeout=...)`` gives up in time and says how long it waited."""
    server.connection(hang())
    ws = websocket(server)
    with pytest.raises(ConnectionError, match=r"0\.2 seconds"):
        ws.connect(timeout=0.2)
    assert not ws.connected
    with ws:
        assert ask(ws) == "You said: hi."


@pytest.mark.parametrize("tls", [False, True])
def test_the_total_bounds_the_sending(tls: bool) -> None:
    """A peer that takes nothing holds a call no longer than its total."""
    with narrow_server(tls=tls) as server:
        server.connection(gate("go"), read_bytes(100_000), silence())
        with websocket(server, timeouts=Timeouts(total=1.0, send=SECONDS)) as ws:
            server.open("go")
            with pytest.raises(ResponseTimeout) as caught:
                ask(ws, BIG)
            assert (caught.value.clock, caught.value.seconds) == ("total", 1.0)
            assert caught.value.delivery is Delivery.NOT_SENT
            assert not ws.connected


def test_a_send_without_progress_is_given_up(narrow: ScriptedServer) -> None:
    """``Timeouts.send`` names itself; the connection is not used again, nor the request repeated."""
    narrow.connection(serve(turns=1), read_bytes(100_000), silence())
    with websocket(narrow, timeouts=Timeouts(send=0.2)) as ws:
        ask(ws, "one")
        with pytest.raises(ResponseTimeout) as caught:
            ask(ws, BIG)
        assert (caught.value.clock, caught.value.seconds) == ("send", 0.2)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert ask(ws, "two") == "3 items"
    assert len(narrow.connections) == 2
    assert len(narrow.requests) == 2


def test_the_key_is_in_no_request(server: ScriptedServer, ws: WebSocket) -> None:
    """It travels on the upgrade alone."""
    ask(ws)
    assert KEY not in str(server.requests)
