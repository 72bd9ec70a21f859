"""Conversations in a Redis, for several machines; the one file that knows redis-py."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from responses_ws._core.options import check_type
from responses_ws._core.secret import Secret
from responses_ws.errors import ConfigurationError, StoreError
from responses_ws.messages import check_seconds
from responses_ws.store.base import (
    LEASE_SECONDS,
    WAIT_SECONDS,
    Stored,
    check_encodable,
    check_key,
    conflict,
    damaged,
    from_text,
    lease,
    next_version,
    to_text,
)

if TYPE_CHECKING:
    import redis

__all__ = ["RedisStore"]

SCHEMES = ("redis://", "rediss://", "unix://")
ANSWER_SECONDS = 10.0
"""That a Redis may take to connect or to answer, if its URL says nothing else."""

VERSION = re.compile(r"[1-9][0-9]{0,15}")

# In each script KEYS[1] is the key, and ARGV[1] names the question, as the answer does. redis-py asks again
# when an answer was lost: then each answers the same once more. For that a lock that was given back stays for
# a minute, as free.

LOAD = """
return {ARGV[1], redis.call('hget', KEYS[1], 'version'), redis.call('hget', KEYS[1], 'data')}
"""

SAVE = """
local version = redis.call('hget', KEYS[1], 'version')
local held = redis.call('exists', KEYS[1]) == 0 and 'nothing' or 'version ' .. (version or '')
if held ~= ARGV[2] and version ~= ARGV[3] then
    return {ARGV[1], 0}
end
redis.call('hset', KEYS[1], 'version', ARGV[3], 'data', ARGV[5])
if ARGV[4] == '' then
    redis.call('persist', KEYS[1])
else
    redis.call('pexpire', KEYS[1], ARGV[4])
end
return {ARGV[1], 1}
"""

DELETE = """
return {ARGV[1], redis.call('del', KEYS[1])}
"""

TAKE = """
local token = redis.call('get', KEYS[1])
if token and token ~= ARGV[2] and string.sub(token, 1, 5) ~= 'free ' then
    return {ARGV[1], 0}
end
redis.call('set', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {ARGV[1], 1}
"""

GIVE_BACK = """
local token, free = redis.call('get', KEYS[1]), 'free ' .. ARGV[2]
if token ~= ARGV[2] and token ~= free then
    return {ARGV[1], 0}
end
redis.call('set', KEYS[1], free, 'PX', 60000)
return {ARGV[1], 1}
"""


class RedisStore:
    """A :class:`Store` in a Redis. Wants the extra ``redis``; Redis 6 or later, or what speaks like it.

    Everything is asked by a script, so its user there must be allowed EVAL.

    Safe over threads, processes, forks and machines. Nothing is connected before the first use.

    :param server: a URL (``redis://``, ``rediss://`` or ``unix://``), or a client of redis-py, which stays
        the caller's to close. A client that other threads are using while the process forks can hang in the
        child; a URL is opened anew there.
    :param prefix: of every key in the Redis.
    :param expiry: seconds after its last save that a conversation is kept; None keeps it until it is deleted.
    :raises ConfigurationError: for what cannot work, and without redis-py.
    """

    def __init__(
        self, server: str | redis.Redis, *, prefix: str = "responses_ws:", expiry: float | None = None
    ) -> None:
        # Hidden first of all: a traceback with locals shows the variables of every frame on it.
        given = Secret(server) if isinstance(server, str) else server
        server = ""
        check_type("prefix", prefix, str)
        check_encodable("prefix", prefix or "")
        check_seconds("expiry", expiry)
        self._url = given if isinstance(given, Secret) else None
        self._client: Any = _client_for(given) if isinstance(given, Secret) else _checked(given)
        self._pid = os.getpid()
        self._prefix = prefix or ""
        self._expiry = "" if expiry is None else str(_milliseconds(expiry))
        self._place = (given, self._prefix)

    def load(self, key: str) -> Stored | None:
        """The conversation; see :meth:`Store.load`. It does not put off its expiry."""
        version, data = self._asked(LOAD, key, self._chat(key))
        if version is None and data is None:
            return None
        return from_text(key, _number(version), data)

    def save(self, key: str, data: Mapping[str, Any], version: int | None) -> int:
        """Write it, and begin its expiry anew; see :meth:`Store.save`."""
        new = next_version(version)
        held = "nothing" if version is None else f"version {version}"
        (done,) = self._asked(SAVE, key, self._chat(key), held, new, self._expiry, to_text(data))
        if not done:
            raise conflict(key, version)
        return new

    def delete(self, key: str) -> None:
        """Forget it; see :meth:`Store.delete`."""
        self._asked(DELETE, key, self._chat(key))

    def lock(
        self, key: str, *, seconds: float = LEASE_SECONDS, timeout: float | None = WAIT_SECONDS
    ) -> AbstractContextManager[None]:
        """Let others wait; see :meth:`Store.lock`. Leases go by the clock of the Redis, and end with it."""
        return lease(self, key, seconds, timeout)

    def take(self, key: str, token: str, seconds: float) -> bool:
        """For :meth:`lock`; see :class:`Leases`. What was taken without an answer is given back."""
        try:
            (done,) = self._asked(TAKE, key, self._lock(key), token, _milliseconds(seconds))
        except StoreError:
            with contextlib.suppress(StoreError):
                self.give_back(key, token)
            raise
        return bool(done)

    def give_back(self, key: str, token: str) -> bool:
        """For :meth:`lock`; see :class:`Leases`."""
        (done,) = self._asked(GIVE_BACK, key, self._lock(key), token)
        return bool(done)

    def close(self) -> None:
        """Close the connections, if the client is the store's own. It can be used again: it connects anew."""
        if self._url is not None:
            self._redis.connection_pool.disconnect()

    def __enter__(self) -> RedisStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisStore) and self._place == other._place

    def __hash__(self) -> int:
        return hash(self._prefix)

    def __repr__(self) -> str:
        prefix = getattr(self, "_prefix", "unfinished")  # in a traceback of the constructor
        return f"<RedisStore {prefix!r}>"

    def __reduce__(self) -> str:
        raise TypeError("a RedisStore cannot be pickled: it holds a password and connections")

    @property
    def _redis(self) -> Any:
        """The client. In a forked child that of a URL is made anew: locks of the old one may be held."""
        if self._url is not None and self._pid != os.getpid():
            self._client, self._pid = _client_for(self._url), os.getpid()
        return self._client

    def _asked(self, script: str, key: str, place: str, *args: object) -> list[Any]:
        """What a script answers.

        An interrupt between asking and reading leaves an answer on a connection that redis-py gives to the
        next one who asks. That is somebody else's, perhaps another user's conversation.
        """
        question = os.urandom(8).hex()
        with _translated(key):
            answer = self._redis.eval(script, 1, place, question, *args)
        if not isinstance(answer, list) or answer[:1] not in ([question], [question.encode()]):
            _connect_anew(self._redis)
            raise StoreError(f"the Redis gave another answer than that for {key!r}")
        return answer[1:]

    def _chat(self, key: str) -> str:
        check_key(key)
        return f"{self._prefix}chat:{key}"

    def _lock(self, key: str) -> str:
        return f"{self._prefix}lock:{key}"


def _client_for(url: Secret) -> redis.Redis:
    if not url.reveal().startswith(SCHEMES):
        raise ConfigurationError(f"server must be a client of redis-py, or a URL with {', '.join(SCHEMES)}")
    try:
        import redis
    except ImportError:
        raise ConfigurationError("RedisStore needs redis-py, the extra 'redis'") from None
    try:
        pool = redis.ConnectionPool.from_url(
            url.reveal(), socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
        )
        pool.connection_class(**pool.connection_kwargs)  # which knows the options and connects to nothing yet
    except (TypeError, ValueError):  # its text quotes the URL
        raise ConfigurationError("server is a URL that redis-py cannot read") from None
    return redis.Redis(connection_pool=pool)


def _checked(client: object) -> object:
    if not callable(getattr(client, "eval", None)):
        raise ConfigurationError(f"server must be a URL or a client of redis-py, not {type(client).__name__}")
    if inspect.iscoroutinefunction(getattr(client, "execute_command", None)):
        raise ConfigurationError("server must be a client of redis-py that blocks, not one for asyncio")
    return client


def _connect_anew(client: Any) -> None:
    """Give up the connections at rest: one of them is an answer behind, and so is all that is asked on it.

    redis-py looks for that itself where its pools know no ``inuse_connections``, and does not where they do.
    """
    nodes = client.get_nodes() if hasattr(client, "get_nodes") else ()
    for one in [node.redis_connection for node in nodes] or [client]:
        if getattr(one, "connection", None) is not None:
            one.connection.disconnect()
        with contextlib.suppress(AttributeError, TypeError):
            one.connection_pool.disconnect(inuse_connections=False)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _number(version: object) -> object:
    """What a hash holds is text, as str or bytes as the client has it."""
    written = version.decode("ascii", "replace") if isinstance(version, bytes) else str(version)
    return int(written) if VERSION.fullmatch(written) else None


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    """Errors of redis-py as ours. The text of a refused command quotes what was to be written."""
    import redis

    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreError(f"the Redis could not be asked for {key!r} ({type(error).__name__})") from error
    except redis.RedisError as error:
        code = str(error).partition(" ")[0]
        if str(error).partition(" Operation ")[0].endswith("WRONGTYPE"):  # Redis 6 tells of the script before
            raise damaged(key) from None
        raise StoreError(f"the Redis refused {key!r}: {type(error).__name__} {code}") from None
    except UnicodeDecodeError:
        raise damaged(key) from None
