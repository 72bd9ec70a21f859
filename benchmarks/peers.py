"""The other SDKs, as their documentation shows them."""

# mypy: disable-error-code="import-not-found"
# The peers are no dependencies: the types are checked where benchmarks/requirements.txt is installed as well.

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = [
    "API_KEY",
    "MODEL",
    "PROMPT",
    "agents_model",
    "on_lane",
    "openai_http",
    "openai_lane",
    "openai_loop",
    "openai_session",
]

API_KEY = "sk-benchmark"
MODEL = "gpt-5.5"
PROMPT = "Tell me at length about connections."
UNBOUNDED = 1 << 40


@functools.cache
def client_of(url: str) -> Any:
    """One client for all connections of the process: it is the larger part of their memory."""
    from openai import OpenAI

    return OpenAI(api_key=API_KEY, websocket_base_url=url)


@contextlib.contextmanager
def openai_loop(url: str) -> Iterator[Callable[..., str]]:
    """``client.responses.connect()``, iterated."""
    with client_of(url).responses.connect() as connection:

        def exchange(metadata: Mapping[str, str], take: Callable[[str], object], input: str = PROMPT) -> str:
            connection.response.create(model=MODEL, input=input, metadata=dict(metadata))
            return _follow(connection, take)

        yield exchange


@contextlib.contextmanager
def openai_session(url: str) -> Iterator[Any]:
    """``ResponsesWebSocketSession`` with its budgets out of the way."""
    from openai.lib.responses_websocket import ResponsesWebSocketLimits, ResponsesWebSocketSession

    limits = ResponsesWebSocketLimits(
        max_lanes=32,
        max_events_per_lane=UNBOUNDED,
        max_events=UNBOUNDED,
        max_bytes_per_lane=UNBOUNDED,
        max_bytes=UNBOUNDED,
    )
    with (
        client_of(url).responses.connect() as connection,
        ResponsesWebSocketSession(connection, limits=limits) as session,
    ):
        yield session


def on_lane(lane: Any) -> Callable[..., str]:
    def exchange(metadata: Mapping[str, str], take: Callable[[str], object], input: str = PROMPT) -> str:
        lane.send({"type": "response.create", "model": MODEL, "input": input, "metadata": dict(metadata)})
        return _follow(iter(lane.recv, None), take)

    return exchange


@contextlib.contextmanager
def openai_lane(url: str) -> Iterator[Callable[..., str]]:
    """The default lane of a session."""
    with openai_session(url) as session:
        yield on_lane(session.default)


@contextlib.contextmanager
def openai_http(url: str) -> Iterator[Callable[..., str]]:
    """``client.responses.create(stream=True)``."""
    from openai import OpenAI

    with OpenAI(api_key=API_KEY, base_url=url) as client:

        def exchange(metadata: Mapping[str, str], take: Callable[[str], object], input: str = PROMPT) -> str:
            create = client.responses.create
            with create(model=MODEL, input=input, metadata=dict(metadata), stream=True) as stream:
                text = _follow(stream, take)
                for _ in stream:  # to the end of the body, so that the connection is kept
                    pass
                return text

        yield exchange


def _follow(events: Any, take: Callable[[str], object]) -> str:
    """Hand over the deltas of one turn; its final text."""
    for event in events:
        if event.type == "response.output_text.delta":
            take(event.delta)
        elif event.type == "response.completed":
            text: str = event.response.output_text
            return text
    raise RuntimeError("the connection ended before the turn")


@contextlib.contextmanager
def agents_model(url: str) -> Iterator[Callable[..., str]]:
    """``OpenAIResponsesWSModel.stream_response`` in an event loop of its own: it has no blocking form."""
    from agents import ModelSettings, ModelTracing
    from agents.models.openai_responses import OpenAIResponsesWSModel
    from openai import AsyncOpenAI

    model = OpenAIResponsesWSModel(MODEL, AsyncOpenAI(api_key=API_KEY, websocket_base_url=url))

    async def run(metadata: Mapping[str, str], take: Callable[[str], object], input: str) -> str:
        settings = ModelSettings(metadata=dict(metadata))
        events = model.stream_response(None, input, settings, [], None, [], ModelTracing.DISABLED)
        text = ""
        async for event in events:
            if event.type == "response.output_text.delta":
                take(event.delta)
            elif event.type == "response.completed":
                text = event.response.output_text
        return text

    with asyncio.Runner() as runner:

        def exchange(metadata: Mapping[str, str], take: Callable[[str], object], input: str = PROMPT) -> str:
            return runner.run(run(metadata, take, input))

        yield exchange
        runner.run(model.close())
