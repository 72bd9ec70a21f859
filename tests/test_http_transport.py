"""What is HTTP's own: the request, the connection that is kept, the faults of streams, stored responses."""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import responses as mocked
import trustme
from over_http import ASK, BEGUN, event_stream, failure, transport
from shell import KEY, SECONDS, Task, answer, completed, delta, error_event, read_deltas, until

from responses_ws import (
    AuthenticationError,
    BadRequestError,
    ConcurrencyError,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    Limits,
    NotFoundError,
    PayloadTooLarge,
    PermissionDeniedError,
    PreviousResponseNotFound,
    ProtocolError,
    RateLimitError,
    ResponseError,
    ResponsesWSError,
    ResponseTimeout,
    ServerError,
    Timeouts,
    _http_call,
)
from responses_ws._transport import dialling, http, http_wire
from responses_ws.http_transport import HTTPTransport
from responses_ws.testing import (
    Model,
    ScriptedServer,
    begin_stream,
    connect_reply,
    end_stream,
    eof,
    expect,
    expect_gone,
    expect_request,
    gate,
    hang,
    mark,
    optional,
    ping,
    raw,
    raw_handshake,
    read_head,
    refuse,
    reset,
    respond,
    run,
    send,
    serve,
    stream_bytes,
)

BASE = "https://api.openai.com/v1"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may be slow with the last bytes of an answer."""
    monkeypatch.setattr(_http_call, "SETTLE_SECONDS", SECONDS)


@pytest.fixture
def model() -> Iterator[ScriptedServer]:
    with ScriptedServer(model=Model()) as server:
        yield server


# -- the request, without a network


@pytest.fixture
def mock() -> Iterator[mocked.RequestsMock]:
    with mocked.RequestsMock() as mock:
        yield mock


@pytest.mark.parametrize(
    ("api_base", "url"),
    [
        (BASE, f"{BASE}/responses"),
        ("wss://api.openai.com/v1", f"{BASE}/responses"),
        ("http://localhost:1/x/", "http://localhost:1/x/responses"),
        ("https://h/v1?api-version=2&a=%20", "https://h/v1/responses?api-version=2&a=%20"),
    ],
)
def test_a_request_goes_to_the_responses_of_the_base(
    mock: mocked.RequestsMock, api_base: str, url: str
) -> None:
    """As a POST of JSON that asks for a stream, and the answer is that of the events."""
    mock.post(url, body=event_stream(*answer("resp_1", "Hello ", "you")), content_type="text/event-stream")
    message = HTTPTransport(KEY, api_base=api_base).create_response(**ASK)
    assert (message.content, message.response_id, message.transport) == ("Hello you", "resp_1", "http")
    (call,) = mock.calls
    assert call.request.url == url
    assert json.loads(call.request.body) == {**ASK, "stream": True}


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        ({"stream": False}, {"stream": True}),
        ({"type": "response.create", "generate": True, "stream_id": "lane"}, {}),
        ({"previous_response_id": None, "tools": None}, {}),
        ({"previous_response_id": "resp_0", "new_field": [None]}, ...),
        ({"stream_options": {"include_obfuscation": False}}, ...),
    ],
)
def test_only_what_http_knows_is_sent(mock: mocked.RequestsMock, payload: Any, sent: Any) -> None:
    """What belongs to sockets is left out, and every None at the top; the rest passes."""
    mock.post(f"{BASE}/responses", body=event_stream(completed("resp_1")))
    given = {**ASK, **payload}
    HTTPTransport(KEY).call(given)
    wanted = payload if sent is ... else sent
    assert json.loads(mock.calls[0].request.body) == {**ASK, "stream": True, **wanted}
    assert given == {**ASK, **payload}


def test_a_large_request_has_no_limit_here(mock: mocked.RequestsMock) -> None:
    """Those of sockets do not hold."""
    mock.post(f"{BASE}/responses", body=event_stream(completed("resp_1")))
    HTTPTransport(KEY, limits=Limits(max_request_bytes=10)).call({**ASK, "input": "x" * 100})


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ("text", "payload must be a mapping"),
        ({**ASK, "type": "response.steer"}, "type must be"),
        ({**ASK, "temperature": float("nan")}, "temperature cannot be sent"),
        ({**ASK, "input": [{"role": object()}]}, r"input\[0\] cannot be sent"),
    ],
)
def test_a_bad_payload_is_refused_by_name(mock: mocked.RequestsMock, payload: Any, told: str) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigurationError, match=told):
        HTTPTransport(KEY).call(payload)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (405, BadRequestError),
        (409, BadRequestError),
        (413, BadRequestError),
        (422, BadRequestError),
        (426, BadRequestError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
    ],
)
@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error": {"message": "no", "code": "c", "type": "t", "param": "p"}}', "no", "c"),
        (b'{"message": "no", "code": "c"}', "no", "c"),
        (b'{"error": "no"}', "no", None),
        (b"<html>no</html>", "<html>no</html>", None),
        (b"", "the service gave no message", None),
    ],
)
def test_a_status_is_an_error_of_the_service(
    mock: mocked.RequestsMock, status: int, kind: type, body: bytes, message: str, code: str | None
) -> None:
    """Rejected, with what it says; from a refused upgrade they come as the same classes."""
    headers = {"Retry-After": "7", "X-Request-Id": "req_1"}
    mock.post(f"{BASE}/responses", status=status, body=body, headers=headers)
    error = failure(HTTPTransport(KEY))
    assert type(error) is kind
    assert isinstance(error, ResponseError)
    assert (error.status, error.message, error.code, error.retry_after) == (status, message, code, 7)
    assert (error.delivery, error.request_id) == (Delivery.REJECTED, "req_1")
    assert (error.partial, error.response_id) == (None, None)


@pytest.mark.parametrize(
    ("code", "kind"), [("previous_response_not_found", PreviousResponseNotFound), ("other", BadRequestError)]
)
def test_the_code_decides_the_class(mock: mocked.RequestsMock, code: str, kind: type) -> None:
    """As on a socket."""
    mock.post(f"{BASE}/responses", status=400, json={"error": {"code": code, "message": "no"}})
    assert type(failure(HTTPTransport(KEY))) is kind


def test_an_error_in_the_stream_has_the_id_of_the_request(mock: mocked.RequestsMock) -> None:
    """It came with the head of the answer."""
    body = event_stream(*BEGUN, error_event("rate_limit_exceeded", 429))
    mock.post(f"{BASE}/responses", body=body, headers={"X-Request-Id": "req_1"})
    error = failure(HTTPTransport(KEY))
    assert type(error) is RateLimitError
    assert (error.request_id, error.delivery, error.response_id) == ("req_1", Delivery.STARTED, "resp_1")
    assert error.partial is not None
    assert (error.partial.content, error.partial.transport) == ("one", "http")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"id": "resp_1", "status": "completed", "output": []}', None),
        (b'{"id": "resp_1", "status": "failed", "error": {"code": "server_error"}}', ServerError),
        (b'{"id": "resp_1", "status": "completed", "error": {"code": "server_error"}}', ServerError),
        (b'{"error": {"code": "rate_limit_exceeded", "message": "slow"}}', RateLimitError),
        (b'{"error": {"code": "rate_limit_exceeded"}, "type": "api_error"}', RateLimitError),
        (b'{"what": 1}', ProtocolError),
        (b"[]", ProtocolError),
        (b"{", ProtocolError),
    ],
)
def test_an_answer_that_came_as_json(mock: mocked.RequestsMock, body: bytes, kind: type | None) -> None:
    """Some gateways do not stream: the response is the answer, whatever its form."""
    mock.post(f"{BASE}/responses", body=body, content_type="application/json")
    http_transport = HTTPTransport(KEY)
    if kind is None:
        assert http_transport.create_response(**ASK).status == "completed"
        assert http_transport.last_response_id == "resp_1"
    else:
        assert type(failure(http_transport)) is kind


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, "text/html, no event stream"),
        ({"Content-Type": "text/event-stream", "Content-Encoding": "br"}, "compressed"),
    ],
)
def test_an_answer_of_another_kind(mock: mocked.RequestsMock, headers: Any, told: str) -> None:
    """Named, not searched for events."""
    content_type = headers.pop("Content-Type")
    mock.post(f"{BASE}/responses", body=b"<p>", headers=headers, content_type=content_type)
    error = failure(HTTPTransport(KEY))
    assert type(error) is ProtocolError
    assert told in str(error)
    assert error.delivery is Delivery.UNKNOWN


def test_the_stream_is_utf_8_whatever_its_head_says(mock: mocked.RequestsMock) -> None:
    """Without a charset, requests itself would read it as latin-1."""
    text = "ü€😀\u2028\x85 "
    body = b"".join(
        b"data: %b\r\r" % json.dumps(event, ensure_ascii=False).encode() for event in answer("resp_1", text)
    )
    mock.post(f"{BASE}/responses", body=body, content_type="text/event-stream")
    assert HTTPTransport(KEY).create_response(**ASK).content == text


def test_warming_up_does_nothing(mock: mocked.RequestsMock) -> None:
    """There is nothing that could be warm."""
    http_transport = HTTPTransport(KEY)
    assert http_transport.warmup(model="m", instructions="be brief") is None  # type: ignore[func-returns-value]
    assert http_transport.last_response_id is None


def test_it_is_neither_pickled_nor_shown_with_its_key(mock: mocked.RequestsMock) -> None:
    """Its repr tells the host and the state."""
    http_transport = HTTPTransport(KEY)
    assert repr(http_transport) == "<HTTPTransport api.openai.com>"
    with pytest.raises(TypeError, match="cannot be pickled"):
        http_transport.__reduce__()


# -- the connection


def test_a_connection_is_kept(model: ScriptedServer) -> None:
    """For responses and for requests about them, over TLS too."""
    with transport(model) as http_transport:
        for _ in range(3):
            message = http_transport.create_response(**ASK)
            http_transport.retrieve(str(message.response_id))
    assert len(model.connections) == 1
    assert len(model.http_requests) == 6


def test_a_connection_is_kept_over_tls() -> None:
    """The handshake is made once."""
    with ScriptedServer(model=Model(), tls=True) as server, transport(server) as http_transport:
        assert [http_transport.create_response(**ASK).status for _ in range(3)] == ["completed"] * 3
        assert len(server.connections) == 1


def test_the_certificate_is_checked() -> None:
    """Not even the request line goes to somebody else."""
    server = ScriptedServer(tls=True).start()
    server.connection(optional(expect()))
    error = failure(HTTPTransport(KEY, api_base=server.url))
    server.close()
    assert type(error) is ConnectionError
    assert "certificate" in str(error)
    assert error.delivery is Delivery.NOT_SENT
    assert server.http_requests == []


def test_a_server_may_ask_for_our_certificate() -> None:
    """It is that of the caller's context."""
    authority = trustme.CA()
    with ScriptedServer(tls=True) as server:
        theirs, ours = server._certificates.server_context, server.ssl_context  # type: ignore[union-attr]
        assert ours is not None
        authority.configure_trust(theirs)
        theirs.verify_mode = ssl.CERT_REQUIRED
        authority.issue_cert("client").configure_cert(ours)
        server.connection(expect(), send(*answer("resp_1", "one")))
        with transport(server) as http_transport:
            assert http_transport.create_response(**ASK).content == "one"


def test_a_server_that_misses_our_certificate_says_so() -> None:
    """In TLS 1.3 only after the handshake, when the request has left."""
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.minimum_version = ssl.TLSVersion.TLSv1_3
    theirs.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    for context in (theirs, ours):
        authority.configure_trust(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        refusing = Task(_refuse_handshake, listener, theirs)
        error = failure(HTTPTransport(KEY, api_base=base, ssl_context=ours))
        refusing.result()
    assert "CERTIFICATE_REQUIRED" in str(error)


def _refuse_handshake(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Over two buffers, so that what is said last is not lost with the connection."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    sock, _ = listener.accept()
    with sock:
        sock.settimeout(SECONDS)
        refused = False
        while data := sock.recv(65536):
            incoming.write(data)
            if refused:
                continue
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                refused = True
            sock.sendall(outgoing.read())


def test_the_authorities_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variables that a WebSocket looks at."""
    with ScriptedServer(model=Model(), tls=True) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))
        with HTTPTransport(KEY, api_base=server.url) as http_transport:
            http_transport.create_response(**ASK)


def test_a_connection_that_the_server_has_closed_is_replaced(server: ScriptedServer) -> None:
    """That it ended is seen before anything is sent."""
    server.connection(expect(), send(*answer("resp_1", "one")), eof())
    server.connection(expect(), send(*answer("resp_2", "two")))
    with transport(server) as http_transport:
        http_transport.create_response(**ASK)
        running = cast(_http_call.HttpCall, http_transport._running)
        until(running._exchange.release)
        until(lambda: _readable(http_transport))
        assert http_transport.create_response(**ASK).content == "two"


def _readable(http_transport: HTTPTransport) -> bool:
    """Whether the end of the connection at rest has arrived."""
    (line,) = http_transport._line._client._idle  # type: ignore[union-attr]
    (connection,) = line._pool.pool._kept
    return bool(select.select([connection.sock], [], [], 0)[0])


def test_a_connection_that_was_taken_and_not_used_is_closed(
    model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt may fall in between. urllib3 knows of all its pools, and must not keep ours."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with transport(model) as http_transport:
        http_transport.create_response(**ASK)
        with monkeypatch.context() as patch:
            patch.setattr("requests.PreparedRequest.prepare_body", interrupt)
            with pytest.raises(KeyboardInterrupt):
                http_transport.create_response(**ASK)
        gc.collect()
        assert model.connections[0].gone.wait(SECONDS)
        assert http_transport.create_response(**ASK, previous_response_id=None).content == "You said: hi."


@pytest.mark.parametrize(
    ("keep_alive", "seconds"),
    [("", 50), ("timeout=5", 4), ("timeout=5, max=100", 4), ("max=1, Timeout=3", 2), ("timeout=900", 50)],
)
def test_a_connection_is_not_used_for_longer_than_the_server_holds_it(
    keep_alive: str, seconds: float
) -> None:
    """Of a request that meets the end of its connection nobody knows whether it was run."""
    assert http._idle_seconds(keep_alive) == seconds


def test_an_old_connection_is_not_used_again(server: ScriptedServer) -> None:
    """The header says so."""
    for number in (1, 2):
        headers = {"Keep-Alive": "timeout=1"} if number == 1 else {}
        server.connection(expect(), begin_stream(headers), send(*answer(f"resp_{number}")))
    with transport(server) as http_transport:
        http_transport.create_response(**ASK)
        http_transport.create_response(**ASK)
    assert len(server.connections) == 2


def test_a_connection_that_grew_old_beneath_another_is_closed(server: ScriptedServer) -> None:
    """The one on top is taken first, and what the server has closed below it would be held for ever."""
    asked = expect_request("GET", "/resp_1")
    found = respond(200, {"Content-Type": "application/json"}, completed("resp_1")["response"])
    server.connection(asked, mark("first"), gate("first"), found, expect_gone())
    server.connection(asked, mark("second"), gate("second"), found, asked, found, expect_gone())
    with transport(server) as http_transport:
        waiting = []
        for name in ("first", "second"):
            waiting.append(Task(http_transport.retrieve, "resp_1"))
            server.wait_for(name)
        for name, task in zip(("first", "second"), waiting, strict=True):
            server.open(name)
            task.result()
        old, _ = http_transport._line._client._idle  # type: ignore[union-attr]
        old._usable_until = 0.0
        http_transport.retrieve("resp_1")
        assert server.connections[0].gone.wait(SECONDS)
        assert not server.connections[1].gone.is_set()


def test_a_body_without_an_end_costs_the_connection(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is there with its terminal event; what may follow is not waited for."""
    monkeypatch.setattr(_http_call, "SETTLE_SECONDS", 0.01)
    server.connection(expect(), stream_bytes(event_stream(*answer("resp_1", "one"))), expect_gone())
    server.connection(expect(), send(*answer("resp_2", "two")))
    with transport(server) as http_transport:
        assert http_transport.create_response(**ASK).content == "one"
        assert http_transport.create_response(**ASK).content == "two"


def test_a_body_whose_end_comes_late_keeps_the_connection(server: ScriptedServer) -> None:
    """It is looked for again before the next request."""
    server.connection(
        expect(),
        stream_bytes(event_stream(*answer("resp_1", "one"))),
        gate("go"),
        end_stream(),
        expect(),
        send(*answer("resp_2", "two")),
    )
    with transport(server) as http_transport:
        assert http_transport.create_response(**ASK).content == "one"
        server.open("go")
        assert http_transport.create_response(**ASK).content == "two"
    assert len(server.connections) == 1


def test_what_follows_the_terminal_event_reaches_nobody(server: ScriptedServer) -> None:
    """Events of a response that is over are no events of the next."""
    late = [delta("late"), error_event()]
    server.connection(
        expect(), stream_bytes(event_stream(*answer("resp_1", "one"), *late)), end_stream(), serve(Model(), 1)
    )
    with transport(server) as http_transport:
        assert http_transport.create_response(**ASK).content == "one"
        assert http_transport.create_response(**ASK, previous_response_id=None).content == "You said: hi."


def test_no_cookie_is_kept_and_no_netrc_is_read(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The key is ours, and what one answer sets no request brings back."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.connection(
        expect(),
        begin_stream({"Set-Cookie": "a=b; Path=/"}),
        send(*answer("resp_1")),
        expect(),
        send(*answer("resp_2")),
    )
    with transport(server) as http_transport:
        http_transport.create_response(**ASK)
        http_transport.create_response(**ASK)
    for request in server.http_requests:
        assert "cookie" not in request.headers
        assert request.headers["authorization"] == f"Bearer {KEY}"


def test_each_header_is_sent_once(model: ScriptedServer) -> None:
    """The caller's replace ours."""
    headers = {"user-agent": "mine", "Accept": "a/b", "X-One": "1", "OpenAI-Project": "p"}
    with transport(model, headers=headers, project_id="q", organization_id="o") as http_transport:
        http_transport.create_response(**ASK)
    sent = model.http_requests[0].headers
    assert sent["user-agent"] == "mine"
    assert sent["accept"] == "a/b"
    assert (sent["x-one"], sent["openai-project"], sent["openai-organization"]) == ("1", "p", "o")
    assert sent["content-type"] == "application/json"
    assert sent["host"] == f"127.0.0.1:{model.port}"
    assert sent["accept-encoding"] == "identity"


def test_the_key_is_asked_for_each_time(model: ScriptedServer) -> None:
    """It may have been renewed."""
    keys = iter(["key-of-the-first-call", "key-of-the-second-call"])
    with HTTPTransport(lambda: next(keys), api_base=model.url) as http_transport:
        for _ in range(2):
            http_transport.create_response(**ASK)
    sent = [request.headers["authorization"] for request in model.http_requests]
    assert sent == ["Bearer key-of-the-first-call", "Bearer key-of-the-second-call"]


def test_what_changes_between_two_requests_is_sent_as_it_is_then(model: ScriptedServer) -> None:
    """On one connection: the key, the body and its length, a request without one, and the body again."""
    keys = iter(["key-one", "key-two", "key-three"])
    with HTTPTransport(lambda: next(keys), api_base=model.url) as http_transport:
        first = http_transport.create_response(model="m", input="short")
        http_transport.retrieve(str(first.response_id))
        http_transport.create_response(model="m", input="longer than the one before it")
    asked, looked, last = model.http_requests
    assert {request.connection for request in model.http_requests} == {1}
    keys_sent = [request.headers["authorization"] for request in (asked, looked, last)]
    assert keys_sent == ["Bearer key-one", "Bearer key-two", "Bearer key-three"]
    assert [request.method for request in (asked, looked, last)] == ["POST", "GET", "POST"]
    assert "content-length" not in looked.headers
    for request in (asked, last):
        assert request.headers["content-length"] == str(len(request.body))


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is given to the socket of an exchange, write by write."""
    found: list[bytes] = []
    send = http_wire.Wire._send

    def noted(wire: http_wire.Wire, view: memoryview) -> None:
        if view:
            found.append(bytes(view))
        send(wire, view)

    monkeypatch.setattr(http_wire.Wire, "_send", noted)
    return found


@pytest.mark.parametrize(("size", "count"), [(10, 1), (15_000, 1), (20_000, 2), (6_000_000, 2)])
def test_a_request_leaves_in_one_piece_and_a_large_one_whole(
    model: ScriptedServer, writes: list[bytes], size: int, count: int
) -> None:
    with transport(model) as http_transport:
        for _ in range(2):  # on a new connection, and on the one that is kept
            writes.clear()
            http_transport.create_response(model="m", input="x" * size)
            assert len(writes) == count
            head, _, body = b"".join(writes).partition(b"\r\n\r\n")
            assert f"Content-Length: {len(body)}".encode() in head
            assert json.loads(body)["input"] == "x" * size


def test_a_request_without_a_body_leaves_at_once(model: ScriptedServer, writes: list[bytes]) -> None:
    with transport(model) as http_transport:
        response_id = str(http_transport.create_response(**ASK).response_id)
        writes.clear()
        http_transport.retrieve(response_id)
    (head,) = writes
    assert head.startswith(b"GET ")
    assert head.endswith(b"\r\n\r\n")


def test_an_interrupt_between_head_and_body_leaves_nothing_behind(
    model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had waited of the request left is not the beginning of the next one."""
    send = http_wire.Wire.send

    def interrupted(wire: http_wire.Wire, data: bytes) -> None:
        send(wire, data)
        raise KeyboardInterrupt

    with transport(model) as http_transport:
        http_transport.create_response(**ASK)
        with monkeypatch.context() as patch:
            patch.setattr(http_wire.Wire, "send", interrupted)
            with pytest.raises(KeyboardInterrupt):
                http_transport.create_response(model="m", input="never sent")
        http_transport.create_response(model="m", input="sent")
    assert [request.json["input"] for request in model.http_requests] == [ASK["input"], "sent"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_named_and_not_followed(server: ScriptedServer, status: int) -> None:
    """Neither the key nor the request goes elsewhere."""
    server.connection(refuse(status, {"Location": "https://evil.example/x"}))
    with transport(server) as http_transport:
        error = failure(http_transport)
    assert isinstance(error, ResponseError)
    assert (error.status, error.delivery) == (status, Delivery.REJECTED)
    assert "redirects to evil.example" in str(error)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_proxy_is_asked_for_a_tunnel(monkeypatch: pytest.MonkeyPatch, tls: bool, way: str) -> None:
    """By the rule of a WebSocket, credentials included; they go to nobody else."""
    with ScriptedServer(tls=tls) as server:
        server.connection(connect_reply(b"HTTP/1.1 200 OK\r\n\r\n"), expect(), send(*answer("resp_1", "one")))
        proxy = f"http://user:pa%20ss@127.0.0.1:{server.port}"
        options: dict[str, Any] = {"proxy": proxy} if way == "option" else {}
        if way == "environment":
            monkeypatch.setenv("https_proxy" if tls else "http_proxy", proxy)
            monkeypatch.setenv("no_proxy", "other.example")
        base = f"{'https' if tls else 'http'}://127.0.0.1:9/v1"
        with HTTPTransport(KEY, api_base=base, ssl_context=server.ssl_context, **options) as http_transport:
            assert http_transport.create_response(**ASK).content == "one"
        head = server.log[0].text
        assert head.startswith("CONNECT 127.0.0.1:9 HTTP/1.1\r\n")
        assert "Proxy-Authorization: Basic dXNlcjpwYSBzcw==" in head
        assert KEY not in head
        assert "proxy-authorization" not in server.http_requests[0].headers


def test_a_proxy_that_refuses_is_the_end(server: ScriptedServer) -> None:
    """It is never passed by."""
    server.connection(connect_reply(b"HTTP/1.1 407 No\r\n\r\n"), expect_gone())
    with HTTPTransport(
        KEY, api_base=BASE, proxy=f"http://127.0.0.1:{server.port}", timeouts=Timeouts(connect=5)
    ) as http_transport:
        error = failure(http_transport)
    assert type(error) is ConnectionError
    assert "refused the tunnel: 407" in str(error)
    assert error.delivery is Delivery.NOT_SENT


# -- what goes wrong, and how far the request had come


def test_who_is_not_there(server: ScriptedServer) -> None:
    """Nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(HTTPTransport(KEY, api_base=f"http://127.0.0.1:{port}"))
    assert type(error) is ConnectionError
    assert f"could not connect to 127.0.0.1:{port}" in str(error)
    assert error.delivery is Delivery.NOT_SENT
    assert isinstance(error.__cause__, OSError)


@pytest.mark.parametrize(
    ("clock", "timeouts"),
    [("connect", Timeouts(connect=0.2)), ("total", Timeouts(total=0.2))],
)
def test_who_does_not_answer_the_handshake(clock: str, timeouts: Timeouts) -> None:
    """The clock of connecting, or that of the whole call."""
    with ScriptedServer(tls=True) as server:
        server.connection(hang(read=False))
        with transport(server, timeouts=timeouts) as http_transport:
            error = failure(http_transport)
        assert error.delivery is Delivery.NOT_SENT
        if clock == "total":
            assert isinstance(error, ResponseTimeout)
            assert (error.clock, error.seconds) == ("total", 0.2)
        else:
            assert type(error) is ConnectionError
            assert "within 0.2 seconds" in str(error)


@pytest.mark.parametrize("verb", ["create_response", "retrieve"])
def test_a_request_does_not_leave_when_its_time_is_over(model: ScriptedServer, verb: str) -> None:
    """Here the function that gives the key has taken it, on a connection that is there."""
    total = 1.0
    keys = iter([lambda: None, lambda: threading.Event().wait(total)])

    def key() -> str:
        next(keys)()
        return KEY

    with HTTPTransport(key, api_base=model.url, timeouts=Timeouts(total=total)) as http_transport:
        http_transport.create_response(**ASK)
        error = failure(http_transport) if verb == "create_response" else _retrieved(http_transport)
    assert isinstance(error, ResponseTimeout)
    assert (error.clock, error.seconds, error.delivery) == ("total", total, Delivery.NOT_SENT)
    assert len(model.http_requests) == 1


def _retrieved(http_transport: HTTPTransport) -> ResponsesWSError:
    with pytest.raises(ResponsesWSError) as caught:
        http_transport.retrieve("resp_1")
    return caught.value


def test_a_look_up_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """No system call can be told to stop it, so it is not waited for."""
    let_go = threading.Event()
    resolve = socket.getaddrinfo

    def stuck(*arguments: Any, **named: Any) -> Any:
        let_go.wait(SECONDS)
        return resolve("127.0.0.1", 9)

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    try:
        error = failure(HTTPTransport(KEY, api_base="http://localhost", timeouts=Timeouts(connect=0.1)))
    finally:
        let_go.set()
    assert "could not connect within 0.1 seconds" in str(error)
    assert error.delivery is Delivery.NOT_SENT


def test_a_thread_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent. Its text names the option of uWSGI where threads are made and never run."""

    def refuse_start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse_start)
    error = failure(HTTPTransport(KEY, api_base="http://127.0.0.1:9"))
    assert type(error) is ConnectionError
    assert "could not be started: can't start new thread" in str(error)
    assert error.delivery is Delivery.NOT_SENT
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    monkeypatch.setattr(dialling, "THREAD_START_SECONDS", 0.1)
    assert "--enable-threads" in str(failure(HTTPTransport(KEY, api_base="http://127.0.0.1:9")))


@pytest.mark.parametrize("end", [eof(), reset()], ids=["fin", "rst"])
@pytest.mark.parametrize("kept", [False, True])
def test_an_end_before_the_answer_leaves_the_delivery_unknown(
    server: ScriptedServer, end: Any, kept: bool
) -> None:
    """On a kept connection too: what the server has read of the request, it does not say."""
    before = [expect(), send(*answer("resp_0", "zero"))] if kept else []
    server.connection(*before, expect(), end)
    with transport(server) as http_transport:
        if kept:
            http_transport.create_response(**ASK)
        error = failure(http_transport)
    assert type(error) is ConnectionLost
    assert (error.delivery, error.close_code, error.partial) == (Delivery.UNKNOWN, None, None)
    assert len(server.requests) == 1 + kept


def test_an_end_inside_the_request_is_not_sent() -> None:
    """Half a request is never run."""
    with ScriptedServer(receive_buffer=4096) as server:
        server.connection(read_head(1000), reset())
        with transport(server) as http_transport:
            error = failure(http_transport, input="x" * 20_000_000)
        assert type(error) is ConnectionLost
        assert error.delivery is Delivery.NOT_SENT


def test_an_answer_inside_the_request_is_the_answer() -> None:
    """What the server says before it hangs up is worth more than that it did."""
    refused = b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
    with ScriptedServer(receive_buffer=4096) as server:
        server.connection(read_head(1000), raw(refused), eof(), expect_gone())
        with transport(server) as http_transport:
            error = failure(http_transport, input="x" * 6_000_000)
        assert isinstance(error, BadRequestError)
        assert (error.status, error.delivery) == (413, Delivery.REJECTED)


def test_a_request_without_progress_is_given_up() -> None:
    """The send clock counts seconds without a byte."""
    with ScriptedServer(receive_buffer=4096) as server:
        server.connection(read_head(1000), gate("never"))
        with transport(server, timeouts=Timeouts(send=0.1)) as http_transport:
            error = failure(http_transport, input="x" * 20_000_000)
        server.open("never")
        assert isinstance(error, ResponseTimeout)
        assert (error.clock, error.seconds, error.delivery) == ("send", 0.1, Delivery.NOT_SENT)


@pytest.mark.parametrize(
    ("option", "clock"),
    [({"response_timeout": 0.7}, "response_timeout"), ({"timeouts": Timeouts(total=0.7)}, "total")],
)
@pytest.mark.parametrize("position", ["no head", "no event", "mid answer", "comments"])
def test_a_clock_that_runs_out(server: ScriptedServer, option: Any, clock: str, position: str) -> None:
    """Seconds without an event, or of the whole call. Comments are no events.

    There are enough of them for what comes before, on a busy machine too.
    """
    steps = {
        "no head": [],
        "no event": [begin_stream()],
        "mid answer": [send(*BEGUN)],
        "comments": [send(*BEGUN), *[ping()] * 3],
    }[position]
    server.connection(expect(), *steps, gate("over"), optional(*[ping()] * 3), expect_gone())
    with transport(server, **option) as http_transport:
        error = failure(http_transport)
        server.open("over")
    assert isinstance(error, ResponseTimeout)
    assert (error.clock, error.seconds) == (clock, 0.7)
    started = position in ("mid answer", "comments")
    assert error.delivery is (Delivery.STARTED if started else Delivery.UNKNOWN)
    assert (error.partial is not None) == started


def test_what_had_come_is_in_partial_when_the_caller_was_too_slow(server: ScriptedServer) -> None:
    """It is shown to the caller, too, as over a WebSocket."""
    server.connection(expect(), send(*BEGUN), gate("more"), send(delta("two")), mark("sent"), expect_gone())
    with transport(server, timeouts=Timeouts(total=0.7)) as http_transport:
        stream = http_transport.stream(**ASK)
        pieces = stream.text
        assert next(pieces) == "one"
        server.open("more")
        server.wait_for("sent")
        until(lambda: stream._deadline.expired)
        assert next(pieces) == "two"
        with pytest.raises(ResponseTimeout) as caught:
            next(pieces)
    assert caught.value.clock == "total"
    assert caught.value.partial is not None
    assert caught.value.partial.content == "onetwo"


def test_comments_do_not_keep_a_response_alive(server: ScriptedServer) -> None:
    """However often they come."""
    over = threading.Event()

    def comment(connection: Any) -> None:
        while not over.is_set():
            connection.http.stream(b": ping\n\n")
            connection.wait(lambda: connection.over, 0.02)
            if connection.over:
                return

    server.connection(expect(), send(*BEGUN), run(comment), expect_gone())
    with transport(server, response_timeout=0.3) as http_transport:
        error = failure(http_transport)
        over.set()
    assert isinstance(error, ResponseTimeout)
    assert error.clock == "response_timeout"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\x02\x02\x28",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    ],
    ids=["tls", "ssh", "status", "long line", "many headers"],
)
def test_what_is_no_http(server: ScriptedServer, data: bytes) -> None:
    """A protocol error, without a word of what came."""
    server.connection(raw_handshake(data), eof())
    with transport(server) as http_transport:
        error = failure(http_transport)
    assert type(error) is ProtocolError
    assert "no HTTP" in str(error)
    assert error.delivery is Delivery.UNKNOWN


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"data: nonsense\n\n", "is no JSON"),
        (b'data: {"type": "\xff"}\n\n', "is no UTF-8"),
        (b"data: [1]\n\n", "is JSON but no object"),
    ],
)
def test_an_event_that_is_none(server: ScriptedServer, body: bytes, told: str) -> None:
    """What came before it is kept."""
    server.connection(expect(), send(*BEGUN), stream_bytes(body), expect_gone())
    with transport(server) as http_transport:
        error = failure(http_transport)
    assert type(error) is ProtocolError
    assert told in str(error)
    assert error.partial is not None
    assert error.partial.content == "one"


@pytest.mark.parametrize(
    "last",
    [
        [end_stream()],
        [stream_bytes(b"data: [DONE]\n\n"), expect_gone()],
        [stream_bytes(b"data: {"), end_stream()],
        [stream_bytes(b'data: {"type": "response.completed"}\n'), end_stream()],
        [raw(b"zz\r\n"), expect_gone()],
        [raw(b"5\r\nab"), eof()],
        [raw(b"5"), eof()],
    ],
    ids=["end", "done", "half", "no empty line", "no chunk", "half chunk", "half length"],
)
def test_a_stream_that_ends_before_its_response(server: ScriptedServer, last: Any) -> None:
    """However it ends, it is lost: there is no success without the terminal event."""
    server.connection(expect(), send(*BEGUN), *last)
    with transport(server) as http_transport:
        error = failure(http_transport)
    assert type(error) is ConnectionLost
    assert error.delivery is Delivery.STARTED
    assert error.partial is not None
    assert error.partial.content == "one"


@pytest.mark.parametrize("chunked", [True, False])
def test_a_stream_may_end_with_done(server: ScriptedServer, chunked: bool) -> None:
    """And be chunked, or end with its connection."""
    server.connection(
        expect(),
        begin_stream(chunked=chunked),
        stream_bytes(event_stream(*answer("resp_1", "one")) + b"data: [DONE]\n\n"),
        end_stream(),
    )
    with transport(server) as http_transport:
        assert http_transport.create_response(**ASK).content == "one"


def test_a_stream_of_known_length(server: ScriptedServer) -> None:
    """Some servers make it whole first; the connection is kept."""
    for number in (1, 2):
        body = event_stream(*answer(f"resp_{number}", "one"))
        if number == 1:
            steps = [respond(200, {"Content-Type": "text/event-stream"}, body)]
        else:
            steps += [respond(200, {"Content-Type": "text/event-stream"}, body)]
    server.connection(*steps)
    with transport(server) as http_transport:
        assert [http_transport.create_response(**ASK).content for _ in range(2)] == ["one", "one"]


@pytest.mark.parametrize("limit", [1000, None])
def test_an_event_over_the_limit(server: ScriptedServer, limit: int | None) -> None:
    """``max_message_bytes`` counts one event."""
    server.connection(expect(), send(*BEGUN, delta("x" * 5000), completed("resp_1")), expect_gone())
    with transport(server, limits=Limits(max_message_bytes=limit)) as http_transport:
        if limit is None:
            assert len(http_transport.create_response(**ASK).content) == 5003
        else:
            error = failure(http_transport)
            assert type(error) is PayloadTooLarge
            assert error.delivery is Delivery.STARTED


@pytest.mark.parametrize("tls", [False, True])
def test_any_cut_of_the_bytes_gives_the_same(tls: bool) -> None:
    """Each byte of the answer, chunk heads included, on its own, while the reader looks without waiting."""
    body = event_stream(*answer("resp_1", "ü€", "two"))
    chunks = b"".join(
        b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in (body[:50], body[50:51], body[51:])
    )
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    answered = head + chunks + b"0\r\nTrailer: x\r\n\r\n"
    with ScriptedServer(tls=tls) as server:
        server.connection(
            raw_handshake(answered[:1]),
            *[raw(answered[place : place + 1]) for place in range(1, len(answered))],
            *[expect(), send(*answer("resp_2", "next"))],
        )
        with transport(server) as http_transport:
            stream = http_transport.stream(**ASK)
            source = stream._source
            pull = source.next
            source.next = lambda seconds: pull(0)  # type: ignore[method-assign]
            assert stream.message.content == "ü€two"
            until(http_transport._running._exchange.release)  # type: ignore[union-attr]
            assert http_transport.create_response(**ASK).content == "next"
        assert len(server.connections) == 1


# -- one conversation


def test_one_response_runs_at_a_time(server: ScriptedServer) -> None:
    """A second one is refused and harms nothing; after the first it is welcome."""
    server.connection(expect(), send(*BEGUN), gate("go"), send(completed("resp_1")), serve(Model(), 1))
    with transport(server) as http_transport:
        stream = http_transport.stream(**ASK)
        assert http_transport.in_flight
        with pytest.raises(ConcurrencyError):
            http_transport.create_response(**ASK)
        server.open("go")
        assert stream.message.content == "one"
        assert not http_transport.in_flight
        assert http_transport.create_response(**ASK, previous_response_id=None).content == "You said: hi."


def test_responses_continue_the_last_one(model: ScriptedServer) -> None:
    """By themselves, unless told otherwise."""
    with transport(model) as http_transport:
        first = http_transport.create_response(model="m", input="one")
        assert http_transport.last_response_id == first.response_id
        assert http_transport.create_response(model="m", input="two").content.endswith("Before that: one.")
        assert (
            "Before"
            not in http_transport.create_response(model="m", input="x", previous_response_id=None).content
        )
        http_transport.clear_previous_response_id()
        assert http_transport.last_response_id is None
        assert "Before" not in http_transport.create_response(model="m", input="y").content
        again = http_transport.create_response(model="m", input="z", previous_response_id=first.response_id)
        assert again.content == "You said: z. Before that: one."


def test_what_is_not_stored_is_not_continued(model: ScriptedServer) -> None:
    """It would be gone before the next request."""
    with transport(model) as http_transport:
        http_transport.create_response(model="m", input="one")
        assert "one" in http_transport.create_response(model="m", input="two", store=False).content
        assert http_transport.last_response_id is None
        assert http_transport.create_response(model="m", input="three").content == "You said: three."


def test_a_conversation_holds_its_history_itself(model: ScriptedServer) -> None:
    """So nothing is chained to it."""
    with transport(model) as http_transport:
        http_transport.create_response(**ASK)
        http_transport.create_response(**ASK, conversation="conv_1")
    assert "previous_response_id" not in model.requests[1]


def test_call_does_not_chain_and_is_continued(model: ScriptedServer) -> None:
    """As on a socket."""
    with transport(model) as http_transport:
        http_transport.create_response(**ASK)
        message = http_transport.call(dict(ASK))
        assert "previous_response_id" not in model.requests[1]
        assert http_transport.last_response_id == message.response_id


# -- leaving


def test_leaving_early_closes_the_connection(server: ScriptedServer) -> None:
    """At once, and the next response begins on another."""
    server.connection(expect(), send(*BEGUN), expect_gone())
    server.connection(expect(), send(*answer("resp_2", "two")))
    with transport(server) as http_transport:
        with http_transport.stream(**ASK) as stream:
            assert read_deltas(iter(stream), 1) == ["one"]
        assert server.connections[0].gone.wait(SECONDS)
        assert not http_transport.in_flight
        assert http_transport.last_response_id is None
        assert http_transport.create_response(**ASK).content == "two"


def test_forgetting_everything_closes_everything(server: ScriptedServer) -> None:
    """Without a word of Python's about sockets that were not closed."""
    server.connection(expect(), send(*answer("resp_1")), expect_gone())
    server.connection(expect(), send(*BEGUN), expect_gone())
    kept = transport(server)
    kept.create_response(**ASK)
    left = transport(server).stream(**ASK)
    next(iter(left))
    del kept, left
    gc.collect()
    for record in server.connections:
        assert record.gone.wait(SECONDS)


def test_close_from_another_thread_wakes_who_waits(server: ScriptedServer) -> None:
    """The response is lost; the object can be used again."""
    server.connection(expect(), send(*BEGUN), expect_gone())
    server.connection(expect(), send(*answer("resp_2", "two")))
    http_transport = transport(server)
    stream = http_transport.stream(**ASK)
    chunks = iter(stream)
    read_deltas(chunks, 1)
    task = Task(lambda: next(chunks))
    http_transport.close()
    error = task.error()
    assert type(error) is ConnectionLost
    assert error.delivery is Delivery.STARTED
    assert http_transport.create_response(**ASK).content == "two"
    http_transport.close()
    http_transport.close()


def test_close_while_the_head_is_waited_for(server: ScriptedServer) -> None:
    """Nobody has a stream yet that could be cancelled."""
    server.connection(expect(), mark("asked"), expect_gone())
    http_transport = transport(server)
    task = Task(lambda: http_transport.create_response(**ASK))
    server.wait_for("asked")
    http_transport.close()
    error = task.error()
    assert type(error) is ConnectionLost
    assert error.delivery is Delivery.UNKNOWN


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_the_parents_connection_alone(server: ScriptedServer) -> None:
    """The child opens its own, and whatever it does to what it inherited, the parent goes on."""
    server.connection(
        expect(), send(*answer("resp_1")), expect(), send(*BEGUN), gate("go"), send(completed("resp_2"))
    )
    server.connection(expect(input="child"), send(*answer("resp_3", "three")))
    with transport(server) as http_transport:
        http_transport.create_response(**ASK)
        stream = http_transport.stream(**ASK)
        assert read_deltas(iter_once(stream), 1) == ["one"]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                stream.close()
                said = http_transport.create_response(model="m", input="child", previous_response_id=None)
                status = 0 if said.content == "three" else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        server.open("go")
        assert stream.message.content == "one"


def iter_once(stream: Any) -> Iterator[Any]:
    """A loop over the stream that is kept, so that it is not left."""
    chunks = iter(stream)
    KEPT.append(chunks)
    return chunks


KEPT: list[Any] = []


# -- interim answers


HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


def test_an_interim_answer_is_not_the_answer(server: ScriptedServer) -> None:
    """Taken for it, it would leave the answer to the next request on the connection."""
    server.connection(
        expect(input="one"),
        raw(HINT + b"HTTP/1.1 100 Continue\r\n\r\n" + HINT),
        send(*answer("resp_1", "one")),
        expect(input="two"),
        send(*answer("resp_2", "two")),
    )
    with transport(server) as http_transport:
        for text in ("one", "two"):
            assert http_transport.create_response(model="m", input=text).content == text


@pytest.mark.parametrize("status", [b"100 Continue", b"103 Early Hints"])
def test_interim_answers_without_end_are_no_answer(server: ScriptedServer, status: bytes) -> None:
    """They are given up, however fast they come."""
    server.connection(expect(), optional(raw(b"HTTP/1.1 %b\r\n\r\n" % status * 100_000)), expect_gone())
    with transport(server) as http_transport:
        error = failure(http_transport)
    assert isinstance(error, ProtocolError)
    assert error.delivery is Delivery.UNKNOWN
