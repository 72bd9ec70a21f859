"""A key, a secret header and a proxy's password are shown nowhere; a prompt is in no log, repr or error."""

from __future__ import annotations

import base64
import copy
import errno
import gc
import io
import json
import logging
import pickle
import socket
import ssl
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import pytest
import websocket as websocket_client
from shell import answer, created, delta

import responses_ws
from responses_ws import (
    ConnectionLost,
    Delivery,
    Endpoint,
    Limits,
    Message,
    ResponsesWSError,
    Timeouts,
    WebSocket,
    errors,
)
from responses_ws.testing import (
    ScriptedConnector,
    ScriptedServer,
    close,
    connect_reply,
    delay,
    eof,
    expect,
    expect_gone,
    fragments,
    frame,
    gate,
    half_frame,
    hang,
    optional,
    ping,
    raw,
    raw_handshake,
    read_bytes,
    refuse,
    reset,
    send,
    send_binary,
)

KEY = "sk-sentinel/0123456789+abcdef"
HEADER = "header-sentinel/9876543210=="
USER = "proxy-user-sentinel"
PASSWORD = "proxy-password-sentinel"
PROMPT = "prompt-sentinel of the user"

NOBODY = "ws://127.0.0.1:1/v1"
CREDENTIALS = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
SECRETS = (KEY, HEADER, USER, PASSWORD, CREDENTIALS)
ECHO = f"we do not know '{KEY}' nor {HEADER}"
SHORT = Timeouts(connect=0.3, send=0.3, drain=0.05, close=0.05, total=10)


def forms(secret: str) -> Iterator[str]:
    """How a secret may look where it leaks."""
    yield secret
    yield secret.replace("/", "\\/")
    yield base64.b64encode(secret.encode()).decode().rstrip("=")
    yield repr(secret)[1:-1]


def assert_hidden(text: str, what: str, *secrets: str) -> None:
    for secret in secrets:
        for form in forms(secret):
            place = text.find(form)
            assert place < 0, f"{what} shows {form!r}: ...{text[max(0, place - 200) : place + 100]}..."


# -- everything that is written down


class Everything(logging.Handler):
    """Keeps every record that is logged anywhere, with its arguments; the server's library is not ours."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("websockets"):
            self.text += f"{self.format(record)} {record.args!r}\n"


@pytest.fixture
def logs() -> Iterator[Everything]:
    """All loggers at DEBUG, and websocket-client in its trace mode, which prints what it sends."""
    root, library = logging.getLogger(), logging.getLogger("websocket")
    handlers, level, kept = list(library.handlers), root.level, Everything()
    stream = io.StringIO()
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    websocket_client.enableTrace(True, handler=logging.StreamHandler(stream))
    yield kept
    websocket_client.enableTrace(False)
    library.handlers[:] = handlers
    root.removeHandler(kept)
    root.setLevel(level)
    assert_hidden(kept.text + stream.getvalue(), "the log", *SECRETS, PROMPT)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it and what it followed."""
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        found = left.pop()
        if found is not None and found not in seen:
            seen.append(found)
            left += [found.__cause__, found.__context__]
            yield found


def shown_by_a_crash_report(error: BaseException) -> str:
    """The traceback with the variables of every frame, but for those of this test, who knows the secrets."""
    lines = []
    for one in chain(error):
        report = traceback.TracebackException.from_exception(one, capture_locals=True)
        frames = [
            frame for frame in report.stack if Path(frame.filename).resolve() != Path(__file__).resolve()
        ]
        lines += [f"{frame.name} {frame.locals}" for frame in frames]
        lines += report.format_exception_only()
    return "\n".join(lines)


def assert_error_hides(error: BaseException) -> None:
    """What an error tells, and the values that travel with it."""
    for one in chain(error):
        told = f"{one!s} {one!r} {one.args!r} {vars(one)!r}"
        assert_hidden(told, f"{type(one).__name__}", *SECRETS, PROMPT)
    assert_hidden(shown_by_a_crash_report(error), "the traceback", *SECRETS)
    if isinstance(error, ResponsesWSError):
        assert_hidden(pickle.dumps(error).decode("latin-1"), "the pickle", *SECRETS, PROMPT)
        assert_hidden(repr(vars(copy.copy(error))), "the copy", *SECRETS, PROMPT)


def reachable(start: object) -> Iterator[object]:
    """Every object of the package that can be reached from this one."""
    seen: dict[int, object] = {}
    left = [start]
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, (type, ModuleType, FrameType, FunctionType)):
            continue
        seen[id(found)] = found
        home = type(found).__module__
        if home.startswith("responses_ws.testing"):
            continue
        if home.startswith("responses_ws"):
            yield found
        left += gc.get_referents(found)


def assert_objects_hide(ws: WebSocket) -> None:
    """The repr of the object and of all that it is made of."""
    for found in reachable(ws):
        assert_hidden(repr(found), f"a {type(found).__name__}", *SECRETS, PROMPT)
        fields = getattr(found, "__dict__", {})
        plain = {name: value for name, value in fields.items() if not callable(value)}
        assert_hidden(repr(plain), f"the fields of a {type(found).__name__}", *SECRETS, PROMPT)


# -- options


def make(**options: Any) -> WebSocket:
    """A WebSocket with every kind of secret; the options replace what is given here."""
    given: dict[str, Any] = {
        "api_base": "ws://127.0.0.1:1/v1",
        "headers": {"api-key": HEADER},
        "timeouts": SHORT,
    }
    return WebSocket(**({"api_key": KEY} | given | options))


BAD_OPTIONS: dict[str, dict[str, Any]] = {
    "a key with a line break in it": {"api_key": f"{KEY}\nX-Evil: 1"},
    "a key with a space in it": {"api_key": f"{KEY} {KEY}"},
    "a key beyond ASCII": {"api_key": f"{KEY}\u00e9"},
    "a key of bytes": {"api_key": KEY.encode()},
    "a key in a list": {"api_key": [KEY]},
    "a header with a line break": {"headers": {"api-key": f"{HEADER}\r\nX-Evil: 1"}},
    "a header beyond latin-1": {"headers": {"api-key": f"{HEADER}\u20ac"}},
    "a header of bytes": {"headers": {"api-key": HEADER.encode()}},
    "a header that is not the caller's": {"headers": {"Host": HEADER}},
    "a header with a bad name": {"headers": {"api key": HEADER}},
    "the same header twice": {"headers": {"api-key": HEADER, "API-KEY": HEADER}},
    "headers as one text": {"headers": f"api-key: {HEADER}"},
    "headers as pairs": {"headers": [("api-key", HEADER)]},
    "a proxy of bytes": {"proxy": f"http://{USER}:{PASSWORD}@127.0.0.1:1".encode()},
    "an insecure address": {"api_base": "ws://example.com/v1"},
    "a bad timeout": {"response_timeout": -1},
    "timeouts of a wrong kind": {"timeouts": 5},
    "limits of a wrong kind": {"limits": 5},
    "an endpoint of a wrong kind": {"endpoint": "x"},
    "a client_class of a wrong kind": {"client_class": 5},
    "an ssl_context of a wrong kind": {"ssl_context": 5},
    "an organization with a line break": {"organization_id": "a\r\nb"},
    "a project with a line break": {"project_id": "a\r\nb"},
}


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("options", BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_a_bad_option(options):
    """The error names the option; neither it nor a crash report shows what else was given."""
    proxy = f"http://{USER}:{PASSWORD}@127.0.0.1:1"
    with pytest.raises(responses_ws.ConfigurationError) as caught:
        make(**({"proxy": proxy} | options))
    assert_error_hides(caught.value)


BAD_ADDRESSES = {
    "a password": f"wss://{USER}:{PASSWORD}@example.com/v1",
    "no address": f"{PASSWORD}",
    "a bad port": f"wss://example.com:{PASSWORD}/v1",
    "a line break": f"wss://example.com/{PASSWORD}\n",
    "a fragment": f"wss://example.com/#{PASSWORD}",
    "a bad bracket": f"wss://[{PASSWORD}/",
}


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("name", ["api_base", "endpoint"])
@pytest.mark.parametrize("address", BAD_ADDRESSES.values(), ids=BAD_ADDRESSES)
def test_a_bad_address(address, name):
    """The error names the option without saying the address, in which people put passwords."""
    with pytest.raises(responses_ws.ConfigurationError) as caught:
        make(**{name: address if name == "api_base" else Endpoint(address)})
    assert_hidden("".join(traceback.format_exception(caught.value)), "the traceback", *SECRETS)
    assert_hidden(f"{caught.value!r} {vars(caught.value)}", "the error", *SECRETS)


@pytest.mark.usefixtures("logs")
def test_a_bad_key_in_the_environment(monkeypatch):
    """The same for what nobody passed."""
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(responses_ws.ConfigurationError) as caught:
        WebSocket()
    assert_error_hides(caught.value)


def raising() -> str:
    raise LookupError("the vault is closed")


KEY_FUNCTIONS: dict[str, Callable[[], Any]] = {
    "raises": raising,
    "returns a line break": lambda: f"{KEY}\n{KEY}",
    "returns bytes": KEY.encode,
    "returns None": lambda: None,
    "returns nothing": lambda: "",
}


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("function", KEY_FUNCTIONS.values(), ids=KEY_FUNCTIONS)
def test_a_bad_key_function(function):
    """Called at each connect, when it is too late to refuse it before."""
    ws = make(api_key=function)
    with pytest.raises((responses_ws.ConfigurationError, LookupError)) as caught:
        ws.connect()
    assert_error_hides(caught.value)
    assert_objects_hide(ws)


BAD_PROXIES = {
    "SOCKS 4": f"socks4://{USER}:{PASSWORD}@127.0.0.1:1",
    "SOCKS 5, nobody there": f"socks5h://{USER}:{PASSWORD}@127.0.0.1:1",
    "https": f"https://{USER}:{PASSWORD}@127.0.0.1:1",
    "a slash in the password": f"http://{USER}:{PASSWORD}/x@127.0.0.1:1",
    "a bad port": f"http://{USER}:{PASSWORD}@127.0.0.1:port",
    "a line break": f"http://{USER}:{PASSWORD}\n@127.0.0.1:1",
    "nobody there": f"http://{USER}:{PASSWORD}@127.0.0.1:1",
    "a bad bracket": f"http://{USER}:{PASSWORD}@[::1:1",
}


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("where", ["argument", "environment"])
@pytest.mark.parametrize("proxy", BAD_PROXIES.values(), ids=BAD_PROXIES)
def test_a_bad_proxy(proxy, where, monkeypatch):
    """A proxy that cannot be used, or is not there."""
    monkeypatch.delenv("no_proxy", raising=False)
    if where == "environment":
        monkeypatch.setenv("http_proxy", proxy)
    address = "ws://proxied.invalid/v1"
    options = {"proxy": proxy} if where == "argument" else {}
    ws = make(api_base=address, allow_insecure=True, **options)
    with pytest.raises(ResponsesWSError) as caught:
        ws.connect()
    assert_error_hides(caught.value)
    assert_objects_hide(ws)


# -- connecting


def refusals() -> Iterator[Any]:
    echo = {"error": {"message": ECHO, "code": "invalid_api_key", "type": KEY, "param": HEADER}}
    headers = {
        "X-Echo": KEY,
        "api-key": HEADER,
        "WWW-Authenticate": f"Bearer {KEY}",
        "Set-Cookie": f"k={KEY}",
    }
    for status in (400, 401, 403, 404, 426, 429, 500, 503):
        yield pytest.param(refuse(status, headers, echo), id=f"{status}")
    for framing in ("chunked", "close"):
        yield pytest.param(refuse(401, headers, echo, framing=framing), id=f"401 {framing}")
    yield pytest.param(refuse(403, headers, ECHO, reason=ECHO), id="a reason phrase")
    yield pytest.param(
        refuse(307, {"Location": f"wss://{KEY}:{KEY}@example.com/?key={KEY}"}), id="a redirect"
    )
    yield pytest.param(refuse(307, {"Location": f"wss://{KEY}.example.com/"}), id="a redirect to a host")


HANDSHAKES = {
    "garbage": f"{ECHO}\r\n\r\n",
    "garbage without an end": ECHO * 3000,
    "a wrong accept": f"HTTP/1.1 101 {KEY}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {HEADER}\r\nX-Echo: {KEY}\r\n\r\n",
    "a wrong status line": f"HTTP/1.1 {KEY}\r\n\r\n",
    "a header without a colon": f"HTTP/1.1 101 Switching\r\n{KEY}\r\n\r\n",
    "a subprotocol": f"HTTP/1.1 101 Switching\r\nSec-WebSocket-Protocol: {KEY}\r\n\r\n",
}


def fails(server: ScriptedServer, action: Callable[[WebSocket], object], **options: Any) -> BaseException:
    """Run ``action`` on a WebSocket with secrets; what it raises hides them, and so does all that is left."""
    context = {"ssl_context": server.ssl_context} if server.ssl_context else {}
    ws = make(**({"api_base": server.url} | context | options))
    try:
        with pytest.raises(ResponsesWSError) as caught:
            action(ws)
        assert_error_hides(caught.value)
        assert_objects_hide(ws)
    finally:
        ws.disconnect()
    return caught.value


def ask(ws: WebSocket) -> Message:
    return ws.connect().create_response(model="m", input=PROMPT)


@pytest.mark.usefixtures("logs")
class TestConnecting:
    """Every way in which no connection comes about."""

    @pytest.mark.parametrize("script", list(refusals()))
    def test_refused(self, script):
        """The service says the key back: in the body, in headers, in the reason."""
        with ScriptedServer() as server:
            server.connection(script)
            error = fails(server, ask)
        assert "*" in repr(vars(error)), "nothing was said back"

    @pytest.mark.parametrize("data", HANDSHAKES.values(), ids=HANDSHAKES)
    def test_no_handshake(self, data):
        """The answer to the upgrade is none."""
        with ScriptedServer() as server:
            server.connection(raw_handshake(data.encode()), eof())
            fails(server, ask)

    def test_nobody_there(self):
        """Connection refused."""
        ws = make()
        with pytest.raises(ResponsesWSError) as caught:
            ask(ws)
        assert_error_hides(caught.value)
        assert_objects_hide(ws)

    def test_no_such_host(self, monkeypatch):
        """The name is not known."""

        def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        ws = make(api_base="wss://nowhere.invalid/v1")
        with pytest.raises(ResponsesWSError) as caught:
            ask(ws)
        assert_error_hides(caught.value)

    def test_a_certificate_that_is_not_trusted(self):
        """TLS fails before anything was said."""
        with ScriptedServer(tls=True) as server:
            server.connection(expect_gone())
            fails(server, ask, ssl_context=ssl.create_default_context())

    def test_no_tls(self):
        """The other side does not speak it."""
        with ScriptedServer() as server:
            server.connection(expect_gone())
            fails(server, ask, api_base=server.url.replace("ws:", "wss:"))

    def test_no_answer(self):
        """The clock of connecting runs out."""
        with ScriptedServer() as server:
            server.connection(hang())
            fails(server, ask)

    @pytest.mark.parametrize("proxied", [False, True], ids=["the upgrade", "the request for a tunnel"])
    def test_a_request_that_cannot_be_sent(self, proxied, monkeypatch):
        """The server has gone when the key is to be written."""

        def refuse(*_: object) -> None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        monkeypatch.setattr(socket.socket, "sendall", refuse)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            place = f"127.0.0.1:{listener.getsockname()[1]}"
            proxy = {"proxy": f"http://{USER}:{PASSWORD}@{place}"} if proxied else {}
            ws = make(api_base="ws://localhost:1/v1" if proxied else f"ws://{place}/v1", **proxy)
            with pytest.raises(ResponsesWSError, match="Broken pipe") as caught:
                ws.connect()
        assert_error_hides(caught.value)
        assert_objects_hide(ws)

    @pytest.mark.parametrize("reply", ["status", "headers", "garbage", "then data"])
    def test_a_proxy_that_refuses(self, reply):
        """The proxy says its credentials back."""
        echo = f"{USER}:{PASSWORD} {CREDENTIALS}"
        answers = {
            "status": f"HTTP/1.1 407 no {echo}\r\n\r\n",
            "headers": f"HTTP/1.1 407 no\r\nX-Echo: {echo}\r\n\r\n{echo}",
            "garbage": f"{echo}\r\n\r\n",
            "then data": f"HTTP/1.1 200 ok\r\n\r\n{echo}",
        }
        with ScriptedServer() as server:
            server.connection(connect_reply(answers[reply].encode()), expect_gone())
            address = f"http://{USER}:{PASSWORD}@127.0.0.1:{server.port}"
            fails(server, ask, api_base="ws://localhost:1/v1", proxy=address)


# -- answering

CREATED = send(created("resp_1"))
WRAPPED = {
    "type": "error",
    "status": 400,
    "error": {
        "message": ECHO,
        "code": KEY,
        "type": HEADER,
        "param": KEY,
        "headers": {"x-echo": KEY, KEY: HEADER},
    },
    KEY: {"deep": [KEY, {HEADER: KEY}]},
}
FLAT = {"type": "error", "message": ECHO, "code": KEY, "param": HEADER}
FAILED = {
    "type": "response.failed",
    "response": {
        "id": KEY,
        "status": "failed",
        "model": KEY,
        "error": {"code": "server_error", "message": ECHO},
    },
}
LIMIT = {"type": "error", "error": {"code": "websocket_connection_limit_reached", "message": ECHO}}
ESCAPED = json.dumps(WRAPPED).replace("/", "\\/")

WHOLE = frame(json.dumps(WRAPPED).encode())
HALF = WHOLE.index(KEY.encode()) + len(KEY) // 2

ENDS: dict[str, tuple[Any, ...]] = {
    "a wrapped error": (send(WRAPPED),),
    "a flat error": (send(FLAT),),
    "an error with escapes": (send(ESCAPED),),
    "an error cut in the middle of the key": (raw(WHOLE[:HALF]), delay(0.02), raw(WHOLE[HALF:])),
    "an error in mid-answer": (CREATED, send(delta(ECHO), WRAPPED)),
    "a failed response": (CREATED, send(FAILED)),
    "an error of the connection": (send(LIMIT),),
    "a close reason": (CREATED, send(delta(ECHO)), close(1011, ECHO[:120])),
    "a close reason at once": (close(1008, KEY),),
    "a bad close code": (close(5000, KEY),),
    "a reset": (CREATED, send(delta(ECHO)), reset()),
    "half a frame": (CREATED, half_frame(delta(ECHO)), eof()),
    "no JSON": (send(ECHO),),
    "half JSON": (send('{"type": "' + ECHO),),
    "no object": (send(json.dumps([ECHO])),),
    "too deep": (send("[" * 10_000 + f'"{KEY}"'),),
    "no UTF-8": (send(ECHO.encode() + b"\xff"),),
    "a binary message": (send_binary(ECHO.encode()),),
    "a reserved opcode": (raw(b"\x83\x1d" + KEY.encode()),),
    "a long ping": (raw(b"\x89\x7e\x00\xff" + KEY.encode() * 9),),
    "too large": (send(delta(KEY * 5000)),),
}


@pytest.mark.usefixtures("logs")
class TestAnswering:
    """Every way in which an answer fails, with the secrets in it."""

    @pytest.mark.parametrize("steps", ENDS.values(), ids=ENDS)
    def test_fails(self, steps):
        """The error says what the server said, without the secrets."""
        with ScriptedServer() as server:
            server.connection(expect(), *steps)
            fails(server, ask, limits=Limits(max_message_bytes=100_000))

    @pytest.mark.parametrize("size", [1, 7, 20])
    def test_fails_in_fragments(self, size):
        """However the message was cut."""
        with ScriptedServer() as server:
            server.connection(expect(), fragments(WRAPPED, size, between=[ping(KEY.encode())]), expect_gone())
            fails(server, ask)

    def test_too_much_at_once(self):
        """A consumer that is too slow."""
        with ScriptedServer() as server:
            flood = send(*[delta(KEY) for _ in range(2000)])
            server.connection(expect(), CREATED, optional(flood, gate("never")))

            def slowly(ws: WebSocket) -> None:
                stream = ws.connect().stream(model="m", input=PROMPT)
                while not ws._connection.lanes.running()[0].abandoned:
                    pass
                _ = stream.message

            fails(server, slowly, limits=Limits(max_buffered_bytes=50_000))

    def test_times_out(self):
        """The clocks of a response, with a part of it received."""
        with ScriptedServer() as server:
            server.connection(expect(), CREATED, send(delta(ECHO)), optional(gate("never")))
            fails(server, ask, response_timeout=0.05)

    def test_sending_stalls(self):
        """The clock of the send, with a prompt half out."""
        with ScriptedServer(receive_buffer=65536) as server:
            server.connection(read_bytes(100_000), optional(gate("never")))

            def send_much(ws: WebSocket) -> None:
                ws.connect().create_response(model="m", input=PROMPT * 40_000)

            fails(server, send_much)

    def test_sending_breaks(self):
        """The peer resets in mid-request, and again for the second attempt."""
        with ScriptedServer(receive_buffer=65536) as server:
            for _ in range(2):
                server.connection(read_bytes(100_000), reset())

            def send_much(ws: WebSocket) -> None:
                ws.connect().create_response(model="m", input=PROMPT * 40_000)

            fails(server, send_much)

    def test_cancelled(self):
        """From another thread, or before it was read."""
        with ScriptedServer() as server:
            server.connection(expect(), CREATED, send(delta(ECHO)), optional(gate("never")))

            def cancel(ws: WebSocket) -> None:
                stream = ws.connect().stream(model="m", input=PROMPT)
                pieces = stream.text
                next(pieces)
                stream.cancel()
                _ = stream.message

            fails(server, cancel)

    def test_busy(self):
        """A second response on a busy lane."""
        with ScriptedServer() as server:
            server.connection(expect(), optional(CREATED, gate("never")))

            def twice(ws: WebSocket) -> None:
                with ws.connect().stream(model="m", input=PROMPT):
                    ws.create_response(model="m", input=PROMPT)

            fails(server, twice)

    def test_an_answer_that_says_them_back(self):
        """What arrives is masked before it is an event: chunks, message and chain hold none of it."""
        events = answer(KEY, f"your key is {KEY}, ", f"your header {HEADER}")
        events[-1]["response"]["output"] = [
            {"type": "message", "content": [{"type": "output_text", "text": ECHO}]}
        ]
        with ScriptedServer() as server:
            server.connection(send({"type": KEY}), expect(), send(*events), expect_gone())
            with make(api_base=server.url) as ws:
                stream = ws.stream(model="m", input=PROMPT)
                chunks = list(stream)
                message = stream.message
                told = f"{message!r} {message.raw} {message.output} {stream!r} {ws!r} {ws.last_response_id}"
                told += "".join(f"{chunk!r} {chunk.raw}" for chunk in chunks)
                assert_hidden(told, "the answer", *SECRETS, PROMPT)
                assert_hidden(pickle.dumps(message).decode("latin-1"), "the pickle", *SECRETS)
                assert_objects_hide(ws)
                assert message.content == f"we do not know '{'*' * len(KEY)}' nor {'*' * len(HEADER)}"


# -- the caller's own faults

BAD_REQUESTS: dict[str, dict[str, Any]] = {
    "half a character": {"input": PROMPT + "\ud800"},
    "NaN": {"input": PROMPT, "metadata": {PROMPT: float("nan")}},
    "an object": {"input": PROMPT, "metadata": {"a": object()}},
    "an item that is no dict": {"input": [PROMPT]},
    "no text": {"input": PROMPT.encode()},
    "a cycle": {"input": [{"role": "user", "content": PROMPT}]},
    "too large": {"input": PROMPT * 1000},
    "too large items": {"input": [{"role": "user", "content": PROMPT * 1000}]},
    "a bad tool": {"input": PROMPT, "tools": PROMPT},
    "a bad previous id": {"input": PROMPT, "previous_response_id": [PROMPT]},
}
BAD_REQUESTS["a cycle"]["input"].append({"role": "user", "content": BAD_REQUESTS["a cycle"]["input"]})


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("request_", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request(request_):
    """The error says which field cannot be sent, not what was in it."""
    ws = make(client_class=ScriptedConnector(), limits=Limits(max_request_bytes=5000))
    with ws, pytest.raises(ResponsesWSError) as caught:
        ws.create_response(model="m", **request_)
    assert_error_hides(caught.value)


@pytest.mark.usefixtures("logs")
def test_not_connected():
    """A call before connect()."""
    with pytest.raises(ResponsesWSError) as caught:
        make().create_response(model="m", input=PROMPT)
    assert_error_hides(caught.value)


# -- pickling


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_websocket_cannot_be_copied(way):
    """It holds a key and a connection; a copy would have both."""
    with pytest.raises(TypeError, match="WebSocket"):
        way(make())


def tree(root: type[ResponsesWSError]) -> Iterator[type[ResponsesWSError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__.startswith("responses_ws"):  # other tests have classes of their own
            yield from tree(child)


def value(field: str) -> Any:
    """Something of the field's kind that no default is equal to."""
    values: Mapping[str, Any] = {
        "delivery": Delivery.STARTED,
        "partial": Message(content="part", output=[{"type": "message"}]),
        "headers": {"x-request-id": "req_1"},
        "raw": {"type": "error", "error": {"code": "c"}},
        "largest": (("input[0]", 7),),
        "status": 418,
        "close_code": 4000,
        "size": 7,
        "limit": 6,
        "seconds": 1.5,
        "retry_after": 2.5,
    }
    return values.get(field, f"the {field}")


TRAVELS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),  # noqa: S301
    "pickle, protocol 2": lambda error: pickle.loads(pickle.dumps(error, 2)),  # noqa: S301
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "with_context": errors.with_context,
    "bare": errors.bare,
}


@pytest.mark.parametrize("kind", sorted(set(tree(ResponsesWSError)), key=lambda kind: kind.__name__))
def test_every_error_travels(kind):
    """With its class, its message and all of its fields."""
    given = {field: value(field) for field in kind._fields}
    error = kind("what happened", **given)
    for way, travel in TRAVELS.items():
        found = travel(error)
        assert type(found) is kind, way
        assert found is not error, way
        assert (found.message, found.args) == ("what happened", ("what happened",)), way
        assert {field: getattr(found, field) for field in kind._fields} == given, way
        assert (str(found), repr(found)) == (str(error), repr(error)), way
        assert vars(found).keys() == vars(error).keys(), way


def test_the_whole_tree_is_public():
    """No error that can reach a caller is missing from the module."""
    assert {kind.__name__ for kind in tree(ResponsesWSError)} <= set(errors.__all__)


def test_every_field_is_carried():
    """A field that is set by a constructor and not listed would be lost on the way."""
    for kind in tree(ResponsesWSError):
        fields = set(vars(kind("x"))) - {"message"}
        assert fields == set(kind._fields), kind
    assert ConnectionLost("x").close_code is None
