"""What a server or a gateway may do wrong in HTTP itself, and what it may say before it was asked in full."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from over_http import ASK, BEGUN, event_stream, failure, transport
from shell import KEY, SECONDS, Task, answer, completed, delta

from responses_ws import (
    ConnectionLost,
    Delivery,
    Limits,
    PayloadTooLarge,
    ProtocolError,
    RateLimitError,
    ResponseError,
    ResponsesWSError,
    ResponseTimeout,
    ServerError,
    Timeouts,
)
from responses_ws._transport import dial, dialling
from responses_ws._transport.base import Target, unused
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.http_exchange import Exchange
from responses_ws._transport.http_wire import Wire
from responses_ws.http_transport import HTTPTransport
from responses_ws.testing import (
    ScriptedServer,
    eof,
    expect,
    expect_gone,
    expect_request,
    gate,
    optional,
    raw,
    raw_handshake,
    read_head,
    respond,
    run,
    send,
    stream_bytes,
)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def whole(response_id: str = "resp_1") -> bytes:
    return json.dumps(completed(response_id)["response"]).encode()


BODY = whole()
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


# -- where an answer ends


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: %d, %d" % (len(BODY), len(BODY) + 1),
        b"Content-Length: %d\r\nContent-Length: %d" % (len(BODY), len(BODY) + 1),
        b"Content-Length: %d\r\nContent-Length: " % len(BODY),
        b"Content-Length: -1",
        b"Content-Length: +%d" % len(BODY),
        b"Content-Length: %d_%d" % (len(BODY) // 10, len(BODY) % 10),
        b"Content-Length: many",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        b"Transfer-Encoding: identity",
        b"no colon\r\nContent-Length: %d" % len(BODY),
        b" folded\r\nContent-Length: %d" % len(BODY),
    ],
)
def test_an_answer_whose_end_is_in_doubt_is_no_answer(server: ScriptedServer, head: bytes) -> None:
    """What is taken for its end may be the middle of it, or of the next (RFC 9112, 6.3 and 5)."""
    if head.startswith(b" "):
        answered = b"HTTP/1.1 200 OK\r\n" + head + b"\r\nContent-Type: application/json"
    else:
        answered = JSON + head
    server.connection(expect(), raw(answered + b"\r\n\r\n" + BODY), eof(), expect_gone())
    with transport(server) as http_transport:
        error = failure(http_transport)
    assert type(error) is ProtocolError
    assert "no HTTP" in str(error)
    assert error.delivery is Delivery.UNKNOWN


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: %d" % len(BODY),
        b"Content-Length: %d, %d" % (len(BODY), len(BODY)),
        b"Content-Length: %d\r\nContent-Length: %d" % (len(BODY), len(BODY)),
        b"Content-Length:\r\n %d" % len(BODY),
        b"CONTENT-LENGTH:%d \t" % len(BODY),
    ],
)
def test_a_length_may_be_said_twice(server: ScriptedServer, head: bytes) -> None:
    """If it is the same (RFC 9110, 8.6)."""
    server.connection(expect(), raw(JSON + head + b"\r\n\r\n" + BODY), expect_gone())
    with transport(server) as http_transport:
        assert http_transport.create_response(**ASK).response_id == "resp_1"


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"chunked \t", b"\r\n chunked"])
def test_chunks_may_be_announced_in_many_ways(server: ScriptedServer, coding: bytes) -> None:
    data = event_stream(*answer("resp_1", "one"))
    chunk = b"%x ; name=value\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (len(data), data)
    head = STREAM + b"Transfer-Encoding: " + coding
    server.connection(expect(), raw(head + b"\r\n\r\n" + chunk), expect(), send(*answer("resp_2", "two")))
    with transport(server) as http_transport:
        assert http_transport.create_response(**ASK).content == "one"
        assert http_transport.create_response(**ASK).content == "two"


@pytest.mark.parametrize("size", [b"-5", b"+5", b"0x5", b"5_0", b"", b" ", b"\xb2", b";a"])
def test_a_chunk_of_no_size_ends_the_answer(server: ScriptedServer, size: bytes) -> None:
    """Nobody knows what follows."""
    server.connection(expect(), send(*BEGUN), raw(size + b"\r\nab\r\n"), expect_gone())
    with transport(server) as http_transport:
        error = failure(http_transport)
    assert type(error) is ConnectionLost
    assert error.delivery is Delivery.STARTED
    assert error.partial is not None


def test_a_folded_header_is_one_line(server: ScriptedServer) -> None:
    """As RFC 9112, 5.2 wants it; a log shows no second line that the server has made up."""
    server.connection(
        raw_handshake(
            b"HTTP/1.1 429 No\r\nX-Request-Id: req_1\r\n\t WARNING forged\r\nRetry-After:\r\n 7\r\n"
            b"Content-Length: 0\r\n\r\n"
        ),
        expect_gone(),
    )
    with transport(server) as http_transport:
        error = failure(http_transport)
    assert isinstance(error, RateLimitError)
    assert (error.request_id, error.retry_after) == ("req_1 WARNING forged", 7)


def test_headers_that_are_none_are_not_logged(server: ScriptedServer, caplog: Any) -> None:
    """urllib3 would show them, and they may echo the key."""
    server.connection(expect(), raw(JSON + b"Authorization Bearer %b\r\n\r\n" % KEY.encode()), expect_gone())
    with transport(server) as http_transport:
        assert type(failure(http_transport)) is ProtocolError
    assert caplog.records == []


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_has_none_though_it_announces_chunks(
    server: ScriptedServer, status: bytes
) -> None:
    """They are not waited for (RFC 9112, 6.3); should they come, nobody takes them for the next answer."""
    head = b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n\r\n" % status
    server.connection(expect_request("DELETE", "/resp_1"), raw(head), expect_gone())
    server.connection(expect(), send(*answer("resp_2", "two")))
    with transport(server) as http_transport:
        if status.startswith(b"204"):
            http_transport.delete("resp_1")
        else:
            with pytest.raises(ResponseError):
                http_transport.delete("resp_1")
        assert http_transport.create_response(**ASK).content == "two"


def test_a_timeout_that_was_told_to_nobody_takes_its_connection_with_it(server: ScriptedServer) -> None:
    """It may have been said before the request came; the answer to that is not the answer to the next."""
    said = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    late = JSON + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    server.connection(expect(), raw(said), optional(expect(), raw(late)), expect_gone())
    server.connection(expect(), send(*answer("resp_2", "two")))
    with transport(server) as http_transport:
        assert failure(http_transport).delivery is Delivery.REJECTED
        assert http_transport.create_response(**ASK).content == "two"


def test_a_time_without_measure_is_no_time(server: ScriptedServer) -> None:
    """Python makes no number of so many digits."""
    headers = {"Content-Type": "application/json", "Keep-Alive": "timeout=" + "9" * 5000}
    server.connection(respond(200, headers, BODY))
    with transport(server) as http_transport:
        assert http_transport.create_response(**ASK).response_id == "resp_1"


# -- without end


def flood(data: bytes) -> Any:
    """Send the same again and again, as fast as it is taken, until the client has left."""

    def play(connection: Any) -> None:
        while not connection.over:
            connection.send_raw(data, kind=None)

    return optional(run(play))


def test_a_flood_of_comments_does_not_keep_a_response_alive(server: ScriptedServer) -> None:
    """However fast they come."""
    comments = b": ping\n\n" * 8192
    server.connection(expect(), send(*BEGUN), flood(b"%x\r\n%b\r\n" % (len(comments), comments)))
    with transport(server, response_timeout=0.7) as http_transport:
        error = failure(http_transport)
    assert isinstance(error, ResponseTimeout)
    assert (error.clock, error.delivery) == ("response_timeout", Delivery.STARTED)


@pytest.mark.parametrize(("kind", "data"), [("text/event-stream", b": ping\n\n"), ("application/json", b" ")])
def test_what_comes_faster_than_it_is_read_does_not_stop_the_clock(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, kind: str, data: bytes
) -> None:
    """Then no wait ever ends for want of bytes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n\r\n" % kind.encode()
    server.connection(expect(), raw(head), expect_gone())
    monkeypatch.setattr(Exchange, "read", lambda exchange, seconds: data)
    with transport(server, response_timeout=0.2) as http_transport:
        error = Task(failure, http_transport).result()
    assert isinstance(error, ResponseTimeout)
    assert error.clock == "response_timeout"


def test_chunks_that_are_cut_in_their_heads_are_not_gathered_without_end(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look for the rest of a head brings more, of which the limit knows nothing yet."""
    head = STREAM + b"Transfer-Encoding: chunked\r\n\r\n1"
    received = iter([head, *[b"000\r\n%b\r\n1" % (b"x" * 0x1000)] * 1000])
    monkeypatch.setattr(Wire, "receive", lambda wire: next(received, b""))
    server.connection(expect(), expect_gone())
    with transport(server, limits=Limits(max_message_bytes=100_000)) as http_transport:
        error = failure(http_transport)
    assert isinstance(error, PayloadTooLarge)
    assert error.size is not None
    assert error.size < 300_000


def test_events_without_end_do_not_stop_the_clock_of_the_call(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come faster than they are read, and each is a sign of life."""
    received = iter([event_stream(*BEGUN), *[event_stream(delta("x"))] * 1_000_000])
    server.connection(expect(), raw(STREAM + b"\r\n"), expect_gone())
    monkeypatch.setattr(Exchange, "read", lambda exchange, seconds: next(received))
    with transport(server, timeouts=Timeouts(total=0.3)) as http_transport:
        error = Task(failure, http_transport).result()
    assert isinstance(error, ResponseTimeout)
    assert (error.clock, error.delivery) == ("total", Delivery.STARTED)
    assert error.partial is not None
    assert str(error.partial.content).startswith("onex")


@pytest.mark.parametrize("ended", [True, False])
def test_a_flood_of_trailers_is_not_read(server: ScriptedServer, ended: bool) -> None:
    """Neither after the response nor in its place."""
    events = answer("resp_1", "one") if ended else BEGUN
    server.connection(
        expect(), stream_bytes(event_stream(*events)), raw(b"0\r\n"), flood(b"Trailer: x\r\n" * 1000)
    )
    server.connection(expect(), send(*answer("resp_2", "two")))
    with transport(server) as http_transport:
        if ended:
            assert http_transport.create_response(**ASK).content == "one"
        else:
            assert type(failure(http_transport)) is ProtocolError
        assert http_transport.create_response(**ASK).content == "two"


# -- redirects


@pytest.mark.parametrize("status", [300, 304, 305, 306, 399])
def test_not_every_status_of_the_third_class_is_a_redirect(server: ScriptedServer, status: int) -> None:
    server.connection(respond(status, {"Location": "https://evil.example/"}))
    with transport(server) as http_transport:
        error = failure(http_transport)
    assert isinstance(error, ResponseError)
    assert error.status == status
    assert "redirect" not in str(error)


# -- an answer to a request that is still on its way

LARGE = "x" * 20_000_000
"""More than two kernels hold back."""
READ = "x" * 1_000_000
"""More than a client's holds back by its options (see ``dial``), and soon read."""


@pytest.fixture
def stalling() -> Iterator[ScriptedServer]:
    """Its kernel takes little of what it does not read."""
    with ScriptedServer(receive_buffer=4096) as server:
        yield server


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("status", [413, 429, 504])
def test_an_early_refusal_is_seen_while_the_request_is_sent(tls: bool, status: int) -> None:
    """The server reads no more of it; its word is not waited for until the clock of sending runs out.

    Its connection is not used again: the next request would be taken for the other half of this one.
    """
    refused = b"HTTP/1.1 %d No\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno" % status
    with ScriptedServer(receive_buffer=4096, tls=tls) as server:
        server.connection(read_head(1000), raw(refused), gate("never"))
        server.connection(expect(), send(*answer("resp_1", "one")))
        with transport(server, timeouts=Timeouts(send=600)) as http_transport:
            error = Task(failure, http_transport, input=LARGE).result()
            assert http_transport.create_response(**ASK).content == "one"
        server.open("never")
    assert isinstance(error, ResponseError)
    assert (error.status, error.message, error.retry_after) == (status, "no", 7)
    assert error.delivery is Delivery.REJECTED


@pytest.mark.parametrize(
    "early",
    [
        [b"HTTP/1.1 100 Continue\r\n\r\n"],
        [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 ", b"Continue\r\n\r\n"],
        [b"HTT", b"P/1.1 100 Continue\r\n\r", b"\n"],
    ],
)
def test_an_interim_answer_does_not_end_the_sending(stalling: ScriptedServer, early: list[bytes]) -> None:
    """It comes while the server does not read, and the answer after the whole request."""

    def play(connection: Any) -> None:
        for piece in early:
            connection.send_raw(piece)
            connection.wait(lambda: False, 0.3)  # longer than the client waits between two looks

    stalling.connection(
        read_head(1000),
        run(play),
        run(_read_the_rest),
        raw(JSON + b"Content-Length: %d\r\n\r\n" % len(BODY)),
        raw(BODY),
    )
    with transport(stalling) as http_transport:
        message = Task(http_transport.call, {**ASK, "input": READ}).result()
    assert message.response_id == "resp_1"


def _read_the_rest(connection: Any) -> None:
    connection.resume()
    connection.read_body(len(READ))


def test_an_early_success_does_not_end_the_sending(stalling: ScriptedServer) -> None:
    """Whoever accepts a request that it has not read will read it."""
    head = JSON + b"Content-Length: %d\r\n\r\n" % len(BODY)
    stalling.connection(read_head(1000), raw(head), gate("read"), run(_read_the_rest), raw(BODY))
    with transport(stalling) as http_transport:
        task = Task(http_transport.call, {**ASK, "input": READ})
        task.join(0.5)  # two looks of the client; a slower one sees it later
        stalling.open("read")
        assert task.result().response_id == "resp_1"


def test_an_early_end_is_noticed_while_the_request_is_sent(stalling: ScriptedServer) -> None:
    """Without a word: half a request was never run."""
    stalling.connection(read_head(1000), eof(), gate("never"))
    with transport(stalling, timeouts=Timeouts(send=600)) as http_transport:
        error = Task(failure, http_transport, input=LARGE).result()
        stalling.open("never")
    assert type(error) is ConnectionLost
    assert error.delivery is Delivery.NOT_SENT


def test_an_early_flood_is_not_kept(stalling: ScriptedServer) -> None:
    """Of interim answers without end there is no more than fits in a few pieces."""
    stalling.connection(read_head(1000), flood(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000))
    with transport(stalling, timeouts=Timeouts(send=600)) as http_transport:
        error = Task(failure, http_transport, input=LARGE).result()
    assert type(error) is ProtocolError
    assert error.delivery is Delivery.NOT_SENT


# -- a gateway that gave up waiting


@pytest.mark.parametrize(
    ("status", "delivery"),
    [(500, "REJECTED"), (502, "REJECTED"), (503, "REJECTED"), (504, "UNKNOWN"), (524, "UNKNOWN")],
)
def test_a_gateway_that_gave_up_waiting_does_not_know(
    server: ScriptedServer, status: int, delivery: str
) -> None:
    """It had handed the request on, and the service may go on with it."""
    server.connection(respond(status, {"X-Request-Id": "req_1"}, b"<html>"))
    with transport(server) as http_transport:
        error = failure(http_transport)
    assert isinstance(error, ServerError)
    assert (error.status, error.delivery, error.request_id) == (status, Delivery[delivery], "req_1")


# -- close while it connects


def test_a_socket_that_comes_when_nobody_wants_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it was called off before."""
    let_go = threading.Event()
    ours, theirs = socket.socketpair()

    def late(*_: Any) -> socket.socket:
        let_go.wait(SECONDS)
        return ours

    monkeypatch.setattr(dialling, "dial", late)
    attempt = dialling.Dialling(Target("ws://h/v1"), Deadline(None), unused)
    attempt.end(ConnectionLost("first"))
    attempt.end(ConnectionLost("second"))
    with pytest.raises(ConnectionLost, match="first"):
        attempt.result()
    let_go.set()
    attempt._thread.join(SECONDS)
    attempt.end(ConnectionLost("third"))
    attempt.give_up()
    assert ours.fileno() == -1
    theirs.close()


@pytest.mark.parametrize("verb", ["create", "retrieve"])
def test_close_ends_a_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """At once: the look-up itself cannot be told to stop, and is not waited for."""
    asked, let_go = threading.Event(), threading.Event()

    def stuck(*arguments: Any, **named: Any) -> Any:
        asked.set()
        let_go.wait(SECONDS)
        raise OSError

    monkeypatch.setattr(dial.socket, "getaddrinfo", stuck)
    http_transport = HTTPTransport(KEY, api_base="http://localhost", timeouts=Timeouts(connect=600))
    verbs = {
        "create": lambda: http_transport.create_response(**ASK),
        "retrieve": lambda: http_transport.retrieve("resp_1"),
    }
    task = Task(verbs[verb])
    try:
        assert asked.wait(SECONDS)
        http_transport.close()
        error = task.error()
    finally:
        let_go.set()
    assert isinstance(error, ResponsesWSError)
    assert type(error) is ConnectionLost
    assert error.delivery is Delivery.NOT_SENT
