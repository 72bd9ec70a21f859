"""Tool loops, as users of each SDK write them: ask, run the function that is called, give its output back.

Instructions and tools go with every request: the service does not inherit them. ``loop(metadata)`` runs one
loop from an empty history and returns the bytes that the server has received on its connection so far.
"""

# mypy: disable-error-code="import-not-found"
# The peers are no dependencies: the types are checked where benchmarks/requirements.txt is installed as well.

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from peers import API_KEY, MODEL

__all__ = ["INSTRUCTIONS_SIZE", "LOOPS", "RESULT_SIZE", "Loop", "available"]

Run: TypeAlias = Callable[[Mapping[str, str]], int]
Respond: TypeAlias = Callable[[dict[str, Any]], Any]

PROMPT = "Find out why the connection test fails, and mend it."
INSTRUCTIONS = "Work in small steps. Read before you write, and say what you found. " * 22
LINE = "    def receive(self, deadline: Deadline) -> bytes:  # one frame, or what came of it\n"
RESULT = LINE * 24
INSTRUCTIONS_SIZE, RESULT_SIZE = len(INSTRUCTIONS), len(RESULT)


def function(name: str, description: str, **parameters: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {parameter: {"type": kind} for parameter, kind in parameters.items()},
        "required": list(parameters),
        "additionalProperties": False,
    }
    tool = {"type": "function", "name": name, "description": description}
    return {**tool, "parameters": schema, "strict": True}


TOOLS = [  # what :func:`chat_loop` makes of the functions below
    function("read_file", "Lines of a file.", path="string", first_line="integer", last_line="integer"),
    function("write_file", "Replace lines of a file.", path="string", first_line="integer", text="string"),
    function("search", "Lines that match a pattern.", pattern="string", directory="string"),
    function("run_command", "Run a command and read what it prints.", command="string", seconds="integer"),
]


def result(*_arguments: object) -> str:
    return RESULT


def read_file(path: str, first_line: int, last_line: int) -> str:
    """Lines of a file."""
    return result(path, first_line, last_line)


def write_file(path: str, first_line: int, text: str) -> str:
    """Replace lines of a file."""
    return result(path, first_line, text)


def search(pattern: str, directory: str) -> str:
    """Lines that match a pattern."""
    return result(pattern, directory)


def run_command(command: str, seconds: int) -> str:
    """Run a command and read what it prints."""
    return result(command, seconds)


@dataclass(frozen=True)
class Loop:
    open: Callable[[str], contextlib.AbstractContextManager[Run]]
    module: str
    scheme: str = "ws"


def available() -> list[str]:
    """Those of the loops whose SDK is installed here."""
    return [name for name, loop in LOOPS.items() if _installed(loop.module)]


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def request(metadata: Mapping[str, str], input: Any, **fields: Any) -> dict[str, Any]:
    given = {"model": MODEL, "input": input, "instructions": INSTRUCTIONS, "tools": TOOLS, **fields}
    return {**given, "metadata": dict(metadata)}


def output_of(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": RESULT}


# --- responses_ws: a message has the calls, the items and the raw response ----------------------------------


def with_history(respond: Respond) -> Run:
    """Every request carries the whole history."""

    def run(metadata: Mapping[str, str]) -> int:
        history: list[Any] = [{"role": "user", "content": PROMPT}]
        while True:
            message = respond(request(metadata, history))
            history = [*history, *message.output]
            if not message.tool_calls:
                return received(message.raw)
            history += map(output_of, message.tool_calls)

    return run


def continued(respond: Callable[..., Any]) -> Run:
    """Every request carries the outputs alone, and continues the response before it."""

    def run(metadata: Mapping[str, str]) -> int:
        message = respond(**request(metadata, PROMPT, previous_response_id=None))
        while message.tool_calls:
            message = respond(**request(metadata, [*map(output_of, message.tool_calls)]))
        return received(message.raw)

    return run


def received(response: dict[str, Any]) -> int:
    return int(response["metadata"]["received"])


@contextlib.contextmanager
def websocket_continued(url: str) -> Iterator[Run]:
    from responses_ws import WebSocket

    with WebSocket(api_key=API_KEY, api_base=url) as ws:
        yield continued(ws.create_response)


@contextlib.contextmanager
def websocket_with_history(url: str) -> Iterator[Run]:
    from responses_ws import WebSocket

    with WebSocket(api_key=API_KEY, api_base=url) as ws:
        yield with_history(ws.call)


@contextlib.contextmanager
def http_with_history(url: str) -> Iterator[Run]:
    from responses_ws.http_transport import HTTPTransport

    with HTTPTransport(api_key=API_KEY, api_base=url) as http:
        yield with_history(http.call)


@contextlib.contextmanager
def session_with_history(url: str) -> Iterator[Run]:
    """The caller keeps the whole history and passes it; only what is new travels."""
    from responses_ws.session import Session

    with Session(api_key=API_KEY, api_base=url) as session:
        yield with_history(session.call)


@contextlib.contextmanager
def chat_loop(url: str) -> Iterator[Run]:
    """``Chat.ask`` runs the whole loop."""
    from responses_ws.chat import Chat

    tools: list[Callable[..., str]] = [read_file, write_file, search, run_command]

    def run(metadata: Mapping[str, str]) -> int:
        chat = Chat(model=MODEL, tools=tools, api_key=API_KEY, api_base=url, max_rounds=1_000)
        with chat.with_instructions(INSTRUCTIONS).with_params(metadata=dict(metadata)):
            return received(chat.ask(PROMPT).raw or {})

    yield run


# --- the official SDK: events, whose last has the response --------------------------------------------------


def openai_with_history(respond: Respond) -> Run:
    def run(metadata: Mapping[str, str]) -> int:
        history: list[Any] = [{"role": "user", "content": PROMPT}]
        while True:
            response = respond(request(metadata, history))
            history += response.output
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                return received(response.to_dict())
            history += [output_of(call.call_id) for call in calls]

    return run


def openai_continued(respond: Respond) -> Run:
    def run(metadata: Mapping[str, str]) -> int:
        response = respond(request(metadata, PROMPT))
        while calls := [item for item in response.output if item.type == "function_call"]:
            outputs = [output_of(call.call_id) for call in calls]
            response = respond(request(metadata, outputs, previous_response_id=response.id))
        return received(response.to_dict())

    return run


@contextlib.contextmanager
def openai_websocket(url: str, kind: Callable[[Respond], Run]) -> Iterator[Run]:
    from openai import OpenAI

    with OpenAI(api_key=API_KEY, websocket_base_url=url) as client, client.responses.connect() as connection:

        def respond(fields: dict[str, Any]) -> Any:
            connection.response.create(**fields)
            return completed(connection)

        yield kind(respond)


@contextlib.contextmanager
def openai_http(url: str, kind: Callable[[Respond], Run]) -> Iterator[Run]:
    from openai import OpenAI

    with OpenAI(api_key=API_KEY, base_url=url) as client:

        def respond(fields: dict[str, Any]) -> Any:
            with client.responses.create(**fields, stream=True) as events:
                response = completed(events)
                for _ in events:  # to the end of the body, so that the connection is kept
                    pass
                return response

        yield kind(respond)


def completed(events: Any) -> Any:
    for event in events:
        if event.type == "response.completed":
            return event.response
    raise RuntimeError("the connection ended before the turn")


def of(open: Callable[..., contextlib.AbstractContextManager[Run]], kind: Callable[[Respond], Run]) -> Any:
    return lambda url: open(url, kind)


LOOPS = {
    "responses_ws, continued": Loop(websocket_continued, "responses_ws"),
    "responses_ws, full history": Loop(websocket_with_history, "responses_ws"),
    "responses_ws over HTTP, full history": Loop(http_with_history, "responses_ws.http_transport", "http"),
    "responses_ws Session": Loop(session_with_history, "responses_ws.session", "http"),
    "responses_ws Chat": Loop(chat_loop, "responses_ws.chat", "http"),
    "openai, continued": Loop(of(openai_websocket, openai_continued), "openai"),
    "openai, full history": Loop(of(openai_websocket, openai_with_history), "openai"),
    "openai over HTTP, continued": Loop(of(openai_http, openai_continued), "openai", "http"),
    "openai over HTTP, full history": Loop(of(openai_http, openai_with_history), "openai", "http"),
}
