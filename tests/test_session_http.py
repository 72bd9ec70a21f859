"""The session over HTTP, and how it gets there when the socket cannot be had."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sessions import MODEL, Costs, ask, inputs, session, spoken, user
from shell import Task, created, delta

from responses_ws import (
    AuthenticationError,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    HandshakeError,
    Limits,
    RateLimitError,
    ResponseCancelled,
    Timeouts,
    Usage,
)
from responses_ws._breakers import Guard, _breakers
from responses_ws._core.continuation import Ledger
from responses_ws._core.endpoint import Endpoint
from responses_ws._core.retry import Retry
from responses_ws.testing import (
    Model,
    ScriptedServer,
    Step,
    close,
    connect_reply,
    eof,
    expect,
    expect_gone,
    gate,
    hang,
    mark,
    raw_handshake,
    refuse,
    reset,
    respond,
    send,
    serve,
)


@pytest.fixture(autouse=True)
def no_pause_and_no_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are as short as they may be, and no test finds the losses of another."""
    monkeypatch.setattr("random.random", lambda: 0.0)
    _breakers.clear()


def upgrades(server: ScriptedServer) -> int:
    """The attempts to open a socket."""
    return sum("upgrade" in record.headers for record in server.connections)


# -- an upgrade that is refused

REFUSALS: dict[str, tuple[Step, ...]] = {
    **{str(status): (refuse(status),) for status in (302, 400, 403, 404, 405, 426, 500, 502, 503)},
    "hanging": (hang(),),
    "reset": (raw_handshake(b""), reset()),
    "gone": (raw_handshake(b""), eof()),
    "no HTTP": (raw_handshake(b"SSH-2.0-OpenSSH_9.6\r\n"), eof()),
    "200 and JSON": (refuse(200, body={"hello": "there"}),),
}


@pytest.mark.parametrize("steps", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("retries", [0, 2])
def test_without_a_socket_the_call_goes_over_http(steps: tuple[Step, ...], retries: int) -> None:
    """The same call, at once, as one request; not even a retry is needed."""
    model = Model()
    with ScriptedServer(model=model) as server:
        server.connection(*steps)
        timeouts = Timeouts(connect=0.5 if steps == REFUSALS["hanging"] else 10)
        retry = Retry(max_retries=retries)
        with session(server, transport="auto", timeouts=timeouts, retry=retry) as mine:
            began = time.monotonic()
            message = mine.call({**MODEL, "input": "hi"})
            assert time.monotonic() - began < 2
        assert message.transport == "http"
        assert model.creates == len(server.requests) == 1


def test_401_is_raised() -> None:
    """What is wrong with the key is wrong with it over HTTP too."""
    with ScriptedServer() as server:
        server.connection(refuse(401))
        with session(server, transport="auto") as mine, pytest.raises(AuthenticationError) as caught:
            mine.call({**MODEL, "input": "hi"})
        assert caught.value.delivery is Delivery.NOT_SENT


def test_429_waits_and_tries_the_socket_again() -> None:
    with ScriptedServer(model=Model()) as server:
        server.connection(refuse(429, {"retry-after-ms": "100"}))
        with session(server, transport="auto") as mine:
            began = time.monotonic()
            message = mine.call({**MODEL, "input": "hi"})
            assert time.monotonic() - began >= 0.1
        assert message.transport == "websocket"
        assert upgrades(server) == 2


@pytest.mark.parametrize(("headers", "attempts"), [({"retry-after": "61"}, 1), ({"retry-after-ms": "1"}, 3)])
def test_429_within_the_budget_only(headers: dict[str, str], attempts: int) -> None:
    with ScriptedServer() as server:
        for _ in range(attempts):
            server.connection(refuse(429, headers))
        with session(server, transport="auto") as mine, pytest.raises(RateLimitError) as caught:
            mine.call({**MODEL, "input": "hi"})
        assert caught.value.delivery is Delivery.NOT_SENT


def test_a_proxy_that_forbids_the_socket() -> None:
    """It lets the request through that follows over HTTP."""
    model = Model()
    with ScriptedServer() as proxy:
        proxy.connection(connect_reply(b"HTTP/1.1 403 Forbidden\r\n\r\n"))
        proxy.connection(connect_reply(b"HTTP/1.1 200 OK\r\n\r\n"), serve(model))
        options = {"api_base": "http://service.example/v1", "proxy": f"http://127.0.0.1:{proxy.port}"}
        with session_to(**options) as mine:
            assert mine.call({**MODEL, "input": "hi"}).transport == "http"
    assert model.creates == 1


def test_a_proxy_that_forbids_everything() -> None:
    """Then both ways are closed, and the error says so."""
    with ScriptedServer() as proxy:
        for _ in range(2):
            proxy.connection(connect_reply(b"HTTP/1.1 403 Forbidden\r\n\r\n"))
        options: dict[str, Any] = {
            "api_base": "http://service.example/v1",
            "proxy": f"http://127.0.0.1:{proxy.port}",
            "retry": Retry(max_retries=0),
        }
        with session_to(**options) as mine, pytest.raises(ConnectionError, match="403") as caught:
            mine.call({**MODEL, "input": "hi"})
        assert caught.value.delivery is Delivery.NOT_SENT


def session_to(**options: Any) -> Any:
    from responses_ws.session import Session

    return Session("k", allow_insecure=True, transport="auto", **options)


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (503, 3)])
def test_told_to_use_the_socket_it_does_not_fall_back(status: int, attempts: int) -> None:
    """A service without sockets is not asked twice; one in trouble is."""
    with ScriptedServer() as server:
        for _ in range(attempts):
            server.connection(refuse(status))
        with session(server, transport="websocket") as mine, pytest.raises(HandshakeError) as caught:
            mine.call({**MODEL, "input": "hi"})
        assert caught.value.status == status
        assert server.requests == []


# -- the breaker


def test_after_three_losses_the_socket_is_left_alone() -> None:
    """For other sessions of the process too, until a response has come over a socket."""
    model = Model()
    with ScriptedServer(model=model) as server:
        for _ in range(3):
            server.connection(refuse(503))
            server.connection(serve())
            with session(server, transport="auto") as mine:
                assert mine.call({**MODEL, "input": "hi"}).transport == "http"
        assert upgrades(server) == 3
        with session(server, transport="auto") as mine:
            assert mine.call({**MODEL, "input": "hi"}).transport == "http"
        assert upgrades(server) == 3
        with session(server, transport="websocket") as mine:
            assert mine.call({**MODEL, "input": "hi"}).transport == "websocket"
        with session(server, transport="auto") as mine:
            assert mine.call({**MODEL, "input": "hi"}).transport == "websocket"


@pytest.mark.parametrize("status", [404, 405, 426])
def test_a_service_without_sockets_is_believed(status: int) -> None:
    with ScriptedServer(model=Model()) as server:
        server.connection(refuse(status))
        with session(server, transport="auto") as mine:
            for _ in range(3):
                assert mine.call({**MODEL, "input": "hi"}).transport == "http"
        assert upgrades(server) == 1


def test_losses_in_mid_answer_count() -> None:
    """They are raised, and the fourth call goes over HTTP."""
    with ScriptedServer(model=Model()) as server:
        for _ in range(3):
            server.connection(expect(), send(created("r"), delta("hel")), close(1011))
        with session(server, transport="auto") as mine:
            for _ in range(3):
                with pytest.raises(ConnectionLost):
                    mine.call({**MODEL, "input": "hi"})
            assert mine.call({**MODEL, "input": "hi"}).transport == "http"


def test_what_the_service_says_never_counts() -> None:
    model = Model()
    with ScriptedServer(model=model) as server, session(server, transport="auto") as mine:
        for _ in range(5):
            model.fail_next("invalid_value", 400)
            with pytest.raises(Exception, match="told to fail"):
                mine.call({**MODEL, "input": "hi"})
        assert mine.call({**MODEL, "input": "hi"}).transport == "websocket"


def test_one_thread_of_many_tries_when_the_rest_is_over() -> None:
    now = [0.0]
    guard = Guard(Endpoint("wss://service.example/v1/responses"), lambda: now[0])
    for _ in range(3):
        guard.failed(ConnectionLost("gone"))
    assert not guard.lets_try()
    now[0] = 61.0
    assert [guard.lets_try() for _ in range(50)].count(True) == 1
    guard.worked()
    assert guard.lets_try()
    assert _breakers == {}


def test_hosts_are_told_apart() -> None:
    one, other = (Guard(Endpoint(f"wss://service.example:{port}/v1")) for port in (1, 2))
    for _ in range(3):
        one.failed(ConnectionLost("gone"))
    assert other.lets_try()
    assert not one.lets_try()


# -- too large for a socket


def test_a_request_over_the_limit_goes_over_http() -> None:
    """Only that one; the connection stays for the next."""
    model = Model()
    with ScriptedServer(model=model) as server:
        with session(server, transport="auto", limits=Limits(max_request_bytes=2000)) as mine:
            ledger = Ledger()
            kinds = [ask(mine, ledger, text).transport for text in ("one", "x" * 3000, "three")]
        assert kinds == ["websocket", "http", "websocket"]
        assert [len(request["input"]) for request in server.requests] == [1, 1, 1]
        assert upgrades(server) == 1


def test_a_message_that_the_service_did_not_read_goes_over_http() -> None:
    """It says so by its close code."""
    model = Model()
    with ScriptedServer(model=model) as server:
        server.connection(expect(), close(1009))
        with session(server, transport="auto") as mine:
            assert mine.call({**MODEL, "input": "hi"}).transport == "http"
        assert model.creates == 1


# -- HTTP alone, and by turns


def test_over_http_alone_no_socket_is_tried() -> None:
    with ScriptedServer(model=Model()) as server, session(server, transport="http") as mine:
        ledger = Ledger()
        for text in ("one", "two"):
            assert ask(mine, ledger, text).transport == "http"
        assert upgrades(server) == 0
        assert inputs(server) == [(["one"], False), (["two"], True)]


@pytest.mark.parametrize("store", [True, False])
def test_the_transport_may_change_at_every_turn(store: bool) -> None:
    """The service sees one history; what was not stored travels whole where it is not known."""
    model = Model()
    with ScriptedServer(model=model) as server, session(server) as mine:
        ledger = Ledger()
        texts = ["one", "two", "three", "four", "five"]
        for text, transport in zip(
            texts, ["websocket", "http", "websocket", "websocket", "http"], strict=True
        ):
            stream = mine.respond(
                ledger,
                [user(text)],
                {**MODEL, "store": store},
                transport=transport,  # type: ignore[arg-type]
            )
            final = stream.message
            assert final.transport == transport
        assert spoken(model, final)[0::2] == texts if store else True
        lengths = [len(request["input"]) for request in server.requests]
        assert lengths == ([1] * 5 if store else [1, 3, 5, 1, 9])
        assert list(ledger.items[0::2]) == [user(text) for text in texts]


def test_a_status_of_http_is_an_answer_like_an_event() -> None:
    """429 is asked again after its delay, as over the socket."""
    with ScriptedServer(model=Model()) as server:
        server.connection(
            expect(),
            respond(429, {"retry-after-ms": "1"}, {"error": {"code": "rate_limit_exceeded"}}),
            serve(),
        )
        with session(server, transport="http") as mine:
            assert mine.call({**MODEL, "input": "hi"}).content


@pytest.mark.parametrize(("status", "error"), [(400, "BadRequest"), (401, "Auth"), (404, "NotFound")])
def test_a_status_that_blames_the_request_is_raised(status: int, error: str) -> None:
    with ScriptedServer() as server:
        server.connection(expect(), respond(status, body={"error": {"message": "no"}}))
        with session(server, transport="http") as mine, pytest.raises(Exception, match="no") as caught:
            mine.call({**MODEL, "input": "hi"})
        assert error in type(caught.value).__name__


def test_the_background_is_http() -> None:
    """A socket has none."""
    with ScriptedServer(model=Model()) as server, session(server, transport="auto") as mine:
        message = mine.call({**MODEL, "input": "hi", "background": True})
        assert (message.transport, message.status) == ("http", "queued")
        assert upgrades(server) == 0


def test_a_warmup_is_no_real_request() -> None:
    """It never goes over HTTP, where it would be one."""
    model = Model()
    with ScriptedServer(model=model) as server:
        server.connection(refuse(503))
        warmup = {**MODEL, "input": "hi", "generate": False}
        with session(server, transport="auto", retry=Retry(max_retries=0)) as mine:
            with pytest.raises(HandshakeError):
                mine.call(warmup)
            assert mine.call(warmup).output == []
        with session(server, transport="http") as mine, pytest.raises(ConfigurationError, match="generate"):
            mine.call(warmup)
        assert model.creates == 1


# -- threads


def test_cancel_ends_the_wait_for_an_answer_over_http() -> None:
    with ScriptedServer() as server:
        server.connection(expect(), mark("asked"), gate("go"))
        with session(server, transport="http") as mine:
            task = Task(mine.call, {**MODEL, "input": "hi"})
            server.wait_for("asked")
            mine.cancel()
            assert isinstance(task.error(), ResponseCancelled)
            server.open("go")


def test_cancel_ends_an_answer_over_http() -> None:
    seen = threading.Event()
    with ScriptedServer() as server:
        server.connection(expect(), send(created("r"), delta("hel")), gate("go"))
        with session(server, transport="http") as mine:
            task = Task(
                mine.call, {**MODEL, "input": "hi"}, lambda chunk: seen.set() if chunk.content else None
            )
            assert seen.wait(10)
            mine.cancel()
            error = task.error()
            assert isinstance(error, ResponseCancelled)
            assert error.partial is not None
            assert error.partial.content == "hel"
            server.open("go")


def test_close_ends_an_answer_over_http() -> None:
    with ScriptedServer() as server:
        server.connection(expect(), mark("asked"), gate("go"))
        mine = session(server, transport="http")
        task = Task(mine.call, {**MODEL, "input": "hi"})
        server.wait_for("asked")
        mine.close()
        assert isinstance(task.error(), ResponseCancelled)
        server.open("go")


# -- what it cost


def test_over_http_each_request_is_told_once() -> None:
    costs = Costs()
    model = Model()
    model.fail_next("server_error", 500)
    with ScriptedServer(model=model) as server, session(server, transport="http", on_usage=costs) as mine:
        message = mine.call({**MODEL, "input": "hi"})
    assert costs.told == [(Usage(), None), (message.usage, message.response_id)]
    assert message.usage.input_tokens == 1


def test_an_answer_that_was_left_over_http_is_told_as_unknown() -> None:
    """Its connection was closed; the next call tells it, or close."""
    costs = Costs()
    with ScriptedServer() as server:
        server.connection(expect(), send(created("r"), delta("hel")), expect_gone())
        with session(server, transport="http", on_usage=costs) as mine:
            with mine.stream({**MODEL, "input": "hi"}) as stream:
                next(iter(stream))
            assert costs.told == []
    assert costs.told == [(Usage(), None)]


def test_a_request_that_went_another_way_is_told_once() -> None:
    """The socket that could not be had cost nothing."""
    costs = Costs()
    with ScriptedServer(model=Model()) as server:
        server.connection(refuse(503))
        with session(server, transport="auto", on_usage=costs) as mine:
            message = mine.call({**MODEL, "input": "hi"})
    assert costs.told == [(message.usage, message.response_id)]


def test_a_payload_that_cannot_be_sent_is_refused_the_same() -> None:
    with ScriptedServer() as server, session(server, transport="http") as mine:
        with pytest.raises(ConfigurationError, match="input"):
            mine.call({**MODEL, "input": {1, 2}})
        assert server.connections == []
