"""What the tests of stores share: places that a store is made for, a Redis of their own, other processes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from shell import SECONDS, until

from responses_ws.store import RedisStore, SQLiteStore, Store

ROOT = Path(__file__).parent.parent
NUMBERS = itertools.count(1)


class RedisServer:
    """A redis-server of the tests' own, on the loopback device, which writes nothing to the disk."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is not installed"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(  # noqa: S603
            [program, *options, "--dir", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with self.client() as client:
                until(lambda: self._answers(client))
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=SECONDS, **options)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)

    def _answers(self, client: redis.Redis) -> bool:
        assert self._process.poll() is None, "redis-server ended"
        with contextlib.suppress(redis.ConnectionError):
            return bool(client.ping())
        return False


@dataclass(frozen=True)
class Place:
    """Where a test keeps its conversations.

    :ivar where: the path of a file, or the URL of a Redis.
    :ivar prefix: of this test's keys in the Redis.
    """

    kind: str
    where: str
    prefix: str = ""

    def open(self) -> Store:
        """A store for it, as every process makes its own."""
        if self.kind == "sqlite":
            return SQLiteStore(self.where)
        return RedisStore(self.where, prefix=self.prefix)

    def put(self, key: str, version: object, data: object) -> None:
        """Write what no store would."""
        if self.kind == "sqlite":
            self.open().load(key)
            with contextlib.closing(sqlite3.connect(self.where)) as connection, connection:
                connection.execute("DELETE FROM responses_ws_conversations WHERE key = ?", (key,))
                connection.execute(
                    "INSERT INTO responses_ws_conversations (key, version, data) VALUES (?, ?, ?)",
                    (key, version, data),
                )
            return
        with redis.Redis.from_url(self.where) as client:
            client.delete(f"{self.prefix}chat:{key}")
            client.hset(f"{self.prefix}chat:{key}", mapping={"version": version, "data": data})


class Process:
    """A Python program in a process of its own.

    It finds the ``store`` of the place, and ``given``; it may ``tell`` JSON values, and ``hear`` one.
    """

    def __init__(self, place: Place, program: str, **given: Any) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-W", "error", "-c", textwrap.dedent(PROLOGUE) + textwrap.dedent(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
            text=True,
        )
        self.say({"place": [place.kind, place.where, place.prefix], "given": given})

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, value: object = None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """The next value that it tells; None when there is none, for it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def kill(self) -> None:
        self._process.kill()
        self._close()

    def result(self) -> Any:
        """The last value that it told, once it has ended well."""
        told = None
        while (value := self.hear()) is not None:
            told = value
        code = self._process.wait(SECONDS)
        self._close()
        assert code == 0
        return told

    def _close(self) -> None:
        self._process.wait(SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


PROLOGUE = """
    import json, os, sys
    from stores import Place

    def tell(value):
        print(json.dumps(value), flush=True)

    def hear():
        return json.loads(sys.stdin.readline())

    told = hear()
    store, given = Place(*told["place"]).open(), told["given"]
"""


def fixture_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place of the kind that the test is run for."""
    if request.param == "sqlite":
        yield Place("sqlite", str(tmp_path / "chats.db"))
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    yield Place("redis", server.url, f"test-{next(NUMBERS)}:")
