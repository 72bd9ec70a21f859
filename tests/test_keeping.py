"""A chat is saved to a store and loaded from it, by whoever is next: nothing is asked or made twice."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from chatting import add, calling, chat, meant, seen
from shell import KEY, SECONDS, Task
from stores import Place, Process, RedisServer, fixture_place
from test_fork import Child

from responses_ws import ConcurrencyError, ConfigurationError, ConnectionPool, StoreError
from responses_ws.chat import Chat
from responses_ws.store import SQLiteStore, Store
from responses_ws.testing import Model, ScriptedServer
from responses_ws.tools import tool

slow = pytest.mark.slow
PROMPT = "a very private question"


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


place = pytest.fixture(params=["sqlite", pytest.param("redis", marks=slow)])(fixture_place)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with place.open() as opened:
        yield opened


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def server(model: Model) -> Iterator[ScriptedServer]:
    with ScriptedServer(model=model) as running:
        yield running


def load(server: ScriptedServer, store: Store, **options: Any) -> Chat:
    return Chat.load(store, "ada", api_key=KEY, api_base=server.url, **options)


# -- in one process


def test_a_chat_goes_on_where_it_was_saved(server, store, model):
    """With its history, its options and its usage; and again after the next save."""
    with chat(server, tools=[add], instructions="Add.") as talk:
        talk.ask(calling("add", a=1, b=2))
        talk.save(store, "ada")
    with load(server, store, tools=[add]) as talk:
        assert talk.ask("And now?").content.startswith("Instructions: Add.. You said: And now?.")
        talk.save(store, "ada")
        talk.ask("not saved")
    with load(server, store, tools=[add]) as talk:
        assert [message.content for message in talk.messages if message.role == "user"][1:] == ["And now?"]
        assert meant(seen(model, talk)) == meant(talk.items)
        assert talk.usage.input_tokens


def test_there_is_none_of_this_key(store):
    """A handler begins one then."""
    with pytest.raises(KeyError, match="ada"):
        Chat.load(store, "ada", api_key=KEY)


def test_the_second_of_two_chats_loses(server, store):
    """Nothing of the first is overwritten, and the second can be loaded anew."""
    with chat(server) as talk:
        talk.save(store, "ada")
    with load(server, store) as one, load(server, store) as other:
        one.ask("one")
        one.save(store, "ada")
        other.ask("other")
        with pytest.raises(ConcurrencyError, match="'ada' was saved or deleted by somebody else"):
            other.save(store, "ada")
        one.save(store, "ada")
    with load(server, store) as talk:
        assert [message.content for message in talk.messages if message.role == "user"] == ["one"]
    with chat(server) as talk, pytest.raises(ConcurrencyError, match="'ada' is in the store already"):
        talk.save(store, "ada")


def test_what_was_deleted_meanwhile_stays_deleted(server, store):
    """Whoever deletes a conversation means it."""
    with chat(server) as talk:
        talk.save(store, "ada")
        store.delete("ada")
        with pytest.raises(ConcurrencyError):
            talk.save(store, "ada")
    assert store.load("ada") is None


def test_a_chat_may_be_in_several_places(server, store, tmp_path):
    """Under other keys and in other stores, each with its own version."""
    attic = SQLiteStore(tmp_path / "attic.db")
    with chat(server) as talk:
        for _ in range(2):
            talk.ask("hi")
            talk.save(store, "ada")
            talk.save(store, "bob")
            talk.save(attic, "ada")
        with pytest.raises(ConcurrencyError):
            talk.fork().save(attic, "ada")
        with pytest.raises(ConcurrencyError):
            Chat.from_dict(talk.to_dict(), api_key=KEY).save(attic, "ada")
    with load(server, attic) as moved:
        assert len(moved.items) == 4
        moved.save(attic, "carol")


class Unanswered(SQLiteStore):
    """It writes, or does not, and then nobody is told."""

    writes = True
    error: BaseException | None = None

    def save(self, key: str, data: Mapping[str, Any], version: int | None) -> int:
        error, self.error = self.error, None
        if error is None or self.writes:
            version = super().save(key, data, version)
        if error is not None:
            raise error
        assert version is not None
        return version


@pytest.mark.parametrize("error", [StoreError("no answer"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("writes", [True, False], ids=["written", "not written"])
@pytest.mark.parametrize("saved", [True, False], ids=["again", "at first"])
def test_a_save_that_nobody_answered_for_can_be_made_again(server, tmp_path, error, writes, saved):
    """What it may have written is this chat's own, and no reason to refuse what was said since."""
    with Unanswered(tmp_path / "chats") as store, chat(server) as talk:
        if saved:
            talk.save(store, "ada")
        talk.ask("one")
        store.writes, store.error = writes, error
        with pytest.raises(type(error)):
            talk.save(store, "ada")
        talk.ask("two")
        talk.save(store, "ada")
        talk.save(store, "ada")
        with load(server, store) as loaded:
            assert meant(loaded.items) == meant(talk.items)


@pytest.mark.parametrize("writes", [True, False], ids=["written", "not written"])
def test_a_save_that_nobody_answered_for_overwrites_nobody(server, tmp_path, writes):
    """Somebody else may have been there meanwhile."""
    with Unanswered(tmp_path / "chats") as store, chat(server) as talk:
        talk.save(store, "ada")
        talk.ask("one")
        store.writes, store.error = writes, StoreError("no answer")
        with pytest.raises(StoreError):
            talk.save(store, "ada")
        with load(server, store) as other:
            other.ask("of somebody else")
            other.save(store, "ada")
        with pytest.raises(ConcurrencyError):
            talk.save(store, "ada")
        with pytest.raises(ConcurrencyError):
            talk.save(store, "ada")


def test_another_store_of_the_same_place_will_do(server, place):
    """A handler may make one for each request."""
    with contextlib.ExitStack() as opened, chat(server) as talk:
        one, other = (opened.enter_context(place.open()) for _ in range(2))
        talk.save(one, "ada")
        talk.save(other, "ada")
        with load(server, one) as loaded:
            loaded.save(other, "ada")


def test_a_save_in_mid_answer_is_of_what_was_completed(server, store):
    """The question is not in it; asked again by whoever loads it, it is asked once."""
    saved = []

    def look(chunk: Any) -> None:
        if not saved:
            talk.save(store, "ada")
            saved.append(True)

    with chat(server) as talk:
        talk.ask("one")
        talk.ask("two", look)
        with load(server, store) as other:
            assert len(other.items) == 2
            assert other.ask("two").content == "You said: two. Before that: one."
        talk.save(store, "ada")
        assert len(talk.items) == 4


def test_a_tool_may_save_its_chat(server, store):
    """Whoever loads it does not make the call, which may have had effects."""
    made = []

    @tool
    def work() -> str:
        made.append(1)
        talk.save(store, "ada")
        return "done"

    with chat(server, tools=[work]) as talk:
        assert talk.ask(calling("work")).content.startswith("work returned: done.")
        with load(server, store, tools=[work]) as other:
            assert "may have had effects" in other.run_tools().content
    assert made == [1]


def test_two_requests_at_once_take_turns(server, store):
    """With the lock neither has to ask again."""

    def handle(question: str) -> str:
        with store.lock("ada"):
            try:
                talk = load(server, store)
            except KeyError:
                talk = chat(server)
            with talk:
                answer = talk.ask(question)
                talk.save(store, "ada")
                return answer.content

    requests = [Task(handle, f"question {number}") for number in range(4)]
    answers = [request.result() for request in requests]
    assert [f"You said: question {number}" in answer for number, answer in enumerate(answers)] == [True] * 4
    with load(server, store) as talk:
        assert len(talk.items) == 8


@pytest.mark.parametrize("keeps", [True, False], ids=["store", "no store"])
def test_the_requests_of_many_users_share_a_pool(server, store, model, keeps):
    """Each begins with a load and ends with a save; what is not with the service travels again."""

    def handle(user: str, question: str) -> None:
        with store.lock(user), Chat.load(store, user, pool=pool) as talk:
            talk.ask(question)
            assert meant(seen(model, talk)) == meant(talk.items)
            talk.save(store, user)

    with ConnectionPool(KEY, api_base=server.url, max_connections=2) as pool:
        users = [f"user {number}" for number in range(4)]
        for user in users:
            with Chat("m", pool=pool, store=keeps) as talk:
                talk.save(store, user)
        for turn in range(3):
            requests = [Task(handle, user, f"{user}, {turn}") for user in users]
            for request in requests:
                request.result()
        for user in users:
            with Chat.load(store, user, pool=pool) as talk:
                asked = [message.content for message in talk.messages if message.role == "user"]
                assert asked == [f"{user}, {turn}" for turn in range(3)]
    lengths = {len(request["input"]) for request in server.requests}
    assert lengths == ({1} if keeps else {1, 3, 5})


# -- what cannot work


@pytest.mark.parametrize("store", [None, {}, "chats.db", object()])
def test_what_is_no_store_is_refused(store):
    """By both."""
    with pytest.raises(ConfigurationError, match="store must have the methods of a Store"):
        Chat.load(store, "ada", api_key=KEY)
    with pytest.raises(ConfigurationError, match="store must have the methods of a Store"):
        Chat("m", api_key=KEY).save(store, "ada")


class Unhashable(SQLiteStore):
    """As a class is that defines equality alone, a dataclass for example."""

    __hash__ = None  # type: ignore[assignment]


def test_a_store_without_a_hash_is_refused(server, tmp_path):
    """Before anything is read there or written."""
    with Unhashable(tmp_path / "chats") as store, chat(server) as talk:
        for use in (partial(talk.save, store, "ada"), partial(load, server, store)):
            with pytest.raises(ConfigurationError, match="store must be hashable, as Unhashable is not"):
                use()
        assert store.load("ada") is None


@pytest.mark.parametrize("key", [["ada"], 5, ""])
def test_what_is_no_key_is_refused(tmp_path, key):
    """By both."""
    with SQLiteStore(tmp_path / "chats") as store:
        for use in (Chat.load, Chat("m", api_key=KEY).save):
            with pytest.raises(ConfigurationError, match="key must be a str"):
                use(store, key)


def stored(**changes: Any) -> dict[str, Any]:
    return {**Chat("m", tools=[add], api_key=KEY).to_dict(), **changes}


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


SAID = [{"role": "user", "content": PROMPT}]
HOSTILE = [
    ({"version": 2, "novel": PROMPT}, "has version 2, and this release of responses_ws reads up to 1"),
    ({"version": PROMPT}, "is not what Chat.to_dict"),
    ({"version": None}, "is not what Chat.to_dict"),
    ({"version": True}, "is not what Chat.to_dict"),
    ({"version": -1}, "is not what Chat.to_dict"),
    ({"model": {"a": PROMPT}}, "model"),
    ({"model": ""}, "model"),
    ({"instructions": [PROMPT]}, "instructions"),
    ({"transport": PROMPT}, "transport"),
    ({"transport": {PROMPT: 1}}, "transport"),
    ({"limits": {"max_rounds": PROMPT}}, "limits"),
    ({"limits": {"max_parallel": [PROMPT]}}, "limits"),
    ({"limits": {"timeout_per_tool": PROMPT}}, "limits"),
    ({"ledger": PROMPT}, "items must be a list"),
    ({"ledger": {"items": PROMPT}}, "items must be a list"),
    ({"ledger": {"items": [PROMPT]}}, "items must be a list"),
    ({"ledger": {"items": SAID, "response_id": [PROMPT]}}, "response_id"),
    ({"ledger": {"items": SAID, "response_id": "resp_1", "position": 2}}, "response_id and position"),
    ({"ledger": {"items": SAID, "response_id": "resp_1", "position": PROMPT}}, "response_id and position"),
    ({"schema": "Weather"}, "schema: the stored chat has 'Weather'; give it again"),
    ({"params": {"model": PROMPT}}, "model is no parameter"),
    ({"params": {"input": PROMPT}}, "input is no parameter"),
    ({"params": {"metadata": deep(700)}}, "nested too deep"),
    ({"ledger": {"items": [{"type": "x", "deep": deep(700)}]}}, "nested too deep"),
    ({"tools": [{"function": "subtract", "label": "function subtract"}]}, "lacks the function 'subtract'"),
    ({"tools": [{"confidential": "mcp files"}]}, "tools lacks 'mcp files'"),
    ({"tools": [{"function": {"a": PROMPT}}]}, "tools of the stored chat"),
    ({"tools": [{"label": PROMPT}]}, "tools of the stored chat"),
]


@pytest.mark.parametrize(("changes", "fault"), HOSTILE)
def test_a_stored_value_that_cannot_be_gone_on_with(store, changes, fault):
    """Is told by its key and by what is wrong with it, without its content; and is left as it is."""
    store.save("ada", stored(**changes), None)
    before = store.load("ada")
    with pytest.raises(ConfigurationError, match=f"the stored conversation 'ada': .*{fault}") as caught:
        Chat.load(store, "ada", tools=[add], api_key=KEY)
    assert PROMPT not in str(caught.value)
    assert caught.value.__cause__ is None
    assert store.load("ada") == before


ODD = [None, True, 0, -1, 2**70, 1.5, "", "x", [], [None], [[]], {}, {"": None}, {"a": {}}, [{"type": {}}]]


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in the data with every key in it."""
    keys = list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for key in keys:
        yield data, key
        yield from places(data[key])


def test_whatever_is_stored_is_a_chat_or_refused(server):
    """Every value of a stored chat replaced by anything: nothing but ConfigurationError is raised, ever."""
    with chat(server, tools=[add], instructions="Add.", store=False) as talk:
        talk.ask(calling("add", a=1, b=2))
        talk.step(calling("add", a=1, b=2))
        data = json.dumps({**talk.to_dict(), "answers": [{"type": "function_call_output", "call_id": "c"}]})
    count = sum(1 for _ in places(json.loads(data)))
    assert count > 50
    tried = 0
    for index in range(count):
        for value in ODD:
            changed = json.loads(data)
            owner, key = list(places(changed))[index]
            owner[key] = value
            try:
                back = Chat.from_dict(changed, tools=[add], api_key=KEY)
                _ = back.items, back.messages, back.usage, back.unfinished, json.dumps(back.to_dict())
            except ConfigurationError:
                tried += 1
    assert tried > 50


@pytest.mark.parametrize("verb", ["load", "from_dict"])
def test_no_frame_shows_the_key(verb, tmp_path):
    """Neither while the store is asked nor while the chat is made."""
    store = SQLiteStore(tmp_path / "nowhere" / "chats.db")
    go_on = {"load": partial(Chat.load, store, "ada"), "from_dict": partial(Chat.from_dict, {})}
    with pytest.raises((StoreError, ConfigurationError)) as caught:
        go_on[verb](api_key=KEY, headers={"X-Key": KEY})
    frames = [entry.frame for entry in caught.traceback if "responses_ws" in str(entry.path)]
    assert frames
    assert [frame.f_locals for frame in frames if KEY in repr(frame.f_locals)] == []


def test_no_key_is_in_the_store(server, tmp_path):
    """Neither ours nor that of an MCP server."""
    files = {"type": "mcp", "server_label": "files", "authorization": "sk-of-the-files"}
    store = SQLiteStore(tmp_path / "chats.db")
    with chat(server, tools=[files], headers={"X-Team": "sk-of-a-header"}) as talk:
        talk.ask("hi")
        talk.save(store, "ada")
    content = (tmp_path / "chats.db").read_bytes()
    assert b"You said: hi." in content
    assert [word for word in (KEY, "sk-of-the-files", "sk-of-a-header") if word.encode() in content] == []


# -- in another process


GO_ON = """
    from responses_ws.chat import Chat
    from responses_ws.tools import tool

    @tool
    def add(a: int, b: int) -> int:
        "Add two numbers."
        return a + b

    with Chat.load(store, "ada", tools=[add], api_key="sk-other", api_base=given["url"]) as talk:
        answer = talk.ask(given["question"])
        talk.save(store, "ada")
        tell([answer.content, answer.response_id, answer.transport])
"""


@slow
@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("keeps", [True, False], ids=["store", "no store"])
def test_a_conversation_moves_from_process_to_process(server, place, model, keeps, transport):
    """Three of them. What the service keeps does not travel again; what it does not keep travels whole, with
    the calls and their outputs."""
    with place.open() as store:
        with chat(server, tools=[add], store=keeps, transport=transport) as talk:
            talk.ask("My name is Ada.")
            talk.ask(calling("add", a=1, b=2))
            talk.save(store, "ada")
            first = talk.items
        sent = len(server.requests)
        for question in ("What is it?", calling("add", a=3, b=4)):
            content, response_id, way = Process(place, GO_ON, url=server.url, question=question).result()
            assert way == transport
            with load(server, store, tools=[add]) as talk:
                assert meant(talk.items[: len(first)]) == meant(first)
                assert meant(model.history(response_id)) == meant(talk.items)
                assert talk.messages[-1].content == content
        assert content.startswith("add returned: 7.")
    asked, second, _ = server.requests[sent:]
    if keeps:
        assert [len(asked["input"]), len(second["input"])] == [1, 1]
        assert asked["previous_response_id"]
    else:
        assert meant(asked["input"][:-1]) == meant(first)
        assert "previous_response_id" not in asked
        assert len(second["input"]) == len(first) + 3


DIE = """
    import threading
    from responses_ws.chat import Chat
    from responses_ws.tools import tool

    @tool
    def work() -> str:
        "Work for long."
        talk.save(store, "ada")
        tell("working")
        threading.Event().wait()

    with Chat("m", tools=[work], api_key="sk-first", api_base=given["url"]) as talk:
        talk.ask("My name is Ada.")
        talk.save(store, "ada")
        with store.lock("ada", seconds=1):
            talk.ask(given["question"])
"""


@slow
def test_a_process_that_is_killed_leaves_its_conversation_to_the_next(server, place):
    """Killed in a tool, with the lock in its hands: the call is not made again, and the model is told."""
    made = []

    @tool
    def work() -> str:
        made.append(1)
        return "done"

    killed = Process(place, DIE, url=server.url, question=calling("work"))
    assert killed.hear() == "working"
    killed.kill()
    with contextlib.ExitStack() as entered:
        store = entered.enter_context(place.open())
        entered.enter_context(store.lock("ada", timeout=SECONDS))
        talk = entered.enter_context(load(server, store, tools=[work]))
        assert talk.unfinished
        assert "may have had effects" in talk.run_tools().content
        talk.save(store, "ada")
    assert made == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_and_its_parent_are_two_writers(server, store):
    """Of the same chat."""
    with chat(server) as talk:
        talk.ask("one")
        talk.save(store, "ada")

        def in_child() -> str:
            with talk:
                content = talk.ask("two").content
                talk.save(store, "ada")
                return content

        assert Child(in_child).result() == "You said: two. Before that: one."
        with pytest.raises(ConcurrencyError):
            talk.save(store, "ada")


def test_threads_may_save_one_chat(server, store):
    """Each save is whole: it is written, or told to have lost."""
    lost = []

    def save() -> None:
        for _ in range(5):
            try:
                talk.save(store, "ada")
            except ConcurrencyError:
                lost.append(threading.get_ident())

    with chat(server) as talk:
        talk.ask("hi")
        for thread in [Task(save) for _ in range(4)]:
            thread.result()
    assert len(lost) < 20
    with load(server, store) as back:
        assert len(back.items) == 2


def test_an_older_state_of_a_chat_does_not_overwrite_a_newer_one(server, store, monkeypatch):
    """One thread saves what there was before the answer, and is overtaken by the thread that has asked."""
    with chat(server) as talk:
        talk.ask("one")
        talk.save(store, "ada")
        taken, overtaken = threading.Event(), threading.Event()
        state = talk.to_dict

        def older() -> dict[str, Any]:
            data = state()
            taken.set()
            assert overtaken.wait(SECONDS)
            return data

        monkeypatch.setattr(talk, "to_dict", older)
        first = Task(talk.save, store, "ada")
        assert taken.wait(SECONDS)
        monkeypatch.setattr(talk, "to_dict", state)
        talk.ask("two")
        talk.save(store, "ada")
        overtaken.set()
        assert isinstance(first.error(), ConcurrencyError)
    with load(server, store) as back:
        assert len(back.items) == 4
