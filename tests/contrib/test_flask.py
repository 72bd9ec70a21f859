"""The Flask extension: settings, chats on one pool, and a streamed answer that ends with its browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from chatting import add, calling
from eventsource import events, text
from shell import KEY, created, join_readers, until

from responses_ws import Chat, ConfigurationError, StoreError
from responses_ws.contrib.flask import ResponsesWS
from responses_ws.store import SQLiteStore
from responses_ws.testing import Model, ScriptedServer, expect, expect_gone, optional, send
from responses_ws.tools import tool

web = ResponsesWS()


def application(**settings: Any) -> flask.Flask:
    app = flask.Flask("chats")
    app.config.from_mapping({f"RESPONSES_WS_{name}": value for name, value in settings.items()})
    web.init_app(app)

    @app.post("/ask")
    def ask() -> flask.Response:
        return web.stream_response(web.chat(tools=[add]), flask.request.form["question"])

    return app


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(model=Model()) as running:
        yield running


def of(server: ScriptedServer, **settings: Any) -> flask.Flask:
    return application(**{"API_KEY": KEY, "API_BASE": server.url, "MODEL": "m", **settings})


def ask(app: flask.Flask, question: str) -> Any:
    """The response, of which nothing was read yet."""
    return app.test_client().post("/ask", data={"question": question}, buffered=False)


def end(app: flask.Flask) -> None:
    with app.app_context():
        web.pool.close()
    join_readers()


def test_an_answer_streams(server: ScriptedServer) -> None:
    """As server-sent events that nothing on the way may hold back."""
    app = of(server)
    with ask(app, calling("add", a=1, b=2)) as response:
        assert response.status_code == 200
        assert response.content_type == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        told = list(events(response.iter_encoded()))
    assert [name for name, _ in told if name not in ("", "text")] == ["tool_call", "tool_done", "message"]
    assert text(told).startswith("add returned: 3.")
    end(app)


def test_a_browser_that_leaves_takes_its_response_along() -> None:
    """Its connection has nothing left to do."""
    with ScriptedServer() as server:
        server.connection(expect(), send(created("resp_1")), optional(expect_gone()))
        app = of(server, HEARTBEAT=0.05)
        with ask(app, "hi") as response:
            pieces = response.iter_encoded()
            assert [next(pieces) for _ in range(3)] == [b":\n\n"] * 3
        end(app)
        until(lambda: server.connections[0].ended)


def test_what_the_tools_need_of_the_application_is_there(server: ScriptedServer) -> None:
    """The context of the request lasts until the answer has ended, in the threads of the tools too."""
    app = of(server)

    @tool
    def path() -> str:
        return flask.current_app.name + flask.request.path

    @app.get("/where")
    def where() -> flask.Response:
        return web.stream_response(web.chat(tools=[path]), calling("path"))

    told = events([app.test_client().get("/where").data])
    assert "path returned: chats/where." in text(told)
    end(app)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, ZeroDivisionError])
def test_what_is_raised_in_a_conversation_comes_out_though_it_cannot_be_kept(
    server: ScriptedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, raised: type[BaseException]
) -> None:
    """Ctrl-C is no error of a store. That nothing was kept is in the log."""

    class Full(SQLiteStore):
        def save(self, key: str, data: Any, version: int | None) -> int:
            raise StoreError("the disk is full")

    app = of(server)

    def talk(error: type[BaseException] | None) -> None:
        with app.app_context(), web.conversation(Full(tmp_path / "chats.db"), "ada") as chat:
            chat.ask("hi")
            if error:
                raise error

    with pytest.raises(raised):
        talk(raised)
    assert "a conversation was not kept: the disk is full" in caplog.text
    with pytest.raises(StoreError):
        talk(None)
    end(app)


def test_an_application_has_its_own_settings(server: ScriptedServer) -> None:
    """One extension, two applications."""
    one, other = of(server, MODEL="one"), of(server, MODEL="other")
    with one.app_context():
        assert web.chat().model == "one"
        assert web.chat("given").model == "given"
        pool = web.pool
        assert web.pool is pool
    with other.app_context():
        assert web.chat().model == "other"
        assert web.pool is not pool
    end(one)
    end(other)


def test_an_application_is_made_without_a_key_and_without_a_connection() -> None:
    """Its commands need neither."""
    app = application()
    with app.app_context(), pytest.raises(ConfigurationError, match="RESPONSES_WS_MODEL is not set"):
        web.chat()
    with app.app_context(), pytest.raises(ConfigurationError, match="api_key"):
        web.chat("m")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"MAX_CONECTIONS": 3}, "RESPONSES_WS_MAX_CONECTIONS is no setting"),
        ({"HEARTBEAT": 0}, "RESPONSES_WS_HEARTBEAT must be a positive number of seconds, not 0"),
        ({"HEARTBEAT": None}, "RESPONSES_WS_HEARTBEAT must be a positive number of seconds, not None"),
        ({"HEARTBEAT": "15"}, "RESPONSES_WS_HEARTBEAT must be"),
        ({"MODEL": 5}, "RESPONSES_WS_MODEL must be"),
        ({"MODEL": ""}, "RESPONSES_WS_MODEL must be"),
        ({"MAX_CONNECTIONS": 0}, "RESPONSES_WS_MAX_CONNECTIONS must be"),
        ({"MAX_CONNECTIONS": None}, "RESPONSES_WS_MAX_CONNECTIONS must be"),
        ({"ALLOW_INSECURE": "no"}, "RESPONSES_WS_ALLOW_INSECURE must be True or False"),
        ({"TIMEOUTS": 3}, "RESPONSES_WS_TIMEOUTS must be"),
        ({"API_BASE": "nonsense"}, "RESPONSES_WS_API_BASE must be"),
        ({"API_KEY": 5, "MAX_IDLE": None}, "RESPONSES_WS_API_KEY must be"),
    ],
)
def test_what_cannot_be_set_is_refused_at_the_start(settings: dict[str, Any], fault: str) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match=fault):
        application(**settings)


def test_an_application_without_the_extension_is_told() -> None:
    """In words, not by a KeyError."""
    with flask.Flask("other").app_context(), pytest.raises(ConfigurationError, match="init_app"):
        web.chat()


def test_the_application_can_be_given_to_the_constructor(server: ScriptedServer) -> None:
    """As with other extensions."""
    app = flask.Flask("chats")
    app.config["RESPONSES_WS_MODEL"] = "m"
    app.config["RESPONSES_WS_API_KEY"] = KEY
    with app.app_context():
        assert isinstance(ResponsesWS(app).chat(), Chat)
    end(app)
