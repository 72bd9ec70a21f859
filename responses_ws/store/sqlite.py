"""Conversations in one SQLite file: no server, no set-up, for the processes of one machine.

A connection lives for one operation. SQLite forbids to carry one over a fork, and its locks do not survive
that either. So that none can be there, a fork waits for the operation that is running, and operations wait
for a fork.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar

from responses_ws._paths import check_path
from responses_ws._transport import clock
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.mailbox import pause
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

__all__ = ["SQLiteStore"]

Result = TypeVar("Result")

BUSY_SECONDS = 10.0
"""That an operation waits for another process which is writing."""
RETRY_SECONDS = 0.01
BUSY = "database is locked"
"""SQLite's text for ``SQLITE_BUSY`` in all its forms."""

TABLES = (
    "CREATE TABLE IF NOT EXISTS responses_ws_conversations"
    " (key TEXT PRIMARY KEY, version INTEGER NOT NULL, data TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS responses_ws_locks"
    " (key TEXT PRIMARY KEY, token TEXT NOT NULL, taken REAL NOT NULL, until REAL NOT NULL)",
)
LOAD = "SELECT version, data FROM responses_ws_conversations WHERE key = ?"
ADD = (
    "INSERT INTO responses_ws_conversations (key, version, data) VALUES (:key, :new, :data)"
    " ON CONFLICT DO NOTHING"
)
CHANGE = (
    "UPDATE responses_ws_conversations SET version = :new, data = :data"
    " WHERE key = :key AND version = :version"
)
DELETE = "DELETE FROM responses_ws_conversations WHERE key = ?"

# A lease that begins far in the future is one from before the clock was set back.
TAKE = """
INSERT INTO responses_ws_locks (key, token, taken, until) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET token = excluded.token, taken = excluded.taken, until = excluded.until
WHERE token = excluded.token OR until <= excluded.taken OR taken > excluded.taken + 60
"""
HELD = "SELECT 1 FROM responses_ws_locks WHERE key = ? AND token = ? AND until > ?"
GIVE_BACK = "DELETE FROM responses_ws_locks WHERE key = ? AND token = ?"


class SQLiteStore:
    """A :class:`Store` in a file, which is made when it is first used.

    Safe over threads, processes and forks of one machine; not on the file system of a network. The program
    may keep tables of its own in the file. It grows with its conversations until they are deleted. While it
    is used, two more files lie beside it (``-wal`` and ``-shm``): back it up with SQLite's own means, not by
    copying the file.

    Nothing is kept open between two operations, so :meth:`close` and the ``with`` have nothing to do: they
    are there so that one kind of store can be exchanged for another.

    :param path: of the file. Its directory must exist.
    :raises ConfigurationError: for what is no path of a file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name = check_path("path", path)
        if name == ":memory:":
            raise ConfigurationError("path must name a file; what is in memory, no other process can read")
        self._path = os.path.abspath(name)  # a daemon changes its directory
        _forks.watch()

    def load(self, key: str) -> Stored | None:
        """The conversation; see :meth:`Store.load`."""
        check_key(key)
        row = self._connected(lambda connection: connection.execute(LOAD, (key,)).fetchone())
        return None if row is None else from_text(key, *row)

    def save(self, key: str, data: Mapping[str, Any], version: int | None) -> int:
        """Write it; see :meth:`Store.save`. It is on the disk when this returns."""
        check_key(key)
        text, new = to_text(data), next_version(version)
        statement = ADD if version is None else CHANGE
        fields = {"key": key, "data": text, "new": new, "version": version}
        if not self._connected(lambda connection: connection.execute(statement, fields).rowcount):
            raise conflict(key, version)
        return new

    def delete(self, key: str) -> None:
        """Forget it; see :meth:`Store.delete`."""
        check_key(key)
        self._connected(lambda connection: connection.execute(DELETE, (key,)))

    def lock(
        self, key: str, *, seconds: float = LEASE_SECONDS, timeout: float | None = WAIT_SECONDS
    ) -> AbstractContextManager[None]:
        """Let others wait; see :meth:`Store.lock`. Leases go by the clock of the machine."""
        return lease(self, key, seconds, timeout)

    def take(self, key: str, token: str, seconds: float) -> bool:
        """For :meth:`lock`; see :class:`Leases`."""

        def taken(connection: sqlite3.Connection) -> bool:
            now = clock.wall()
            return bool(connection.execute(TAKE, (key, token, now, now + seconds)).rowcount)

        return self._connected(taken)

    def give_back(self, key: str, token: str) -> bool:
        """For :meth:`lock`; see :class:`Leases`."""

        def held(connection: sqlite3.Connection) -> bool:
            found = connection.execute(HELD, (key, token, clock.wall())).fetchone()
            connection.execute(GIVE_BACK, (key, token))
            return found is not None

        return self._connected(held)

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> SQLiteStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SQLiteStore) and self._path == other._path

    def __hash__(self) -> int:
        return hash(self._path)

    def __repr__(self) -> str:
        return f"<SQLiteStore {getattr(self, '_path', 'unfinished')}>"  # in a traceback of the constructor

    def _connected(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do it with a connection for one operation; each statement is a transaction of its own.

        No context manager of ours: whoever keeps the traceback of an interrupt that comes on its way in or
        out would keep the lock, and all others wait for it for ever.
        """
        deadline = Deadline(BUSY_SECONDS)  # those who wait for one another are waiting for the same writer
        try:
            with _forks.lock, contextlib.closing(self._connect(deadline)) as connection:
                _prepare(connection, deadline)
                return work(connection)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _connect(self, deadline: Deadline) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=deadline.remaining() or 0.0, isolation_level=None)


def _prepare(connection: sqlite3.Connection, deadline: Deadline) -> None:
    connection.text_factory = bytes  # an error of its decoding would quote what it could not read
    if connection.execute("PRAGMA journal_mode").fetchone() != (b"wal",):
        _begin_log(connection, deadline)
    connection.execute("PRAGMA synchronous = FULL")
    for statement in TABLES:
        connection.execute(statement)


def _begin_log(connection: sqlite3.Connection, deadline: Deadline) -> None:
    """Let readers and the writer not wait for each other.

    For this change alone SQLite does not wait itself for other processes.
    """
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if deadline.expired or not _is_busy(error):
                raise
            pause(deadline.remaining(RETRY_SECONDS))
        else:
            return


def _is_busy(error: sqlite3.Error) -> bool:
    """Whether another process is at it. Python 3.10 has no codes of SQLite's errors."""
    return str(error) == BUSY


class _Forks:
    """Keeps the forks of this process apart from its connections.

    :ivar lock: held by whoever has a connection, or forks.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._watched = False

    def watch(self) -> None:
        """From the first store on."""
        if not self._watched and hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
            )
            self._watched = True  # last, as in responses_ws._process

    def _before(self) -> None:
        self.lock.acquire()

    def _in_parent(self) -> None:
        self.lock.release()

    def _in_child(self) -> None:
        self.lock = threading.RLock()


_forks = _Forks()
