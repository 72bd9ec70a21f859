"""One conversation over one WebSocket, shown as it happens.

::

    python examples/demo.py           with a scripted model on this machine: no key, no network
    python examples/demo.py --live    with the service: needs OPENAI_API_KEY, costs a few tokens

The exit status is 0 only when every step did what it says.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from responses_ws import ConnectionLost, Message, ResponsesWSError, ToolCall, WebSocket

SHELF = f"shelf {secrets.token_hex(3)}"
"""What the tool says. No model can guess it: an answer that names it has seen it."""

FIND_PARCEL = {
    "type": "function",
    "name": "find_parcel",
    "description": "Tells the shelf on which a parcel lies.",
    "parameters": {
        "type": "object",
        "properties": {"parcel": {"type": "string"}},
        "required": ["parcel"],
        "additionalProperties": False,
    },
    "strict": True,
}


def find_parcel(parcel: str) -> str:
    """The tool that the model may call."""
    return f"{parcel} lies on {SHELF}"


# -- the main job


def converse(ws: WebSocket, model: str, cut: Callable[[], object]) -> None:
    """Every step on one object. ``cut`` ends the connection under the running answer."""
    step("connect")
    started = time.monotonic()
    ws.connect()
    say(f"{ws}, after {since(started)}")
    check(ws.connected, "the connection is open")

    step("stream an answer")
    first = ask(ws, model, "hello, my name is Ada")

    step("go on: only the new question travels, the service holds the rest")
    second = ask(ws, model, "what is my name")
    check("Ada" in second.content, "the second answer knows what was said before the first")
    check(follows(second, first.response_id), "the second response continues the first")

    step("let the model call a tool")
    asked = ask(ws, model, 'call find_parcel {"parcel": "A7"}', tools=[FIND_PARCEL])
    outputs = [run_tool(call) for call in (asked.tool_calls or {}).values()]
    check(len(outputs) == 1, "the model made one call")
    told = ask(ws, model, outputs, tools=[FIND_PARCEL])
    check(SHELF in told.content, "the answer names the shelf")

    step("warm up: the service prepares what comes, without an answer")
    started = time.monotonic()
    warm = ws.warmup(model=model, instructions="be brief")
    say(f"ready after {since(started)}")
    brief = ask(ws, model, "where is my parcel", instructions="be brief")
    check(follows(brief, warm), "the next response continues the warmup")

    step("lose the connection in the middle of an answer")
    received = lose_an_answer(ws, model, cut)
    check(bool(received), "the part that was received is not lost")
    after = ask(ws, model, "what is my name")
    check(ws.connected, "there is a new connection")
    check(follows(after, brief.response_id), "the chain goes on from the last completed response")
    check("Ada" in after.content, "the new connection knows the old conversation")


def ask(ws: WebSocket, model: str, input: str | list[dict[str, Any]], **more: Any) -> Message:
    """Ask, and show the answer as it comes."""
    show_input(input)
    started = time.monotonic()
    first = "no text"
    pieces: list[str] = []
    with ws.stream(model=model, input=input, **more) as stream:
        for piece in stream.text:
            if not pieces:
                first = f"first text after {since(started)}"
                print("    ", end="")
            print(piece, end="", flush=True)
            pieces.append(piece)
        message = stream.message
    if pieces:
        print()
    tokens = f"{message.input_tokens} tokens in, {message.output_tokens} out"
    say(f"[{first}, all after {since(started)}; {tokens}]")
    require(message.status == "completed", f"the answer is {message.status}")
    require("".join(pieces) == message.content, "the pieces are not the answer")
    require(len(pieces) > 1 or " " not in message.content, "the answer came in one piece")
    return message


def run_tool(call: ToolCall) -> dict[str, Any]:
    """Run the call that the model wants; the item that tells it the outcome."""
    arguments = json.loads(call.arguments)
    output = find_parcel(**arguments)
    say(f"{call.name}({call.arguments}) -> {output}")
    return {"type": "function_call_output", "call_id": call.id, "output": output}


def lose_an_answer(ws: WebSocket, model: str, cut: Callable[[], object]) -> str:
    """Ask, cut the connection at the first piece of the answer; the text that the error carries."""
    question = "count from one to fifty in words"
    show_input(question)
    try:
        for piece in ws.stream(model=model, input=question).text:
            say(piece)
            cut()
    except ConnectionLost as error:
        received = error.partial.content if error.partial else ""
        say(f"ConnectionLost: {error}")
        say(f"delivery: {error.delivery.value}; received before: {received!r}")
        return received
    raise SystemExit("FAILED: the answer came whole, although its connection was cut")


def follows(message: Message, response_id: str | None) -> bool:
    """Whether the service itself says that the response continued this one."""
    return response_id is not None and (message.raw or {}).get("previous_response_id") == response_id


# -- whom to talk to


@contextlib.contextmanager
def live_service() -> Iterator[tuple[WebSocket, Callable[[], object]]]:
    """The service that the environment names. Only this side can cut the connection."""
    ws = WebSocket()
    yield ws, ws.reconnect


@contextlib.contextmanager
def scripted_service() -> Iterator[tuple[WebSocket, Callable[[], object]]]:
    """A model that answers like the service, over TLS on this machine. It loses its first connection."""
    from responses_ws.testing import Model, ScriptedServer, expect, gate, reset, send, serve

    os.environ["no_proxy"] = "127.0.0.1"  # a proxy in the environment cannot reach this machine
    response = {"id": "resp_lost", "status": "in_progress"}
    half_an_answer = (
        {"type": "response.created", "response": response},
        {"type": "response.output_text.delta", "item_id": "msg_lost", "output_index": 0, "delta": "one, two"},
    )
    with ScriptedServer(tls=True, model=Model(before_event=at_reading_speed)) as server:
        server.connection(serve(turns=6), expect(), send(*half_an_answer), gate("cut"), reset())
        ws = WebSocket("any-key", api_base=server.url, ssl_context=server.ssl_context)
        yield ws, lambda: server.open("cut")


def at_reading_speed(event: Mapping[str, Any]) -> None:
    """Let the scripted model speak word by word."""
    if event["type"].endswith(".delta"):
        threading.Event().wait(0.02)


# -- what is shown


def step(title: str) -> None:
    print(f"\n== {title}")


def say(text: str) -> None:
    print(f"    {text}", flush=True)


def show_input(input: str | list[dict[str, Any]]) -> None:
    texts = [input] if isinstance(input, str) else [f"{item['type']}: {item['output']}" for item in input]
    print(f"  > {'; '.join(texts)}", flush=True)


def since(start: float) -> str:
    return f"{(time.monotonic() - start) * 1000:.0f} ms"


def require(holds: bool, fault: str) -> None:
    if not holds:
        raise SystemExit(f"FAILED: {fault}")


def check(holds: bool, what: str) -> None:
    require(holds, f"it does not hold that {what}")
    say(f"ok: {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description="One conversation over one WebSocket.")
    parser.add_argument("--live", action="store_true", help="talk to the service, with OPENAI_API_KEY")
    parser.add_argument("--model", default="gpt-5.5", help="of the service (default: %(default)s)")
    options = parser.parse_args()
    try:
        with live_service() if options.live else scripted_service() as (ws, cut):
            try:
                converse(ws, options.model, cut)
            finally:
                ws.disconnect()
    except ResponsesWSError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    print("\nEvery step did what it says.")


if __name__ == "__main__":
    main()
