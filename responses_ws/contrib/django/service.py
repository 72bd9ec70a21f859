"""The one pool of a process, as the settings describe it, and what is done on it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import StreamingHttpResponse

from responses_ws._shown import shown
from responses_ws.contrib._service import Service
from responses_ws.contrib.django.store import DjangoStore
from responses_ws.contrib.sse import CONTENT_TYPE, HEADERS, event_stream
from responses_ws.errors import ConfigurationError

if TYPE_CHECKING:
    from responses_ws._core.content import Input
    from responses_ws.chat import Chat
    from responses_ws.messages import Message
    from responses_ws.pool import ConnectionPool
    from responses_ws.store import Store

__all__ = ["chat", "conversation", "get_pool", "history", "read_settings", "reset", "stream_response"]

SETTING = "RESPONSES_WS"

services: dict[str, Service] = {}
"""The one of this process, once it was asked for."""


def read_settings() -> Service:
    """What the settings describe.

    :raises ConfigurationError: a setting that does not exist or cannot work; the message names it.
    """
    if not isinstance(given(), dict):
        raise ConfigurationError(f"{SETTING} must be a dict, not {type(given()).__name__}")
    for name in given():
        if not (isinstance(name, str) and name.isupper()):
            raise ConfigurationError(f"{SETTING} has {shown(name)}: its names are in capitals")
    return Service(lambda: {name.lower(): value for name, value in given().items()}, f"{SETTING}: ")


def given() -> Any:
    """What the settings have of ours. It holds the key, and so is nobody's variable."""
    return getattr(settings, SETTING, {})


def service() -> Service:
    """That of this process."""
    return services.get(SETTING) or services.setdefault(SETTING, read_settings())


def reset(*, setting: str, **_: Any) -> None:
    """A test has changed a setting."""
    if setting == SETTING and SETTING in services:
        services.pop(SETTING).close()


def get_pool() -> ConnectionPool:
    """The pool of this process, made when it is first asked for. From any thread.

    :raises ConfigurationError: the settings cannot work; the message names which.
    """
    return service().pool


def chat(model: str | None = None, **options: Any) -> Chat:
    """A new chat on the pool, which is not kept.

    :param model: None takes ``MODEL`` of the settings.
    :param options: those of :class:`Chat` that are not of its connection.
    :raises ConfigurationError: an option cannot work, or there is no model.
    """
    return service().chat(model, **options)


def conversation(key: str, *, store: Store | None = None, **options: Any) -> AbstractContextManager[Chat]:
    """The conversation that is kept under a key, or a new one; it is kept when it is left.

    Nobody else has it meanwhile. It is kept also when an answer failed or its browser has gone, as it was
    after its last whole step.

    :param store: None is the default database.
    :param options: ``model``, ``instructions`` and fields of the requests such as ``temperature`` for a new
        one; ``tools``, ``schema``, ``approve`` and ``tenant`` as for :class:`Chat`; ``wait`` (seconds for
        whoever has it now, 10; then :class:`ConcurrencyError` is raised) and ``lease`` (seconds after which
        it is free again though its process died, 600).
    :raises ConfigurationError: when it is entered in an open transaction, as that of ``ATOMIC_REQUESTS``.
    """
    return service().conversation(DjangoStore() if store is None else store, key, **options)


def history(key: str, *, store: Store | None = None) -> list[Message]:
    """What was said in the conversation that is kept under a key, oldest first, to show it.

    Empty when there is none. What runs at the moment is not in it.

    :param store: None is the default database.
    """
    return service().history(DjangoStore() if store is None else store, key)


def stream_response(
    conversation: AbstractContextManager[Chat], input: Input, *, heartbeat: float | None = None
) -> StreamingHttpResponse:
    """Ask, and stream the answer as server-sent events; see :mod:`responses_ws.contrib.sse` for them.

    Nothing is asked before the server begins to send. A browser that goes away ends its answer here, at the
    second sign of life at the latest, and the conversation is free again; the service may go on and be paid.

    :param conversation: a chat, which is closed afterwards, or what :func:`conversation` gives.
    :param input: as for :meth:`Chat.ask`.
    :param heartbeat: seconds of silence before each sign of life; None takes ``HEARTBEAT`` of the settings.
    :raises ConfigurationError: the heartbeat cannot be waited.
    """
    seconds = service().heartbeat if heartbeat is None else heartbeat
    body = event_stream(conversation, input, heartbeat=seconds)
    return StreamingHttpResponse(body, content_type=CONTENT_TYPE, headers=HEADERS)
