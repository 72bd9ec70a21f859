"""What the tests of chats share: a chat with the scripted server, a tool, histories without ids."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from shell import KEY

from responses_ws.chat import Chat
from responses_ws.testing import Model, ScriptedServer
from responses_ws.tools import tool

Item = dict[str, Any]


def chat(server: ScriptedServer, **options: Any) -> Chat:
    """A chat with the server; nothing is connected yet."""
    options = {"api_key": KEY, "api_base": server.url, "ssl_context": server.ssl_context, **options}
    return Chat("m", **options)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def calling(name: str, **arguments: Any) -> str:
    """What makes the model call a function."""
    return f"call {name} {json.dumps(arguments)}"


def meant(items: Iterable[Item]) -> list[Item]:
    """Items without what the service adds: two histories that say the same are equal."""
    return [
        {name: value for name, value in item.items() if name not in ("id", "status", "call_id")}
        for item in items
    ]


def seen(model: Model, talk: Chat) -> list[Item]:
    """The history that the model has of the chat's last response."""
    assert talk.last_response_id is not None
    return model.history(talk.last_response_id)
