"""What was given stands in the text of an error, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from shell import KEY

from responses_ws import Chat, ConfigurationError, ConnectionPool, Limits, Retry, Schema, Session, Timeouts
from responses_ws import batch as batches
from responses_ws._shown import shown
from responses_ws.tools import tool

TOO_LONG = 10**5000
"""Python writes no integer of more than 4,300 digits."""


class Mute:
    """As a record that asks a database for its text, which is gone."""

    def __repr__(self) -> str:
        raise RuntimeError("gone")


def answer() -> int:
    """The answer."""
    return 42


def restored(**given: Any) -> Chat:
    return Chat.from_dict({**Chat("m", api_key=KEY).to_dict(), **given}, api_key=KEY)


TAKING: dict[str, Callable[[Any], object]] = {
    "connect": lambda value: Timeouts(connect=value),
    "max_message_bytes": lambda value: Limits(max_message_bytes=value),
    "max_retries": lambda value: Retry(max_retries=value),
    "replay": lambda value: Retry(replay=value),
    "max_connections": lambda value: ConnectionPool(api_key=KEY, max_connections=value),
    "allow_insecure": lambda value: Session(api_key=KEY, allow_insecure=value),
    "transport": lambda value: Session(api_key=KEY, transport=value),
    "transport of a chat": lambda value: Chat("m", api_key=KEY, transport=value),
    "max_rounds": lambda value: Chat("m", api_key=KEY, max_rounds=value),
    "headers": lambda value: Session(api_key=KEY, headers={value: "x"}),
    "name": lambda value: Schema(int, name=value),
    "type": Schema,
    "on_error": lambda value: tool(on_error=value)(answer),
    "name of a tool": lambda value: tool(name=value)(answer),
    "concurrency": lambda value: batches.run([], model="m", out="out", concurrency=value),
    "rerun": lambda value: batches.run([], model="m", out="out", rerun=value),
}


@pytest.mark.parametrize("name", TAKING)
@pytest.mark.parametrize("value", [-TOO_LONG, Mute()], ids=["an integer", "an object"])
def test_what_cannot_be_written_is_refused_by_the_name_of_its_parameter(name: str, value: Any) -> None:
    """And by its type, in place of what Python or its class raises."""
    with pytest.raises(ConfigurationError, match=name.partition(" ")[0]) as caught:
        TAKING[name](value)
    assert f"an object of type {type(value).__name__}" in str(caught.value)


def test_a_version_that_cannot_be_written() -> None:
    """Nothing that JSON holds, but data need not come from there."""
    with pytest.raises(ConfigurationError, match="data has version an object of type int"):
        restored(version=TOO_LONG)


def test_a_parameter_that_cannot_be_written() -> None:
    """The reason that is given is one that it can be."""
    chat = Chat("m", api_key=KEY).with_params(seed=TOO_LONG)
    with chat, pytest.raises(ConfigurationError, match=r"seed cannot be sent: .* thousands of digits"):
        chat.ask("hello")


@pytest.mark.parametrize("field", ["type", "name"])
def test_a_tool_whose_name_cannot_be_written(field: str) -> None:
    """The service would not take it, so that it is refused with the request."""
    with Chat("m", api_key=KEY).with_tools({"type": "function", field: TOO_LONG}) as chat:
        assert chat.to_dict()["tools"]
        with pytest.raises(ConfigurationError, match="tools"):
            chat.ask("hello")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("five", "'five'"),
        (5, "5"),
        (None, "None"),
        ([TOO_LONG], "an object of type list"),
        (Mute(), "an object of type Mute"),
        ("x" * 600, f"'{'x' * 499}... (102 more characters)"),
    ],
    ids=["text", "number", "none", "list", "mute", "long"],
)
def test_a_value_is_shown_as_it_is_written(value: Any, text: str) -> None:
    """Or as its type where it is not, and cut where it is long."""
    assert shown(value) == text
