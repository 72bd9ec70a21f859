"""Lanes: conversations in parallel on one connection, and what each of them may count on."""

from __future__ import annotations

import copy
import gc
import heapq
import itertools
import logging
import pickle
import statistics
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from laning import IN_FLIGHT, NAMES, ask, begin, begun, ended, on, starts, turn, waiting, with_lanes
from shell import (
    KEY,
    PAUSE,
    SECONDS,
    Event,
    Task,
    answer,
    completed,
    created,
    delivered,
    delta,
    error_event,
    join_readers,
    until,
    websocket,
)

from responses_ws import (
    BadRequestError,
    ConcurrencyError,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    Endpoint,
    RateLimitError,
    ResponseTimeout,
    StreamLimitReached,
    Timeouts,
    WebSocket,
)
from responses_ws.lane import Lane
from responses_ws.testing import (
    Connection,
    Model,
    ScriptedConnector,
    ScriptedServer,
    ScriptedTransport,
    close,
    expect,
    expect_gone,
    gate,
    mark,
    optional,
    run,
    send,
)


@pytest.fixture(params=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=request.param == "wss") as server:
        yield server


@pytest.fixture
def plain() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def modelled() -> Iterator[ScriptedServer]:
    with ScriptedServer(model=Model()) as server:
        yield server


# -- side by side


def test_answers_that_interleave(server: ScriptedServer) -> None:
    """Piece by piece, on two lanes and on the default one: each stream has its own."""
    pieces = [
        event for k in "123" for name in ("a", "b", None) for event in on(name, delta(k, f"msg_{name}"))
    ]
    server.connection(
        *starts("a", "b"),
        expect(lambda request: "stream_id" not in request),
        send(created("resp_d"), *pieces),
        send(*ended("b"), completed("resp_d"), *ended("a")),
    )
    with with_lanes(server) as ws:
        a, b = begin(ws, "a", "b")
        default = ws.stream(model="m", input="hi")
        assert default.message.content == "123"
        assert b.message.content == "begun 123ended"
        assert a.message.content == "begun 123ended"
        assert (ws.lane("a").last_response_id, ws.last_response_id) == ("resp_a", "resp_d")
    assert len(server.connections) == 1


def test_every_lane_is_a_conversation(modelled: ScriptedServer) -> None:
    """Each continues what it was answered itself, and begins anew by itself."""
    with with_lanes(modelled) as ws:
        lanes = [ws.lane("a"), ws.lane("b"), ws]
        for lane, name in zip(lanes, "abd", strict=True):
            assert ask(lane, f"I am {name}") == f"You said: I am {name}."
        for lane, name in zip(lanes, "abd", strict=True):
            assert ask(lane, "again") == f"You said: again. Before that: I am {name}."
        ids = [lane.last_response_id for lane in lanes]
        ws.lane("a").clear_previous_response_id()
        assert ask(lanes[0], "new") == "You said: new."
        assert ask(lanes[1], "more") == "You said: more. Before that: I am b; again."
        assert lanes[0].last_response_id not in ids
        assert ws.last_response_id == ids[2]


def test_the_same_name_is_the_same_lane(plain: ScriptedServer) -> None:
    """One response runs there, whichever object asks; the others are free."""
    plain.connection(*starts("a"), *turn("b", "resp_b", "of b"), gate("go on"), send(*ended("a")))
    with with_lanes(plain) as ws:
        (a,) = begin(ws, "a")
        same = ws.lane("a")
        with pytest.raises(ConcurrencyError) as refused:
            ask(same)
        assert refused.value.delivery is Delivery.NOT_SENT
        assert ask(ws.lane("b")) == "of b"
        assert (same.in_flight, ws.lane("b").in_flight, ws.in_flight) == (True, False, False)
        plain.open("go on")
        assert a.message.content == "begun ended"
        assert not same.in_flight
        assert same.last_response_id == "resp_a"


@pytest.mark.slow
def test_many_threads_on_few_places() -> None:
    """Chains of their own on 24 lanes, four at a time, answers left in between: each gets its own."""

    def converse(ws: WebSocket, number: int) -> None:
        lane, said = ws.lane(f"lane-{number}"), []
        for k in range(20):
            if k % 5 == number % 5:
                for _ in lane.stream(model="m", input="left", previous_response_id=None):
                    break
            text = f"{number}.{k}"
            before = f" Before that: {'; '.join(said)}." if said else ""
            assert ask(lane, text) == f"You said: {text}.{before}"
            said.append(text)

    timeouts = Timeouts(drain=SECONDS)
    with (
        ScriptedServer(model=Model()) as server,
        with_lanes(server, max_in_flight=4, timeouts=timeouts) as ws,
    ):
        tasks = [Task(converse, ws, number) for number in range(24)]
        for task in tasks:
            task.join(60)
            task.result()
        assert len(server.connections) == 1


def in_time(connection: Connection) -> None:
    """A service that takes 50 ms for each answer, whatever else is running. To ``long`` it says a thousand
    things, 5 ms apart."""
    due: list[tuple[float, int, Event]] = []
    numbers = itertools.count()
    while True:
        left = due[0][0] - time.monotonic() if due else None
        if not connection.wait(lambda: bool(connection._inbox.messages), left and max(0.0, left)):
            connection.send(heapq.heappop(due)[2])
            continue
        request = connection.receive()
        is_long = request["input"] == "long"
        moment, pause = time.monotonic() + DELAY, LONG_PAUSE if is_long else 0.0
        for event in on(
            request["stream_id"], *answer(f"r{next(numbers)}", *["piece "] * (1000 if is_long else 1))
        ):
            heapq.heappush(due, (moment, next(numbers), event))
            moment += pause


DELAY = 0.05
LONG_PAUSE = 0.005


def ask_until(lane: Lane, end: float) -> list[float]:
    """Seconds that each answer took beyond the server's time."""
    late = []
    while (start := time.monotonic()) < end:
        assert ask(lane, previous_response_id=None) == "piece "
        late.append(time.monotonic() - start - DELAY)
    return late


@pytest.mark.slow
def test_16_lanes_are_8_times_as_fast_as_one(plain: ScriptedServer) -> None:
    """With 50 ms for an answer, of which there is nothing to do for 49."""
    plain.connection(optional(run(in_time)))
    with with_lanes(plain) as ws:
        rates = []
        for count in (1, IN_FLIGHT):
            end = time.monotonic() + 2
            tasks = [Task(ask_until, ws.lane(f"lane-{number}"), end) for number in range(count)]
            rates.append(sum(len(task.result()) for task in tasks) / 2)
    assert len(plain.connections) == 1
    assert rates[1] >= 8 * rates[0]


@pytest.mark.slow
def test_a_consumer_who_sleeps_costs_the_others_nothing(plain: ScriptedServer) -> None:
    """For ten seconds nobody takes what comes on one lane; it is all there when he wakes up.

    ``benchmarks/parallel.py`` holds the 5 ms to which ten times as much is allowed here.
    """
    plain.connection(optional(run(in_time)))

    def beside(sleeps: bool) -> float:
        stream = ws.lane("long").stream(model="m", input="long", previous_response_id=None)
        pieces = stream.text
        assert next(pieces) == "piece "
        seconds = 10 if sleeps else 3
        tasks = [
            Task(ask_until, ws.lane(f"lane-{number}"), time.monotonic() + seconds)
            for number in range(IN_FLIGHT - 1)
        ]
        read = 0 if sleeps else sum(1 for _ in pieces)
        for task in tasks:
            task.join(seconds + SECONDS)
        late = [value for task in tasks for value in task.result()]
        assert read + sum(1 for _ in pieces) == 999
        return statistics.quantiles(late, n=100, method="inclusive")[98]

    with with_lanes(plain) as ws:
        assert ask(ws.lane("lane-0")) == "piece "
        usual = beside(sleeps=False)
        assert beside(sleeps=True) - usual < 10 * 0.005


# -- 16 in flight


def full(*rest: Any) -> list[Any]:
    """As many responses as may run, then what comes when one may end."""
    names = [f"lane-{number}" for number in range(IN_FLIGHT)]
    return [*starts(*names), mark("full"), gate("one ends"), send(*ended("lane-3")), *rest]


def fill(ws: WebSocket) -> list[Any]:
    return begin(ws, *[f"lane-{number}" for number in range(IN_FLIGHT)])


def test_the_17th_waits_for_a_place(plain: ScriptedServer) -> None:
    """It leaves when one of the 16 has ended, whether or not that one's caller reads."""
    plain.connection(*full(*turn("late", "resp_late", "at last")))
    with with_lanes(plain) as ws:
        streams = fill(ws)
        late = waiting(ask, ws.lane("late"))
        assert len(plain.requests) == IN_FLIGHT
        plain.open("one ends")
        assert late.result() == "at last"
        assert streams[3].message.content == "begun ended"
    assert len(plain.connections) == 1


def test_those_who_wait_come_in_turn(plain: ScriptedServer) -> None:
    more = [step for k in "123" for step in turn(f"late-{k}", f"resp_{k}", k)]
    plain.connection(*full(*more))
    with with_lanes(plain) as ws:
        fill(ws)
        late = [waiting(ask, ws.lane(f"late-{k}")) for k in "123"]
        plain.open("one ends")
        assert [task.result() for task in late] == ["1", "2", "3"]


def test_the_total_bounds_the_waiting_for_a_place(plain: ScriptedServer) -> None:
    """Nothing was sent, the lane is free, and the connection goes on."""
    plain.connection(*full(*turn("late", "resp_late", "at last")))
    with with_lanes(plain) as ws:
        streams = fill(ws)
        ws._settings.timeouts = Timeouts(total=0.1)
        with pytest.raises(ResponseTimeout) as late:
            ask(ws.lane("late"))
        assert (late.value.clock, late.value.delivery) == ("total", Delivery.NOT_SENT)
        ws._settings.timeouts = Timeouts()
        assert not ws.lane("late").in_flight
        plain.open("one ends")
        assert streams[3].message.content == "begun ended"
        assert ask(ws.lane("late")) == "at last"


def test_the_response_timeout_bounds_the_waiting_for_a_place(plain: ScriptedServer) -> None:
    """Who waits is no response that is silent, but waits no longer than one may be."""
    plain.connection(*full(*turn("late", "resp_late", "at last")))
    with with_lanes(plain) as ws:
        streams = fill(ws)
        ws._connection._patience = 0.1
        with pytest.raises(ConcurrencyError, match="other responses are running") as late:
            ask(ws.lane("late"))
        assert late.value.delivery is Delivery.NOT_SENT
        plain.open("one ends")
        assert streams[3].message.content == "begun ended"
        assert ask(ws.lane("late")) == "at last"


def test_disconnect_wakes_those_who_wait_for_a_place(plain: ScriptedServer) -> None:
    plain.connection(*full()[:-2], expect_gone())
    with with_lanes(plain) as ws:
        streams = fill(ws)
        late = waiting(ask, ws.lane("late"))
        ws.disconnect()
        error = late.error()
        assert isinstance(error, ConnectionError)
        assert error.delivery is Delivery.NOT_SENT
        for stream in streams:
            with pytest.raises(ConnectionLost) as lost:
                stream.run()
            assert lost.value.partial is not None
            assert lost.value.partial.content == "begun "


# -- 32 names


def test_the_33rd_name(modelled: ScriptedServer) -> None:
    """It is refused before it is sent; the others go on, and a new connection takes it."""
    with with_lanes(modelled) as ws:
        for number in range(NAMES):
            ask(ws.lane(f"lane-{number}"))
        one_more = ws.lane("one-more")
        with pytest.raises(StreamLimitReached) as refused:
            ask(one_more)
        assert refused.value.delivery is Delivery.NOT_SENT
        assert "one-more" in str(refused.value)
        assert ask(ws.lane("lane-7"), "again").startswith("You said: again.")
        assert ask(ws, "default") == "You said: default."
        assert len(modelled.requests) == NAMES + 2
        ws.reconnect()
        assert ask(one_more, "now") == "You said: now."
        assert ask(ws.lane("lane-7"), "more").startswith("You said: more. Before that: hi")


def test_a_name_that_was_not_sent_is_not_used_up(modelled: ScriptedServer) -> None:
    """The service knows nothing of it."""
    with with_lanes(modelled, timeouts=Timeouts(total=0.000001)) as ws:
        for number in range(NAMES + 1):
            with pytest.raises(ResponseTimeout):
                ask(ws.lane(f"late-{number}"))
        ws._settings.timeouts = Timeouts()
        assert ask(ws.lane("in-time")) == "You said: hi."


def test_a_limit_that_the_service_knows_better(plain: ScriptedServer) -> None:
    """Its refusal is the lane's own, and nobody else's."""
    refusal = on("b", error_event("websocket_stream_limit_reached", 400))
    plain.connection(*starts("a"), expect(stream_id="b"), send(*refusal, *ended("a")))
    with with_lanes(plain) as ws:
        (a,) = begin(ws, "a")
        with pytest.raises(StreamLimitReached) as refused:
            ask(ws.lane("b"))
        assert refused.value.delivery is Delivery.REJECTED
        assert a.message.content == "begun ended"


# -- servers that do not play along


def nameless(model: Model) -> Any:
    """A service that takes ``stream_id`` and forgets it; it can answer one request at a time only."""

    def serve(connection: Connection) -> None:
        memory = model.connect()
        while True:
            request = connection.receive()
            request.pop("stream_id", None)
            connection.wait(lambda: False, 0.005)
            assert not connection._inbox.messages, "a second request came before the first was answered"
            for event in model.respond(request, memory):
                connection.send(event)

    return optional(run(serve))


def test_a_server_that_names_no_lanes(plain: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    """It is noticed on the first use, said once, and then one response runs at a time; all are right."""
    for _ in range(3):
        plain.connection(nameless(Model()))

    def converse(lane: Lane | WebSocket, name: str) -> None:
        assert ask(lane, f"I am {name}") == f"You said: I am {name}."
        assert ask(lane, "again") == f"You said: again. Before that: I am {name}."

    with caplog.at_level(logging.WARNING, logger="responses_ws"), with_lanes(plain) as ws:
        for _ in range(2):
            lanes = {f"lane-{number}": ws.lane(f"lane-{number}") for number in range(6)}
            tasks = [Task(converse, lane, name) for name, lane in lanes.items()]
            tasks.append(Task(converse, ws, "default"))
            for task in tasks:
                task.result()
            for lane in (ws, *lanes.values()):
                lane.clear_previous_response_id()
            ws.reconnect()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        "127.0.0.1 has no lanes, or does not name them in its events: one response runs at a time"
    )


def test_what_comes_late_without_a_name_is_nobodys(plain: ScriptedServer) -> None:
    """What was left on one lane never reaches the answer on another."""
    late = [delta("late of a", "msg_a"), completed("resp_a")]
    plain.connection(
        expect(stream_id="a"),
        send(created("resp_a"), delta("first ", "msg_a")),
        gate("left"),
        send(*late),
        expect(stream_id="b"),
        send(*late, created("resp_b"), delta("of b", "msg_b"), *late, delta(" alone", "msg_b")),
        send(*late, completed("resp_b")),
    )
    with with_lanes(plain, timeouts=Timeouts(drain=SECONDS)) as ws:
        for piece in ws.lane("a").stream(model="m", input="hi").text:
            assert piece == "first "
            break
        b = waiting(ask, ws.lane("b"))
        plain.open("left")
        assert b.result() == "of b alone"


def test_a_server_that_refuses_lanes(plain: ScriptedServer) -> None:
    """The error names the parameter, and the default lane goes on."""
    plain.model = Model(lanes=False)
    with with_lanes(plain) as ws:
        for _ in range(2):
            with pytest.raises(BadRequestError) as refused:
                ask(ws.lane("a"))
            assert (refused.value.param, refused.value.delivery) == ("stream_id", Delivery.REJECTED)
        assert ask(ws, "without") == "You said: without."
    assert len(plain.connections) == 1


def test_the_first_event_decides(plain: ScriptedServer) -> None:
    """Until then the others wait; an error before it decides nothing."""
    plain.connection(
        expect(stream_id="a"),
        gate("refuse"),
        send(*on("a", error_event("rate_limit_exceeded", 429))),
        expect(stream_id="b"),
        *delivered("b is there"),
        gate("begin"),
        send(*begun("b")),
        *starts("c"),
        send(*ended("c"), *ended("b")),
    )
    with with_lanes(plain) as ws:
        a = Task(ask, ws.lane("a"))
        until(lambda: plain.requests)
        b = waiting(ask, ws.lane("b"))
        c = waiting(ask, ws.lane("c"))
        plain.open("refuse")
        assert isinstance(a.error(), RateLimitError)
        plain.wait_for("b is there")
        assert len(plain.requests) == 2
        plain.open("begin")
        assert (b.result(), c.result()) == ("begun ended", "begun ended")


def test_every_connection_shows_anew_that_it_names_lanes(plain: ScriptedServer) -> None:
    """Behind one address there may be several services: until it has, one response runs at a time."""
    plain.connection(*starts("a", "b"), send(*ended("a"), *ended("b")))
    plain.connection(nameless(Model()))
    with with_lanes(plain) as ws:
        for stream in begin(ws, "a", "b"):
            assert stream.message.content == "begun ended"
        ws.reconnect()
        tasks = {name: Task(ask, ws.lane(name), name, previous_response_id=None) for name in "abcdef"}
        for name, task in tasks.items():
            assert task.result() == f"You said: {name}."


def test_while_another_lane_connects() -> None:
    """That may take longer than a drain. Who comes meanwhile waits for the same connection."""

    def serve(transport: ScriptedTransport) -> None:
        def reply(request: Event) -> None:
            name = request["stream_id"]
            transport.deliver(*on(name, *answer(f"resp_{name}", name)))

        transport.on_send = reply

    connector = ScriptedConnector(serve)
    endpoint = Endpoint("ws://localhost/responses", max_in_flight=IN_FLIGHT, max_lanes=NAMES)
    ws = WebSocket(KEY, endpoint=endpoint, client_class=connector, timeouts=Timeouts(drain=0.01)).connect()
    connector.transports[0].end(ConnectionLost("gone"))
    until(lambda: not ws.connected)
    connector.block_connect()
    a = Task(ask, ws.lane("a"))
    connector.wait_for("blocked")
    others = [waiting(ask, ws.lane(name)) for name in "bc"]
    until(lambda: ws._connection.lanes.busy("c"))
    PAUSE.wait(0.1)  # several drains
    connector.unblock_connect()
    assert [task.result() for task in (a, *others)] == ["a", "b", "c"]
    assert len(connector.transports) == 2
    ws.disconnect()


# -- forks


def kept(*rest: Any) -> list[Any]:
    """An answer that the connection alone keeps, then a fork of it on the lane b."""
    return [
        *turn("a", "resp_1", "one", store=False),
        expect(stream_id="b", previous_response_id="resp_1"),
        *rest,
    ]


def fork(ws: WebSocket) -> Any:
    ask(ws.lane("a"), store=False)
    return ws.lane("b").stream(model="m", input="fork", previous_response_id="resp_1", store=False)


CREATED = on("b", created("resp_2"))
IN_PROGRESS = on("b", {**created("resp_2"), "type": "response.in_progress"})
SECOND = turn("a", "resp_3", "two", previous_response_id="resp_1")


def test_a_lane_waits_until_its_fork_has_begun(server: ScriptedServer) -> None:
    """The service may drop what a lane has kept as soon as that goes on. ``created`` is not enough."""
    server.connection(
        *kept(send(*CREATED), *delivered("created"), gate("begin"), send(*IN_PROGRESS)),
        *SECOND,
        send(*on("b", completed("resp_2"))),
    )
    with with_lanes(server) as ws:
        b = fork(ws)
        a = waiting(ask, ws.lane("a"), store=False)
        server.wait_for("created")
        assert len(server.requests) == 2
        server.open("begin")
        assert a.result() == "two"
        assert b.message.response_id == "resp_2"
        assert (ws.lane("a").last_response_id, ws.lane("b").last_response_id) == ("resp_3", "resp_2")


@pytest.mark.parametrize("end", [on("b", error_event()), on("b", completed("resp_2"))], ids=["fails", "ends"])
def test_a_fork_that_is_over_holds_nobody_up(plain: ScriptedServer, end: list[Any]) -> None:
    plain.connection(*kept(gate("end"), send(*end)), *SECOND)
    with with_lanes(plain) as ws:
        b = fork(ws)
        a = waiting(ask, ws.lane("a"), store=False)
        plain.open("end")
        assert a.result() == "two"
        b.close()


def test_a_fork_that_was_left_is_waited_for(plain: ScriptedServer) -> None:
    """It still has to begin; nobody has to read it."""
    plain.connection(*kept(gate("begin"), send(*CREATED, *IN_PROGRESS)), *SECOND, gate("end"))
    with with_lanes(plain, timeouts=Timeouts(drain=SECONDS)) as ws:
        fork(ws).close()
        a = waiting(ask, ws.lane("a"), store=False)
        plain.open("begin")
        assert a.result() == "two"
        plain.open("end")


def test_a_fork_that_loses_its_connection(plain: ScriptedServer) -> None:
    """Who waited for it begins a new chain on the next one, for what it continued is gone too."""
    plain.connection(*kept(gate("lose"), close(1001)))
    plain.connection(expect(lambda request: "previous_response_id" not in request), send(*answer("r", "new")))
    with with_lanes(plain) as ws:
        b = fork(ws)
        a = waiting(ask, ws.lane("a"), store=False)
        plain.open("lose")
        assert a.result() == "new"
        with pytest.raises(ConnectionLost) as lost:
            b.run()
        assert lost.value.delivery is Delivery.UNKNOWN


def test_what_is_stored_is_forked_at_any_time(plain: ScriptedServer) -> None:
    plain.connection(
        *turn("a", "resp_1", "one"),
        expect(stream_id="b", previous_response_id="resp_1"),
        *SECOND,
        send(*CREATED, *on("b", completed("resp_2"))),
    )
    with with_lanes(plain) as ws:
        assert ask(ws.lane("a")) == "one"
        b = ws.lane("b").stream(model="m", input="fork", previous_response_id="resp_1")
        assert ask(ws.lane("a")) == "two"
        assert b.message.response_id == "resp_2"


def test_a_fork_of_a_chain_that_was_given_up(plain: ScriptedServer) -> None:
    """What the service keeps for a lane is its last response, whether or not the lane continues it."""
    plain.connection(
        *kept(gate("begin"), send(*IN_PROGRESS)),
        *turn("a", "resp_3", "two"),
        send(*on("b", completed("resp_2"))),
    )
    with with_lanes(plain) as ws:
        b = fork(ws)
        ws.lane("a").clear_previous_response_id()
        a = waiting(ask, ws.lane("a"), store=False)
        until(lambda: len(plain.requests) == 2)
        plain.open("begin")
        assert a.result() == "two"
        assert b.message.response_id == "resp_2"


# -- the verbs


def test_a_warmup_on_a_lane(modelled: ScriptedServer) -> None:
    with with_lanes(modelled) as ws:
        lane = ws.lane("a")
        response_id = lane.warmup(model="m", instructions="be brief")
        assert lane.last_response_id == response_id
        assert ws.last_response_id is None
        assert ask(lane, "now") == "You said: now."
        assert ask(lane, "then") == "You said: then. Before that: now."
        warm, now, _ = modelled.requests
        assert (warm["stream_id"], warm["generate"]) == ("a", False)
        assert now["previous_response_id"] == response_id


def test_a_steer_on_a_lane(plain: ScriptedServer) -> None:
    """It names the response alone; its successor runs on the same lane, beside the others."""
    accepted = {
        "type": "response.steer.accepted",
        "steer": {"id": "steer_1", "previous_response_id": "resp_a"},
    }
    end = completed("resp_a", "incomplete", "response.incomplete")
    plain.connection(
        *starts("a", "b"),
        expect(lambda request: request.keys() == {"type", "previous_response_id", "input"}),
        send(*on("a", accepted, end), *ended("b"), *on("a", *answer("resp_c", "instead"))),
    )
    with with_lanes(plain) as ws:
        a, b = begin(ws, "a", "b")
        steer = a.steer("shorter")
        assert a.message.content == "instead"
        assert (steer.state, ws.lane("a").last_response_id) == ("committed", "resp_c")
        assert b.message.content == "begun ended"


def test_a_payload_goes_as_it_is(modelled: ScriptedServer) -> None:
    """``call`` continues nothing; what it completed is continued."""
    with with_lanes(modelled) as ws:
        lane = ws.lane("a")
        chunks: list[Any] = []
        payload = {"model": "m", "input": "one", "stream_id": None}
        assert lane.call(payload, chunks.append).content == "You said: one."
        assert chunks
        assert lane.call({"model": "m", "input": "two", "stream_id": "a"}).content == "You said: two."
        assert ask(lane, "three") == "You said: three. Before that: two."
        assert ws.call({"model": "m", "input": "four", "stream_id": None}).content == "You said: four."
        assert [request.get("stream_id") for request in modelled.requests] == ["a", "a", "a", None]


# -- what cannot be


@pytest.mark.parametrize("name", ["", "a b", "ä", "a/b", "a\n", "x" * 257, None, 5, b"a", True])
def test_a_name_that_cannot_be(name: Any) -> None:
    ws = WebSocket("any", endpoint=Endpoint("wss://localhost/responses", max_lanes=NAMES))
    with pytest.raises(ConfigurationError, match="name must be 1 to 256 letters"):
        ws.lane(name)


def test_a_name_may_be_long() -> None:
    ws = WebSocket("any", api_base="https://api.openai.com/v1")
    for name in ("x" * 256, "A-z_0.9"):
        assert ws.lane(name).name == name


@pytest.mark.parametrize(
    "base", ["https://api.x.ai/v1", "https://r.openai.azure.com/openai/v1", "http://localhost"]
)
def test_a_service_without_lanes(base: str) -> None:
    with pytest.raises(ConfigurationError, match="lane: this service has no lanes"):
        WebSocket("any", api_base=base).lane("a")


def test_a_payload_that_names_another_lane(plain: ScriptedServer) -> None:
    """It would be answered on a lane that nobody watches over."""
    plain.connection(optional(expect_gone()))
    payload = {"model": "m", "input": "hi", "stream_id": "b"}
    with with_lanes(plain) as ws:
        for asks in (ws.call, ws.lane("a").call):
            with pytest.raises(ConfigurationError, match="stream_id"):
                asks(payload)
        for asks in (ws, ws.lane("a")):
            with pytest.raises(ConfigurationError, match="stream_id"):
                ask(asks, stream_id="b")
    assert plain.requests == []


def test_a_service_without_lanes_gets_the_field_as_it_is(modelled: ScriptedServer) -> None:
    """What is no lane of ours is none of our business."""
    with websocket(modelled) as ws:
        assert ws.call({"model": "m", "input": "hi", "stream_id": "b"}).content == "You said: hi."


def test_before_connect_and_after_disconnect(modelled: ScriptedServer) -> None:
    ws = with_lanes(modelled)
    lane = ws.lane("a")
    for _ in range(2):
        with pytest.raises(ConnectionError, match="not connected") as refused:
            ask(lane)
        assert refused.value.delivery is Delivery.NOT_SENT
        assert not lane.in_flight
        with ws:
            assert ask(lane).startswith("You said: hi.")


@pytest.mark.parametrize("deed", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_lane_is_part_of_its_connection(deed: Any) -> None:
    lane = WebSocket("any", api_base="https://api.openai.com/v1").lane("a")
    with pytest.raises(TypeError, match="part of a connection"):
        deed(lane)


def test_what_a_lane_shows(plain: ScriptedServer) -> None:
    """Its name and whether it is busy, and nothing of the key or the address."""
    plain.connection(*starts("a"), gate("go on"), send(*ended("a")))
    with with_lanes(plain) as ws:
        lane = ws.lane("a")
        assert repr(lane) == "<Lane a>"
        (stream,) = begin(ws, "a")
        assert repr(lane) == "<Lane a, in flight>"
        plain.open("go on")
        assert stream.run().content == "begun ended"
        assert repr(lane) == "<Lane a>"


# -- who keeps whom alive


def test_a_lane_keeps_its_connection(modelled: ScriptedServer) -> None:
    """And nothing keeps a lane: when it is forgotten too, the connection ends."""
    ws = with_lanes(modelled).connect()
    lane, forgotten = ws.lane("a"), weakref.ref(ws.lane("b"))
    socket, gone = weakref.ref(ws), weakref.ref(lane)
    del ws
    gc.collect()
    assert forgotten() is None
    assert ask(lane) == "You said: hi."
    del lane
    gc.collect()
    assert (gone(), socket()) == (None, None)
    join_readers()


def test_a_stream_keeps_its_lane(plain: ScriptedServer) -> None:
    """As long as it is read; a stream that is forgotten frees the lane."""
    plain.connection(*starts("a"), gate("go on"), send(*ended("a")), *turn("a", "resp_2", "two"))
    ws = with_lanes(plain).connect()
    (stream,) = begin(ws, "a")
    socket = weakref.ref(ws)
    del ws
    gc.collect()
    held = socket()
    assert held is not None
    del stream
    gc.collect()
    lane = held.lane("a")
    assert not lane.in_flight
    del held
    plain.open("go on")
    assert ask(lane) == "two"
    del lane
    gc.collect()
    assert socket() is None
    join_readers()


def test_the_default_lane_alone(modelled: ScriptedServer) -> None:
    """A service with lanes costs who uses none nothing: no name is sent."""
    with with_lanes(modelled) as ws:
        assert [ask(ws, text) for text in ("one", "two")][1] == "You said: two. Before that: one."
    assert not any("stream_id" in request for request in modelled.requests)
