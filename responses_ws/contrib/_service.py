"""What the integrations share: chats on one pool, as the settings of a web application describe them."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from responses_ws._chat_state import ledger_of, reading
from responses_ws._core.fields import text
from responses_ws._core.transcript import messages_of
from responses_ws.chat import Chat
from responses_ws.errors import ConfigurationError, ResponsesWSError
from responses_ws.messages import check_seconds
from responses_ws.pool import ConnectionPool

if TYPE_CHECKING:
    from responses_ws._chat_options import Approve
    from responses_ws._toolbox import AnyTool
    from responses_ws.messages import Message
    from responses_ws.store import Store

__all__ = ["Service"]

logger = logging.getLogger("responses_ws")

OWN = {"model", "heartbeat"}
POOL = set(inspect.signature(ConnectionPool).parameters)
"""The names of the options."""
NO_KEY = ("api_key", None)
"""It comes from the environment, or is missed only when it is needed."""


class Service:
    """The service, as an application uses it: one pool in each process, and the chats on it. Thread-safe.

    :param read: gives the options: ``model`` (a name, or None), ``heartbeat`` (seconds) and those of
        :class:`ConnectionPool`. A function, for they hold the key, and a traceback with locals shows the
        variables of every frame on it. Nothing is opened and no key is needed before the first use.
    :param prefix: of the names of the options in the settings, for the messages of errors.
    :raises ConfigurationError: there is no option of such a name, or it cannot work; the message names it.
    """

    def __init__(self, read: Callable[[], Mapping[str, Any]], prefix: str) -> None:
        for name in read():
            if name not in OWN | POOL:
                raise ConfigurationError(f"{prefix}{name.upper()} is no setting of responses_ws")
        self._read = read
        self._prefix = prefix
        self._model: str | None = read().get("model")
        if self._model is not None and text(self._model) is None:
            raise ConfigurationError(f"{prefix}MODEL must be the name of a model")
        self.heartbeat: float = read().get("heartbeat", 15.0)
        check_seconds(f"{prefix}HEARTBEAT", self.heartbeat, unlimited=False)
        self._check_pool()
        self._pools: dict[str, ConnectionPool] = {}

    @property
    def pool(self) -> ConnectionPool:
        """The pool of this process, made when it is first asked for."""
        # Made outside of any lock: of two threads that come first, one makes a pool that is never used.
        return self._pools.get("pool") or self._pools.setdefault("pool", self._new_pool())

    def _new_pool(self) -> ConnectionPool:
        return ConnectionPool(**dict(self._given())).open()

    def _given(self) -> Iterator[tuple[str, Any]]:
        """The options of the pool."""
        return ((name, value) for name, value in self._read().items() if name not in OWN)

    def _check_pool(self) -> None:
        """What a pool refuses is told at the start; that there is no key, when one is needed."""
        try:
            ConnectionPool(**{"api_key": "", **{n: it for n, it in self._given() if (n, it) != NO_KEY}})
        except ConfigurationError as error:
            name = error.message.split(maxsplit=1)[0].rstrip(":")
            setting = f"{self._prefix}{name.upper()}" if name in POOL else name
            raise ConfigurationError(error.message.replace(name, setting, 1)) from None

    def chat(self, model: str | None = None, **options: Any) -> Chat:
        """A new chat on the pool."""
        return Chat(self._name(model), pool=self.pool, **options)

    @contextlib.contextmanager
    def conversation(
        self,
        store: Store,
        key: str,
        *,
        model: str | None = None,
        tools: Iterable[AnyTool] = (),
        instructions: str | None = None,
        schema: Any = None,
        approve: Approve | None = None,
        tenant: str | None = None,
        wait: float = 10.0,
        lease: float = 600.0,
        **params: Any,
    ) -> Iterator[Chat]:
        """The conversation that the store has under a key, or a new one; it is kept when it is left.

        Nobody else has it meanwhile. It is kept also when an answer failed or its browser has gone, as it was
        after its last whole step.

        :param model: of a new one; None takes that of the settings. One that is kept keeps its own.
        :param tools: the functions of the chat, those that a kept one had included.
        :param instructions: of a new one.
        :param schema: as for :class:`Chat`; for a kept one it must be the one that it had.
        :param approve: as for :class:`Chat`.
        :param tenant: whose it is: only chats of one tenant share a connection.
        :param wait: seconds for whoever has it now; then :class:`ConcurrencyError` is raised.
        :param lease: seconds after which the key is free again, for a process that died meanwhile; longer
            than an answer takes.
        :param params: fields of the requests of a new one, such as ``temperature``; see
            :meth:`Chat.with_params`.
        """
        own = {"tools": list(tools), "schema": schema, "approve": approve, "tenant": tenant}
        with store.lock(key, seconds=lease, timeout=wait):
            try:
                chat = Chat.load(store, key, pool=self.pool, **own)
            except KeyError:
                chat = self.chat(model, instructions=instructions, **own).with_params(**params)
            with chat:
                try:
                    yield chat
                except BaseException:
                    _keep_quietly(chat, store, key)
                    raise
                _keep(chat, store, key)

    def history(self, store: Store, key: str) -> list[Message]:
        """What was said in the conversation that the store has under a key, oldest first.

        It is not locked: what runs at the moment is not in it. Empty when there is no such conversation.
        Raises :class:`ConfigurationError` when it cannot be read.
        """
        stored = store.load(key)
        if stored is None:
            return []
        with reading(key):
            return messages_of(ledger_of(stored.data).items)

    def close(self) -> None:
        """Close the pool of this process, if there is one; the next use makes another one."""
        pool = self._pools.pop("pool", None)
        if pool is not None:
            pool.close()

    def _name(self, model: str | None) -> str:
        name = model or self._model
        if name is None:
            raise ConfigurationError(f"model: none was given and {self._prefix}MODEL is not set")
        return name


def _keep(chat: Chat, store: Store, key: str) -> None:
    if chat.items:
        chat.save(store, key)


def _keep_quietly(chat: Chat, store: Store, key: str) -> None:
    """What was raised in the block is what its caller needs to know: Ctrl-C is no error of the store."""
    try:
        _keep(chat, store, key)
    except ResponsesWSError as error:
        logger.warning("a conversation was not kept: %s", error)
