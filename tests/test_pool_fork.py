"""Fork: a pool that was made in the parent begins anew in each child, and the parent's goes on."""

from __future__ import annotations

import contextlib
import gc
import os
import warnings
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest
from pooling import counts
from shell import KEY, Task, ask, until
from test_fork import Child

from responses_ws import Chat, ConnectionLost, ConnectionPool, Endpoint, PoolClosed, Session
from responses_ws._transport.mailbox import wait_for
from responses_ws.testing import Model, ScriptedServer

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
    # Python 3.12 and later say so of every fork next to a thread.
    pytest.mark.filterwarnings(
        r"ignore:This process .* is multi-threaded, use of fork\(\):DeprecationWarning"
    ),
]

MODEL = {"model": "m"}


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    model = Model(lambda history, request: "re " + str(request["input"][-1]["content"]))
    with ScriptedServer(tls=request.param, model=model) as server:
        yield server


def pool_of(server: ScriptedServer, **options: Any) -> ConnectionPool:
    endpoint = Endpoint(server.url + "/responses", max_in_flight=16, max_lanes=32)
    return ConnectionPool(KEY, endpoint=endpoint, ssl_context=server.ssl_context, **options)


def chat(pool: ConnectionPool, **options: Any) -> Chat:
    return Chat("m", pool=pool, **options).with_params(transport="websocket")


def heard(server: ScriptedServer, number: int) -> list[str]:
    """What a connection has received besides messages."""
    found = [entry.kind for entry in server.log if (entry.connection, entry.direction) == (number, "in")]
    return [kind for kind in found if kind not in ("handshake", "text")]


def test_a_pool_that_was_used_in_the_parent_works_in_the_child(server: ScriptedServer) -> None:
    """With connections of its own. Those of the parent hear nothing of it."""
    with pool_of(server, max_connections=2) as pool:
        pool.prewarm(2)
        talk = chat(pool, store=False)
        talk.ask("one")

        def in_child() -> Any:
            before = (counts(pool), pool.stats().opened, repr(pool))
            said = talk.ask("child").content, chat(pool).ask("another").content
            return before, said, counts(pool), pool.stats().opened

        before, said, after, opened = Child(in_child).result()
        assert before == ((0, 0, 0), 0, "<ConnectionPool 127.0.0.1 open, 0 connections, 0 taken, 0 waiting>")
        assert said == ("re child", "re another")
        assert (after, opened) == ((1, 0, 0), 1)
        assert talk.ask("two").content == "re two"
        assert counts(pool) == (2, 0, 0)
        assert pool.stats().opened == 2
        assert heard(server, 1) == heard(server, 2) == []
    sent = {tuple(item["content"] for item in request["input"][::2]) for request in server.requests}
    assert sent == {("one",), ("one", "child"), ("another",), ("two",)}


def test_a_pool_that_was_only_made_in_the_parent(server: ScriptedServer) -> None:
    """As by a server that loads the application before it forks. Several children, each with its own."""
    pool = pool_of(server, max_connections=2).open()

    def in_child() -> Any:
        talk = chat(pool)
        said = [talk.ask(text).content for text in ("one", "two")]
        pool.close()
        return said, counts(pool), pool.stats().opened

    children = [Child(in_child) for _ in range(3)]
    assert [child.result() for child in children] == [(["re one", "re two"], (0, 0, 0), 1)] * 3
    assert chat(pool).ask("parent").content == "re parent"
    pool.close()
    assert len(server.connections) == 4


def test_a_pool_that_is_opened_in_the_child(server: ScriptedServer) -> None:
    """It stays closed in the parent."""
    pool = pool_of(server)

    def in_child() -> str:
        with pool:
            return chat(pool).ask("child").content

    assert Child(in_child).result() == "re child"
    with pytest.raises(PoolClosed):
        pool.lease()


def test_a_fork_while_the_pool_is_in_use(server: ScriptedServer) -> None:
    """With a response that runs, a thread that connects, and threads that wait for a seat, under the lock."""
    with pool_of(server, max_connections=1, lease_timeout=30) as pool, contextlib.ExitStack() as stack:
        lease = stack.enter_context(pool.lease())
        tasks = [Task(chat(pool).ask, f"waits {number}") for number in range(4)]
        until(lambda: pool.stats().waiting == 4)
        pool._desk.roster.lock.acquire()

        def in_child() -> Any:
            return counts(pool), chat(pool).ask("child").content, counts(pool)

        try:
            child = Child(in_child)
        finally:
            pool._desk.roster.lock.release()
        assert child.result() == ((0, 0, 0), "re child", (1, 0, 0))
        assert counts(pool) == (1, 1, 4)
        lease.close()
        assert [task.result().content for task in tasks] == [f"re waits {number}" for number in range(4)]


def test_a_lease_is_its_process_own(server: ScriptedServer) -> None:
    """In the child it says so. It is neither lost nor reported there."""
    with pool_of(server) as pool, pool.lease() as lease:
        ask_list(lease, "parent")

        def in_child() -> Any:
            nonlocal lease
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    ask_list(lease, "child")
                except PoolClosed as error:
                    said = str(error)
                with pool.lease() as own:
                    asked = ask_list(own, "own")
                del lease, own
                gc.collect()
            return said, asked, [str(warning.message) for warning in caught], pool.stats().reclaimed

        assert Child(in_child).result() == (
            "the pool was closed since the lease was taken, or it is that of the parent process",
            "re own",
            [],
            0,
        )
        assert ask_list(lease, "again") == "re again"
    assert [request["input"][-1]["content"] for request in server.requests] == ["parent", "own", "again"]


def ask_list(lease: Any, text: str) -> str:
    return ask(lease, [{"type": "message", "role": "user", "content": text}])


def test_a_child_tells_nothing_of_what_its_parent_asked(server: ScriptedServer) -> None:
    """A response that runs during the fork is told by the parent, with what it cost."""
    told: list[str | None] = []
    with pool_of(server) as pool:
        session = Session(pool=pool, transport="websocket", on_usage=lambda usage, name: told.append(name))
        stream = session.stream({**MODEL, "input": [{"role": "user", "content": "one"}]})

        def in_child() -> Any:
            with contextlib.suppress(ConnectionLost):
                stream.run()
            session.close()
            return told

        assert Child(in_child).result() == []
        assert stream.message.content == "re one"
        assert told == [stream.message.response_id]
        session.close()


def test_a_session_that_the_child_closes(server: ScriptedServer) -> None:
    """And a pool. Both go on in the parent."""
    with pool_of(server) as pool:
        session = Session(pool=pool, transport="websocket")
        session.call({**MODEL, "input": [{"role": "user", "content": "one"}]})

        def in_child() -> Any:
            session.close()
            pool.close()
            return counts(pool)

        assert Child(in_child).result() == (0, 0, 0)
        assert session.call({**MODEL, "input": [{"role": "user", "content": "two"}]}).content == "re two"
        session.close()
    assert len(server.connections) == 1


def test_a_grandchild(server: ScriptedServer) -> None:
    with pool_of(server) as pool:
        chat(pool).ask("parent")

        def in_child() -> Any:
            return chat(pool).ask("child").content, Child(
                lambda: chat(pool).ask("grandchild").content
            ).result()

        assert Child(in_child).result() == ("re child", "re grandchild")
    assert len(server.connections) == 3


def test_a_fork_without_hooks(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a C extension: noticed by the number of the process."""
    monkeypatch.setattr("responses_ws._process._living", ())
    with pool_of(server) as pool:
        talk = chat(pool, store=False)
        monkeypatch.setattr("responses_ws._pool.desk.watch", lambda _: None)
        monkeypatch.setattr("responses_ws._linked.watch", lambda _: None)
        talk.ask("one")
        lease = pool.lease()

        def in_child() -> Any:
            with pytest.raises(PoolClosed):
                ask_list(lease, "no")
            return talk.ask("child").content, counts(pool)

        assert Child(in_child).result() == ("re child", (1, 0, 0))
        assert talk.ask("two").content == "re two"
        lease.close()
        assert heard(server, 1) == []


def test_a_fork_while_a_seat_is_waited_for(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler may fork then, and return in both processes. The child has a pool of its own."""
    reading, writing = os.pipe()
    forked: list[int] = []

    def fork_once(*wait: Any) -> Any:
        if not forked:
            forked.append(os.fork())
            if forked[0]:
                held.close()
        return wait_for(*wait)

    with pool_of(server, max_connections=1, lease_timeout=5) as pool:
        held = pool.lease()
        monkeypatch.setattr("responses_ws._pool.desk.wait_for", fork_once)
        try:
            said = chat(pool).ask("hi").content
            if not forked[0]:
                os.write(writing, said.encode())
        finally:
            if forked == [0]:
                os._exit(0)
        os.close(writing)
        os.waitpid(forked[0], 0)
        with open(reading, "rb") as pipe:
            assert (said, pipe.read()) == ("re hi", b"re hi")


def test_a_lease_that_is_given_back_after_a_fork_without_hooks(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that would end with it is the parent's."""
    with pool_of(server) as pool:
        monkeypatch.setattr("responses_ws._pool.desk.watch", lambda _: None)
        monkeypatch.setattr("responses_ws._linked.watch", lambda _: None)
        lease = pool.lease()
        pool._desk.roster.retire_all()
        Child(lease.close).result()
        assert ask_list(lease, "parent") == "re parent"
        assert heard(server, 1) == []
        lease.close()


def test_a_process_that_shares_no_memory_makes_its_own(server: ScriptedServer) -> None:
    """What ``spawn`` and ``forkserver`` send to a process refuses to go."""
    with pool_of(server) as pool, pytest.raises(TypeError, match="cannot be pickled: it holds a key"):
        ForkingPickler.dumps(pool)
