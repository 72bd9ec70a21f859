"""Chats in Flask: one pool in each process, and answers that stream to the browser.

::

    web = ResponsesWS()

    def create_app():
        app = Flask(__name__)
        app.config["RESPONSES_WS_MODEL"] = "gpt-5.5"
        web.init_app(app)
        return app

    @app.post("/ask")
    def ask():
        return web.stream_response(web.chat(), request.form["question"])

It takes the extra ``flask``, and any WSGI server with threads or greenlets.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app, stream_with_context

from responses_ws.contrib._service import Service
from responses_ws.contrib.sse import CONTENT_TYPE, HEADERS, event_stream
from responses_ws.errors import ConfigurationError

if TYPE_CHECKING:
    from responses_ws._core.content import Input
    from responses_ws.chat import Chat
    from responses_ws.messages import Message
    from responses_ws.pool import ConnectionPool
    from responses_ws.store import Store

__all__ = ["ResponsesWS"]

PREFIX = "RESPONSES_WS_"
EXTENSION = "responses_ws"


class ResponsesWS:
    """The extension. One object serves any number of applications; what it does belongs to the current one.

    It reads ``RESPONSES_WS_MODEL``, ``RESPONSES_WS_HEARTBEAT`` (seconds of silence after which the browser
    gets a sign of life, 15) and ``RESPONSES_WS_`` with the name of any option of :class:`ConnectionPool`,
    such as ``RESPONSES_WS_MAX_CONNECTIONS``. Without ``RESPONSES_WS_API_KEY`` the key comes from
    ``OPENAI_API_KEY``.

    All methods may be called from any thread.

    :param app: to initialize; None leaves that to :meth:`init_app`.
    :raises ConfigurationError: a setting that does not exist or cannot work; the message names it.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the settings of an application. Nothing is opened, and no key is needed yet."""
        app.extensions[EXTENSION] = Service(lambda: app.config.get_namespace(PREFIX), PREFIX)

    @property
    def pool(self) -> ConnectionPool:
        """The pool of the current application in this process."""
        return self._service.pool

    def chat(self, model: str | None = None, **options: Any) -> Chat:
        """A new chat on the pool.

        :param model: None takes ``RESPONSES_WS_MODEL``.
        :param options: those of :class:`Chat` that are not of its connection.
        :raises ConfigurationError: an option cannot work, or there is no model.
        """
        return self._service.chat(model, **options)

    def conversation(self, store: Store, key: str, **options: Any) -> AbstractContextManager[Chat]:
        """The conversation that the store has under a key, or a new one; it is kept when it is left.

        Nobody else has it meanwhile. It is kept also when an answer failed or its browser has gone, as it was
        after its last whole step.

        :param options: ``model``, ``instructions`` and fields of the requests such as ``temperature`` for a
            new one; ``tools``, ``schema``, ``approve`` and ``tenant`` as for :class:`Chat`; ``wait`` (seconds
            for whoever has it now, 10; then :class:`ConcurrencyError` is raised) and ``lease`` (seconds after
            which it is free again though its process died, 600).
        """
        return self._service.conversation(store, key, **options)

    def history(self, store: Store, key: str) -> list[Message]:
        """What was said in the conversation that the store has under a key, oldest first, to show it.

        Empty when there is none. What runs at the moment is not in it.
        """
        return self._service.history(store, key)

    def stream_response(
        self, conversation: AbstractContextManager[Chat], input: Input, *, heartbeat: float | None = None
    ) -> Response:
        """Ask, and stream the answer as server-sent events; see :mod:`responses_ws.contrib.sse` for them.

        Nothing is asked before the server begins to send. A browser that goes away ends its answer here, at
        the second sign of life at the latest, and the conversation is free again; the service may go on and
        be paid.

        :param conversation: a chat, which is closed afterwards, or what :meth:`conversation` gives.
        :param input: as for :meth:`Chat.ask`.
        :param heartbeat: seconds of silence before each sign of life; None takes ``RESPONSES_WS_HEARTBEAT``.
        :raises ConfigurationError: the heartbeat cannot be waited.
        """
        seconds = self._service.heartbeat if heartbeat is None else heartbeat
        body = stream_with_context(event_stream(conversation, input, heartbeat=seconds))
        return Response(body, mimetype=CONTENT_TYPE, headers=HEADERS)

    @property
    def _service(self) -> Service:
        service = current_app.extensions.get(EXTENSION)
        if not isinstance(service, Service):
            raise ConfigurationError("init_app() was not called for this application")
        return service
