"""The Django app: settings and checks, a streamed answer, conversations in the database, the admin."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django_project  # noqa: F401  (sets Django up for all that follows)
import pytest
from chatting import add, calling
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import InterfaceError, connections, transaction
from django.middleware.gzip import GZipMiddleware
from django.test import Client, RequestFactory, TestCase, override_settings
from eventsource import events, text
from shell import KEY, SECONDS, Task, created, join_readers, until

from responses_ws import Chat, ConcurrencyError, ConfigurationError
from responses_ws.contrib.django import DjangoStore, chat, conversation, get_pool, history, stream_response
from responses_ws.contrib.django.models import Conversation, Lease
from responses_ws.errors import StoreError
from responses_ws.store import Store, Stored
from responses_ws.testing import Model, ScriptedServer, expect, expect_gone, optional, send
from responses_ws.tools import tool

DATA = {"model": "m", "odd": "\u00e9 \ud800 \x00"}


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the tables and nothing in them."""
    path = tmp_path_factory.mktemp("django") / "empty.sqlite3"
    use(path)
    call_command("migrate", verbosity=0)
    connections.close_all()
    return path


@pytest.fixture(autouse=True)
def database(migrated: Path, tmp_path: Path) -> Iterator[None]:
    """A fresh database for each test."""
    use(shutil.copy(migrated, tmp_path / "database.sqlite3"))
    yield
    connections.close_all()


def use(path: Path) -> None:
    connections.settings["default"]["NAME"] = str(path)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def server(model: Model) -> Iterator[ScriptedServer]:
    with ScriptedServer(model=model) as running, settings_for(running):
        yield running


def settings_for(server: ScriptedServer, **more: Any) -> override_settings:
    return override_settings(
        RESPONSES_WS={"API_KEY": KEY, "API_BASE": server.url, "MODEL": "m", "HEARTBEAT": 0.05, **more}
    )


def in_thread(function: Any, *args: Any) -> Task:
    """A task that leaves no database connection behind."""

    def run() -> Any:
        try:
            return function(*args)
        finally:
            connections.close_all()

    return Task(run)


def told(response: Any) -> list[Any]:
    return list(events(response.streaming_content))


# -- answering


def test_an_answer_streams(server: ScriptedServer) -> None:
    """As server-sent events that nothing on the way may hold back."""
    response = Client().get("/ask/ada", {"question": "good day"})
    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream"
    assert response["Cache-Control"] == "no-cache"
    assert response["X-Accel-Buffering"] == "no"
    assert text(told(response)) == "You said: good day."


def test_the_compression_of_django_holds_nothing_back(server: ScriptedServer) -> None:
    """It would collect the whole answer, and all signs of life."""
    asked = RequestFactory().get("/", headers={"Accept-Encoding": "gzip"})
    response = GZipMiddleware(lambda _: stream_response(conversation("ada"), "good day"))(asked)
    assert text(told(response)) == "You said: good day."
    response.close()


def test_a_conversation_is_kept_between_two_requests(server: ScriptedServer) -> None:
    """And each key has its own."""
    assert text(told(Client().get("/ask/ada", {"question": "one"}))) == "You said: one."
    assert text(told(Client().get("/ask/bob", {"question": "two"}))) == "You said: two."
    assert text(told(Client().get("/ask/ada", {"question": "three"}))) == "You said: three. Before that: one."
    assert sorted(Conversation.objects.values_list("key", flat=True)) == ["ada", "bob"]
    assert [(message.role, message.content) for message in history("ada")] == [
        ("user", "one"),
        ("assistant", "You said: one."),
        ("user", "three"),
        ("assistant", "You said: three. Before that: one."),
    ]
    assert history("nobody") == []
    assert not Lease.objects.exists()


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"version": 99, "ledger": {"items": []}}, "data has version 99"),
        ({"version": 1}, "items must be a list"),
        ({"version": 1, "ledger": {"items": [json.loads('{"a":' * 700 + "1" + "}" * 700)]}}, "too deeply"),
    ],
)
def test_a_history_that_cannot_be_read_is_told(data: dict[str, Any], fault: str) -> None:
    """By its key; what a newer release wrote is not guessed at."""
    DjangoStore().save("ada", data, None)
    with pytest.raises(ConfigurationError, match=f"the stored conversation 'ada': .*{fault}"):
        history("ada")


def test_a_browser_that_leaves_takes_its_response_along() -> None:
    """The conversation is free again, and what it was."""
    with ScriptedServer() as server, settings_for(server):
        server.connection(expect(), send(created("resp_1")), optional(expect_gone()))
        response = Client().get("/ask/ada", {"question": "hi"})
        pieces = iter(response.streaming_content)
        assert [next(pieces) for _ in range(3)] == [b":\n\n"] * 3
        assert Lease.objects.exists()
        response.close()
        assert not Lease.objects.exists()
        assert not Conversation.objects.exists()
        get_pool().close()
        until(lambda: server.connections[0].ended)
    join_readers()


def test_what_ran_before_a_browser_left_is_kept(server: ScriptedServer) -> None:
    """A call that was made is in the history, so that it is not made again."""
    released = threading.Event()

    @tool
    def wait() -> str:
        released.wait(SECONDS)
        return "late"

    response = stream_response(conversation("ada", tools=[wait]), calling("wait"))
    seen = events(response.streaming_content)
    while next(seen)[0] != "tool_call":
        pass
    while next(seen)[0]:
        pass
    response.close()
    released.set()
    answer = text(told(stream_response(conversation("ada", tools=[wait]), "go on")))
    assert answer.startswith("wait returned: Error: the call was interrupted")


def test_two_questions_at_the_same_time_come_one_after_the_other(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one waits, and knows of the first."""
    waits = threading.Event()
    take = DjangoStore.take

    def watched(*args: Any) -> bool:
        taken = take(*args)
        if not taken:
            waits.set()
        return taken

    monkeypatch.setattr(DjangoStore, "take", watched)
    first = events(stream_response(conversation("ada"), "one").streaming_content)
    while next(first)[0] != "text":
        pass
    second = in_thread(lambda: text(told(stream_response(conversation("ada"), "two"))))
    assert waits.wait(SECONDS)
    list(first)
    assert second.result() == "You said: two. Before that: one."


def test_one_who_waits_too_long_is_told(server: ScriptedServer) -> None:
    """Before anything is asked, and so before anything is paid."""
    with conversation("ada"):
        [*_, (name, data)] = told(stream_response(conversation("ada", wait=0.05), "two"))
    assert (name, data["type"]) == ("failure", "ConcurrencyError")
    assert server.requests == []


def test_a_chat_by_itself_is_not_kept(server: ScriptedServer) -> None:
    """For those who keep it elsewhere, or not at all."""
    assert text(told(stream_response(chat(tools=[add]), calling("add", a=1, b=2)))).startswith(
        "add returned: 3"
    )
    assert not Conversation.objects.exists()


# -- the store


def test_a_store_gives_what_it_got() -> None:
    """Half characters and NUL included, which tools may return; with another version after each save."""
    store = DjangoStore()
    assert store.load("ada") is None
    first = store.save("ada", DATA, None)
    second = store.save("ada", DATA | {"model": "n"}, first)
    assert first != second
    assert store.load("ada") == Stored(DATA | {"model": "n"}, second)
    store.delete("ada")
    store.delete("ada")
    assert store.load("ada") is None


@pytest.mark.parametrize("key", ["a:b", "\u00e5 b/c?*[x]\n", "'; --", "k" * 2000, " ", "\0"])
def test_keys_are_told_apart(key: str) -> None:
    """Whatever they are made of; also where a database would take them for the same."""
    store = DjangoStore()
    store.save(key, DATA, None)
    assert store.load(key) is not None
    assert [store.load(other) for other in (f"{key} ", key.swapcase() + "A")] == [None, None]
    with store.lock(key, seconds=9, timeout=0), store.lock(f"{key} ", seconds=9, timeout=0):
        store.delete(key)
    assert store.load(key) is None


def test_the_second_writer_changes_nothing() -> None:
    """Whether it thinks that there is nothing, or something older, or something that never was."""
    store = DjangoStore()
    first = store.save("ada", DATA, None)
    second = store.save("ada", DATA, first)
    for version in (None, first, second + 1):
        with transaction.atomic(), pytest.raises(ConcurrencyError):  # which stays usable
            store.save("ada", {}, version)
        assert store.load("ada") == Stored(DATA, second)


def test_what_was_deleted_is_not_written_over() -> None:
    """Nor is what was begun anew under its key."""
    store = DjangoStore()
    first = store.save("ada", DATA, None)
    store.delete("ada")
    with pytest.raises(ConcurrencyError):
        store.save("ada", DATA, first)
    store.save("ada", {"model": "n"}, None)
    with pytest.raises(ConcurrencyError):
        store.save("ada", DATA, first)


def test_a_key_that_a_database_refuses_is_shown_otherwise() -> None:
    """PostgreSQL knows no NUL. It is found by its digest all the same."""
    DjangoStore().save("a\0b", DATA, None)
    assert [one.key for one in Conversation.objects.all()] == ["a\ufffdb"]
    assert DjangoStore().load("a\0b") is not None


def test_a_connection_that_the_database_has_closed_is_a_store_that_fails() -> None:
    """Which Django does not count among the errors of the database."""

    def closed(*_: Any) -> None:
        raise InterfaceError("connection already closed")

    with connections["default"].execute_wrapper(closed), pytest.raises(StoreError, match="InterfaceError"):
        DjangoStore().load("ada")


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The connection of a database that has closed it, as it does to one that was long at rest."""
    connection = connections["default"]
    connection.ensure_connection()
    at_rest = connection.connection

    def closed(execute: Any, *args: Any) -> Any:
        if connection.connection is at_rest:
            raise InterfaceError("connection already closed")
        return execute(*args)

    monkeypatch.setattr(connection, "is_usable", lambda: connection.connection is not at_rest)
    with connection.execute_wrapper(closed):
        yield connection


@pytest.mark.usefixtures("dropped")
def test_a_connection_that_was_closed_during_the_answer_is_made_anew() -> None:
    """The answer was paid; Django looks at its connections between two requests only."""
    assert DjangoStore().save("ada", {"by": "ada"}, None)
    assert DjangoStore().load("ada").data == {"by": "ada"}


@pytest.mark.usefixtures("dropped")
def test_a_lock_is_given_back_over_a_new_connection() -> None:
    assert not DjangoStore().give_back("ada", "token")


def test_the_connection_of_an_open_transaction_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done in it would be lost in silence."""
    with transaction.atomic():
        monkeypatch.setattr(connections["default"], "is_usable", lambda: False)
        before = connections["default"].connection
        DjangoStore().save("ada", {}, None)
        assert connections["default"].connection is before


def test_a_database_that_fails_is_a_store_that_fails(tmp_path: Path) -> None:
    """In one error for all databases, without a word of what was to be saved."""
    use(tmp_path / "nothing" / "here.sqlite3")
    connections.close_all()
    with pytest.raises(StoreError) as caught:
        DjangoStore().save("ada", {"model": "secret"}, None)
    assert "secret" not in str(caught.value)


def test_stores_of_one_database_are_equal() -> None:
    """Chats remember by it what they have loaded from where."""
    assert DjangoStore() == DjangoStore("default")
    assert len({DjangoStore(), DjangoStore("default"), DjangoStore("other")}) == 2
    assert isinstance(DjangoStore(), Store)


def test_of_many_writers_one_wins() -> None:
    """All at the same moment."""
    together = threading.Barrier(8, timeout=SECONDS)

    def write(number: int) -> bool:
        together.wait()
        try:
            DjangoStore().save("ada", {"number": number}, None)
        except ConcurrencyError:
            return False
        return True

    writers = [in_thread(write, number) for number in range(8)]
    assert sorted(writer.result() for writer in writers) == [False] * 7 + [True]


def test_a_lock_is_held_by_one() -> None:
    """The others wait for it in their threads; it is free when it is left, by an exception too."""
    store, inside, most = DjangoStore(), [], []

    def work() -> None:
        with store.lock("ada", seconds=60, timeout=SECONDS):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    workers = [in_thread(work) for _ in range(4)]
    for worker in workers:
        worker.result()
    assert most == [1] * 4
    with pytest.raises(OSError, match="full"), store.lock("ada", seconds=60, timeout=0.1):
        raise OSError("the disk is full")
    assert not Lease.objects.exists()


def test_a_lock_whose_holder_died_ends_by_itself() -> None:
    """After its time. One who comes back late does not end that of the next, and is told."""
    store = DjangoStore()
    late = store.lock("ada", seconds=0.05, timeout=0)
    late.__enter__()
    with store.lock("ada", seconds=60, timeout=SECONDS):
        with pytest.raises(ConcurrencyError, match="ended after"):
            late.__exit__(None, None, None)
        taken = store.lock("ada", seconds=1, timeout=0.05)
        with pytest.raises(ConcurrencyError, match=r"0\.05 seconds"), taken:
            pytest.fail("it was free")
        with store.lock("bob", seconds=60, timeout=0):
            pass


@pytest.mark.parametrize("lock", [DjangoStore().lock, conversation], ids=["store", "conversation"])
def test_there_is_no_lock_in_an_open_transaction(lock: Any) -> None:
    """Nobody else would see it, and what an answer that fails has left would be rolled back."""
    with override_settings(RESPONSES_WS={"MODEL": "m"}), transaction.atomic():
        with pytest.raises(ConfigurationError, match="outside of a transaction"), lock("ada"):
            pytest.fail("it was locked")
        assert not Lease.objects.exists()


def test_the_transaction_of_a_test_case_hinders_no_lock() -> None:
    """It is there for the test alone."""

    class InOne(TestCase):
        def test_lock(self) -> None:
            with DjangoStore().lock("ada", timeout=0):
                assert Lease.objects.exists()

    result = InOne("test_lock").run()
    assert result is not None
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


# -- settings


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"API_KEY": KEY, "MODEL": "m"}, []),
        ({"MODEL": "m"}, ["responses_ws.W001"]),
        ({"API_KEY": KEY}, ["responses_ws.W002"]),
        ({"MAX_CONECTIONS": 3}, ["responses_ws.E001"]),
        ({"model": "m"}, ["responses_ws.E001"]),
        ({"HEARTBEAT": 0}, ["responses_ws.E001"]),
        ({"MAX_CONNECTIONS": 0}, ["responses_ws.E001"]),
        (["MODEL"], ["responses_ws.E001"]),
    ],
)
def test_the_checks_look_at_the_settings(settings: Any, found: list[str]) -> None:
    """Before anything runs, and with the name of what is wrong."""
    with override_settings(RESPONSES_WS=settings):
        assert [message.id for message in run_checks() if message.id.startswith("responses_ws")] == found


def test_a_wrong_setting_is_named() -> None:
    """In what the check says, and in what the first use raises."""
    wrong = pytest.raises(ConfigurationError, match="RESPONSES_WS: MAX_CONECTIONS is no setting")
    with override_settings(RESPONSES_WS={"MAX_CONECTIONS": 3}), wrong:
        get_pool()
    with override_settings(RESPONSES_WS={}), pytest.raises(ConfigurationError, match="MODEL is not set"):
        chat()


@pytest.mark.parametrize("wrong", [{"MAX_CONECTIONS": 3}, {"x": 1}, {"HEARTBEAT": 0}, {"MAX_CONNECTIONS": 0}])
def test_no_frame_shows_the_key(wrong: dict[str, Any]) -> None:
    """A traceback with locals is what an error page has."""
    settings = {"API_KEY": KEY, "MODEL": "m", **wrong}
    with override_settings(RESPONSES_WS=settings), pytest.raises(ConfigurationError) as caught:
        chat()
    frames = [entry.frame for entry in caught.traceback if "/responses_ws/" in str(entry.path)]
    assert frames
    assert [frame.f_locals for frame in frames if KEY in repr(frame.f_locals)] == []


def test_a_process_has_one_pool(server: ScriptedServer) -> None:
    """From whichever thread it is asked for; changed settings make another one."""
    pool = get_pool()
    assert Task(get_pool).result() is pool
    with settings_for(server, MODEL="other"):
        assert get_pool() is not pool
        assert chat().model == "other"
        assert isinstance(chat("given"), Chat)


def test_the_migrations_are_those_of_the_models() -> None:
    """Nothing is left to be made."""
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


# -- the admin


def test_the_admin_shows_and_does_not_edit() -> None:
    """What a chat has made can be looked at and deleted."""
    User.objects.create_superuser("root", password="of the tests")
    DjangoStore().save("ada/1", {"model": "gpt-of-the-tests"}, None)
    client = Client()
    client.login(username="root", password="of the tests")
    listed = client.get("/admin/responses_ws/conversation/")
    assert "ada/1" in listed.content.decode()
    address = f"/admin/responses_ws/conversation/{Conversation.objects.get().digest}/change/"
    page = client.get(address)
    assert "gpt-of-the-tests" in page.content.decode()
    assert "<textarea" not in page.content.decode()
    assert client.post(address, {"data": "{}"}).status_code == 403
    assert client.get("/admin/responses_ws/conversation/add/").status_code == 403
