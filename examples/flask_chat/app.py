"""A chat in the browser with Flask: answers stream, tools are seen, a reload keeps the conversation."""

from __future__ import annotations

import os
import random
import secrets
import threading
import uuid
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, request, send_file, session

from responses_ws.contrib.flask import ResponsesWS
from responses_ws.store import SQLiteStore
from responses_ws.tools import tool

PAGE = Path(__file__).resolve().parent.parent / "chat.html"
LONGEST_QUESTION = 20_000

web = ResponsesWS()


@tool
def roll_dice(count: int, sides: int) -> list[int]:
    """Roll dice.

    :param count: how many, up to 100.
    :param sides: of each of them.
    """
    return [random.randint(1, sides) for _ in range(min(count, 100))]  # noqa: S311


@tool(timeout=60)
def set_timer(seconds: float) -> str:
    """Wait, and then tell that the time is over.

    :param seconds: up to 50.
    """
    threading.Event().wait(min(seconds, 50))
    return "the time is over"


TOOLS = [roll_dice, set_timer]


def create_app() -> Flask:
    """The application, as its environment describes it; see the README."""
    app = Flask(__name__)
    app.secret_key = os.environ.get("CHAT_SECRET") or secrets.token_hex()
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    app.config["RESPONSES_WS_MODEL"] = os.environ.get("CHAT_MODEL", "gpt-5.5")
    app.config["RESPONSES_WS_MAX_CONNECTIONS"] = int(os.environ.get("CHAT_CONNECTIONS", "8"))
    app.config["RESPONSES_WS_HEARTBEAT"] = float(os.environ.get("CHAT_HEARTBEAT", "5"))
    web.init_app(app)
    store = SQLiteStore(os.environ.get("CHAT_DATABASE", "chat.sqlite3"))

    @app.get("/")
    def page() -> Response:
        """The page, and a conversation for who has none yet."""
        session.setdefault("conversation", uuid.uuid4().hex)
        return send_file(PAGE, max_age=0)

    @app.get("/messages")
    def messages() -> dict[str, Any]:
        """What was said so far."""
        found = web.history(store, session["conversation"]) if "conversation" in session else []
        return {"messages": [as_data(message) for message in found if message.role != "tool"]}

    @app.post("/ask")
    def ask() -> Response:
        """Go on with the conversation; the answer as server-sent events."""
        given = request.get_json()
        question = given.get("question") if isinstance(given, dict) else None
        if "conversation" not in session or not isinstance(question, str):
            abort(400)
        if len(question) > LONGEST_QUESTION:
            abort(413)
        return web.stream_response(web.conversation(store, session["conversation"], tools=TOOLS), question)

    @app.post("/new")
    def new() -> dict[str, Any]:
        """Begin another conversation."""
        session["conversation"] = uuid.uuid4().hex
        return {}

    return app


def as_data(message: Any) -> dict[str, Any]:
    """A message for the page."""
    calls = (message.tool_calls or {}).values()
    tools = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return {"role": message.role, "text": message.content or message.refusal or "", "tools": tools}
