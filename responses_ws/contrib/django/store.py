"""Conversations in the database of a Django project."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, Error, IntegrityError, connections, transaction
from django.db.models import DateTimeField, ExpressionWrapper, Q
from django.db.models.functions import Now

from responses_ws._core.fields import REPLACEMENT
from responses_ws.errors import ConfigurationError, StoreError
from responses_ws.store.base import (
    LEASE_SECONDS,
    WAIT_SECONDS,
    Stored,
    check_key,
    conflict,
    from_text,
    lease,
    next_version,
    to_text,
)

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from responses_ws.contrib.django.models import Conversation, Lease

__all__ = ["DjangoStore"]


class DjangoStore:
    """A :class:`Store` on the models of this app. From any thread; any number of processes and machines.

    It takes part in the transaction that is open, if one is: what is saved there is rolled back with it, and
    no lock can be taken, for nobody else would see it.

    :param using: the name of the database.
    """

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        self._using = using

    def load(self, key: str) -> Stored | None:
        """The conversation; see :meth:`Store.load`."""
        digest = _digest(key)
        with _translated():
            found = self._conversations.filter(digest=digest).values_list("version", "data").first()
        return None if found is None else from_text(key, *found)

    def save(self, key: str, data: Mapping[str, Any], version: int | None) -> int:
        """Write it; see :meth:`Store.save`."""
        digest = _digest(key)
        new = next_version(version)
        fields = {"data": to_text(data), "version": new, "updated": Now()}
        with _translated():
            self._look_at_connection()
            if version is None:
                written = self._inserted(self._conversations, digest=digest, key=_shown(key), **fields)
            else:
                written = bool(self._conversations.filter(digest=digest, version=version).update(**fields))
        if not written:
            raise conflict(key, version)
        return new

    def delete(self, key: str) -> None:
        """Forget it; see :meth:`Store.delete`."""
        digest = _digest(key)
        with _translated():
            self._conversations.filter(digest=digest).delete()

    def lock(
        self, key: str, *, seconds: float = LEASE_SECONDS, timeout: float | None = WAIT_SECONDS
    ) -> AbstractContextManager[None]:
        """Let others wait; see :meth:`Store.lock`. Leases go by the clock of the database.

        Raises :class:`ConfigurationError` in an open transaction, that of a ``TestCase`` excepted.
        """
        held = lease(self, key, seconds, timeout)
        self._refuse_transaction()
        return held

    def take(self, key: str, token: str, seconds: float) -> bool:
        """For :meth:`lock`; see :class:`Leases`."""
        digest = _digest(key)
        until = ExpressionWrapper(Now() + datetime.timedelta(seconds=seconds), DateTimeField())
        with _translated():
            leases = self._leases.filter(digest=digest)
            if leases.filter(Q(token=token) | Q(until__lte=Now())).update(token=token, until=until):
                return True
            if leases.exists():
                return False
            return self._inserted(self._leases, digest=digest, token=token, until=until)

    def give_back(self, key: str, token: str) -> bool:
        """For :meth:`lock`; see :class:`Leases`."""
        mine = self._leases.filter(digest=_digest(key), token=token)
        with _translated():
            self._look_at_connection()
            held = mine.filter(until__gt=Now()).exists()
            mine.delete()
        return held

    def _look_at_connection(self) -> None:
        """Before what follows an answer: a connection that was at rest for so long may have been closed.

        Django looks at it between two requests only.
        """
        connection = connections[self._using]
        if connection.connection is None or connection.in_atomic_block:
            return
        if not connection.is_usable():
            connection.close()

    def _refuse_transaction(self) -> None:
        try:
            with _translated(), transaction.atomic(using=self._using, durable=True):
                pass
        except RuntimeError:
            raise ConfigurationError(
                "a conversation is locked outside of a transaction: in one nobody else sees the lock "
                "(with ATOMIC_REQUESTS, the view wants transaction.non_atomic_requests)"
            ) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DjangoStore) and self._using == other._using

    def __hash__(self) -> int:
        return hash((DjangoStore, self._using))

    def __repr__(self) -> str:
        return f"<DjangoStore {self._using}>"

    def _inserted(self, rows: QuerySet[Any], **fields: Any) -> bool:
        """Insert a row, unless there is one of its key. An open transaction can go on in either case."""
        try:
            with transaction.atomic(using=self._using):
                rows.create(**fields)
        except IntegrityError:
            return False
        return True

    @property
    def _conversations(self) -> QuerySet[Conversation]:
        from responses_ws.contrib.django.models import Conversation

        return Conversation.objects.using(self._using)

    @property
    def _leases(self) -> QuerySet[Lease]:
        from responses_ws.contrib.django.models import Lease

        return Lease.objects.using(self._using)


def _digest(key: str) -> str:
    """What a conversation is found by. Raises :class:`ConfigurationError` for what is no key."""
    check_key(key)
    return hashlib.sha256(key.encode()).hexdigest()


def _shown(key: str) -> str:
    """The key for people to read. PostgreSQL has no NUL in its texts."""
    return key.replace("\0", REPLACEMENT)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The errors of Django's databases, as those of a store."""
    try:
        yield
    except Error as error:
        raise StoreError(f"the database failed ({type(error).__name__})") from error
