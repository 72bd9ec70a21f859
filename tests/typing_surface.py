"""The public surface as it is used, for type checkers: never run, checked by ``make check``.

Each ``type: ignore`` is a use that a type checker must refuse; one that it accepts is an error too.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

import responses_ws
from responses_ws import (
    Audio,
    Chat,
    ChatStream,
    Chunk,
    ConnectionLost,
    ConnectionPool,
    Delivery,
    Endpoint,
    File,
    HandshakeError,
    HTTPTransport,
    Image,
    Limits,
    Message,
    PayloadTooLarge,
    ProtocolError,
    RateLimitError,
    ResponseError,
    ResponseStream,
    ResponsesWSError,
    ResponseTimeout,
    Retry,
    SchemaError,
    Session,
    Steer,
    Timeouts,
    ToolCall,
    ToolRoundsExceeded,
    Usage,
    WebSocket,
    batch,
    errors,
    streaming,
    tools,
)
from responses_ws.store import RedisStore, SQLiteStore, Store, Stored
from responses_ws.testing import Model, ScriptedServer, Step, close, expect, gate, send

WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}


def make() -> None:
    WebSocket()
    WebSocket("key")
    WebSocket(lambda: "key")
    WebSocket(
        api_key=None,
        api_base="https://api.openai.com/v1",
        organization_id="org",
        project_id="proj",
        response_timeout=None,
        headers={"X-Team": "blue"},
        timeouts=Timeouts(connect=5, send=None, total=60.5),
        limits=Limits(max_request_bytes=None),
        endpoint=Endpoint.of("https://api.openai.com/v1"),
        ssl_context=ssl.create_default_context(),
        proxy="http://proxy:3128",
        allow_insecure=False,
    )
    WebSocket("key", "https://api.openai.com/v1")  # type: ignore[call-arg]
    WebSocket(api_key=b"key")  # type: ignore[arg-type]
    WebSocket(timeout=3)  # type: ignore[call-arg]
    Timeouts(connect="10")  # type: ignore[arg-type]
    Timeouts().connect = 5  # type: ignore[misc]
    Limits(max_message_bytes=1.5)  # type: ignore[arg-type]


def over_http() -> None:
    with HTTPTransport("key", api_base="https://api.openai.com/v1", proxy="socks5h://proxy") as transport:
        assert_type(transport, HTTPTransport)
        message = transport.create_response(model="m", input="hi", tools=[WEATHER], background=True)
        assert_type(message, Message)
        assert_type(transport.call({"model": "m", "input": "hi"}), Message)
        assert_type(transport.stream(model="m", input="hi"), ResponseStream)
        assert_type(transport.retrieve("resp_1"), Message)
        assert_type(transport.poll("resp_1", interval=0.5, timeout=60), Message)
        assert_type(transport.cancel("resp_1"), Message)
        assert_type(transport.input_items("resp_1"), Iterator[dict[str, Any]])
        assert_type(transport.last_response_id, str | None)
        transport.delete("resp_1")
        transport.warmup(model="m")
    HTTPTransport(client_class=None)  # type: ignore[call-arg]
    transport.poll("resp_1", 3)  # type: ignore[call-arg]


def live(ws: WebSocket) -> None:
    with ws as entered:
        assert_type(entered, WebSocket)
    assert_type(ws.connect(), WebSocket)
    assert_type(ws.connect(timeout=None), WebSocket)
    assert_type(ws.reconnect(2.5), WebSocket)
    ws.disconnect()
    assert_type(ws.connected, bool)
    assert_type(ws.in_flight, bool)
    assert_type(ws.last_response_id, str | None)
    ws.clear_previous_response_id()
    ws.connected = True  # type: ignore[misc]
    ws.connect("soon")  # type: ignore[arg-type]


def ask(ws: WebSocket) -> None:
    def show(chunk: Chunk) -> None:
        print(chunk.content or "", end="")

    chunks: list[Chunk] = []
    assert_type(ws.create_response(model="gpt-5.5", input="hi"), Message)
    assert_type(ws.create_response(model="gpt-5.5", input=[{"role": "user", "content": "hi"}]), Message)
    ws.create_response(
        model="gpt-5.5",
        input="hi",
        tools=[WEATHER],
        previous_response_id=None,
        instructions="Be brief.",
        on_chunk=show,
        temperature=0.5,
        store=False,
    )
    ws.create_response(model="gpt-5.5", input="hi", on_chunk=chunks.append)
    ws.create_response("hi")  # type: ignore[call-arg]
    ws.create_response(model="gpt-5.5")  # type: ignore[call-arg]
    ws.create_response(model=None, input="hi")  # type: ignore[arg-type]
    ws.create_response(model="gpt-5.5", input="hi", on_chunk=len)  # type: ignore[arg-type]
    assert_type(ws.call({"model": "gpt-5.5", "input": "hi"}, show), Message)
    assert_type(ws.warmup(model="gpt-5.5", tools=[WEATHER]), str)


def stream_chunks(ws: WebSocket) -> Message:
    with ws.stream(model="gpt-5.5", input="hi") as stream:
        assert_type(stream, ResponseStream)
        for chunk in stream:
            assert_type(chunk, Chunk)
            assert_type(chunk.content, str | None)
            assert_type(chunk.tool_calls, dict[str, ToolCall] | None)
            assert_type(chunk.raw, dict[str, Any])
        assert_type(iter(stream), Iterator[Chunk])
        assert_type(stream.chunks(), Iterator[Chunk])
        assert_type(stream.chunks(heartbeat=15), Iterator[Chunk | None])
        assert_type(stream.text, Iterator[str])
        stream.cancel()
        stream.close()
        return stream.message


def read(message: Message) -> list[Mapping[str, Any]]:
    assert_type(message.content, str)
    assert_type(message.status, str)
    assert_type(message.incomplete_reason, str | None)
    assert_type(message.input_tokens, int | None)
    assert_type(message.usage, Usage)
    assert_type(message.usage.cached_tokens, int | None)
    assert_type(message.output, list[dict[str, Any]])
    assert_type(message.raw, dict[str, Any] | None)
    assert_type(message.refusal, str | None)
    assert_type(message.reasoning, str | None)
    assert_type(message.response_id, str | None)
    outputs: list[Mapping[str, Any]] = []
    for call_id, call in (message.tool_calls or {}).items():
        assert_type(call_id, str)
        assert_type(call.name, str | None)
        assert_type(call.arguments, str)
        outputs.append({"type": "function_call_output", "call_id": call.id, "output": "7"})
    message.usage.input_tokens = 3  # type: ignore[misc]
    return outputs


def fail(ws: WebSocket) -> float:
    try:
        ws.create_response(model="gpt-5.5", input="hi")
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
        return error.retry_after or 1.0
    except ResponseError as error:
        assert_type(error.status, int | None)
        assert_type(error.code, str | None)
        assert_type(error.headers, dict[str, str])
        assert_type(error.raw, Mapping[str, Any] | None)
    except ConnectionLost as error:
        assert_type(error.close_code, int | None)
        assert_type(error.close_reason, str)
    except ResponseTimeout as error:
        assert_type(error.clock, str)
        assert_type(error.seconds, float)
    except PayloadTooLarge as error:
        assert_type(error.largest, tuple[tuple[str, int], ...])
    except HandshakeError as error:
        assert_type(error.status, int | None)
    except ProtocolError as error:
        assert_type(error.close_code, int)
    except ResponsesWSError as error:
        assert_type(error.delivery, Delivery)
        assert_type(error.partial, Message | None)
        assert_type(error.response_id, str | None)
        assert_type(error.request_id, str | None)
    return 0.0


def builtin_errors(error: errors.ConnectionError, timeout: ResponseTimeout) -> tuple[OSError, TimeoutError]:
    return error, timeout


def converse(png: bytes) -> Message:
    def get_weather(city: str) -> str:
        return city

    def approve(call: ToolCall) -> bool | str | ToolCall:
        return call.server_label == "files"

    def count(usage: Usage, response_id: str | None) -> None:
        print(usage.output_tokens, response_id)

    chat = Chat(
        "gpt-5.5",
        tools=[get_weather, WEATHER, tools.web_search(), tools.tool(get_weather)],
        instructions="Be brief.",
        store=False,
        max_rounds=None,
        max_parallel=2,
        timeout_per_tool=30,
        approve=approve,
        transport="websocket",
        retry=Retry(max_retries=0),
        on_usage=count,
        api_key="key",
    )
    with chat as entered:
        assert_type(entered, Chat)
    assert_type(chat.ask("hi"), Message)
    chat.ask(["What is this?", Image(png), File("a.pdf", detail="low"), Audio(png, format="wav")])
    chat.ask({"role": "user", "content": "hi"}, on_chunk=lambda chunk: print(chunk.content))
    assert_type(chat.stream("hi"), ChatStream)
    assert_type(chat.stream("hi").steer("shorter"), Steer)
    assert_type(chat.step(), Message)
    assert_type(chat.messages, list[Message])
    assert_type(chat.items, list[dict[str, Any]])
    assert_type(chat.usage, Usage)
    assert_type(chat.unfinished, bool)
    assert_type(chat.last_response_id, str | None)
    assert_type(chat.with_params(temperature=0.5).with_tools(get_weather).with_schema(dict[str, int]), Chat)
    assert_type(chat.fork().compact(), Chat)
    assert_type(chat.to_dict(), dict[str, Any])
    assert_type(Chat.from_dict(chat.to_dict(), tools=[get_weather], session=Session("key")), Chat)
    for store in (SQLiteStore(Path("chats.db")), RedisStore("redis://example.com", prefix="p:", expiry=60)):
        keep(chat, store)
    Chat("gpt-5.5", [get_weather])  # type: ignore[call-arg]
    Chat()  # type: ignore[call-arg]
    Chat("gpt-5.5", transport="pigeon")  # type: ignore[arg-type]
    chat.ask(b"hi")  # type: ignore[arg-type]
    chat.ask()  # type: ignore[call-arg]
    Image(3)  # type: ignore[arg-type]
    try:
        return chat.run_tools(max_rounds=3)
    except ToolRoundsExceeded as error:
        assert_type(error.rounds, int)
    except SchemaError as error:
        assert_type(error.text, str)
    return chat.run_tools(None, 1, timeout_per_tool=2.5)


def keep(chat: Chat, store: Store) -> Chat:
    with store.lock("ada", seconds=60, timeout=None):
        chat.save(store, "ada")
    stored = store.load("ada")
    if stored is not None:
        assert_type(stored, Stored)
        assert_type(store.save("ada", stored.data, stored.version), int)
    store.delete("ada")
    chat.save("chats.db", "ada")  # type: ignore[arg-type]
    SQLiteStore()  # type: ignore[call-arg]
    RedisStore(3)  # type: ignore[arg-type]
    return assert_type(Chat.load(store, "ada", tools=[], api_key="key"), Chat)


def many(executor: Executor, pool: ConnectionPool) -> None:
    report = batch.run(["hi", {"custom_id": "a", "input": "ho"}], model="m", temperature=0, pool=pool)
    assert_type(report, batch.Report)
    assert_type(report.failures, tuple[batch.Result, ...])
    for result in report:
        assert_type(result.message, Message | None)
        assert_type(result.error, ResponsesWSError | None)
    batch.run([], out=Path("x"), executor=executor, pool=functools.partial(ConnectionPool, "key"))
    assert_type(batch.read("results.jsonl"), Iterator[batch.Result])
    batch.run([3])  # type: ignore[list-item]
    batch.run([], rerun="some")  # type: ignore[arg-type]


def endpoint() -> None:
    own = Endpoint("wss://models.example/v1/responses", max_age=None, max_lanes=0)
    assert_type(own.host, str)
    assert_type(own.port, int)
    assert_type(own.secure, bool)
    own.max_age = 3.0  # type: ignore[misc]


def pure(events: list[dict[str, Any]]) -> None:
    accumulator = streaming.StreamAccumulator()
    for event in events:
        chunk = streaming.build_chunk(event)
        assert_type(chunk, Chunk)
        accumulator.add(chunk)
    assert_type(accumulator.to_message(), Message)
    assert_type(streaming.stream_url(), str)
    assert_type(streaming.parse_streaming_error("{}"), tuple[int, str] | None)
    assert_type(streaming.build_streaming_tool_call({}), dict[str, ToolCall] | None)
    assert_type(responses_ws.__version__, str)


def scripted() -> None:
    assert_type(expect(input="hi"), Step)
    with ScriptedServer(tls=True, model=Model(max_age=3)) as server:
        assert_type(server, ScriptedServer)
        server.connection(
            expect(input="hi"), send({"type": "response.created"}, "text"), gate("on"), close(1011)
        )
        WebSocket("key", api_base=server.url, ssl_context=server.ssl_context)
        assert_type(server.requests, list[dict[str, Any]])
        server.connection("hi")  # type: ignore[arg-type]
