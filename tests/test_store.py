"""Every store keeps conversations alike: one writer wins, nothing is lost in silence, nothing is shown."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import redis
import redis.asyncio
from shell import SECONDS, Task, until
from stores import Place, Process, RedisServer, fixture_place
from test_fork import Child
from test_interrupt import AtStep

from responses_ws import ConcurrencyError, ConfigurationError, StoreError
from responses_ws import store as stores
from responses_ws.store import RedisStore, SQLiteStore, Store, Stored
from responses_ws.store import sqlite as sqlite_module
from responses_ws.store.base import lease

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

PROMPT = "a very private question"
HAS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


place = pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.slow)])(fixture_place)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with contextlib.closing(place.open()) as opened:
        yield opened


# -- values and versions


def test_what_is_not_there(store):
    """Is None, and can be deleted all the same."""
    assert store.load("ada") is None
    store.delete("ada")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"text": "\u00e5 \u4f60 \U0001f600 \0 \" ' \\ %s {}", "half": "\ud800"},
        {"list": [1, -1.5, True, None, {"deep": [[[]]]}], "large": 2**60},
        {"long": "x" * 3_000_000},
    ],
    ids=["empty", "text", "values", "long"],
)
def test_what_was_saved_is_loaded(store, data):
    """By whatever store of the same place."""
    version = store.save("ada", data, None)
    assert store.load("ada") == Stored(data, version)


@pytest.mark.parametrize(
    "key", ["a", "a:b", "chat:a", "lock:a", "\u00e5 b/c?*[x]\n", "'; --", "k" * 2000, " ", "\0"]
)
def test_keys_are_told_apart(store, key):
    """Whatever they are made of."""
    store.save(key, {"of": key}, None)
    assert store.load(key).data == {"of": key}
    assert store.load(key + " ") is None
    with store.lock(key, timeout=0), store.lock(key + " ", timeout=0):
        store.delete(key)
    assert store.load(key) is None


def test_the_loser_of_two_writers_overwrites_nothing(store):
    """Of two that begin a conversation, and of two that go on with it."""
    first = store.save("ada", {"by": "one"}, None)
    with pytest.raises(ConcurrencyError, match="'ada' is in the store already"):
        store.save("ada", {"by": "two"}, None)
    assert store.load("ada") == Stored({"by": "one"}, first)
    second = store.save("ada", {"by": "two"}, first)
    assert second != first
    with pytest.raises(ConcurrencyError, match="'ada' was saved or deleted by somebody else"):
        store.save("ada", {"by": "one"}, first)
    assert store.load("ada") == Stored({"by": "two"}, second)


def test_what_was_deleted_does_not_come_back(store):
    """Neither into the void nor over a new conversation of the same key."""
    version = store.save("ada", {"by": "one"}, None)
    store.delete("ada")
    with pytest.raises(ConcurrencyError):
        store.save("ada", {"by": "one"}, version)
    assert store.load("ada") is None
    anew = store.save("ada", {"by": "two"}, None)
    with pytest.raises(ConcurrencyError):
        store.save("ada", {"by": "one"}, version)
    assert store.load("ada") == Stored({"by": "two"}, anew)


def test_stores_of_one_place_are_equal(place):
    """A chat knows by it where it comes from."""
    with contextlib.closing(place.open()) as one, contextlib.closing(place.open()) as other:
        assert one == other
        assert hash(one) == hash(other)
        assert one != SQLiteStore("elsewhere")
        assert one != place
        assert isinstance(one, Store)


def count_up(store: Store, times: int) -> int:
    """Add to a number in the store, again when somebody else was faster; how often that was."""
    lost = 0
    for _ in range(times):
        while True:
            stored = store.load("number")
            data = {"n": 0} if stored is None else stored.data
            try:
                store.save("number", {"n": data["n"] + 1}, None if stored is None else stored.version)
                break
            except ConcurrencyError:
                lost += 1
    return lost


def test_no_save_of_many_threads_is_lost(store):
    """Each of them counted."""
    threads = [Task(count_up, store, 10) for _ in range(6)]
    for thread in threads:
        thread.result()
    assert store.load("number").data == {"n": 60}


COUNT_UP = """
    from test_store import count_up
    tell("ready")
    hear()
    tell(count_up(store, given["times"]))
"""


@pytest.mark.slow
def test_no_save_of_many_processes_is_lost(place, store):
    """Four of them, which begin the place together."""
    processes = [Process(place, COUNT_UP, times=100) for _ in range(4)]
    assert [process.hear() for process in processes] == ["ready"] * 4
    for process in processes:
        process.say()
    lost = [process.result() for process in processes]
    assert store.load("number").data == {"n": 400}
    assert sum(lost) > 0, "they never met"


WRITE = """
    tell("ready")
    version, size = None, given["size"]
    for number in range(1_000_000):
        version = store.save("ada", {"number": number, "text": chr(65 + number % 26) * size}, version)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_a_store_that_can_be_read(place, store):
    """Whole values only, and the next writer goes on, however often."""
    size = 400_000
    for attempt in range(12):
        store.delete("ada")
        writer = Process(place, WRITE, size=size)
        assert writer.hear() == "ready"
        until(lambda: store.load("ada") is not None)
        until(lambda least=attempt: store.load("ada").data["number"] >= least)
        os.kill(writer.pid, signal.SIGKILL)
        writer.kill()
        stored = store.load("ada")
        number, text = stored.data["number"], stored.data["text"]
        assert text == chr(65 + number % 26) * size
        store.save("ada", {"number": -1}, stored.version)
        assert store.load("ada").data == {"number": -1}


# -- locks


def test_the_second_waits_for_the_first(store):
    """And is let in when that one leaves."""
    order = []

    def second() -> None:
        with store.lock("ada"):
            order.append("second")

    with store.lock("ada"):
        waiting = Task(second)
        with pytest.raises(ConcurrencyError, match=r"'ada' is locked, and was not free within 0\.1 seconds"):
            store.lock("ada", timeout=0.1).__enter__()
        order.append("first")
    waiting.result()
    assert order == ["first", "second"]


def test_a_lock_hinders_only_those_who_ask_for_it(store):
    """It is no part of saving."""
    with store.lock("ada", timeout=None):
        version = store.save("ada", {"by": "one"}, None)
        store.save("ada", {"by": "two"}, version)


def test_a_lease_ends_by_itself(store):
    """The next one gets it. The first is told, and takes nothing from the next."""
    first = store.lock("ada", seconds=0.05)
    first.__enter__()
    with store.lock("ada", timeout=SECONDS):
        with pytest.raises(ConcurrencyError, match=r"the lock of 'ada' ended after 0\.05 seconds"):
            first.__exit__(None, None, None)
        with pytest.raises(ConcurrencyError, match="is locked"):
            store.lock("ada", timeout=0).__enter__()
    with store.lock("ada", timeout=0):
        pass


def test_a_lease_that_ended_is_told_though_nobody_came(store):
    """Somebody may have come and gone."""
    held = store.lock("ada", seconds=0.01)
    held.__enter__()
    with store.lock("ada", timeout=SECONDS):
        pass
    with pytest.raises(ConcurrencyError, match="before its block did"):
        held.__exit__(None, None, None)


def test_what_the_block_raises_is_what_comes_out(store):
    """Lease or no lease; and the lock is given back."""

    def fail(seconds: float) -> None:
        with store.lock("ada", seconds=seconds):
            if seconds < 1:  # let it end
                store.lock("ada", timeout=SECONDS).__enter__()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail(100)
    with store.lock("ada", timeout=0):
        pass
    with pytest.raises(ZeroDivisionError):
        fail(0.01)


HOLD = """
    with store.lock("ada", seconds=given["seconds"]):
        tell("held")
        hear()
"""


@pytest.mark.slow
def test_the_lock_of_a_killed_process_ends(place, store):
    """After its lease, not before."""
    holder = Process(place, HOLD, seconds=1.5)
    assert holder.hear() == "held"
    holder.kill()
    with pytest.raises(ConcurrencyError):
        store.lock("ada", timeout=0.2).__enter__()
    with store.lock("ada", timeout=SECONDS):
        pass


class Interrupted:
    """The leases of a store whose answers come too late: Ctrl-C, or a greenlet that is ended."""

    def __init__(self, store: Any, verb: str) -> None:
        self.take, self.give_back = store.take, store.give_back
        self._verb, self._real = verb, getattr(store, verb)
        setattr(self, verb, self._interrupted)

    def _interrupted(self, *args: Any) -> bool:
        setattr(self, self._verb, self._real)
        if self._verb == "take":
            self._real(*args)
        raise KeyboardInterrupt


@pytest.mark.parametrize("verb", ["take", "give_back"])
def test_an_interrupt_leaves_no_lock(store, verb):
    """Neither when it was just taken nor when it was about to be given back."""
    with pytest.raises(KeyboardInterrupt), lease(Interrupted(store, verb), "ada", 100.0, 0):
        pass
    with store.lock("ada", timeout=0):
        pass


class AtAnyStep(AtStep):
    """Also in the context managers of the library."""

    @staticmethod
    def _ours(frame: FrameType) -> bool:
        return AtStep._ours(frame) or frame.f_code.co_filename == contextlib.__file__


def locked(store: Store, key: str) -> None:
    with store.lock(key, timeout=0):
        pass


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.parametrize("use", [lambda store, key: store.load(key), locked])
def test_an_interrupt_anywhere_keeps_nobody_from_the_store(tmp_path, use):
    """Also when its traceback is kept, as notebooks keep it."""
    store = SQLiteStore(tmp_path / "chats.db")
    step, place = 1, "the first"
    while place:
        at_step, kept = AtAnyStep(step), None
        try:
            with at_step.watching():
                use(store, f"key {step}")
        except KeyboardInterrupt as error:
            kept = error
        place = at_step.place
        assert Task(store.load, "bob").result() is None, place
        del kept
        step += 1
    assert step > 20


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_an_interrupt_anywhere_in_a_lock_gives_it_back(tmp_path):
    store = SQLiteStore(tmp_path / "chats.db")
    step, place = 1, "the first"
    while place:
        at_step, kept = AtStep(step), None
        try:
            with at_step.watching():
                locked(store, f"key {step}")
        except KeyboardInterrupt as error:
            kept = error
        place = at_step.place
        # CPython 3.10 calls a profile function before it goes on with a generator, and a handler only in it.
        if not (place.startswith("call ") and place.endswith(" _held")):
            Task(locked, store, f"key {step}").result()
        del kept
        step += 1
    assert step > 20


def test_no_two_are_in_the_lock_at_once(store):
    """Many threads, each with its turn."""
    inside = []

    def work() -> None:
        for _ in range(5):
            with store.lock("ada", timeout=None):
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    threads = [Task(work) for _ in range(4)]
    for thread in threads:
        thread.result()


# -- what cannot work


@pytest.mark.parametrize(
    ("use", "fault"),
    [
        (lambda store: store.load(""), "key must be a str that is not empty"),
        (lambda store: store.load(None), "key must be a str that is not empty, not NoneType"),
        (lambda store: store.save(b"ada", {}, None), "key must be a str that is not empty, not bytes"),
        (lambda store: store.delete("\ud800"), "key must be a str that can be encoded"),
        (lambda store: store.lock(7), "key must be a str"),
        (lambda store: store.lock("ada", seconds=0), "seconds must be a positive number of seconds, not"),
        (lambda store: store.lock("ada", seconds=None), "seconds must be a positive number of seconds, not"),
        (lambda store: store.lock("ada", seconds="1"), "seconds must be a positive number of seconds, not"),
        (lambda store: store.lock("ada", timeout=-1), "timeout must be a positive number"),
        (lambda store: store.lock("ada", timeout=float("nan")), "timeout must be a positive number"),
        (lambda store: store.save("ada", {}, "1"), "version must be that of a stored conversation"),
        (lambda store: store.save("ada", {}, True), "version must be that of a stored conversation"),
        (lambda store: store.save("ada", {}, 2**63), "version must be that of a stored conversation"),
        (lambda store: store.save("ada", {PROMPT: {PROMPT}}, None), r"JSON cannot express \(TypeError\)"),
        (
            lambda store: store.save("ada", {PROMPT: float("inf")}, None),
            r"JSON cannot express \(ValueError\)",
        ),
    ],
)
def test_what_cannot_work_is_named(store, use, fault):
    """Before anything is done."""
    with pytest.raises(ConfigurationError, match=fault) as caught:
        use(store)
    assert PROMPT not in str(caught.value)
    assert store.load("ada") is None


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: SQLiteStore(""), "path must name a file"),
        (lambda: SQLiteStore(":memory:"), "path must name a file"),
        (lambda: SQLiteStore("a\0b"), "path must name a file"),
        (lambda: SQLiteStore("\ud800"), "path must name a file"),
        (lambda: SQLiteStore(7), "path must be a str or a path, not int"),
        (lambda: SQLiteStore(b"chats.db"), "path must be a str or a path, not bytes"),
        (lambda: RedisStore("http://:secret@x"), "server must be a client of redis-py, or a URL"),
        (lambda: RedisStore("redis://:secret@x:port"), "server is a URL that redis-py cannot read"),
        (lambda: RedisStore(None), "server must be a URL or a client of redis-py, not NoneType"),
        (lambda: RedisStore(redis.asyncio.Redis()), "server must be a client of redis-py that blocks"),
        (lambda: RedisStore("redis://:secret@x?foo=1"), "server is a URL that redis-py cannot read"),
        (lambda: RedisStore("redis://x", prefix=7), "prefix must be a str"),
        (lambda: RedisStore("redis://x", prefix="\ud800"), "prefix must be a str that can be encoded"),
        (lambda: RedisStore("redis://x", expiry=0), "expiry must be a positive number"),
    ],
)
def test_a_store_that_cannot_work_is_refused_when_it_is_made(make, fault):
    """And a password is not shown, in no frame of ours either."""
    with pytest.raises(ConfigurationError, match=fault) as caught:
        make()
    assert "secret" not in str(caught.value)
    frames = [entry.frame for entry in caught.traceback if "responses_ws" in str(entry.path)]
    assert [frame.f_locals for frame in frames if "secret" in repr(frame.f_locals)] == []


def test_a_store_shows_no_password():
    """But where it is, if that is no secret."""
    assert repr(RedisStore("redis://:secret@example.com", prefix="p:")) == "<RedisStore 'p:'>"
    assert repr(SQLiteStore("/tmp/x.db")) == "<SQLiteStore /tmp/x.db>"  # noqa: S108
    with pytest.raises(AttributeError):
        stores.MongoStore  # noqa: B018


DAMAGED = "the stored conversation 'ada' is damaged, or no conversation"


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (1, PROMPT),
        (1, f'["{PROMPT}"]'),
        (1, f'"{PROMPT}"'),
        (1, "null"),
        (1, ""),
        (1, f'{{"text": "{PROMPT}'),
        (1, f'{{"text": "{PROMPT}", "n": NaN}}'),
        (1, f'{{"text": "{PROMPT}", "n": -Infinity}}'),
        (1, f'{{"text": "{PROMPT}", "n": {"9" * 5000}}}'),
        (1, '{"text": ' + "[" * 200_000),
        (1, f'{{"text": "{PROMPT}"}}'.encode("utf-16")[:-1]),
        (1, f'{{"text": "{PROMPT} '.encode() + b'\xff"}'),
        (0, "{}"),
        (-1, "{}"),
        (2**53, "{}"),
        (PROMPT, "{}"),
        ("", "{}"),
        ("1.5", "{}"),
        ("9" * 5000, "{}"),
    ],
)
def test_a_damaged_value_is_told_by_its_key(place, store, version, data):
    """And never by its content. It is not overwritten; deleting it helps."""
    place.put("ada", version, data)
    with pytest.raises(ConfigurationError, match=DAMAGED) as caught:
        store.load("ada")
    assert PROMPT not in "".join(map(str, (caught.value, caught.value.__cause__)))
    with pytest.raises(ConcurrencyError):
        store.save("ada", {}, None)
    store.delete("ada")
    store.save("ada", {}, None)


# -- forks


@HAS_FORK
def test_a_forked_child_uses_the_store(store):
    """And the parent goes on: each sees what the other saves, and one of two writers loses."""
    version = store.save("ada", {"by": "parent"}, None)

    def in_child() -> list[object]:
        seen = store.load("ada")
        saved = store.save("ada", {"by": "child"}, version)
        with store.lock("ada", timeout=0):
            return [seen == Stored({"by": "parent"}, version), saved]

    same, saved = Child(in_child).result()
    assert same
    with pytest.raises(ConcurrencyError):
        store.save("ada", {"by": "parent"}, version)
    assert store.load("ada") == Stored({"by": "child"}, saved)


@HAS_FORK
def test_a_child_that_leaves_the_block_of_its_parent_frees_nothing(store):
    """The lock is the parent's, however the child leaves."""

    def leave(held: Any) -> str:
        held.__exit__(None, None, None)
        return "left"

    with store.lock("ada"):
        held = store.lock("bob")
        held.__enter__()
        assert Child(lambda: leave(held)).result() == "left"
        error = ValueError()
        assert Child(lambda: held.__exit__(ValueError, error, None)).result() is False
        with pytest.raises(ConcurrencyError):
            store.lock("bob", timeout=0).__enter__()
        held.__exit__(None, None, None)


@HAS_FORK
def test_a_fork_may_come_at_any_moment(store):
    """While other threads use the store; the children use it at once."""
    over = threading.Event()

    def use(name: str) -> None:
        version = None
        while not over.is_set():
            version = store.save(name, {"text": "x" * 10_000}, version)
            assert store.load(name).version == version

    threads = [Task(use, f"thread {number}") for number in range(3)]
    try:
        for number in range(10):
            assert Child(lambda name=f"child {number}": store.save(name, {}, None)).result()
    finally:
        over.set()
    for thread in threads:
        thread.result()
    assert all(store.load(f"child {number}") for number in range(10))


# -- the file


def test_nothing_stays_open(tmp_path):
    """Neither between two uses nor after an error."""
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with SQLiteStore(tmp_path / "chats.db") as store:
        version = store.save("ada", {}, None)
        for _ in range(50):
            version = store.save("ada", {}, version)
            with pytest.raises(ConcurrencyError):
                store.save("ada", {}, None)
            assert sorted(path.name for path in tmp_path.iterdir()) == ["chats.db"]
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path, monkeypatch):
    """Others wait meanwhile. Waiting helps when another process is at it, and only then."""
    with contextlib.closing(sqlite3.connect(tmp_path / "app.db")) as other:
        other.execute("CREATE TABLE users (name TEXT)")
    store = SQLiteStore(tmp_path / "app.db")
    address = f"file:{tmp_path}/app.db?mode=ro"
    monkeypatch.setattr(store, "_connect", lambda _: sqlite3.connect(address, uri=True, isolation_level=None))
    monkeypatch.setattr(sqlite_module, "pause", None)
    with pytest.raises(StoreError, match="readonly"):
        store.load("ada")


def test_the_file_is_where_it_was_when_the_store_was_made(tmp_path, monkeypatch):
    """A daemon changes its directory."""
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("chats.db")
    assert not (tmp_path / "chats.db").exists()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.save("ada", {}, None)
    assert (tmp_path / "chats.db").exists()
    assert store == SQLiteStore(tmp_path / "chats.db")


def test_the_file_may_be_the_programs_own(tmp_path):
    """Its tables are left alone."""
    path = tmp_path / "app.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 7")
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.execute("INSERT INTO users VALUES ('ada')")
    SQLiteStore(path).save("ada", {}, None)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM users").fetchall() == [("ada",)]
        assert connection.execute("PRAGMA user_version").fetchone() == (7,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def no_directory(path: Path) -> Path:
    return path / "nowhere" / "chats.db"


def no_database(path: Path) -> Path:
    (path / "text.db").write_text(PROMPT * 100, encoding="utf-8")
    return path / "text.db"


def a_directory(path: Path) -> Path:
    return path


@pytest.mark.parametrize("make", [no_directory, no_database, a_directory])
def test_a_file_that_cannot_be_used(make, tmp_path):
    """Is an error of the package, which names it and chains SQLite's own."""
    path = make(tmp_path)
    for use in (lambda store: store.load("ada"), lambda store: store.save("ada", {"text": PROMPT}, None)):
        with pytest.raises(StoreError, match=str(path)) as caught:
            use(SQLiteStore(path))
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        assert PROMPT not in str(caught.value)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_writer_that_does_not_end_is_not_waited_for_for_ever(tmp_path):
    """Readers do not wait for it at all."""
    store = SQLiteStore(tmp_path / "chats.db")
    version = store.save("ada", {}, None)
    with contextlib.closing(sqlite3.connect(tmp_path / "chats.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.load("ada").version == version
        with pytest.raises(StoreError, match="locked"):
            store.save("ada", {}, version)
        with pytest.raises(StoreError, match="locked"), store.lock("ada"):
            pass
        other.execute("ROLLBACK")
    store.save("ada", {}, version)


def test_those_who_wait_for_the_same_writer_wait_together(tmp_path, monkeypatch):
    """Not one after the other: the last of many threads would wait for minutes."""
    monkeypatch.setattr(sqlite_module, "BUSY_SECONDS", 0.5)
    store = SQLiteStore(tmp_path / "chats.db")
    store.load("ada")
    with contextlib.closing(sqlite3.connect(tmp_path / "chats.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for task in [Task(store.save, f"user {number}", {}, None) for number in range(8)]:
            with pytest.raises(StoreError, match="locked"):
                task.result()
        assert time.monotonic() - began < 2


@pytest.fixture
def in_use(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A file that somebody else is writing, and that no store has used yet."""
    with contextlib.closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE users (name TEXT)")
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_a_file_that_is_in_use_when_the_store_begins_is_waited_for(tmp_path, in_use, monkeypatch):
    """SQLite itself would not."""
    pauses = []

    def pause(seconds: float | None) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            in_use.execute("COMMIT")

    monkeypatch.setattr(sqlite_module, "pause", pause)
    assert SQLiteStore(tmp_path / "app.db").load("ada") is None
    assert pauses == [sqlite_module.RETRY_SECONDS] * 3


@pytest.mark.usefixtures("impatient", "in_use")
def test_a_file_that_stays_in_use_is_not_waited_for_for_ever(tmp_path):
    """As long as for any other writer."""
    with pytest.raises(StoreError, match="locked"):
        SQLiteStore(tmp_path / "app.db").load("ada")


@pytest.mark.usefixtures("impatient")
def test_a_lock_that_cannot_be_given_back_hides_no_error(tmp_path, caplog):
    """What the block raised comes out; the rest is logged."""
    path = tmp_path / "chats.db"

    def fail(other: sqlite3.Connection) -> None:
        with SQLiteStore(path).lock("ada"):
            other.execute("BEGIN IMMEDIATE")
            raise ZeroDivisionError(PROMPT)

    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
        pytest.raises(ZeroDivisionError),
    ):
        fail(other)
    assert f"a lock was not given back, so that it ends by itself: {path}: database is locked" in caplog.text
    assert PROMPT not in caplog.text


def test_a_lease_of_the_future_is_from_before_the_clock_was_set_back(tmp_path, monkeypatch):
    """It holds nobody up until the clock is there again."""
    store = SQLiteStore(tmp_path / "chats.db")
    now = sqlite_module.clock.wall()
    monkeypatch.setattr(sqlite_module.clock, "wall", lambda: now)
    held = store.lock("ada")
    held.__enter__()
    with pytest.raises(ConcurrencyError):
        store.lock("ada", timeout=0).__enter__()
    monkeypatch.setattr(sqlite_module.clock, "wall", lambda: now - 3600)
    with store.lock("ada", timeout=0), pytest.raises(ConcurrencyError, match="ended"):
        held.__exit__(None, None, None)


# -- Redis

slow = pytest.mark.slow


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as connected:
        connected.flushall()
        yield connected


@slow
def test_a_save_begins_the_expiry_anew(client):
    """A load does not, and a store without one takes it away."""
    store = RedisStore(client, expiry=100)
    version = store.save("ada", {}, None)
    assert 99_000 < client.pttl("responses_ws:chat:ada") <= 100_000
    client.pexpire("responses_ws:chat:ada", 5000)
    store.load("ada")
    assert client.pttl("responses_ws:chat:ada") <= 5000
    version = store.save("ada", {}, version)
    assert client.pttl("responses_ws:chat:ada") > 99_000
    RedisStore(client).save("ada", {}, version)
    assert client.pttl("responses_ws:chat:ada") == -1


@slow
def test_what_has_expired_is_gone(client):
    """As if it had been deleted."""
    store = RedisStore(client, expiry=0.02)
    version = store.save("ada", {}, None)
    until(lambda: store.load("ada") is None)
    with pytest.raises(ConcurrencyError):
        store.save("ada", {}, version)


@slow
@pytest.mark.parametrize("decode", [False, True])
def test_a_client_of_the_program_stays_open(redis_server, decode):
    """Whatever it makes of texts."""
    with redis_server.client(decode_responses=decode) as client:
        client.flushall()
        with RedisStore(client, prefix="p:") as store:
            version = store.save("ada", {"text": "\u00e5"}, None)
            assert store.load("ada") == Stored({"text": "\u00e5"}, version)
            for damaged in ({"version": 1, "data": b'{"a": "\xff"}'}, {"version": "\u00b2", "data": "{}"}):
                client.hset("p:chat:bob", mapping=damaged)
                with pytest.raises(ConfigurationError, match="'bob' is damaged"):
                    store.load("bob")
        assert client.ping()
        assert store == RedisStore(client, prefix="p:")
        assert store != RedisStore(client, prefix="q:")


@slow
def test_a_key_that_holds_something_else(client):
    """Is left as it is."""
    client.set("responses_ws:chat:ada", PROMPT)
    client.hset("responses_ws:chat:bob", "name", PROMPT)
    store = RedisStore(client)
    with pytest.raises(ConfigurationError, match="'ada' is damaged"):
        store.load("ada")
    for key in ("ada", "bob"):
        with pytest.raises((ConfigurationError, ConcurrencyError)):
            store.save(key, {}, None)
    assert client.get("responses_ws:chat:ada") == PROMPT.encode()
    assert client.hgetall("responses_ws:chat:bob") == {b"name": PROMPT.encode()}


class Redis6:
    """A client of one that names the script, and the line in it, before the fault."""

    def eval(self, *_: Any) -> Any:
        raise redis.ResponseError(
            "ERR Error running script (call to f_0): @user_script:2: WRONGTYPE Operation against a key"
            " holding the wrong kind of value"
        )


def test_a_key_that_holds_something_else_in_an_older_redis():
    with pytest.raises(ConfigurationError, match="conversation 'ada' is damaged"):
        RedisStore(Redis6()).load("ada")


class Twice:
    """A client that asks every script again, as redis-py does when an answer was lost."""

    def __init__(self, client: redis.Redis) -> None:
        self._eval = client.eval

    def eval(self, *args: Any) -> Any:
        self._eval(*args)
        return self._eval(*args)


@slow
def test_a_script_may_be_asked_for_again(client):
    """The writer does not lose to himself, the lock is his, and is told to have been his when he gives it."""
    store = RedisStore(Twice(client))
    version = store.save("ada", {"by": "one"}, None)
    version = store.save("ada", {"by": "two"}, version)
    assert store.load("ada") == Stored({"by": "two"}, version)
    with store.lock("ada", timeout=0):
        pass
    locked(store, "ada")
    assert not store.give_back("ada", "of somebody else")


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@slow
@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize(
    "use",
    [
        lambda store, version: store.load("bob"),
        lambda store, version: store.save("bob", {"by": "bob"}, version),
        lambda store, version: store.take("bob", "token", 1.0),
        lambda store, version: store.give_back("bob", "token"),
        lambda store, version: store.delete("bob"),
    ],
)
def test_an_answer_that_an_interrupt_has_left_is_nobody_elses(redis_server, client, monkeypatch, decode, use):
    """redis-py gives the connection on which it will come to the next one who asks."""

    with redis_server.client(decode_responses=decode) as shared:
        store = RedisStore(shared)
        store.save("ada", {"text": PROMPT}, None)
        version = store.save("bob", {"by": "bob"}, None)
        client.client_pause(1000)
        with monkeypatch.context() as patch:
            patch.setattr(shared, "parse_response", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.load("ada")
        with pytest.raises(StoreError, match="another answer than that for 'bob'"):
            use(store, version)


@slow
@pytest.mark.parametrize("options", [{}, {"single_connection_client": True}], ids=["pool", "one connection"])
def test_an_answer_that_an_interrupt_has_left_is_left_once(redis_server, monkeypatch, options):
    """Else all that is asked after it got the answer before its own, for as long as the process lives."""
    with redis_server.client(**options) as shared:
        store = RedisStore(shared)
        store.delete("carol")
        store.save("carol", {"by": "carol"}, None)
        with monkeypatch.context() as patch:
            patch.setattr(shared, "parse_response", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.load("ada")
        with contextlib.suppress(StoreError):  # an older redis-py finds the answer itself
            store.load("carol")
        assert store.load("carol").data == {"by": "carol"}


class Unheard:
    """A client whose first answer is lost on the way back, though the Redis has done what it was asked."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.eval = self._lose

    def _lose(self, *args: Any) -> Any:
        self.eval = self._client.eval
        self._client.eval(*args)
        raise redis.ConnectionError


@slow
def test_a_lock_whose_taking_was_not_answered_is_free(client):
    """Else it was nobody's, and held for as long as its lease."""
    store = RedisStore(Unheard(client))
    with pytest.raises(StoreError, match="could not be asked for 'ada'"):
        store.lock("ada", timeout=0).__enter__()
    locked(RedisStore(client), "ada")


@slow
def test_a_lock_that_got_the_answer_of_somebody_else_is_free(redis_server, monkeypatch):
    """An interrupt has left that answer."""
    with redis_server.client(single_connection_client=True) as shared:
        store = RedisStore(shared)
        with monkeypatch.context() as patch:
            patch.setattr(shared, "parse_response", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.load("bob")
        with contextlib.suppress(StoreError):  # an older redis-py finds the answer itself
            locked(store, "ada")
        locked(store, "ada")


@slow
def test_a_redis_that_refuses_shows_no_content(client):
    """It quotes what it was told."""
    store = RedisStore(client)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreError, match="the Redis refused 'ada': OutOfMemoryError") as caught:
            store.save("ada", {"text": PROMPT}, None)
    finally:
        client.config_set("maxmemory", 0)
    assert caught.value.__cause__ is None
    assert PROMPT not in str(caught.value)


def test_a_redis_that_is_not_there():
    """Is an error of the package, without the password."""
    with RedisStore("redis://:secret@127.0.0.1:1/0?retry_on_timeout=0") as store:
        for use in (
            lambda: store.load("ada"),
            lambda: store.save("ada", {"text": PROMPT}, None),
            lambda: store.lock("ada").__enter__(),
        ):
            with pytest.raises(StoreError, match="the Redis could not be asked for 'ada'") as caught:
                use()
            text = f"{caught.value} {caught.value.__cause__}"
            assert [word for word in ("secret", PROMPT) if word in text] == []


@slow
def test_a_lock_that_the_redis_forgot_is_told(client):
    """It was started anew, or ran out of memory."""
    with pytest.raises(ConcurrencyError, match="before its block did"), RedisStore(client).lock("ada"):
        client.flushall()
