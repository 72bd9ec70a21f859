"""What a store is, and what all stores have in common: how a conversation is written, and leases."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, TypeGuard, runtime_checkable

from responses_ws._core.fields import count, text
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.mailbox import pause
from responses_ws.errors import ConcurrencyError, ConfigurationError, StoreError
from responses_ws.messages import check_seconds

__all__ = [
    "LEASE_SECONDS",
    "WAIT_SECONDS",
    "Leases",
    "Store",
    "Stored",
    "check_encodable",
    "check_key",
    "conflict",
    "damaged",
    "from_text",
    "lease",
    "next_version",
    "to_text",
]

logger = logging.getLogger("responses_ws")

LEASE_SECONDS = 120.0
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.05
"""Between two looks at a lock that somebody else has: a conversation is locked for seconds."""

MOST_VERSIONS = 2**53
"""Above it JSON and Lua are not exact."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A conversation in a store.

    :ivar data: what :meth:`Chat.to_dict` gave.
    :ivar version: another number after each save, from 1 to 2 ** 53 - 1.
    """

    data: dict[str, Any] = field(repr=False)
    version: int


@runtime_checkable
class Store(Protocol):
    """A place for conversations by their keys. May be used from any thread.

    Two that are equal hold the same conversations: a :class:`Chat` remembers by it what it has loaded from
    where. So a store must be hashable.
    """

    def load(self, key: str) -> Stored | None:
        """The conversation, or None when there is none.

        Raises :class:`ConfigurationError` naming the key when it cannot be read, and :class:`StoreError`.
        """

    def save(self, key: str, data: Mapping[str, Any], version: int | None) -> int:
        """Write it, if it still has the version that was loaded; the new version.

        :param version: None when there must be none of this key yet.

        Raises :class:`ConcurrencyError` when it has another version or none, and nothing is written then;
        :class:`StoreError` when the store cannot be reached.
        """

    def delete(self, key: str) -> None:
        """Forget it, if it is there. What was loaded before can then not be saved any more."""

    def lock(
        self, key: str, *, seconds: float = LEASE_SECONDS, timeout: float | None = WAIT_SECONDS
    ) -> AbstractContextManager[None]:
        """Let others who lock this key wait until the ``with`` is left. It need not hold a conversation.

        A lock hinders nobody who does not ask for it. It is a lease, so that one who was killed holds nobody
        up for long: whoever takes longer than ``seconds`` has lost it.

        :param seconds: until it ends by itself; more than the longest answer takes, with its tools.
        :param timeout: seconds to wait for it; 0 does not wait, None waits for ever.

        Entering raises :class:`ConcurrencyError` when it was not free in time. So does leaving when the lease
        had ended before, for somebody else may have been at it: unless the block raised something itself.
        """


# -- leases


class Leases(Protocol):
    """The locks of a store, each held by whoever knows its token."""

    def take(self, key: str, token: str, seconds: float) -> bool:
        """Take the lock for so long, if nobody has it; whether it was taken. Again with the same token it
        succeeds again.
        """

    def give_back(self, key: str, token: str) -> bool:
        """Give it back, if the token still holds it; whether it did."""


def lease(leases: Leases, key: str, seconds: float, timeout: float | None) -> AbstractContextManager[None]:
    """A lock on a key, for one ``with``; see :meth:`Store.lock`."""
    check_key(key)
    check_seconds("seconds", seconds, unlimited=False)
    if timeout != 0:
        check_seconds("timeout", timeout)
    return _held(leases, key, seconds, Deadline(timeout))


@contextmanager
def _held(leases: Leases, key: str, seconds: float, deadline: Deadline) -> Iterator[None]:
    token, pid, taken = os.urandom(16).hex(), os.getpid(), False
    try:
        _take(leases, key, token, seconds, deadline)
        taken = True
        yield
        if pid != os.getpid():  # a forked child leaves the block too; the lock is the parent's
            return
        taken = False
        held = leases.give_back(key, token)
    except BaseException as error:
        # Ctrl-C, or the end of a greenlet, may come when the store has done what it was asked, or before it.
        interrupted = not isinstance(error, Exception)
        if pid == os.getpid() and (taken or interrupted):
            _give_back_quietly(leases, key, token)
        raise
    if not held:
        raise ConcurrencyError(
            f"the lock of {key!r} ended after {seconds:g} seconds (seconds), before its block did: "
            "somebody else may have had it meanwhile"
        )


def _take(leases: Leases, key: str, token: str, seconds: float, deadline: Deadline) -> None:
    while not leases.take(key, token, seconds):
        if deadline.expired:
            waited = deadline.seconds or 0.0
            raise ConcurrencyError(f"{key!r} is locked, and was not free within {waited:g} seconds (timeout)")
        pause(deadline.remaining(POLL_SECONDS))


def _give_back_quietly(leases: Leases, key: str, token: str) -> None:
    """What was raised in the block is what its caller needs to know."""
    try:
        leases.give_back(key, token)
    except StoreError as error:
        logger.warning("a lock was not given back, so that it ends by itself: %s", error)


# -- values


def check_key(key: object) -> None:
    """Refuse what is no name of a conversation."""
    found = text(key)
    if found is None:
        raise ConfigurationError(f"key must be a str that is not empty, not {type(key).__name__}")
    check_encodable("key", found)


def check_encodable(name: str, value: str) -> None:
    """Refuse half characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{name} must be a str that can be encoded as UTF-8") from None


def to_text(data: Mapping[str, Any]) -> str:
    """A conversation as JSON, in ASCII. Raises :class:`ConfigurationError`."""
    try:
        return json.dumps(data, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"the conversation holds what JSON cannot express ({type(error).__name__})"
        ) from None


def from_text(key: str, version: object, data: object) -> Stored:
    """What was written, checked. Raises :class:`ConfigurationError` naming the key and nothing else."""
    if not _is_version(version) or not isinstance(data, (str, bytes)):
        raise damaged(key)
    try:
        read = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise damaged(key) from None
    if not isinstance(read, dict):
        raise damaged(key)
    return Stored(read, version)


def next_version(version: int | None) -> int:
    """Another version than this one, and than any other: two writers of the same must not take themselves for
    one, nor a conversation that was deleted for one that was made anew.

    Raises :class:`ConfigurationError` for what is no version.
    """
    if version is not None and not _is_version(version):
        raise ConfigurationError("version must be that of a stored conversation, or None for a new one")
    return 1 + int.from_bytes(os.urandom(6), "big")


def conflict(key: str, version: int | None) -> ConcurrencyError:
    """What the loser of two writers gets."""
    if version is None:
        return ConcurrencyError(f"{key!r} is in the store already: load it, or delete it first")
    return ConcurrencyError(f"{key!r} was saved or deleted by somebody else since it was loaded")


def damaged(key: str) -> ConfigurationError:
    """For what cannot be read."""
    return ConfigurationError(f"the stored conversation {key!r} is damaged, or no conversation")


def _is_version(value: object) -> TypeGuard[int]:
    return 0 < (count(value) or 0) < MOST_VERSIONS


def _refuse(constant: str) -> NoReturn:
    """NaN and Infinity are no JSON."""
    raise ValueError(constant)
