"""What can go wrong with the connections of a pool, and when they end."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pooling import LANES, ONE_BY_ONE, Service, chat, counts, pool_of
from sessions import Costs
from shell import KEY, SECONDS, Task, ask, until

from responses_ws import (
    AuthenticationError,
    Chat,
    ConnectionError,
    ConnectionLost,
    ConnectionPool,
    Endpoint,
    HandshakeError,
    Limits,
    PoolClosed,
    PoolTimeout,
    ResponsesWSError,
    Retry,
    Timeouts,
    _reading,
)
from responses_ws._breakers import _breakers
from responses_ws._nap import Nap
from responses_ws._pool.roster import Roster
from responses_ws.testing import Model, ScriptedServer, ScriptedTransport, hang, refuse

MODEL = {"model": "m"}
ALWAYS = Endpoint(ONE_BY_ONE.url, max_age=None)
TICKING = Timeouts(ping_interval=0.02, ping_timeout=None)
"""The reader looks around often; the service in memory answers no ping."""


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(autouse=True)
def closed_breakers() -> Iterator[None]:
    _breakers.clear()
    yield
    _breakers.clear()


def clock_of(pool: ConnectionPool) -> list[float]:
    """The time by which the pool ends connections, to be set."""
    now = [time.monotonic()]
    pool._desk.roster._clock = lambda: now[0]
    return now


def waiting(pool: ConnectionPool, count: int) -> None:
    until(lambda: pool.stats().waiting == count)


# -- connecting fails


@pytest.mark.parametrize("endpoint", [ONE_BY_ONE, LANES], ids=["whole", "lanes"])
def test_each_who_waits_gets_an_error_of_his_own(service: Service, endpoint: Endpoint) -> None:
    """Or the connection, when the next attempt succeeds."""
    with pool_of(service, endpoint, max_connections=1) as pool:
        chat(pool).ask("first")
        service.lose(0)
        service.connector.block_connect()
        service.connector.fail_connect(*(ConnectionError(f"failure {number}") for number in range(3)))
        tasks = [Task(chat(pool, retry=Retry(max_retries=0)).ask, str(number)) for number in range(5)]
        until(lambda: sum(counts(pool)[1:]) == 5)
        service.connector.unblock_connect()
        errors = [task.error() for task in tasks if failed(task)]
        assert sorted(map(str, errors)) == ["failure 0", "failure 1", "failure 2"]
        assert len({id(error) for error in errors}) == 3
        assert [task.result().content[:3] for task in tasks if not failed(task)] == ["re "] * 2
        assert counts(pool) == (1, 0, 0)
        assert (pool.stats().opened, pool.stats().closed) == (5, 4)


def failed(task: Task) -> bool:
    try:
        task.result()
    except ResponsesWSError:
        return True
    return False


def test_nobody_waits_longer_than_connecting_may_take(service: Service) -> None:
    """However many come one after the other to a service that does not answer."""
    seconds = 0.2
    timeouts = Timeouts(connect=seconds)
    with pool_of(service, LANES, max_connections=1, timeouts=timeouts) as pool:
        chat(pool).ask("first")
        service.lose(0)
        service.connector.block_connect()
        began = time.monotonic()
        tasks = [Task(chat(pool, retry=Retry(max_retries=0)).ask, "hi") for _ in range(12)]
        for task in tasks:
            assert "could not connect within" in str(task.error())
        assert time.monotonic() - began < 10 * seconds
        service.connector.unblock_connect()
        assert chat(pool).ask("again").content == "re again"
        assert counts(pool) == (1, 0, 0)


def test_a_lease_that_cannot_be_connected_holds_no_seat(service: Service) -> None:
    """Though its error, and all that hangs on it, is kept."""
    service.connector.fail_connect(ConnectionError("no way"))
    with pool_of(service, max_connections=1) as pool:
        with pytest.raises(ConnectionError, match="no way") as kept:
            pool.lease()
        assert counts(pool) == (0, 0, 0)
        with pool.lease(timeout=0.5) as lease:
            assert ask(lease, "hi") == "re hi"
        assert kept.value
        assert (pool.stats().opened, pool.stats().closed) == (2, 1)


def test_an_error_of_the_key_function_holds_no_seat(service: Service) -> None:
    keys = iter([RuntimeError("no key"), KEY])

    def key() -> str:
        found = next(keys)
        if isinstance(found, Exception):
            raise found
        return found

    options = {"endpoint": ONE_BY_ONE, "client_class": service.connector, "max_connections": 1}
    with ConnectionPool(key, **options) as pool:
        with pytest.raises(RuntimeError, match="no key") as kept:
            chat(pool).ask("hi")
        assert counts(pool) == (0, 0, 0)
        assert chat(pool).ask("hi").content == "re hi"
        assert kept.value


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    model = Model(lambda history, request: "re " + str(request["input"][-1]["content"]))
    with ScriptedServer(model=model) as server:
        yield server


def real_pool(server: ScriptedServer, **options: Any) -> ConnectionPool:
    return ConnectionPool(KEY, api_base=server.url, ssl_context=server.ssl_context, **options)


def test_without_a_socket_a_session_goes_over_http(server: ScriptedServer) -> None:
    """In the same call. After three losses sockets rest, for all who use the pool; nothing stays behind."""
    with real_pool(server) as pool:
        for number in range(3):
            server.connection(refuse(503))
            assert Chat("m", pool=pool).ask(f"hi {number}").transport == "http"
            assert counts(pool) == (0, 0, 0)
        assert Chat("m", pool=pool).ask("they rest").transport == "http"
        assert (pool.stats().opened, pool.stats().closed) == (3, 3)
        server.connection(refuse(503))
        with pytest.raises(HandshakeError):
            pool.lease()
        assert chat(pool).ask("over the socket").transport == "websocket"
        assert Chat("m", pool=pool).ask("there is one").transport == "websocket"


def test_who_waits_too_long_does_not_go_over_http(server: ScriptedServer) -> None:
    """The limit is the caller's own; around it would be no limit. The breaker hears nothing of it."""
    with real_pool(server, max_connections=1, lease_timeout=0.02) as pool:
        with pool.lease():
            for _ in range(4):
                with pytest.raises(PoolTimeout):
                    Chat("m", pool=pool).ask("hi")
        assert Chat("m", pool=pool).ask("hi").transport == "websocket"
    assert len(server.requests) == 1
    assert server.http_requests == []


def test_a_session_does_not_go_around_a_pool_that_is_closed(server: ScriptedServer) -> None:
    """Not over HTTP either, though it was connecting, which would."""
    server.connection(hang())
    with real_pool(server) as pool:
        task = Task(Chat("m", pool=pool).ask, "hi")
        until(lambda: server.connections and server.connections[0].path)
        pool.close()
        assert isinstance(task.error(), PoolClosed)
    assert server.http_requests == []


def test_a_request_that_has_not_left_when_the_pool_is_closed(service: Service) -> None:
    """It leaves by no other way."""
    with pool_of(service) as pool:
        talk = Chat("m", pool=pool)
        talk.ask("one")
        service.transports[0].block_send()
        task = Task(talk.ask, "two")
        service.transports[0].wait_for("blocked")
        pool.close()
        assert isinstance(task.error(), PoolClosed)
    assert service.asked == ["one"]


def test_a_refused_key_is_raised(server: ScriptedServer) -> None:
    server.connection(refuse(401))
    with real_pool(server) as pool:
        with pytest.raises(AuthenticationError):
            Chat("m", pool=pool).ask("hi")
        assert counts(pool) == (0, 0, 0)
        assert Chat("m", pool=pool).ask("hi").transport == "websocket"


def test_too_large_a_request_takes_no_seat(server: ScriptedServer) -> None:
    """It goes over HTTP without waiting for a socket."""
    with real_pool(server, max_connections=1, limits=Limits(max_request_bytes=1000)) as pool, pool.lease():
        talk = Chat("m", pool=pool)
        assert talk.ask("x" * 2000).transport == "http"


def test_a_large_history_that_the_service_has_does_not_travel(server: ScriptedServer) -> None:
    """What counts is the request, not the conversation."""
    with real_pool(server, limits=Limits(max_request_bytes=3000)) as pool:
        talk = Chat("m", pool=pool, store=False)
        transports = [talk.ask(f"{number}" * 500).transport for number in range(8)]
        assert transports == ["websocket"] * 8


# -- responses that were left


def leave(pool: ConnectionPool, text: str) -> None:
    """Ask, and leave before there is an answer."""
    chat(pool).stream(text).close()


def test_a_response_that_was_left_and_does_not_end_costs_its_connection(service: Service) -> None:
    """Once somebody waits for it; the stream may be kept."""
    service.hold("left")
    with pool_of(service, max_connections=1, timeouts=Timeouts(drain=0.05)) as pool:
        stream = chat(pool).stream("left")
        stream.close()
        began = time.monotonic()
        assert chat(pool).ask("next").content == "re next"
        assert time.monotonic() - began < 1
        assert counts(pool) == (1, 0, 0)
        assert service.seats("left") == [(0, None)]
        assert service.seats("next") == [(1, None)]
        assert not stream._message


def test_a_response_that_was_left_has_its_time_to_end(service: Service) -> None:
    """From the moment that it is looked for."""
    service.hold("left")
    with pool_of(service, max_connections=1, timeouts=Timeouts(drain=SECONDS)) as pool:
        leave(pool, "left")
        task = Task(chat(pool).ask, "next")
        waiting(pool, 1)
        service.let_go("left")
        assert task.result().content == "re next"
    assert len(service.transports) == 1


def test_nobody_is_thrown_out_for_what_others_have_left(service: Service) -> None:
    """With lanes: the connection is given up only when nobody uses it."""
    endpoint = Endpoint(LANES.url, max_in_flight=2, max_lanes=32)
    with pool_of(service, endpoint, max_connections=1, timeouts=Timeouts(drain=0.01)) as pool:
        chat(pool).ask("first")
        service.hold("used", "left")
        used = Task(chat(pool).ask, "used")
        service.wait_for("used")
        leave(pool, "left")
        task = Task(chat(pool).ask, "next")
        waiting(pool, 1)
        with pytest.raises(PoolTimeout):
            pool.lease(timeout=0.7)
        assert counts(pool) == (1, 2, 1)
        service.let_go("used")
        assert used.result().content == "re used"
        assert task.result().content == "re next"
        leave(pool, "left")  # the first one still runs
    assert service.seats("used")[0][0] == service.seats("next")[0][0] == 0


def test_a_lease_is_not_taken_away(service: Service) -> None:
    """Nothing runs on it, or something that was left; it is held all the same."""
    service.hold("left")
    with pool_of(service, max_connections=1, timeouts=Timeouts(drain=0.01)) as pool, pool.lease() as lease:
        lease.stream(**MODEL, input="left").close()
        with pytest.raises(PoolTimeout):
            pool.lease(timeout=0.7)
        service.let_go("left")
        assert ask(lease, "next") == "re next"
    assert len(service.transports) == 1


def test_what_is_left_is_paid_and_told(service: Service) -> None:
    costs = Costs()
    service.hold("left")
    with pool_of(service, LANES, max_connections=1) as pool:
        talk = chat(pool, on_usage=costs)
        talk.stream("left").close()
        service.let_go("left")
        costs.wait_for(lambda: len(costs.told) == 1)
        assert costs.told[0][0].output_tokens


# -- connections that are lost


def test_a_connection_lost_at_rest_is_forgotten(service: Service) -> None:
    with pool_of(service, max_connections=2) as pool:
        pool.prewarm(2)
        for number in (0, 1):
            service.lose(number)
        until(lambda: counts(pool) == (0, 0, 0))
        assert (pool.stats().opened, pool.stats().closed) == (2, 2)
        assert pool._desk.roster.members == []
        assert chat(pool).ask("hi").content == "re hi"


def test_what_a_closed_pool_ends_says_nothing_about_the_service(service: Service) -> None:
    """Whoever closes three running responses in a row has lost no socket; others go on using theirs."""
    texts = ["one", "two", "three"]
    service.hold(*texts)
    with pool_of(service, max_connections=3) as pool:
        asking = [Task(Chat("m", pool=pool).ask, text) for text in texts]
        service.wait_for(*texts)
        pool.close()
        assert {type(task.error()) for task in asking} == {ConnectionLost}
        assert not _breakers
        assert Chat("m", pool=pool.open()).ask("again").transport == "websocket"


def test_connections_that_were_closed_at_rest_cost_no_attempt(service: Service, monkeypatch: Any) -> None:
    """All of them at once, as when a server goes, and nobody has read it: their threads only stood by."""
    monkeypatch.setattr(_reading, "FLOW_SECONDS", 600.0)
    with pool_of(service, max_connections=2) as pool:
        read_by_their_callers(service, pool, "one", "two")
        for transport in service.transports:
            transport.end(ConnectionLost("gone", close_code=1001))
        assert chat(pool, retry=Retry(max_retries=0)).ask("three").content == "re three"
        assert service.asked[2:] == ["three"]


def read_by_their_callers(service: Service, pool: ConnectionPool, *texts: str) -> None:
    """Ask at the same time, on a connection each; from then on nobody reads these."""
    service.hold(*texts)
    asking = [Task(chat(pool).ask, text) for text in texts]
    service.wait_for(*texts)
    links = [member.connection.link for member in pool._desk.roster.members]
    until(lambda: all(link.reading for link in links))
    readings = [link.reading for link in links]
    until(lambda: all(reading._wanting or not reading.owned for reading in readings))
    service.let_go(*texts)
    for task in asking:
        task.result()
    until(lambda: not any(reading.owned for reading in readings))


def test_a_lease_whose_connection_is_lost_connects_again(service: Service) -> None:
    """In place: it is the same member of the pool, and others find it."""
    with pool_of(service, LANES, max_connections=1) as pool:
        chat(pool).ask("first")
        with pool.lease() as lease:
            ask(lease, "one", store=False)
            service.lose(0)
            assert counts(pool) == (0, 1, 0)
            assert ask(lease, "two", store=False) == "re two"
            assert counts(pool) == (1, 1, 0)
            assert chat(pool).ask("other").content == "re other"
        assert counts(pool) == (1, 0, 0)
        assert (pool.stats().opened, pool.stats().closed) == (2, 1)
    assert len(service.transports) == 2
    assert "previous_response_id" not in service.requests[2][1]


def test_others_connect_in_place_of_the_lease(service: Service) -> None:
    """The lease has not noticed yet, and may be as busy elsewhere as it likes."""
    with pool_of(service, LANES, max_connections=1) as pool:
        chat(pool).ask("first")
        with pool.lease() as lease:
            service.lose(0)
            assert chat(pool).ask("other").content == "re other"
            assert ask(lease, "mine") == "re mine"
            assert counts(pool) == (1, 1, 0)
    assert len(service.transports) == 2


def test_all_lanes_of_a_lost_connection_are_told(service: Service) -> None:
    texts = [f"question {number}" for number in range(8)]
    with pool_of(service, LANES, max_connections=1) as pool:
        talks = [chat(pool, store=False) for _ in texts]
        for talk in talks:
            talk.ask("first")
        service.hold(*texts)
        tasks = [Task(talk.ask, text) for talk, text in zip(talks, texts, strict=True)]
        service.wait_for(*texts)
        service.lose(0)
        assert [type(task.error()) for task in tasks] == [ConnectionLost] * 8
        assert [talk.ask("after").content for talk in talks] == ["re after"] * 8
        assert counts(pool) == (1, 0, 0)


# -- connections that are not needed


def test_a_connection_at_rest_is_closed_after_a_while(service: Service) -> None:
    """By the reader, without a call."""
    with pool_of(service, max_connections=3, max_idle=0.1, timeouts=TICKING) as pool:
        pool.prewarm(2)
        until(lambda: counts(pool) == (0, 0, 0))
        assert all((1000, "") in transport.closes for transport in service.transports)
        assert (pool.stats().opened, pool.stats().closed) == (2, 2)
        assert chat(pool).ask("hi").content == "re hi"


def test_a_connection_at_rest_is_closed_though_its_server_pings(service: Service) -> None:
    """More often than we do, so that nothing is ever silent."""
    timeouts = Timeouts(ping_interval=0.2, ping_timeout=None)
    with pool_of(service, max_idle=0.1, timeouts=timeouts) as pool:
        pool.prewarm()

        def closed_at_a_ping() -> bool:
            service.transports[0].deliver()
            return counts(pool) == (0, 0, 0)

        until(closed_at_a_ping)
        assert (1000, "") in service.transports[0].closes


def test_what_is_used_is_not_at_rest(service: Service) -> None:
    """A lease on which nothing is asked, and a response that takes its time."""
    service.hold("hi")
    with pool_of(service, max_connections=2, max_idle=0.01, timeouts=TICKING) as pool:
        with pool.lease() as lease:
            task = Task(chat(pool).ask, "hi")
            service.wait_for("hi")
            pings = [transport.pings for transport in service.transports]
            until(lambda: min(transport.pings for transport in service.transports) > max(pings) + 3)
            assert counts(pool) == (2, 2, 0)
            assert ask(lease, "still there") == "re still there"
        service.let_go("hi")
        task.result()
        until(lambda: counts(pool) == (0, 0, 0))
    assert len(service.transports) == 2


def test_a_connection_that_is_to_end_ends_with_its_last_lease(service: Service) -> None:
    """Not only when somebody looks after it, which without pings nobody does."""
    timeouts = Timeouts(ping_interval=None)
    with pool_of(service, LANES, max_idle=None, timeouts=timeouts) as pool:
        chat(pool).ask("first")
        first, second = pool.lease(), pool.lease()
        pool._desk.roster.retire_all()
        first.close()
        assert counts(pool) == (1, 1, 0)
        second.close()
        assert counts(pool) == (0, 0, 0)


def test_a_lease_was_needed_until_it_is_over(service: Service) -> None:
    with pool_of(service, max_idle=3600, timeouts=TICKING) as pool:
        now = clock_of(pool)
        lease = pool.lease()
        now[0] += 3000
        lease.close()
        now[0] += 3000
        pings = service.transports[0].pings
        until(lambda: service.transports[0].pings > pings + 2)
        assert counts(pool) == (1, 0, 0)
        now[0] += 601
        until(lambda: counts(pool) == (0, 0, 0))


def test_max_idle_none_closes_nothing(service: Service) -> None:
    with pool_of(service, max_idle=None, timeouts=TICKING) as pool:
        now = clock_of(pool)
        pool.prewarm()
        now[0] += 1e6
        until(lambda: service.transports[0].pings > 3)
        assert counts(pool) == (1, 0, 0)


# -- connections that are old


def test_an_old_connection_is_replaced_before_it_is_closed(service: Service) -> None:
    """Make before break. What is not stored is sent again."""
    endpoint = Endpoint(LANES.url, max_age=0.2, max_in_flight=16, max_lanes=32)
    with pool_of(service, endpoint) as pool:
        talk = chat(pool, store=False)
        talk.ask("one")
        link = pool._desk.roster.members[0].connection.link
        until(lambda: link is not None and link.old)
        open_then: list[bool] = []
        service.connector.on_connect = before(service, lambda: open_then.append(counts(pool)[0] == 1))
        talk.ask("two")
        until(lambda: "release" in service.transports[0].calls)
        assert open_then == [True]
        assert counts(pool) == (1, 0, 0)
        assert service.seats("one", "two") == [(0, "lane-1"), (1, "lane-1")]
    assert [len(request["input"]) for _, request in service.requests] == [1, 3]


def before(service: Service, act: Any) -> Any:
    play = service._play

    def on_connect(transport: ScriptedTransport) -> None:
        act()
        play(transport)

    return on_connect


def test_an_old_connection_ends_what_runs_on_it(service: Service) -> None:
    """And is closed with the last response, at once."""
    with pool_of(service, LANES, max_connections=1) as pool:
        chat(pool).ask("first")
        service.hold("slow", "slower")
        tasks = [Task(chat(pool).ask, text) for text in ("slow", "slower")]
        service.wait_for("slow", "slower")
        pool._desk.roster.members[0].connection.postpone(0)
        assert chat(pool).ask("new").content == "re new"
        assert counts(pool) == (2, 2, 0)
        service.let_go("slow")
        tasks[0].result()
        assert counts(pool) == (2, 1, 0)
        service.let_go("slower")
        tasks[1].result()
        until(lambda: "release" in service.transports[0].calls)
        assert service.seats("new")[0][0] == 1


def test_an_old_connection_that_cannot_be_replaced_still_serves(service: Service) -> None:
    endpoint = Endpoint(ONE_BY_ONE.url, max_age=0.05)
    with pool_of(service, endpoint, max_connections=1) as pool:
        talk = chat(pool, store=False)
        talk.ask("one")
        link = pool._desk.roster.members[0].connection.link
        until(lambda: link is not None and link.old)
        service.connector.fail_connect(ConnectionError("no way"))
        assert talk.ask("two").content == "re two"
        assert talk.ask("three").content == "re three"
        assert counts(pool) == (1, 0, 0)
        assert service.seats("one", "two", "three") == [(0, None)] * 3
        assert len(service.connector.targets) == 2
    assert [len(request["input"]) for _, request in service.requests] == [1, 1, 1]


def test_connections_of_a_great_age_that_nobody_comes_back_to_do_not_pile_up(service: Service) -> None:
    """Of many tenants, each of whom comes once."""
    with pool_of(service, max_connections=2, max_idle=None) as pool:
        for _ in range(5):
            for member in pool._desk.roster.members:
                member.connection.postpone(0)
            chat(pool, tenant=f"tenant {len(service.transports)}").ask("hi")
            assert counts(pool)[0] <= 2
    assert len(service.transports) == 5


def test_connections_of_a_great_age_do_not_pile_up(service: Service) -> None:
    """With an age so short that every connection has reached it."""
    endpoint = Endpoint(ONE_BY_ONE.url, max_age=1e-6)
    with pool_of(service, endpoint, max_connections=2) as pool:
        talk = chat(pool, store=False)
        for turn in range(10):
            assert talk.ask(str(turn)).content == f"re {turn}"
            assert counts(pool)[0] <= 2
    assert len(service.transports) == 10


def looked_after(service: Service, number: int = 0) -> None:
    """Wait until the connection's reader, which looks around and then pings, has done so after this call."""
    transport = service.transports[number]
    pings = transport.pings
    until(lambda: transport.pings > pings + 1)


def grow_old(roster: Roster) -> None:
    for member in roster.members:
        member.connection.postpone(0)


@pytest.mark.parametrize("end", [grow_old, Roster.retire_all])
def test_a_connection_that_is_to_end_does_not_wait_for_ever(service: Service, end: Any) -> None:
    """For a response that was left: that has the time of ``drain``, from the moment that it is looked for."""
    service.hold("left")
    timeouts = Timeouts(ping_interval=0.02, ping_timeout=None, drain=30)
    with pool_of(service, ALWAYS, max_connections=1, max_idle=None, timeouts=timeouts) as pool:
        now = clock_of(pool)
        leave(pool, "left")
        now[0] += 1000
        looked_after(service)
        end(pool._desk.roster)
        looked_after(service)
        now[0] += 29
        looked_after(service)
        assert counts(pool) == (1, 1, 0)
        now[0] += 1
        until(lambda: counts(pool) == (0, 0, 0))
        assert (1000, "") in service.transports[0].closes


@pytest.mark.parametrize("drain", [1, None])
def test_only_a_connection_that_is_to_end_is_given_up(service: Service, drain: float | None) -> None:
    """And no drain gives it all the time."""
    service.hold("left")
    timeouts = Timeouts(ping_interval=0.02, ping_timeout=None, drain=drain)
    with pool_of(service, ALWAYS, max_idle=None, timeouts=timeouts) as pool:
        now = clock_of(pool)
        leave(pool, "left")
        if drain is None:
            pool._desk.roster.retire_all()
        for _ in range(2):
            now[0] += 1000
            looked_after(service)
        assert counts(pool) == (1, 1, 0)
        service.let_go("left")


def test_a_connection_that_is_to_end_is_not_taken_away(service: Service) -> None:
    """From a lease, or from a response that still has its reader."""
    service.hold("left", "used")
    timeouts = Timeouts(ping_interval=0.02, ping_timeout=None, drain=1)
    endpoint = Endpoint(LANES.url, max_age=None, max_in_flight=16, max_lanes=32)
    with pool_of(service, endpoint, max_connections=1, max_idle=None, timeouts=timeouts) as pool:
        chat(pool).ask("first")
        now = clock_of(pool)
        leave(pool, "left")
        lease = pool.lease()
        used = Task(chat(pool).ask, "used")
        service.wait_for("used")
        pool._desk.roster.retire_all()
        for end in (lambda: service.let_go("used"), lease.close):
            for _ in range(2):
                now[0] += 1000
                looked_after(service)
            assert counts(pool)[0] == 1
            end()
        assert used.result().content == "re used"
        looked_after(service)
        assert counts(pool) == (1, 1, 0)
        now[0] += 1
        until(lambda: counts(pool) == (0, 0, 0))


def test_after_sleep_connections_are_replaced(service: Service) -> None:
    """They are dead, and nobody has told them. What runs is left to its ping."""
    service.hold("running")
    with pool_of(service, max_connections=3) as pool:
        wall = [0.0]
        pool._desk._nap = Nap(lambda: 0.0, lambda: wall[0])
        talk = chat(pool)
        with pool.lease():
            talk.ask("one")
            running = Task(chat(pool).ask, "running")
            service.wait_for("running")
        wall[0] += 3600
        talk.ask("two")
        assert service.seats("two")[0][0] == 3
        assert counts(pool) == (2, 1, 0)
        service.let_go("running")
        running.result()
        until(lambda: counts(pool) == (1, 0, 0))
        talk.ask("three")
        assert service.seats("three") == service.seats("two")


# -- tenants


def test_tenants_share_no_connection(service: Service) -> None:
    """Nor with those who have none."""
    with pool_of(service, LANES, max_connections=4) as pool:
        tenants = ["a", "b", None]
        for turn in range(3):
            for tenant in tenants:
                chat(pool, tenant=tenant).ask(f"{tenant} {turn}")
                with pool.lease(tenant=tenant) as lease:
                    ask(lease, f"lease of {tenant} {turn}")
        used = {
            tenant: {number for number, request in service.requests if f"{tenant} " in str(request["input"])}
            for tenant in tenants
        }
        assert [len(numbers) for numbers in used.values()] == [1, 1, 1]
        assert len(set.union(*used.values())) == 3


def test_a_key_is_not_asked_whether_it_is_a_conversation(service: Service) -> None:
    """Which some would not survive."""

    class Key:
        name = "ada"

        def __eq__(self, other: Any) -> bool:
            return self.name == other.name

        __hash__ = None  # type: ignore[assignment]

    with pool_of(service, max_connections=1) as pool:
        pool.lease(Key()).close()
        assert chat(pool).ask("hi").content == "re hi"
        pool.lease(Key()).close()


def test_a_key_is_its_tenants_own(service: Service) -> None:
    with pool_of(service, LANES, max_connections=4) as pool:
        for tenant in ("a", "b", "a"):
            with pool.lease("key", tenant=tenant) as lease:
                ask(lease, "hi")
        assert [number for number, _ in service.requests] == [0, 1, 0]


def test_an_idle_connection_makes_room_for_another_tenant(service: Service) -> None:
    """The one that was needed longest ago; it is closed at once."""
    with pool_of(service, max_connections=2) as pool:
        for tenant in ("a", "b", "a", "c"):
            chat(pool, tenant=tenant).ask(tenant)
        until(lambda: counts(pool) == (2, 0, 0))
        assert service.seats("a", "c") == [(0, None), (2, None)]
        assert "release" in service.transports[1].calls
        assert "release" not in service.transports[0].calls


def test_a_connection_that_is_too_old_is_no_room(service: Service) -> None:
    """It is not counted, so that putting another in its place would be one too many."""
    endpoint = Endpoint(ONE_BY_ONE.url, max_age=0.05)
    with pool_of(service, endpoint, max_connections=1) as pool:
        chat(pool, tenant="a").ask("one")
        link = pool._desk.roster.members[0].connection.link
        until(lambda: link is not None and link.old)
        lease = pool.lease(tenant="b")
        pool._desk.roster.members[-1].connection.postpone(SECONDS)
        with pytest.raises(PoolTimeout):
            pool.lease(tenant="c", timeout=0.01)
        lease.close()


def test_no_tenant_starves(service: Service) -> None:
    """Others come all the time, and theirs are the connections. Passed twice for each of them at most."""
    size = 2
    with pool_of(service, max_connections=size) as pool:
        texts = [f"b {number}" for number in range(40)]
        service.hold(*texts)
        tasks = [Task(chat(pool, tenant="b").ask, text) for text in texts[:size]]
        service.wait_for(*texts[:size])
        starving = Task(chat(pool, tenant="a").ask, "a")
        waiting(pool, 1)
        for number, text in enumerate(texts[size:]):
            tasks.append(Task(chat(pool, tenant="b").ask, text))
            waiting(pool, 2)
            service.let_go(service.asked[number])
            # One seat became free, so one more is served.
            until(lambda: len(service.asked) > size + number)  # noqa: B023
            if "a" in service.asked:
                break
        passed = service.asked.index("a") - size
        assert passed <= 2 * size
        assert starving.result().content == "re a"
        service._held.clear()
        for text in list(service._waiting):
            service.let_go(text)
        for task in tasks:
            task.result()


def test_a_response_that_takes_long_is_no_reason_to_pass_for_ever(service: Service) -> None:
    """The connection that was to end for the tenant who waits does not end; the other must, then."""
    with pool_of(service, max_connections=2) as pool:
        service.hold("long")
        long = Task(chat(pool, tenant="b").ask, "long")
        service.wait_for("long")
        stop = threading.Event()
        served: list[int] = []

        def others() -> None:
            while not stop.is_set():
                chat(pool, tenant="b").ask("short")
                served.append(len(service.asked))

        crowd = [Task(others) for _ in range(3)]
        until(lambda: len(served) > 5)
        assert chat(pool, tenant="a").ask("a").content == "re a"
        stop.set()
        for task in crowd:
            task.result()
        service.let_go("long")
        long.result()


# -- a service that says no


def test_a_busy_service_is_asked_again_on_whatever_seat(service: Service) -> None:
    with pool_of(service, LANES) as pool:
        talk = chat(pool, store=False)
        talk.ask("one")
        service.model.fail_next("server_is_overloaded", 503, headers={"retry-after-ms": "1"})
        talk.ask("two")
        gc.collect()
        assert counts(pool) == (1, 0, 0)
    assert [len(request["input"]) for _, request in service.requests][-1] == 3


def test_a_connection_at_its_age_limit(service: Service) -> None:
    """The service ends it, with an error in place of the response: nobody notices."""
    service.model._max_age = 2
    with pool_of(service, LANES) as pool:
        talk = chat(pool, store=False)
        for turn in range(6):
            assert talk.ask(str(turn)).content == f"re {turn}"
        assert counts(pool)[1:] == (0, 0)
    assert len(service.transports) == 3
