"""The session over its WebSocket: what travels, what is survived, what is told."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import pickle
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sessions import MODEL, Costs, ask, inputs, rejection, session, spoken, user
from shell import KEY, SECONDS, Task, answer, completed, created, delivered, delta, join_readers, stack, until
from test_interrupt import caller_is_in, interrupted

from responses_ws import (
    ConcurrencyError,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    ContinuationLost,
    Delivery,
    Endpoint,
    Limits,
    Message,
    PayloadTooLarge,
    PreviousResponseNotFound,
    RateLimitError,
    ResponseCancelled,
    ResponseTimeout,
    ServerError,
    Timeouts,
    Usage,
    _line,
)
from responses_ws._breakers import _breakers
from responses_ws._call import Call
from responses_ws._connection import Connection
from responses_ws._core.continuation import Ledger
from responses_ws._core.retry import Retry
from responses_ws._http_call import HttpCall
from responses_ws._source import Batch
from responses_ws.session import Session
from responses_ws.stream import ResponseStream
from responses_ws.testing import (
    Model,
    ScriptedServer,
    Step,
    close,
    eof,
    expect,
    expect_gone,
    gate,
    hang,
    mark,
    optional,
    refuse,
    send,
    serve,
)


@pytest.fixture(autouse=True)
def no_pause_and_no_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are as short as they may be, and no test finds the losses of another."""
    monkeypatch.setattr("random.random", lambda: 0.0)
    _breakers.clear()


# -- what travels


@pytest.mark.parametrize("store", [True, False])
def test_of_a_whole_history_only_what_is_new_travels(store: bool) -> None:
    """On one connection, stored or not."""
    with ScriptedServer(model=Model()) as server, session(server) as mine:
        fields = {**MODEL, "store": store}
        history = [user("one")]
        history += mine.call({**fields, "input": history}).output
        history.append(user("two"))
        history += mine.call({**fields, "input": history}).output
        history.append(user("three"))
        final = mine.call({**fields, "input": history})
        assert inputs(server) == [(["one"], False), (["two"], True), (["three"], True)]
        assert len(server.connections) == 1
        assert server.model is not None
        assert spoken(server.model, final)[0::2] == ["one", "two", "three"]


def test_a_changed_history_travels_whole() -> None:
    with ScriptedServer(model=Model()) as server, session(server) as mine:
        said = mine.call({**MODEL, "input": [user("one")]}).output
        mine.call({**MODEL, "input": [user("1"), *said, user("two")]})
        assert [len(request["input"]) for request in server.requests] == [1, 3]
        assert "previous_response_id" not in server.requests[1]


def test_a_conversation_is_recorded_when_its_answer_is_completed() -> None:
    with ScriptedServer(model=Model()) as server, session(server) as mine:
        ledger = Ledger()
        stream = mine.respond(ledger, [user("one")], MODEL)
        assert ledger.items == ()
        message = stream.message
        assert ledger.last_response_id == message.response_id
        assert list(ledger.items) == [user("one"), *message.output]
        ask(mine, ledger, "two")
        assert inputs(server) == [(["one"], False), (["two"], True)]


def test_an_incomplete_answer_is_history_without_an_id() -> None:
    with ScriptedServer(model=Model()) as server, session(server) as mine:
        ledger = Ledger()
        message = ask(mine, ledger, "one", max_output_tokens=1)
        assert message.status == "incomplete"
        assert list(ledger.items) == [user("one"), *message.output]
        ask(mine, ledger, "two")
        assert [len(request["input"]) for request in server.requests] == [1, 3]


def test_an_answer_that_was_left_is_no_history() -> None:
    with ScriptedServer(model=Model()) as server, session(server) as mine:
        ledger = Ledger()
        with mine.respond(ledger, [user("one")], MODEL) as stream:
            next(iter(stream))
        assert ledger.items == ()
        ask(mine, ledger, "two")
        assert inputs(server)[-1] == (["two"], False)


def test_nothing_is_opened_before_the_first_response() -> None:
    with ScriptedServer(model=Model()) as server, session(server) as mine:
        assert server.connections == []
        assert "not connected" in repr(mine)
        mine.call({**MODEL, "input": "hi"})
        assert " connected" in repr(mine)


# -- what is lost and found again


@pytest.mark.parametrize("store", [True, False])
def test_a_lost_id_costs_one_more_request_with_everything(store: bool) -> None:
    """On the same socket; afterwards the conversation goes on from its new id."""
    model = Model()
    with ScriptedServer(model=model) as server, session(server) as mine:
        ledger = Ledger()
        ask(mine, ledger, "one", store=store)
        model.forget()
        final = ask(mine, ledger, "two", store=store)
        assert [len(request["input"]) for request in server.requests] == [1, 1, 3]
        assert "previous_response_id" not in server.requests[2]
        assert spoken(model, final)[0::2] == ["one", "two"]
        ask(mine, ledger, "three", store=store)
        assert inputs(server)[-1] == (["three"], True)
        assert len(server.connections) == 1


def test_a_lost_id_of_a_whole_history() -> None:
    model = Model()
    with ScriptedServer(model=model) as server, session(server) as mine:
        history = [user("one")]
        history += mine.call({**MODEL, "input": history}).output
        model.forget()
        mine.call({**MODEL, "input": [*history, user("two")]})
        assert [len(request["input"]) for request in server.requests] == [1, 1, 3]


def test_what_the_caller_continues_himself_cannot_be_rebuilt() -> None:
    with ScriptedServer(model=Model()) as server, session(server) as mine:
        with pytest.raises(ContinuationLost) as caught:
            mine.call({**MODEL, "input": "hi", "previous_response_id": "resp_gone"})
        assert caught.value.last_response_id == "resp_gone"
        assert caught.value.status == 400
        assert isinstance(caught.value.__cause__, PreviousResponseNotFound)
        assert len(server.requests) == 1


@pytest.mark.parametrize("store", [True, False])
def test_the_age_limit_costs_a_connection_and_no_retry(store: bool) -> None:
    """At once; what was not stored travels again with everything."""
    model = Model(max_age=2)
    with (
        ScriptedServer(model=model) as server,
        session(server, retry=Retry(max_retries=1)) as mine,
    ):
        ledger = Ledger()
        for text in ("one", "two", "three"):
            final = ask(mine, ledger, text, store=store)
        assert [len(request["input"]) for request in server.requests] == [1, 1, 1, 1 if store else 5]
        assert spoken(model, final)[0::2] == ["one", "two", "three"]
        assert len(server.connections) == 2


def test_the_age_limit_again_at_once_is_an_error() -> None:
    """A service that always says so would be asked for ever."""
    with ScriptedServer(model=Model(max_age=0)) as server, session(server) as mine:
        with pytest.raises(Exception, match="limit"):
            mine.call({**MODEL, "input": "hi"})
        assert len(server.requests) == 2


@pytest.mark.parametrize("end", [close(1001), close(1011), eof()])
@pytest.mark.parametrize("store", [True, False])
def test_a_socket_that_was_closed_at_rest_is_replaced(end: Any, store: bool) -> None:
    """Its end is known before the next request, which costs no retry."""
    model = Model()
    with ScriptedServer(model=model) as server:
        server.connection(serve(turns=1), end)
        with session(server, retry=Retry(max_retries=0)) as mine:
            ledger = Ledger()
            ask(mine, ledger, "one", store=store)
            join_readers()
            final = ask(mine, ledger, "two", store=store)
            assert [len(request["input"]) for request in server.requests] == [1, 1 if store else 3]
            assert spoken(model, final)[0::2] == ["one", "two"]


def test_a_socket_that_dies_under_the_request_is_replaced() -> None:
    """It was found dead only by sending; the request never was a whole message."""
    from responses_ws.testing import ScriptedConnector

    connector = ScriptedConnector()
    turns = iter(["resp_1", "resp_2"])
    connector.on_connect = lambda transport: setattr(
        transport, "on_send", lambda request: transport.deliver(*answer(next(turns), "hello"))
    )
    options: dict[str, Any] = {"transport": "websocket", "timeouts": Timeouts(close=0.05)}
    with Session("k", api_base="ws://127.0.0.1/v1", client_class=connector, **options) as mine:
        mine.call({**MODEL, "input": "one"})
        connector.transports[0].fail_send(ConnectionLost("gone", close_code=1006))
        mine.call({**MODEL, "input": "two"})
        assert [len(transport.sent) for transport in connector.transports] == [1, 1]


def test_what_was_lost_unheard_is_raised() -> None:
    """It may have run; with leave it is asked again."""
    for policy, asked in ((Retry(), 1), (Retry(replay="unknown"), 2)):
        with ScriptedServer(model=Model()) as server:
            server.connection(expect(), close(1011))
            with session(server, retry=policy) as mine:
                if policy.replay == "never":
                    with pytest.raises(ConnectionLost) as caught:
                        mine.call({**MODEL, "input": "hi"})
                    assert caught.value.delivery is Delivery.UNKNOWN
                else:
                    mine.call({**MODEL, "input": "hi"})
                assert len(server.requests) == asked


def test_what_was_lost_in_mid_answer_is_raised_with_what_came() -> None:
    """The ledger is as before; the next step goes on from the stored id."""
    model = Model()
    with ScriptedServer(model=model) as server:
        server.connection(serve(turns=1), expect(), send(created("r"), delta("hel"), delta("lo")), eof())
        with session(server, retry=Retry(replay="unknown")) as mine:
            ledger = Ledger()
            first = ask(mine, ledger, "one")
            with pytest.raises(ConnectionLost) as caught:
                ask(mine, ledger, "two")
            assert caught.value.delivery is Delivery.STARTED
            assert caught.value.partial is not None
            assert caught.value.partial.content == "hello"
            assert ledger.last_response_id == first.response_id
            final = ask(mine, ledger, "three")
            assert inputs(server)[-1] == (["three"], True)
            assert spoken(model, final)[0::2] == ["one", "three"]


@pytest.mark.parametrize(("code", "status"), [("rate_limit_exceeded", 429), ("server_is_overloaded", 503)])
def test_overload_is_asked_again(code: str, status: int) -> None:
    """On the same socket, with everything when the id was not stored: the parent may be gone."""
    model = Model()
    with ScriptedServer(model=model) as server, session(server) as mine:
        ledger = Ledger()
        ask(mine, ledger, "one", store=False)
        model.fail_next(code, status, headers={"retry-after-ms": "1"})
        model.fail_next(code, status, headers={"retry-after-ms": "1"})
        ask(mine, ledger, "two", store=False)
        assert [len(request["input"]) for request in server.requests] == [1, 1, 3, 3]
        assert len(server.connections) == 1


def test_a_second_attempt_is_the_same_request() -> None:
    """Whatever the caller adds to his lists meanwhile, or changes in them."""
    with ScriptedServer() as server:
        server.connection(expect(), send(rejection(retry_after_ms="1")), expect(), send(*answer("r")))
        with session(server) as mine:
            history: list[Any] = [user("one"), {"role": "user", "content": [{"type": "input_text"}]}]
            tools = [{"type": "web_search"}]
            stream = mine.stream({**MODEL, "input": history, "tools": tools})
            history[0]["content"] = "changed"
            history[1]["content"][0]["text"] = "changed"
            history.append(user("two"))
            tools.clear()
            assert stream.message.response_id == "r"
        first, second = server.requests
        assert first == second
        assert "changed" not in str(first)


def test_a_payload_that_holds_itself_is_refused_by_name() -> None:
    """It cannot be copied either."""
    item = user("one")
    item["content"] = [item]
    with pytest.raises(ConfigurationError, match=r"input\[0\] cannot be sent: it holds itself"):
        Session("k", api_base="ws://127.0.0.1:1", transport="http").call({**MODEL, "input": [item]})


@pytest.mark.parametrize("framework", [False, True])
def test_a_lost_id_is_not_named_again(framework: bool) -> None:
    """Also without retries: the error is the caller's, and the next step brings the whole history."""
    said = {"type": "message", "role": "assistant", "content": "a"}
    with ScriptedServer() as server:
        end = completed("r1")
        end["response"]["output"] = [said]
        lost = rejection("previous_response_not_found", 400)
        server.connection(
            expect(), send(created("r1"), end), expect(), send(lost), expect(), send(*answer("r2"))
        )
        with session(server, retry=Retry(max_retries=0)) as mine:
            ledger = Ledger()
            history = [user("one"), said, user("two")]

            def go_on() -> Message:
                return mine.call({**MODEL, "input": history}) if framework else ask(mine, ledger, "two")

            if framework:
                mine.call({**MODEL, "input": history[:1]})
            else:
                ask(mine, ledger, "one")
            with pytest.raises(PreviousResponseNotFound):
                go_on()
            go_on()
        assert inputs(server) == [(["one"], False), (["two"], True), (["one", "a", "two"], False)]


def test_retries_run_out() -> None:
    model = Model()
    with ScriptedServer(model=model) as server, session(server) as mine:
        for _ in range(3):
            model.fail_next("server_error", 500)
        with pytest.raises(ServerError, match="asked 3 times") as caught:
            mine.call({**MODEL, "input": "hi"})
        assert caught.value.delivery is Delivery.REJECTED
        assert caught.value.code == "server_error"
        assert len(server.requests) == 3


@pytest.mark.parametrize("fault", ["id", "age", "overload"])
def test_without_retries_there_is_one_request_ever(fault: str) -> None:
    model = Model(max_age=1 if fault == "age" else None)
    with ScriptedServer(model=model) as server, session(server, retry=Retry(max_retries=0)) as mine:
        ledger = Ledger()
        ask(mine, ledger, "one")
        if fault == "id":
            model.forget()
        elif fault == "overload":
            model.fail_next("server_error", 500)
        with pytest.raises(Exception, match=r"not found|limit|told to fail"):
            ask(mine, ledger, "two")
        assert len(server.requests) == 2


def test_reasoning_that_cannot_be_read_any_more_is_left_out() -> None:
    """Once, and only where the session holds the history."""
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "old"}
    error = rejection("invalid_encrypted_content", 400)
    with ScriptedServer() as server:
        server.connection(expect(), send(error), expect(), send(*answer("r", "hello")))
        with session(server) as mine:
            ledger = Ledger([user("zero"), thought, {"type": "message", "role": "assistant", "content": "0"}])
            ask(mine, ledger, "one")
            kinds = [[item["type"] for item in request["input"]] for request in server.requests]
            assert kinds == [["message", "reasoning", "message", "message"], ["message"] * 3]


def test_a_request_over_the_limit_never_leaves() -> None:
    with ScriptedServer() as server, session(server, limits=Limits(max_request_bytes=100)) as mine:
        with pytest.raises(PayloadTooLarge):
            mine.call({**MODEL, "input": "x" * 200})
        assert server.connections == []


# -- age and sleep


def aged(server: ScriptedServer) -> Endpoint:
    """An endpoint whose connections are old as soon as they are open."""
    return dataclasses.replace(Endpoint.of(server.url), max_age=1e-6)


@pytest.mark.parametrize("store", [True, False])
def test_an_old_connection_is_replaced_between_turns(store: bool) -> None:
    """The new one is open before the old one is let go."""
    model = Model()
    with ScriptedServer(model=model) as server, session(server, endpoint=aged(server)) as mine:
        ledger = Ledger()
        ask(mine, ledger, "one", store=store)
        final = ask(mine, ledger, "two", store=store)
        assert spoken(model, final)[0::2] == ["one", "two"]
        assert [len(request["input"]) for request in server.requests] == [1, 1 if store else 3]
        until(server.connections[0].gone.is_set)
        ends = [
            index
            for index, entry in enumerate(server.log)
            if (entry.connection, entry.kind) in ((2, "handshake"), (1, "close"))
        ]
        opened = max(i for i in ends if server.log[i].connection == 2)
        let_go = min(i for i in ends if server.log[i].connection == 1)
        assert opened < let_go
        assert server.connections[0].close_code == 1000


def test_an_old_connection_goes_on_when_there_is_no_new_one() -> None:
    """Its age is our own caution; the service has not ended it yet. It is not tried again at every turn."""
    with ScriptedServer() as server:
        server.connection(*(part for n in "123" for part in (expect(), send(*answer(f"r{n}", "ok")))))
        server.connection(refuse(503))
        with session(server, endpoint=aged(server)) as mine:
            for text in ("one", "two", "three"):
                assert mine.call({**MODEL, "input": text}).content == "ok"


def test_a_connection_that_could_not_replace_an_old_one_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the hundredth attempt."""
    monkeypatch.setattr(_line, "POSTPONE_SECONDS", 0)
    with ScriptedServer() as server:
        server.connection(*(part for n in "123" for part in (expect(), send(*answer(f"r{n}", "ok")))))
        server.connection(refuse(503))
        server.connection(refuse(503))
        with session(server, endpoint=aged(server)) as mine:
            for text in ("one", "two", "three"):
                assert mine.call({**MODEL, "input": text}).content == "ok"
            assert len(server.connections) == 3
            assert len(mine._line._live) == 1  # type: ignore[attr-defined]


def test_cancel_ends_the_replacing_of_an_old_connection() -> None:
    """Nothing is sent for a caller who is gone; the old connection serves the next."""
    with ScriptedServer() as server:
        server.connection(*(part for n in "12" for part in (expect(), send(*answer(f"r{n}", "ok")))))
        server.connection(hang())
        with session(server, endpoint=aged(server)) as mine:
            mine.call({**MODEL, "input": "one"})
            task = Task(mine.call, {**MODEL, "input": "two"})
            until(lambda: len(server.connections) == 2 and server.connections[1].path)
            with pytest.raises(ConcurrencyError):
                mine.call({**MODEL, "input": "three"})
            assert isinstance(cancelled(task, mine), ResponseCancelled)
            server.connection(refuse(503))
            assert mine.call({**MODEL, "input": "four"}).content == "ok"
        assert [request["input"] for request in server.requests] == ["one", "four"]


NEXT = (expect(), send(*answer("r2", "ok")))
STAGES: dict[str, list[tuple[Step, ...]]] = {
    "connecting": [(hang(),), NEXT],
    "replacing": [(expect(), send(*answer("r1", "ok")), *NEXT), (hang(),), (refuse(503),)],
    "pausing": [(expect(), send(rejection(retry_after="60")), *NEXT)],
    "answering": [(expect(), send(created("r")), gate("go"), send(*answer("r")[1:]), *NEXT)],
}


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_comes_out_at_once(stage: str) -> None:
    """The next call gets its own answer, and nothing is left open."""
    seen = threading.Event()
    with ScriptedServer() as server:
        for script in STAGES[stage]:
            server.connection(*script)
        waits: dict[str, Callable[[], object]] = {
            "connecting": lambda: until(lambda: server.connections and server.connections[0].path),
            "replacing": lambda: until(lambda: len(server.connections) == 2 and server.connections[1].path),
            "pausing": caller_is_in("next", "_go_on", "wait_for"),
            "answering": lambda: seen.wait(10),
        }
        options: dict[str, Any] = {"endpoint": aged(server)} if stage == "replacing" else {}
        patient = Timeouts(connect=None, drain=None)
        with session(server, timeouts=patient, retry=Retry(max_seconds=None), **options) as mine:
            if stage == "replacing":
                mine.call({**MODEL, "input": "first"})
            kept = interrupted(
                lambda: mine.call({**MODEL, "input": "lost"}, lambda _: seen.set()), waits[stage]
            )
            server.open("go")
            assert mine.call({**MODEL, "input": "hi"}).content == "ok"
            assert isinstance(kept, KeyboardInterrupt)


def test_after_a_sleep_the_connection_is_not_trusted() -> None:
    """The wall clock ran on while the monotonic one stood still; the socket is replaced before it is used."""
    with ScriptedServer(model=Model()) as server, session(server) as mine:
        ledger = Ledger()
        ask(mine, ledger, "one", store=False)
        ask(mine, ledger, "two", store=False)
        assert len(server.connections) == 1
        wall = mine._line._nap._wall
        mine._line._nap._wall = lambda: wall() + 3600
        ask(mine, ledger, "three", store=False)
        assert len(server.connections) == 2
        assert [len(request["input"]) for request in server.requests] == [1, 1, 5]
        ask(mine, ledger, "four", store=False)
        assert len(server.connections) == 2


# -- threads


def test_one_response_runs_at_a_time() -> None:
    with ScriptedServer() as server:
        server.connection(expect(), mark("asked"), gate("go"), send(*answer("r", "ok")))
        with session(server) as mine:
            task = Task(mine.call, {**MODEL, "input": "hi"})
            server.wait_for("asked")
            with pytest.raises(ConcurrencyError):
                mine.call({**MODEL, "input": "me too"})
            server.open("go")
            assert task.result().content == "ok"


def cancelled(task: Task, mine: Session) -> BaseException:
    began = time.monotonic()
    mine.cancel()
    error = task.error()
    assert time.monotonic() - began < 2
    return error


def test_cancel_ends_an_answer() -> None:
    """With what the caller has seen of it."""
    seen = threading.Event()
    with ScriptedServer() as server:
        server.connection(expect(), send(created("r"), delta("hel")), gate("go"))
        with session(server) as mine:
            task = Task(
                mine.call, {**MODEL, "input": "hi"}, lambda chunk: seen.set() if chunk.content else None
            )
            assert seen.wait(10)
            error = cancelled(task, mine)
            assert isinstance(error, ResponseCancelled)
            assert error.partial is not None
            assert error.partial.content == "hel"
            server.open("go")


def test_cancel_ends_connecting() -> None:
    with ScriptedServer() as server:
        server.connection(hang())
        with session(server) as mine:
            task = Task(mine.call, {**MODEL, "input": "hi"})
            until(lambda: server.connections and server.connections[0].path)
            error = cancelled(task, mine)
            assert isinstance(error, ResponseCancelled)
            assert error.delivery is Delivery.NOT_SENT


def test_cancel_ends_a_pause() -> None:
    with ScriptedServer() as server:
        server.connection(expect(), send(rejection(retry_after="60")), *delivered("rejected"))
        with session(server, retry=Retry(max_seconds=None)) as mine:
            task = Task(mine.call, {**MODEL, "input": "hi"})
            server.wait_for("rejected")
            error = cancelled(task, mine)
            assert isinstance(error, ResponseCancelled)
            assert error.delivery is Delivery.REJECTED


def test_cancel_ends_waiting_for_a_response_that_was_left() -> None:
    """At once, and the request is not sent afterwards."""
    with ScriptedServer() as server:
        server.connection(expect(), gate("go"), send(*answer("r1", "late")), *NEXT)
        with session(server, timeouts=Timeouts(drain=None)) as mine:
            mine.stream({**MODEL, "input": "left"}).close()
            task = Task(mine.call, {**MODEL, "input": "cancelled"})
            until(lambda: "_wait_for_place" in stack(task.ident or 0))
            error = cancelled(task, mine)
            assert isinstance(error, ResponseCancelled)
            assert error.delivery is Delivery.NOT_SENT
            server.open("go")
            assert mine.call({**MODEL, "input": "next"}).content == "ok"
        assert [request["input"] for request in server.requests] == ["left", "next"]


def test_cancel_with_nothing_running_does_nothing() -> None:
    with ScriptedServer(model=Model()) as server, session(server) as mine:
        mine.cancel()
        mine.call({**MODEL, "input": "hi"})
        mine.cancel()
        mine.call({**MODEL, "input": "hi"})


def test_close_ends_what_is_running() -> None:
    with ScriptedServer() as server:
        server.connection(expect(), mark("asked"), expect_gone())
        mine = session(server)
        task = Task(mine.call, {**MODEL, "input": "hi"})
        server.wait_for("asked")
        mine.close()
        assert isinstance(task.error(), ResponseCancelled)
        mine.close()
        with pytest.raises(ConnectionError, match="closed"):
            mine.call({**MODEL, "input": "hi"})
        assert "closed" in repr(mine)


def test_a_forgotten_session_leaves_nothing_open() -> None:
    with ScriptedServer(model=Model()) as server:
        mine = session(server)
        mine.call({**MODEL, "input": "hi"})
        del mine
        gc.collect()
        join_readers()


def test_a_fork_has_a_connection_of_its_own() -> None:
    with ScriptedServer(model=Model()) as server, session(server) as mine, mine.fork() as other:
        for one in (mine, other, mine):
            one.call({**MODEL, "input": "hi"})
        assert len(server.connections) == 2
        assert (other.transport, other.retry) == (mine.transport, mine.retry)


class Counted(Session):
    """A session of an application, with a constructor of its own."""

    def __init__(self, counts: list[str], **options: Any) -> None:
        super().__init__(KEY, **options)
        self.counts = counts

    def stream(self, payload: Mapping[str, Any]) -> ResponseStream:
        self.counts.append(payload["input"])
        return super().stream(payload)


def test_a_fork_has_what_a_subclass_keeps() -> None:
    """The same objects, without its constructor; a fork of a closed session is open."""
    with ScriptedServer(model=Model()) as server:
        mine = Counted([], api_base=server.url)
        mine.call({**MODEL, "input": "one"})
        mine.close()
        with mine.fork() as other:
            other.call({**MODEL, "input": "two"})
        assert mine.counts == ["one", "two"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_without_a_connection() -> None:
    """The conversation goes on in both; the parent's connection is left alone."""
    with ScriptedServer(model=Model()) as server, session(server) as mine:
        ledger = Ledger()
        ask(mine, ledger, "one")
        child = os.fork()
        if child == 0:
            ask(mine, ledger, "two")
            os._exit(0 if ledger.last_response_id else 1)
        assert os.waitpid(child, 0)[1] == 0
        ask(mine, ledger, "three")
        assert inputs(server) == [(["one"], False), (["two"], True), (["three"], True)]
        assert [record.close_code for record in server.connections[:1]] == [None]
        assert len(server.connections) == 2


def test_a_session_cannot_be_pickled() -> None:
    with ScriptedServer() as server, session(server) as mine, pytest.raises(TypeError, match="pickled"):
        pickle.dumps(mine)


# -- clocks


def test_a_pause_ends_with_the_whole_calls_time() -> None:
    """A pause that does not fit into it is not made."""
    with ScriptedServer() as server:
        server.connection(expect(), send(rejection(retry_after="30")))
        with session(server, timeouts=Timeouts(total=5)) as mine:
            began = time.monotonic()
            with pytest.raises(RateLimitError):
                mine.call({**MODEL, "input": "hi"})
            assert time.monotonic() - began < 4


def test_a_pause_is_no_silence_of_the_service() -> None:
    """response_timeout counts the time without an event while the service has the request."""
    with ScriptedServer() as server:
        server.connection(expect(), send(rejection(retry_after_ms="300")), expect(), send(*answer("r", "ok")))
        with session(server, response_timeout=0.2) as mine:
            assert mine.call({**MODEL, "input": "hi"}).content == "ok"


def test_a_silent_service_is_a_timeout() -> None:
    with ScriptedServer() as server:
        server.connection(expect(), optional(gate("never")))
        with session(server, response_timeout=0.1) as mine:
            with pytest.raises(ResponseTimeout) as caught:
                mine.call({**MODEL, "input": "hi"})
            assert caught.value.clock == "response_timeout"
            assert caught.value.delivery is Delivery.UNKNOWN


def test_connecting_takes_no_longer_than_the_whole_call() -> None:
    with ScriptedServer() as server:
        server.connection(hang())
        with session(server, timeouts=Timeouts(total=0.2)) as mine:
            with pytest.raises(ResponseTimeout) as caught:
                mine.call({**MODEL, "input": "hi"})
            assert caught.value.clock == "total"


# -- input for a running response

BEGUN = (expect(), send(created("resp_1"), delta("one ", "msg_a")))
STEER = expect(type="response.steer", previous_response_id="resp_1", input="shorter")


def steered(kind: str, **fields: Any) -> dict[str, Any]:
    steer = {"id": "steer_1", "previous_response_id": "resp_1"}
    return {"type": f"response.steer.{kind}", "steer": steer, **fields}


def ended(response_id: str, text: str, status: str = "completed", *calls: Any) -> dict[str, Any]:
    said = {"type": "message", "role": "assistant", "content": text}
    response = {"id": response_id, "status": status, "output": [said, *calls]}
    return {"type": f"response.{status}", "response": response}


def steerable(server: ScriptedServer) -> Session:
    return session(server, endpoint=Endpoint(f"{server.url}/responses", steering=True))


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_an_answer_that_was_steered_is_history_with_its_successor(status: str) -> None:
    """What was said first, the input that ended it, what was said then: as the service has it."""
    with ScriptedServer() as server:
        first, then = ended("resp_1", "one", status), ended("resp_2", "two")
        server.connection(
            *BEGUN, STEER, send(steered("accepted"), first, created("resp_2"), then), serve(Model())
        )
        with steerable(server) as mine:
            ledger = Ledger()
            stream = mine.respond(ledger, [user("hi")], MODEL)
            pieces = stream.text
            next(pieces)
            stream.steer("shorter")
            list(pieces)
            texts = [item["content"] for item in ledger.items]
            assert texts == ["hi", "one", "shorter", "two"]
            assert ledger.last_response_id == "resp_2"
            assert ledger.step([user("more")], MODEL).request(None).payload["input"] == [user("more")]


def test_an_answer_that_was_whole_is_history_though_its_successor_failed() -> None:
    with ScriptedServer() as server:
        failed = {"type": "response.failed", "response": {"id": "resp_2", "error": {"code": "server_error"}}}
        first = ended("resp_1", "one")
        server.connection(*BEGUN, STEER, send(steered("accepted"), first, created("resp_2"), failed))
        with steerable(server) as mine:
            ledger = Ledger()
            stream = mine.respond(ledger, [user("hi")], MODEL)
            pieces = stream.text
            next(pieces)
            stream.steer("shorter")
            with pytest.raises(ServerError):
                list(pieces)
            assert [item["content"] for item in ledger.items] == ["hi", "one"]
            assert ledger.last_response_id == "resp_1"


def test_input_that_waits_for_outputs_of_tools_is_not_lost() -> None:
    """It is in the history, and the next request brings all of that on a new chain."""
    with ScriptedServer() as server:
        call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
        pending = steered("pending", reason="waiting_for_required_input", required_input=[])
        first = ended("resp_1", "one", "completed", call)
        server.connection(
            *BEGUN, STEER, send(steered("accepted"), first, pending), expect(), send(ended("resp_2", "two"))
        )
        with steerable(server) as mine:
            ledger = Ledger()
            stream = mine.respond(ledger, [user("hi")], MODEL)
            pieces = stream.text
            next(pieces)
            stream.steer("shorter")
            list(pieces)
            result = {"type": "function_call_output", "call_id": "c1", "output": "x"}
            assert mine.respond(ledger, [result], MODEL).message.response_id == "resp_2"
        kinds = [item.get("content", item["type"]) for item in server.requests[-1]["input"]]
        assert kinds == ["hi", "one", "function_call", "shorter", "function_call_output"]
        assert "previous_response_id" not in server.requests[-1]


def test_a_service_without_steering_is_not_steered() -> None:
    with ScriptedServer() as server:
        server.connection(*BEGUN, gate("go"), send(ended("resp_1", "one")))
        with session(server) as mine:
            stream = mine.respond(Ledger(), [user("hi")], MODEL)
            with pytest.raises(ConfigurationError, match="steering"):
                stream.steer("shorter")
            server.open("go")
            assert stream.message.response_id == "resp_1"


@pytest.mark.parametrize("transport", ["auto", "websocket", "http"])
def test_a_session_that_is_closed_while_a_request_begins_sends_nothing(transport: str) -> None:
    """Another thread closes it when the request has passed every look at what is there."""
    with ScriptedServer(model=Model()) as server, session(server, transport=transport) as mine:
        flush = mine._accounts.flush

        def late(**options: Any) -> None:
            flush(**options)
            if not options:
                Task(mine.close).result()

        mine._accounts.flush = late  # type: ignore[method-assign]
        with pytest.raises(ConnectionError, match="closed"):
            mine.call({**MODEL, "input": "hi"})
    assert server.connections == []


# -- what it cost


def test_each_request_is_told_once() -> None:
    """In the thread that reads the answer, with its id and its counts."""
    costs = Costs()
    with ScriptedServer(model=Model()) as server, session(server, on_usage=costs) as mine:
        message = mine.call({**MODEL, "input": "hi"})
        assert costs.told == [(message.usage, message.response_id)]
        assert message.usage.input_tokens == 1
    assert len(costs.told) == 1
    assert costs.threads == [threading.current_thread().name]


def test_rejected_and_lost_requests_are_told_as_unknown() -> None:
    costs = Costs()
    model = Model()
    model.fail_next("server_error", 500)
    with ScriptedServer(model=model) as server:
        server.connection(serve(turns=2), expect(), eof())
        with session(server, on_usage=costs) as mine:
            message = mine.call({**MODEL, "input": "hi"})
            with pytest.raises(ConnectionLost):
                mine.call({**MODEL, "input": "hi"})
            assert costs.told == [(Usage(), None), (message.usage, message.response_id), (Usage(), None)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_tell_of_its_parents_requests() -> None:
    """The parent does, so that they would be told twice."""
    costs = Costs()
    with ScriptedServer() as server:
        server.connection(expect(), send(created("r")), gate("go"), send(*answer("r")[1:]))
        with session(server, on_usage=costs) as mine:
            stream = mine.stream({**MODEL, "input": "hi"})
            child = os.fork()
            if child == 0:
                mine.close()
                os._exit(len(costs.told))
            assert os.waitpid(child, 0)[1] == 0
            server.open("go")
            assert stream.message.response_id == "r"
    assert costs.told == [(Usage(), "r")]


def test_a_request_that_never_left_is_not_told() -> None:
    costs = Costs()
    with ScriptedServer() as server:
        server.connection(refuse(401))
        with session(server, on_usage=costs) as mine, pytest.raises(Exception, match="401"):
            mine.call({**MODEL, "input": "hi"})
    assert costs.told == []


@pytest.mark.parametrize("where", ["before", "while"])
def test_a_request_that_an_interrupt_kept_from_leaving_is_not_told(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the reader, nor by the next one, nor by close."""
    costs = Costs()
    with ScriptedServer(model=Model()) as server, session(server, on_usage=costs) as mine:
        ids = [mine.call({**MODEL, "input": "hi"}).response_id]
        link = mine._line._connection.link  # type: ignore[attr-defined]
        sender = Connection if where == "before" else type(link.transport)
        with monkeypatch.context() as patch:
            patch.setattr(sender, "send", ctrl_c)
            with pytest.raises(KeyboardInterrupt):
                mine.call({**MODEL, "input": "hi"})
        ids.append(mine.call({**MODEL, "input": "hi"}).response_id)
        assert len(server.connections) == (1 if where == "before" else 2)
    assert [response_id for _, response_id in costs.told] == ids


def test_a_request_over_http_that_an_interrupt_kept_from_leaving_is_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs = Costs()
    with ScriptedServer(model=Model()) as server, session(server, transport="http", on_usage=costs) as mine:
        with monkeypatch.context() as patch:
            patch.setattr(HttpCall, "start", ctrl_c)
            with pytest.raises(KeyboardInterrupt):
                mine.call({**MODEL, "input": "hi"})
        message = mine.call({**MODEL, "input": "hi"})
    assert [response_id for _, response_id in costs.told] == [message.response_id]


def ctrl_c(*_: object) -> None:
    """In place of a method: Ctrl-C on the way into it."""
    raise KeyboardInterrupt


def test_an_end_that_the_reader_is_about_to_hand_over_is_told_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call begins when the lane is free, a moment before the reader has told the usage."""
    costs, routed, told = Costs(), threading.Event(), threading.Event()
    give = Call.give

    def late(call: Call, batch: Batch, *rest: Any) -> None:
        if batch.terminal is not None and not routed.is_set():
            routed.set()
            assert told.wait(SECONDS)
        give(call, batch, *rest)

    monkeypatch.setattr(Call, "give", late)
    with ScriptedServer() as server:
        end = answer("r1")[-1]
        end["response"]["usage"] = {"input_tokens": 3, "output_tokens": 4}
        server.connection(
            expect(),
            send(created("r1")),
            gate("left"),
            send(end),
            expect(),
            mark("asked"),
            send(*answer("r2")),
        )
        with session(server, on_usage=costs) as mine:
            with mine.stream({**MODEL, "input": "hi"}) as stream:
                next(iter(stream))
            server.open("left")
            assert routed.wait(SECONDS)
            asking = Task(mine.call, {**MODEL, "input": "hi"})
            server.wait_for("asked")
            told.set()
            asking.result()
    assert costs.told == [(Usage(input_tokens=3, output_tokens=4), "r1"), (Usage(), "r2")]


def test_an_answer_that_was_left_is_told_by_the_reader() -> None:
    """As soon as its end has come, with what it says."""
    costs = Costs()
    with ScriptedServer() as server:
        end = answer("r")[-1]
        end["response"]["usage"] = {"input_tokens": 3, "output_tokens": 4}
        server.connection(expect(), send(created("r"), delta("hel")), gate("go"), send(delta("lo"), end))
        with session(server, on_usage=costs) as mine:
            with mine.stream({**MODEL, "input": "hi"}) as stream:
                next(iter(stream))
            assert costs.told == []
            server.open("go")
            costs.wait_for(lambda: bool(costs.told))
            assert costs.told == [(Usage(input_tokens=3, output_tokens=4), "r")]
            assert costs.threads[0].startswith("responses_ws-reader")
    assert len(costs.told) == 1


def test_an_answer_that_was_left_and_lost_is_told_as_unknown() -> None:
    costs = Costs()
    with ScriptedServer() as server:
        server.connection(expect(), send(created("r"), delta("hel")), gate("go"), eof())
        with session(server, on_usage=costs) as mine:
            with mine.stream({**MODEL, "input": "hi"}) as stream:
                next(iter(stream))
            server.open("go")
            costs.wait_for(lambda: bool(costs.told))
    assert costs.told == [(Usage(), None)]


@pytest.mark.parametrize("told_by", ["next", "close"])
def test_an_answer_that_was_left_when_it_had_come_is_told_later(told_by: str) -> None:
    """Its end waited for a caller who never took it: the next response tells it, or close."""
    costs = Costs()
    with ScriptedServer() as server:
        server.connection(
            expect(), send(*answer("r1", "hello")), *delivered("come"), expect(), send(*answer("r2"))
        ) if told_by == "next" else server.connection(
            expect(), send(*answer("r1", "hello")), *delivered("come")
        )
        with session(server, on_usage=costs) as mine:
            stream = mine.stream({**MODEL, "input": "hi"})
            server.wait_for("come")
            stream.close()
            assert costs.told == []
            if told_by == "next":
                mine.call({**MODEL, "input": "hi"})
                assert [response_id for _, response_id in costs.told] == ["r1", "r2"]
    assert costs.told[0][1] == "r1"


def test_what_is_still_running_is_told_by_close() -> None:
    costs = Costs()
    with ScriptedServer() as server:
        server.connection(expect(), send(created("r"), delta("hel")), expect_gone())
        with session(server, on_usage=costs) as mine:
            stream = mine.stream({**MODEL, "input": "hi"})
            next(iter(stream))
    assert costs.told == [(Usage(), None)]


@pytest.mark.parametrize("left", [False, True])
def test_what_on_usage_raises_is_logged(left: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It neither loses an answer nor kills the reader."""
    costs = Costs(fail=RuntimeError("the books are closed"))
    with ScriptedServer(model=Model()) as server, session(server, on_usage=costs) as mine:
        with caplog.at_level(logging.ERROR, logger="responses_ws"):
            stream = mine.stream({**MODEL, "input": "hi"})
            if left:
                stream.close()
                costs.wait_for(lambda: bool(costs.told))
            else:
                assert stream.message.content
        assert mine.call({**MODEL, "input": "hi"}).content
        assert len(server.connections) == 1
    assert "on_usage failed" in caplog.text


# -- options


@pytest.mark.parametrize(
    "options",
    [{"transport": "carrier pigeon"}, {"retry": 3}, {"on_usage": "me"}, {"client_class": object()}],
)
def test_an_option_that_cannot_work_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Session("k", **options)


@pytest.mark.parametrize("payload", [None, 5, "text", [("model", "m")], [user("hi")]])
def test_a_payload_that_is_none_is_refused_by_name(payload: Any) -> None:
    """Before anything is opened for it."""
    with pytest.raises(ConfigurationError, match=f"payload must be a mapping, not {type(payload).__name__}"):
        Session("k", api_base="ws://127.0.0.1:1").call(payload)


def test_a_transport_for_one_step_is_checked() -> None:
    mine = Session("k")
    with pytest.raises(ConfigurationError, match="transport"):
        mine.respond(Ledger(), [user("hi")], MODEL, transport="smoke")  # type: ignore[arg-type]
