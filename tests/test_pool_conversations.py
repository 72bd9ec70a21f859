"""Conversations on a pool: they come back to the seat of their last response, or bring their history."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pooling import LANES, ONE_BY_ONE, Service, chat, counts, pool_of
from shell import Task, answer, ask, completed, created, delta, stack, until

from responses_ws import (
    BadRequestError,
    Chat,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    ConnectionPool,
    Delivery,
    Endpoint,
    Limits,
    ResponseCancelled,
    Session,
)
from responses_ws.testing import ScriptedServer, expect, send

MODEL = {"model": "m"}
ENDPOINTS = pytest.mark.parametrize("endpoint", [ONE_BY_ONE, LANES], ids=["whole", "lanes"])
STORES = pytest.mark.parametrize("store", [True, False], ids=["stored", "not stored"])


@pytest.fixture
def service() -> Service:
    return Service()


def named(service: Service) -> list[str | None]:
    """The text that each request's previous response answered; None for a request that named none."""
    found = []
    for _, request in service.requests:
        previous = request.get("previous_response_id")
        history = [] if previous is None else service.model.history(previous)
        said = [item for item in history if item["role"] == "assistant"]
        found.append(said[-1]["content"][0]["text"].removeprefix("re ") if said else None)
    return found


def sizes(service: Service) -> list[int]:
    """How many items each request brought."""
    return [len(request["input"]) for _, request in service.requests]


def talked(service: Service, talk: Chat, *texts: str) -> None:
    """The service has seen these questions and its answers to them, each once and in order."""
    assert talk.last_response_id is not None
    said = [item["content"] for item in service.model.history(talk.last_response_id)]
    plain = [content if isinstance(content, str) else content[0]["text"] for content in said]
    assert plain == [line for text in texts for line in (text, f"re {text}")]


# -- the seat of the last response


@ENDPOINTS
@STORES
def test_a_conversation_comes_back_to_its_seat(service: Service, endpoint: Endpoint, store: bool) -> None:
    """Only what is new travels."""
    with pool_of(service, endpoint, max_connections=4) as pool:
        talks = [chat(pool, store=store) for _ in range(4)]
        for turn in "abc":
            for number, talk in enumerate(talks):
                talk.ask(f"{turn}{number}")
        for number, talk in enumerate(talks):
            texts = [f"{turn}{number}" for turn in "abc"]
            talked(service, talk, *texts)
            assert len(set(service.seats(*texts))) == 1
        assert len(set(service.seats("a0", "a1", "a2", "a3"))) == 4
    assert sizes(service) == [1] * 12
    assert named(service)[4:] == [f"{turn}{number}" for turn in "ab" for number in range(4)]


@ENDPOINTS
@STORES
def test_a_seat_that_another_conversation_had_meanwhile(
    service: Service, endpoint: Endpoint, store: bool
) -> None:
    """What is not stored is sent again, and names nothing."""
    if endpoint is LANES:
        endpoint = Endpoint(endpoint.url, max_in_flight=1, max_lanes=1)
    with pool_of(service, endpoint, max_connections=1) as pool:
        mine, other = chat(pool, store=store), chat(pool, store=store)
        mine.ask("one")
        other.ask("two")
        mine.ask("three")
        other.ask("four")
        talked(service, mine, "one", "three")
        talked(service, other, "two", "four")
    assert named(service) == ([None, None, "one", "two"] if store else [None] * 4)
    assert sizes(service) == ([1] * 4 if store else [1, 1, 3, 3])


@ENDPOINTS
@STORES
def test_a_seat_that_a_lease_had_meanwhile(service: Service, endpoint: Endpoint, store: bool) -> None:
    """Also when nothing was asked on it."""
    endpoint = Endpoint(endpoint.url, max_in_flight=1, max_lanes=min(1, endpoint.max_lanes))
    with pool_of(service, endpoint, max_connections=1) as pool:
        talk = chat(pool, store=store)
        talk.ask("one")
        pool.lease().close()
        talk.ask("two")
        with pool.lease() as lease:
            ask(lease, "other", store=store)
        talk.ask("three")
        talked(service, talk, "one", "two", "three")
    assert [size for size, text in zip(sizes(service), service.asked, strict=True) if text != "other"] == (
        [1, 1, 1] if store else [1, 3, 5]
    )


@ENDPOINTS
def test_a_seat_on_which_a_request_was_given_up(service: Service, endpoint: Endpoint) -> None:
    """Nobody can tell what the service keeps there."""
    endpoint = Endpoint(endpoint.url, max_in_flight=1, max_lanes=min(1, endpoint.max_lanes))
    service.hold("left")
    with pool_of(service, endpoint, max_connections=1) as pool:
        talk, other = chat(pool, store=False), chat(pool, store=False)
        talk.ask("one")
        other.stream("left").close()
        service.let_go("left")
        talk.ask("two")
        talked(service, talk, "one", "two")
    assert sizes(service) == [1, 1, 3]


@ENDPOINTS
@STORES
def test_after_the_loss_of_its_connection(service: Service, endpoint: Endpoint, store: bool) -> None:
    with pool_of(service, endpoint) as pool:
        talk = chat(pool, store=store)
        talk.ask("one")
        service.lose(0)
        talk.ask("two")
        talked(service, talk, "one", "two")
        assert service.seats("one")[0][0] == 0
        assert service.seats("two")[0][0] == 1
        assert counts(pool) == (1, 0, 0)
    assert named(service) == ([None, "one"] if store else [None, None])


@ENDPOINTS
@STORES
def test_a_loss_that_is_found_out_by_the_send(service: Service, endpoint: Endpoint, store: bool) -> None:
    """The request did not leave; it goes to another connection, and nobody sees it."""
    with pool_of(service, endpoint) as pool:
        talk = chat(pool, store=store)
        talk.ask("one")
        service.transports[0].fail_send(ConnectionLost("gone", close_code=1006))
        talk.ask("two")
        talked(service, talk, "one", "two")
        assert counts(pool) == (1, 0, 0)
    assert service.seats("two")[0][0] == 1


def test_a_loss_in_mid_answer_is_told_and_the_conversation_goes_on(service: Service) -> None:
    service.hold("two")
    with pool_of(service, LANES) as pool:
        talk = chat(pool, store=False)
        talk.ask("one")
        task = Task(talk.ask, "two")
        service.wait_for("two")
        service.lose(0)
        assert isinstance(task.error(), ConnectionLost)
        talk.ask("three")
        talked(service, talk, "one", "three")
        assert counts(pool) == (1, 0, 0)


def test_an_id_that_the_service_has_lost(service: Service) -> None:
    with pool_of(service, LANES) as pool:
        talk = chat(pool, store=False)
        talk.ask("one")
        service.model.forget()
        talk.ask("two")
        talked(service, talk, "one", "two")
        assert len(service.transports) == 1
    assert sizes(service) == [1, 1, 3]


@ENDPOINTS
def test_a_new_conversation_takes_nobodys_seat_while_there_is_another(
    service: Service, endpoint: Endpoint
) -> None:
    """Where there are lanes that is a lane of the same connection, otherwise a new connection."""
    with pool_of(service, endpoint, max_connections=3) as pool:
        mine = chat(pool, store=False)
        mine.ask("one")
        chat(pool).ask("passing")  # and gone
        chat(pool).ask("passing too")
        kept = chat(pool)
        kept.ask("two")
        mine.ask("three")
        assert service.seats("one") == service.seats("three")
        assert service.seats("passing") == service.seats("passing too") == service.seats("two")
        assert service.seats("one") != service.seats("two")
        assert len(service.transports) == (1 if endpoint is LANES else 2)


def test_the_seat_that_was_left_first_is_taken_first(service: Service) -> None:
    with pool_of(service, max_connections=3) as pool:
        talks = [chat(pool) for _ in range(3)]
        for number in (0, 1, 2, 0):
            talks[number].ask(f"talk {number}")
        with pool.lease() as lease:
            ask(lease, "new")
        assert service.seats("new") == service.seats("talk 1")


def test_a_session_with_the_whole_history_sends_what_is_new(service: Service) -> None:
    """As agent frameworks ask."""
    with pool_of(service, LANES) as pool:
        session = Session(pool=pool, transport="websocket")
        history: list[Any] = []
        for text in ("one", "two", "three"):
            history.append({"type": "message", "role": "user", "content": text})
            answer = session.call({**MODEL, "store": False, "input": history})
            history.extend(answer.output)
        assert sizes(service) == [1, 1, 1]
        session.close()


# -- forks


@STORES
def test_a_fork_goes_on_from_the_same_response(service: Service, store: bool) -> None:
    """On another lane of the same connection, so that nothing has to travel again."""
    with pool_of(service, LANES, max_connections=4) as pool:
        talk = chat(pool, store=store)
        talk.ask("root")
        forks = [talk.fork() for _ in range(3)]
        for number, fork in enumerate(forks):
            fork.ask(f"fork {number}")
        talk.ask("trunk")
        for number, fork in enumerate(forks):
            fork.ask(f"again {number}")
            talked(service, fork, "root", f"fork {number}", f"again {number}")
        talked(service, talk, "root", "trunk")
    assert sizes(service) == [1] * 8
    assert named(service)[:5] == [None, "root", "root", "root", "root"]
    assert len(service.transports) == 1
    assert len({request["stream_id"] for _, request in service.requests}) == 4


def test_the_trunk_waits_until_its_fork_has_begun(service: Service) -> None:
    """Before that the service may still need the response that both continue."""
    service.hold("fork", silent=True)
    with pool_of(service, LANES) as pool:
        trunk = chat(pool, store=False)
        trunk.ask("root")
        fork = trunk.fork()
        forking = Task(fork.ask, "fork")
        service.wait_for("fork")
        going_on = Task(trunk.ask, "trunk")
        until(lambda: counts(pool)[1] == 2)
        assert service.asked == ["root", "fork"]
        service.let_go("fork")
        forking.result()
        going_on.result()
        talked(service, trunk, "root", "trunk")
        talked(service, fork, "root", "fork")
    assert sizes(service) == [1, 1, 1]


def test_a_fork_after_the_trunk_has_moved_on(service: Service) -> None:
    """What it continues is not there any more."""
    with pool_of(service, LANES) as pool:
        trunk = chat(pool, store=False)
        trunk.ask("root")
        fork = trunk.fork()
        trunk.ask("trunk")
        fork.ask("fork")
        talked(service, fork, "root", "fork")
        talked(service, trunk, "root", "trunk")
    assert sizes(service) == [1, 1, 3]
    assert named(service)[2] is None


@STORES
def test_a_fork_where_there_are_no_lanes(service: Service, store: bool) -> None:
    """The same connection, if it is free: it is the same conversation still."""
    with pool_of(service, max_connections=2) as pool:
        trunk = chat(pool, store=store)
        trunk.ask("root")
        fork = trunk.fork()
        fork.ask("fork")
        trunk.ask("trunk")
        talked(service, fork, "root", "fork")
        talked(service, trunk, "root", "trunk")
    assert named(service) == [None, "root", "root" if store else None]


@STORES
def test_many_forks_at_the_same_time(service: Service, store: bool) -> None:
    """More than a connection can run: the rest bring the history to another one."""
    endpoint = Endpoint(LANES.url, max_in_flight=3, max_lanes=32)
    texts = [f"fork {number}" for number in range(6)]
    with pool_of(service, endpoint, max_connections=2) as pool:
        trunk = chat(pool, store=store)
        trunk.ask("root")
        forks = [trunk.fork() for _ in texts]
        service.hold(*texts)
        tasks = [Task(fork.ask, text) for fork, text in zip(forks, texts, strict=True)]
        service.wait_for(*texts)
        service.let_go(*texts)
        for task, fork, text in zip(tasks, forks, texts, strict=True):
            task.result()
            talked(service, fork, "root", text)
    assert Counter(number for number, _ in service.requests) == {0: 4, 1: 3}
    assert Counter(named(service))["root"] == (6 if store else 3)


def test_a_large_history_does_not_travel_with_a_fork(service: Service) -> None:
    """What counts is the request, not the conversation."""
    with pool_of(service, LANES, limits=Limits(max_request_bytes=3000)) as pool:
        talk = chat(pool, store=False)
        for number in range(8):
            talk.ask(f"{number}" * 500)
        fork = talk.fork()
        assert fork.ask("fork").content == "re fork"
    assert len(service.requests[-1][1]["input"]) == 1


# -- steering


def test_a_response_on_a_pool_can_be_steered() -> None:
    """On its lane; the one before it, and one that is over, cannot."""
    steer = {"id": "steer_1", "previous_response_id": "resp_1"}
    lane = {"stream_id": "lane-1"}
    with ScriptedServer() as server:
        begin = [{**event, **lane} for event in (created("resp_1"), delta("one ", "msg_a"))]
        end = completed("resp_1", "incomplete", "response.incomplete")
        end["response"]["incomplete_details"] = {"reason": "steered"}
        rest = [{"type": "response.steer.accepted", "steer": steer}, end, *answer("resp_2", "two")]
        server.connection(
            expect(),
            send(*begin),
            expect(type="response.steer", previous_response_id="resp_1", input="shorter"),
            send(*({**event, **lane} for event in rest)),
        )
        endpoint = Endpoint(f"{server.url}/responses", max_in_flight=2, max_lanes=2, steering=True)
        with ConnectionPool("any", endpoint=endpoint) as pool:
            session = Session(pool=pool, transport="websocket")
            stream = session.stream({**MODEL, "input": [{"role": "user", "content": "hi"}]})
            pieces = stream.text
            assert next(pieces) == "one "
            stream.steer("shorter")
            assert list(pieces) == ["two"]
            assert stream.message.response_id == "resp_2"
            with pytest.raises(ConnectionError, match="over"):
                stream.steer("again")
            session.close()


def test_a_service_without_steering(service: Service) -> None:
    with pool_of(service, LANES) as pool:
        session = Session(pool=pool, transport="websocket")
        stream = session.stream({**MODEL, "input": "hi"})
        with pytest.raises(ConfigurationError, match="steering"):
            stream.steer("shorter")
        assert stream.message.content == "re hi"
        session.close()


# -- servers that have no lanes after all

TEXTS = [f"question {number}" for number in range(16)]
SAID = "localhost has no lanes: one response at a time on a connection"


@pytest.mark.parametrize("known", [{"echoes": False}, {"lanes": False}], ids=["silent", "refused"])
@STORES
def test_a_server_without_lanes_is_noticed(
    known: dict[str, bool], store: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """On first use, by 16 threads at once. Said once; each answer is right; one response a connection."""
    service = Service(**known)
    caplog.set_level(logging.WARNING, "responses_ws")
    start = threading.Barrier(16)

    def converse(pool: ConnectionPool, text: str) -> list[str]:
        talk = chat(pool, store=store)
        start.wait(10)
        said = [talk.ask(f"{text}, {turn}").content for turn in range(3)]
        talked(service, talk, *(f"{text}, {turn}" for turn in range(3)))
        return said

    with pool_of(service, LANES, max_connections=4) as pool:
        tasks = [Task(converse, pool, text) for text in TEXTS]
        for task, text in zip(tasks, TEXTS, strict=True):
            assert task.result() == [f"re {text}, {turn}" for turn in range(3)]
        assert pool.stats().lanes is False
        assert counts(pool) == (4, 0, 0)
    assert [record.getMessage() for record in caplog.records] == [SAID]
    assert service.most == 1
    assert len(service.transports) == 4


def test_leases_notice_it_too(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(echoes=False)
    caplog.set_level(logging.WARNING, "responses_ws")
    with pool_of(service, LANES, max_connections=4) as pool:
        tasks = [Task(use, pool, text) for text in TEXTS]
        assert [task.result() for task in tasks] == [answers(text) for text in TEXTS]
        assert pool.stats().lanes is False
    assert [record.getMessage() for record in caplog.records] == [SAID]
    assert service.most == 1


def test_a_lease_whose_lane_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """The request fails, with what the service says; the next one on the same lease goes without a lane."""
    service = Service(lanes=False)
    caplog.set_level(logging.WARNING, "responses_ws")
    with pool_of(service, LANES, max_connections=4) as pool:
        with pool.lease() as lease:
            with pytest.raises(BadRequestError) as caught:
                ask(lease, "refused")
            assert caught.value.param == "stream_id"
            assert [ask(lease, text, store=False) for text in ("one", "two")] == ["re one", "re two"]
        tasks = [Task(use, pool, text) for text in TEXTS]
        assert [task.result() for task in tasks] == [answers(text) for text in TEXTS]
    assert [record.getMessage() for record in caplog.records] == [SAID]
    assert service.most == 1
    assert named(service)[2] == "one"


def use(pool: ConnectionPool, text: str) -> list[str]:
    with pool.lease() as lease:
        return [ask(lease, f"{text}, {turn}", store=False) for turn in range(3)]


def answers(text: str) -> list[str]:
    return [f"re {text}, {turn}" for turn in range(3)]


def test_nobody_shares_a_connection_before_lanes_are_known(service: Service) -> None:
    service.hold("one", "two", silent=True)
    with pool_of(service, LANES, max_connections=2) as pool:
        tasks = [Task(chat(pool).ask, text) for text in ("one", "two")]
        service.wait_for("one", "two")
        waiting = Task(chat(pool).ask, "three")
        until(lambda: counts(pool)[2] == 1)
        assert pool.stats().lanes is None
        service.let_go("one", "two")
        for task in [*tasks, waiting]:
            task.result()
        assert pool.stats().lanes is True
        assert service.most == 1


def test_a_refusal_of_anything_else_is_the_callers(service: Service) -> None:
    with pool_of(service, LANES) as pool:
        service.model.fail_next("invalid_value", 400)
        with pytest.raises(BadRequestError):
            chat(pool).ask("hi")
        chat(pool).ask("ho")
        assert pool.stats().lanes is True


# -- cancelling


def test_cancel_of_a_chat_that_waits_for_a_seat(service: Service) -> None:
    with pool_of(service, max_connections=1) as pool:
        lease = pool.lease()
        mine, other = chat(pool), chat(pool)
        task, patient = Task(mine.ask, "cancelled"), Task(other.ask, "patient")
        until(lambda: counts(pool)[2] == 2)
        mine.cancel()
        assert isinstance(task.error(), ResponseCancelled)
        assert counts(pool) == (1, 1, 1)
        lease.close()
        patient.result()
        assert mine.ask("again").content == "re again"
    assert service.asked == ["patient", "again"]


def test_cancel_of_a_chat_that_connects(service: Service) -> None:
    """Nothing is sent, and the seat is free for the next."""
    service.connector.block_connect()
    with pool_of(service, max_connections=1) as pool:
        mine = chat(pool)
        task = Task(mine.ask, "cancelled")
        service.connector.wait_for("blocked")
        mine.cancel()
        assert isinstance(task.error(), ResponseCancelled)
        service.connector.unblock_connect()
        assert mine.ask("again").content == "re again"
        assert counts(pool) == (1, 0, 0)
    assert service.asked == ["again"]


def test_cancel_of_a_chat_for_which_another_thread_connects(service: Service) -> None:
    """It must not end what the other one is at, nor what others wait for."""
    with pool_of(service, LANES, max_connections=1) as pool:
        chat(pool).ask("first")  # shows that there are lanes
        service.lose(0)
        service.connector.block_connect()
        dials, waits, patient = chat(pool), chat(pool), chat(pool)
        dialing = Task(dials.ask, "dials")
        service.connector.wait_for("blocked")
        waiting, staying = Task(waits.ask, "waits"), Task(patient.ask, "patient")
        until(lambda: counts(pool)[1] == 3)
        waits.cancel()
        assert isinstance(waiting.error(), ResponseCancelled)
        service.connector.unblock_connect()
        assert dialing.result().content == "re dials"
        assert staying.result().content == "re patient"
        assert dials.ask("again").content == "re again"
        assert counts(pool) == (1, 0, 0)
        assert waits.ask("after").content == "re after"
    assert len(service.transports) == 2


def test_cancel_of_the_one_who_connects_for_others(service: Service) -> None:
    """They connect themselves."""
    with pool_of(service, LANES, max_connections=1) as pool:
        chat(pool).ask("first")
        service.lose(0)
        service.connector.block_connect()
        dials, waits = chat(pool), chat(pool)
        dialing = Task(dials.ask, "dials")
        service.connector.wait_for("blocked")
        waiting = Task(waits.ask, "waits")
        until(lambda: counts(pool)[1] == 2)
        dials.cancel()
        assert isinstance(dialing.error(), ResponseCancelled)
        service.connector.wait_for("blocked")
        service.connector.unblock_connect()
        assert waiting.result().content == "re waits"
        assert counts(pool) == (1, 0, 0)


@pytest.mark.parametrize("end", [Chat.cancel, Chat.close])
def test_cancel_of_a_chat_that_waits_for_anothers_message_to_leave(
    service: Service, end: Callable[[Chat], None]
) -> None:
    """Its own is not sent afterwards."""
    with pool_of(service, LANES, max_connections=1) as pool:
        chat(pool).ask("first")
        mine, other = chat(pool), chat(pool)
        service.transports[0].block_send()
        sending = Task(other.ask, "large")
        service.transports[0].wait_for("blocked")
        waiting = Task(mine.ask, "cancelled")
        until(lambda: "_begin_sending" in stack(waiting.ident or 0))
        end(mine)
        error = waiting.error()
        assert isinstance(error, ResponseCancelled)
        assert error.delivery is Delivery.NOT_SENT
        service.transports[0].unblock_send()
        assert sending.result().content == "re large"
        assert counts(pool) == (1, 0, 0)
    assert service.asked == ["first", "large"]


def test_close_of_a_chat_leaves_the_pool_alone(service: Service) -> None:
    service.hold("held")
    with pool_of(service, LANES, max_connections=1) as pool:
        chat(pool).ask("first")
        mine, other = chat(pool), chat(pool)
        left, stays = Task(mine.ask, "held"), Task(other.ask, "held")
        until(lambda: counts(pool)[1] == 2)
        service.wait_for("held")
        until(lambda: len(service.requests) == 3)
        mine.close()
        assert isinstance(left.error(), ResponseCancelled)
        with pytest.raises(Exception, match="closed"):
            mine.ask("after")
        assert counts(pool)[0] == 1
        assert stays.is_alive()
        pool.close()
        assert isinstance(stays.error(), ConnectionLost)
