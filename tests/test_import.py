"""What happens before the first connect: nothing; and what the first connect needs of the process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shell import answer, ask, websocket

from responses_ws import ConnectionError, Delivery, _link
from responses_ws.testing import ScriptedServer, expect, send

LATER = (
    "requests",
    "websocket",
    "ssl",
    "asyncio",
    "http.client",
    "urllib.request",
    "email",
    "random",
    "orjson",
)
NEVER = ("websockets", "trustme", "pytest", "responses_ws.testing", "responses_ws._transport.ws")


def run(program: str, **environment: str) -> str:
    """What the program prints, in an interpreter in which every warning is an error."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    done = subprocess.run(  # noqa: S603
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("use", ["", "; responses_ws.WebSocket('any')"], ids=["import", "make"])
def test_nothing_heavy_is_imported(use):
    """What only a connection needs is imported by the first connection."""
    modules = run(f"import responses_ws, sys, json{use}; print(json.dumps(sorted(sys.modules)))")
    assert [name for name in json.loads(modules) if name in LATER + NEVER] == []


def test_what_is_imported_later_is_imported_by_a_connect():
    """So that the names above are the right ones."""
    with ScriptedServer(tls=True) as server:
        server.connection(expect(), send(*answer("resp_1", "hi")))
        program = f"""
import sys, json, responses_ws
with responses_ws.WebSocket("any", api_base={server.url!r}) as ws:
    assert ws.create_response(model="m", input="hi").content == "hi"
print(json.dumps(sorted(sys.modules)))
"""
        modules = json.loads(run(program, SSL_CERT_FILE=server.ca_file or ""))
    assert {"websocket", "ssl", "random", "responses_ws._transport.ws"} <= set(modules)
    assert not {"requests", "asyncio", "responses_ws.testing", *NEVER[:3]} & set(modules)


def test_the_time_of_the_import():
    """Near that of websocket-client alone. ``benchmarks/imports.py`` measures; this finds accidents."""
    path = Path(__file__).parent.parent / "benchmarks" / "imports.py"
    spec = importlib.util.spec_from_file_location("imports", path)
    assert spec is not None
    assert spec.loader is not None
    imports = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(imports)
    medians = imports.measure(rounds=5)
    assert medians["responses_ws"] < 3 * medians["websocket"]


TRAP = """
import atexit, logging, os, signal, socket, sys, threading, warnings, weakref

def names():
    return [name for name in sys.modules if name.partition(".")[0] == "responses_ws"]

def trap(place, name):
    def refuse(*args, **options):
        raise AssertionError(f"{name} was called")
    setattr(place, name, refuse)

import responses_ws  # so that what it imports is there, and has made its own locks
for name in names():
    del sys.modules[name]
for place, name in [
    (threading, "Lock"), (threading, "RLock"), (threading, "Condition"), (threading, "Event"),
    (threading.Thread, "start"), (socket, "socket"), (socket, "getaddrinfo"), (atexit, "register"),
    (logging, "basicConfig"), (signal, "signal"), (weakref, "finalize"), (warnings, "filterwarnings"),
    (os, "urandom"), (os, "getenv"), (os, "getpid"),
]:
    trap(place, name)
if hasattr(os, "register_at_fork"):
    trap(os, "register_at_fork")
filters, handlers = list(warnings.filters), list(logging.getLogger("responses_ws").handlers)
import responses_ws
assert warnings.filters == filters and logging.getLogger("responses_ws").handlers == handlers
assert logging.getLogger("responses_ws").level == logging.NOTSET
assert len(names()) > 10
print("nothing happened")
"""


def test_nothing_happens_at_import():
    """No thread, no socket, no lock, no hook, no configuration of what belongs to the program."""
    assert run(TRAP, OPENAI_BASE_URL="no address", OPENAI_API_KEY="no\nkey") == "nothing happened\n"


AUDIT = """
import sys, threading
import responses_ws
heard = []
sys.addaudithook(lambda event, _: heard.append(event))
ws = responses_ws.WebSocket("any", api_base="wss://nowhere.invalid/v1")
assert not ws.connected and not ws.in_flight and ws.last_response_id is None
assert "not connected" in repr(ws)
ws.clear_previous_response_id()
ws.disconnect()
lock = ws._connection.lock
assert lock.acquire(blocking=False)
lock.release()
assert threading.active_count() == 1
del ws
print([event for event in heard if event.partition(".")[0] in ("socket", "_thread", "os", "subprocess")])
"""


def test_an_object_that_is_never_connected_opens_nothing():
    """It can be made at the top of a module, and forgotten."""
    assert run(AUDIT) == "[]\n"


# -- a process in which threads do not run


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def test_a_thread_that_never_starts(server, monkeypatch):
    """uWSGI without threads: the error names the option. A thread that runs after all does nothing."""
    server.connection(expect(), send(*answer("resp_1", "hi")))
    monkeypatch.setattr(_link, "THREAD_START_SECONDS", 0.05)
    asleep: list[Any] = []
    ws = websocket(server)
    with monkeypatch.context() as uwsgi:
        uwsgi.setattr(threading.Thread, "start", lambda thread: asleep.append(thread))  # noqa: PLW0108
        with pytest.raises(ConnectionError, match="--enable-threads") as caught:
            ws.connect()
    assert caught.value.delivery is Delivery.NOT_SENT
    assert not ws.connected
    assert len(asleep) == 1
    asleep[0].run()
    assert not ws.connected
    assert server.connections == []
    with ws:
        assert ask(ws) == "hi"
    assert len(server.connections) == 1


def test_a_thread_that_cannot_be_started(server, monkeypatch):
    """No memory, too many threads, or an interpreter that ends."""
    server.connection(expect(), send(*answer("resp_1", "hi")))

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ws = websocket(server)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ConnectionError, match="can't start new thread") as caught:
            ws.connect()
    assert caught.value.delivery is Delivery.NOT_SENT
    with ws:
        assert ask(ws) == "hi"
