"""What takes a chat elsewhere: another chat, plain values, a store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from responses_ws._chat_options import Approve, ChatOptions
from responses_ws._chat_session import session_for
from responses_ws._chat_state import ChatState, reading
from responses_ws._conversation import Conversation
from responses_ws._core.options import check_callable
from responses_ws._settings import Credentials, given_credentials
from responses_ws._toolbox import AnyTool
from responses_ws._usage import OnUsage
from responses_ws.errors import ConcurrencyError, ConfigurationError
from responses_ws.store.base import Store, check_key, to_text

if TYPE_CHECKING:
    from typing_extensions import Self

    from responses_ws._core.retry import Retry
    from responses_ws._transport.base import Connector
    from responses_ws.session import Session

__all__ = ["Portable"]

Place = tuple[Store, str]
"""A store, and a key in it."""


class Portable:
    """The part of a :class:`Chat` that makes another one of it."""

    _options: ChatOptions
    _conversation: Conversation
    _owns_session: bool
    _versions: dict[Place, int]
    _unanswered: dict[Place, dict[str, Any]]

    def fork(self) -> Self:
        """A chat of its own with the same history, on a connection of its own; both can go on, in any thread.

        Its ``usage`` begins at 0. A call that is being made here is not made there: the model is told that it
        may have had effects. Calls that wait for :meth:`run_tools` belong to both. A ``conversation`` of the
        service belongs to this one: what the two say there they would say to each other.

        What a subclass keeps in attributes of its own (not in ``__slots__``) is in both, the same objects; no
        constructor is called.
        """
        conversation = self._conversation
        ledger, answers = conversation.copied(self._options)
        other = Conversation(conversation.session.fork(), ledger, conversation.on_usage, answers=answers)
        options = self._options.with_params({"conversation": None})
        fork = type(self).__new__(type(self))
        vars(fork).update(vars(self))  # what a subclass keeps; all that is the chat's own is put in anew
        return fork._put_in(options, other, owns_session=True)

    def to_dict(self) -> dict[str, Any]:
        """The chat as plain values for JSON: history, options, tools by name, usage. No key and no address.

        What was not completed is not in it; calls that are being made are answered as in :meth:`fork`. From
        any thread. Definitions of tools with ``authorization``, ``headers`` or ``domain_secrets`` are left
        out, like functions, and have to be given again; what stands in a ``server_url`` is stored.
        """
        ledger, answers = self._conversation.copied(self._options)
        return ChatState(self._options, ledger, answers, self._conversation.usage).to_dict()

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        tools: Iterable[AnyTool] = (),
        schema: Any = None,
        session: Session | None = None,
        approve: Approve | None = None,
        retry: Retry | None = None,
        on_usage: OnUsage | None = None,
        client_class: Connector | None = None,
        **connection: Any,
    ) -> Self:
        """The chat that :meth:`to_dict` gave, in any process: it goes on where that one was.

        When the service no longer has its last response, the whole history is sent. The constructor of a
        subclass is not called: what it keeps of its own has to be set again.

        :param tools: the functions of the chat; more than it had are offered too.
        :param schema: that of the chat, if it had one.
        :param approve: likewise; without it the functions are called unasked.
        :param connection: ``pool``, ``tenant``, and the options of the constructor from ``api_key`` on.
        :raises ConfigurationError: a function is missing (its name is told), or the data cannot be read.
        """
        credentials = _hidden(connection)
        state = ChatState.from_dict(data, tools, schema)
        return cls._of(
            state,
            credentials,
            session=session,
            approve=approve,
            retry=retry,
            on_usage=on_usage,
            client_class=client_class,
            **connection,
        )

    def save(self, store: Store, key: str) -> None:
        """Write the chat, as :meth:`to_dict` gives it, to a store.

        A chat that was not loaded from there is new there: the key must be free. While an answer runs, what
        was completed before it is saved.

        :raises ConcurrencyError: somebody else has saved or deleted it since this chat loaded or saved it.
            Nothing was overwritten; load it and ask again.
        :raises StoreError: the store cannot be reached. It may be written then; saving again finds out.
        :raises ConfigurationError: it holds what JSON cannot express.
        """
        place = (_checked(store), key)
        check_key(key)
        self._look_after(place)
        # Before the state: what another thread saves from here on may be newer than that.
        version = self._versions.get(place)
        data = self.to_dict()
        try:
            self._versions[place] = store.save(key, data, version)
        except (ConcurrencyError, ConfigurationError):
            raise
        except BaseException:  # it may be written, and nobody was told the version
            self._unanswered[place] = data
            raise

    @classmethod
    def load(
        cls, store: Store, key: str, *, tools: Iterable[AnyTool] = (), schema: Any = None, **options: Any
    ) -> Self:
        """The chat that was saved, in any process: it goes on where that one was.

        Of a subclass too; see :meth:`from_dict`.

        :param tools: the functions of the chat; more than it had are offered too.
        :param schema: that of the chat, if it had one.
        :param options: the others of :meth:`from_dict`; without ``approve`` the functions are called unasked.
        :raises KeyError: there is none of this key.
        :raises StoreError: the store cannot be reached.
        :raises ConfigurationError: it is damaged, or was written by a newer release, or a function is
            missing. The message names the key.
        """
        credentials = _hidden(options)
        stored = _checked(store).load(key)
        if stored is None:
            raise KeyError(key)
        with reading(key):
            state = ChatState.from_dict(stored.data, tools, schema)
        chat = cls._of(state, credentials, **options)
        chat._versions[store, key] = stored.version
        return chat

    @classmethod
    def _of(
        cls,
        state: ChatState,
        credentials: Credentials | None,
        *,
        session: Session | None = None,
        approve: Approve | None = None,
        retry: Retry | None = None,
        on_usage: OnUsage | None = None,
        client_class: Connector | None = None,
        **connection: Any,
    ) -> Self:
        check_callable("on_usage", on_usage)
        owned = session is None
        session = session_for(session, credentials, retry, client_class, **connection)
        conversation = Conversation(session, state.ledger, on_usage, answers=state.answers, usage=state.usage)
        return cls.__new__(cls)._put_in(state.options.but(approve=approve), conversation, owns_session=owned)

    def _look_after(self, place: Place) -> None:
        """Find out what became of a save that nobody answered for. Raises what loading raises."""
        data = self._unanswered.get(place)
        if data is None:
            return
        store, key = place
        stored = store.load(key)
        if stored is not None and stored.data == json.loads(to_text(data)):  # some stores sort the names
            self._versions[place] = stored.version
        self._unanswered.pop(place, None)

    def _put_in(self, options: ChatOptions, conversation: Conversation, *, owns_session: bool) -> Self:
        self._options = options
        self._conversation = conversation
        self._owns_session = owns_session
        self._versions = {}
        self._unanswered = {}
        return self


def _hidden(options: dict[str, Any]) -> Credentials | None:
    """What must not be seen, taken out of the options: a traceback with locals shows these."""
    return given_credentials(*(options.pop(name, None) for name in ("api_key", "headers", "proxy")))


def _checked(store: Store) -> Store:
    if not isinstance(store, Store):
        raise ConfigurationError(f"store must have the methods of a Store, as {type(store).__name__} has not")
    if type(store).__hash__ is None:
        raise ConfigurationError(f"store must be hashable, as {type(store).__name__} is not")
    return store
