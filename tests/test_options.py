"""The constructor: what it takes, what it refuses, and what of it a server sees on the upgrade."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import pytest
from shell import KEY, ask, join_readers, websocket
from websocket import _handshake

from responses_ws import (
    AuthenticationError,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Endpoint,
    HandshakeError,
    Limits,
    PermissionDeniedError,
    RateLimitError,
    ResponsesWSError,
    Timeouts,
    WebSocket,
    __version__,
)
from responses_ws.testing import Model, ScriptedConnector, ScriptedServer, accept, close, gate, refuse

LOOPBACK = "ws://127.0.0.1:1/v1"
SECONDS_THAT_CANNOT_BE = [
    *(0, 0.0, -1, -0.5, True, False, math.nan, math.inf, -math.inf, "5", [1]),
    *(1_000_001, 1e300, 10**400),
]
COUNTS_THAT_CANNOT_BE = [0, -1, True, False, math.nan, 1.5, "5", [1]]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(model=Model()) as server:
        yield server


def head_of(server: ScriptedServer, number: int = 1) -> str:
    """The upgrade request of a connection, as it came."""
    entries = (entry for entry in server.log if (entry.direction, entry.kind) == ("in", "handshake"))
    return next(entry.text for entry in entries if entry.connection == number)


# -- what is refused, and by which name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", 5),
        ("api_key", b"bytes"),
        ("api_key", "two words"),
        ("api_key", "two\nlines"),
        ("api_key", "sk-\u00e9"),
        ("api_key", " "),
        ("api_base", ""),
        ("api_base", 5),
        ("api_base", "ftp://127.0.0.1/v1"),
        ("api_base", "127.0.0.1/v1"),
        ("api_base", "https://"),
        ("api_base", "https://user:password@127.0.0.1/v1"),
        ("api_base", "https://127.0.0.1/v1#part"),
        ("api_base", "https://127.0.0.1:70000/v1"),
        ("api_base", "https://127.0.0.1/v 1"),
        ("organization_id", "org\r\nX-Evil: 1"),
        ("organization_id", 5),
        ("organization_id", 0),
        ("organization_id", False),
        ("project_id", "proj\x00"),
        ("project_id", b"proj"),
        ("project_id", b""),
        ("client_class", object()),
        ("client_class", "websocket"),
        ("headers", 5),
        ("headers", [("X-Name", "value")]),
        ("headers", {"X-Name": 5}),
        ("headers", {"X Name": "value"}),
        ("headers", {"": "value"}),
        ("headers", {5: "value"}),
        ("headers", {"X-Name": "a\r\nX-Evil: 1"}),
        ("headers", {"X-Name": "1", "x-name": "2"}),
        ("headers", {"Cookie": "a=b"}),
        ("headers", {"Origin": "http://127.0.0.1"}),
        ("headers", {"Host": "elsewhere"}),
        ("headers", {"Sec-WebSocket-Protocol": "x"}),
        ("timeouts", 5),
        ("timeouts", {"connect": 5}),
        ("limits", 5),
        ("limits", {"max_message_bytes": 5}),
        ("endpoint", "wss://127.0.0.1/v1/responses"),
        ("ssl_context", True),
        ("proxy", 5),
        ("allow_insecure", "no"),
        ("allow_insecure", 1),
        ("allow_insecure", None),
        *[("response_timeout", seconds) for seconds in SECONDS_THAT_CANNOT_BE],
    ],
)
def test_an_option_that_cannot_work_is_refused_by_name(name: str, value: Any) -> None:
    """The constructor raises ConfigurationError, and the message names the parameter."""
    with pytest.raises(ConfigurationError, match=name) as caught:
        WebSocket(**{"api_key": KEY, "api_base": LOOPBACK} | {name: value})
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", Timeouts.__dataclass_fields__)
@pytest.mark.parametrize("value", SECONDS_THAT_CANNOT_BE)
def test_a_timeout_is_a_positive_number_or_none(name: str, value: Any) -> None:
    """None means no limit; 0, negative numbers, booleans and what is no number are refused by name."""
    with pytest.raises(ConfigurationError, match=name):
        Timeouts(**{name: value})
    assert getattr(Timeouts(**{name: None}), name) is None
    assert getattr(Timeouts(**{name: 0.001}), name) == 0.001


@pytest.mark.parametrize("name", Limits.__dataclass_fields__)
@pytest.mark.parametrize("value", COUNTS_THAT_CANNOT_BE)
def test_a_limit_is_a_positive_number_of_bytes_or_none(name: str, value: Any) -> None:
    """None means no limit; everything but a positive whole number is refused by name."""
    with pytest.raises(ConfigurationError, match=name):
        Limits(**{name: value})
    assert getattr(Limits(**{name: None}), name) is None
    assert getattr(Limits(**{name: 1}), name) == 1


@pytest.mark.parametrize("value", SECONDS_THAT_CANNOT_BE)
def test_the_timeout_of_a_connect_is_a_positive_number_or_none(value: Any) -> None:
    """``connect`` and ``reconnect`` refuse the same values, and try nothing."""
    connector = ScriptedConnector()
    ws = WebSocket(KEY, client_class=connector)
    for connect in (ws.connect, ws.reconnect):
        with pytest.raises(ConfigurationError, match="timeout"):
            connect(timeout=value)
    assert connector.targets == []
    assert not ws.connected


def test_reconnect_with_a_bad_timeout_keeps_the_connection(server: ScriptedServer) -> None:
    """A refused argument changes nothing."""
    with websocket(server) as ws:
        with pytest.raises(ConfigurationError, match="timeout"):
            ws.reconnect(timeout=0)
        assert ws.connected
        assert ask(ws) == "You said: hi."
    assert len(server.connections) == 1


def test_a_key_goes_over_ws_to_this_machine_only() -> None:
    """In clear text a key leaves the machine only when that is allowed."""
    for options in ({"api_key": KEY}, {"api_key": lambda: KEY}, {"headers": {"Authorization": "Bearer x"}}):
        with pytest.raises(ConfigurationError, match="allow_insecure"):
            WebSocket(api_base="ws://198.51.100.1/v1", **options)
        WebSocket(api_base="ws://198.51.100.1/v1", allow_insecure=True, **options)
        WebSocket(api_base="wss://198.51.100.1/v1", **options)
    WebSocket("", api_base="ws://198.51.100.1/v1")


# -- the environment


@pytest.mark.parametrize("setting", [None, ""])
def test_without_a_key_there_is_no_websocket(setting: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key is refused at once. An empty string says that none is wanted; an empty variable does not."""
    if setting is not None:
        monkeypatch.setenv("OPENAI_API_KEY", setting)
    with pytest.raises(ConfigurationError, match=r"api_key.*OPENAI_API_KEY"):
        WebSocket(api_base=LOOPBACK)
    WebSocket("", api_base=LOOPBACK)
    WebSocket(api_base=LOOPBACK, headers={"Authorization": "Bearer x"})


def test_defaults_come_from_the_environment(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, address, organization and project are taken from OPENAI_ variables where they are not given."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-environment")
    with WebSocket() as ws:
        assert ask(ws) == "You said: hi."
    headers = server.connections[0].headers
    assert headers["authorization"] == "Bearer sk-environment"
    assert headers["openai-organization"] == "org-environment"
    assert headers["openai-project"] == "proj-environment"


def test_arguments_win_over_the_environment(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given is used."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "ws://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-environment")
    with WebSocket("sk-given", api_base=server.url, organization_id="org-given", project_id="proj-given"):
        pass
    headers = server.connections[0].headers
    assert headers["authorization"] == "Bearer sk-given"
    assert headers["openai-organization"] == "org-given"
    assert headers["openai-project"] == "proj-given"


def test_an_empty_string_sends_none_whatever_the_environment_says(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only None asks the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-environment")
    with WebSocket("", api_base=server.url, organization_id="", project_id=""):
        pass
    headers = server.connections[0].headers
    assert not {"authorization", "openai-organization", "openai-project"} & set(headers)


def test_without_an_address_it_is_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default address; an empty variable counts as one that is not set."""
    connector = ScriptedConnector()
    for setting in (None, ""):
        if setting is not None:
            monkeypatch.setenv("OPENAI_BASE_URL", setting)
        with WebSocket(KEY, client_class=connector, timeouts=Timeouts(close=0.01)):
            pass
    assert [target.url for target in connector.targets] == ["wss://api.openai.com/v1/responses"] * 2


# -- the key


def test_a_callable_key_is_called_at_each_connect(server: ScriptedServer) -> None:
    """Not at construction and not at a call: once for each connection that is opened."""
    keys = iter(["sk-first", "sk-second", "sk-third"])
    asked: list[str] = []

    def key() -> str:
        asked.append(next(keys))
        return asked[-1]

    ws = WebSocket(key, api_base=server.url)
    assert asked == []
    with ws:
        assert asked == ["sk-first"]
        ws.connect()
        ask(ws)
        assert asked == ["sk-first"]
        ws.reconnect()
        ask(ws)
    sent = [record.headers["authorization"] for record in server.connections]
    assert sent == ["Bearer sk-first", "Bearer sk-second"]


def test_a_callable_key_is_called_when_a_call_reconnects(server: ScriptedServer) -> None:
    """A connection that a call opens anew carries the key of that moment."""
    server.connection(gate("open"), close(1012))
    keys = iter(["sk-first", "sk-second"])
    with WebSocket(lambda: next(keys), api_base=server.url) as ws:
        server.open("open")
        join_readers()
        assert ask(ws) == "You said: hi."
    assert server.connections[1].headers["authorization"] == "Bearer sk-second"


@pytest.mark.parametrize("bad", [None, 5, b"bytes", "", "two words", "a\r\nX-Evil: 1"])
def test_a_callable_key_that_returns_no_key(server: ScriptedServer, bad: Any) -> None:
    """It is refused by name at the connect, nothing is opened, and a later connect may work."""
    keys = iter([bad, KEY])
    ws = WebSocket(lambda: next(keys), api_base=server.url)
    with pytest.raises(ConfigurationError, match="api_key"):
        ws.connect()
    assert not ws.connected
    assert server.connections == []
    with ws:
        assert ask(ws) == "You said: hi."


def test_what_a_callable_key_raises_comes_out(server: ScriptedServer) -> None:
    """The caller's own exception is not dressed up, and the object stays usable."""
    server.connection(gate("open"), close(1012))
    results: list[Any] = [KEY, LookupError("vault is sealed"), LookupError("vault is sealed"), KEY]

    def key() -> str:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    with WebSocket(key, api_base=server.url) as ws:
        server.open("open")
        join_readers()
        with pytest.raises(LookupError, match="sealed"):
            ask(ws)
        with pytest.raises(LookupError, match="sealed"):
            ws.connect()
        assert not ws.in_flight
        assert ask(ws) == "You said: hi."
    assert results == []


# -- what the server saw


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/v1", "/v1/responses"),
        ("/v1/", "/v1/responses"),
        ("", "/responses"),
        ("/", "/responses"),
        ("/openai/v1?api-version=2026-11-01", "/openai/v1/responses?api-version=2026-11-01"),
        ("?a=1&b=%2F%20c", "/responses?a=1&b=%2F%20c"),
        ("/v1/?q", "/v1/responses?q"),
        ("/a%2Fb/v1", "/a%2Fb/v1/responses"),
        ("/gateway/\u00e9/v1", "/gateway/%C3%A9/v1/responses"),
        ("/v1/responses", "/v1/responses/responses"),
    ],
)
def test_the_path_and_the_query(tls: bool, path: str, seen: str) -> None:
    """``/responses`` ends the path of the base, its query is kept, and http counts as ws."""
    with ScriptedServer(tls=tls, model=Model()) as server:
        for scheme in ("wss", "https") if tls else ("ws", "http"):
            base = f"{scheme}://127.0.0.1:{server.port}{path}"
            with WebSocket(KEY, api_base=base, ssl_context=server.ssl_context) as ws:
                assert ask(ws) == "You said: hi."
        assert [record.path for record in server.connections] == [seen, seen]
        assert head_of(server).startswith(f"GET {seen} HTTP/1.1\r\nUpgrade: websocket\r\n")
        assert server.connections[0].headers["host"] == f"127.0.0.1:{server.port}"


def test_the_headers_of_the_upgrade(server: ScriptedServer) -> None:
    """Nothing is sent that was not asked for: no cookie, no origin, no beta, no extension, no subprotocol."""
    with websocket(server):
        pass
    headers = server.connections[0].headers
    assert set(headers) == {
        "authorization",
        "connection",
        "host",
        "sec-websocket-key",
        "sec-websocket-version",
        "upgrade",
        "user-agent",
    }
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["user-agent"].startswith(f"responses_ws/{__version__} python/")


def test_extra_headers_are_added_and_replace_ours(server: ScriptedServer) -> None:
    """Of the same name, in any case, the caller's counts."""
    extra = {"X-Extra": "1", "user-agent": "mine", "OPENAI-project": "proj-mine", "OpenAI-Beta": "asked=1"}
    with websocket(server, headers=extra, organization_id="org-1", project_id="proj-1"):
        pass
    headers = server.connections[0].headers
    assert headers["x-extra"] == "1"
    assert headers["user-agent"] == "mine"
    assert headers["openai-organization"] == "org-1"
    assert headers["openai-project"] == "proj-mine"
    assert headers["openai-beta"] == "asked=1"


def test_headers_are_taken_as_they_were_at_construction(server: ScriptedServer) -> None:
    """A mapping that is changed afterwards changes nothing."""
    extra = {"X-Extra": "1"}
    ws = websocket(server, headers=extra)
    extra["X-Extra"] = "2\r\nX-Evil: 1"
    extra["Cookie"] = "a=b"
    with ws:
        pass
    assert server.connections[0].headers["x-extra"] == "1"
    assert "cookie" not in server.connections[0].headers


COOKIES = [
    "plain=1",
    "domain=1; Domain=127.0.0.1",
    "dotted=1; Domain=.127.0.0.1; Path=/",
    "path=1; Domain=127.0.0.1; Path=/v1/responses; HttpOnly",
]


@pytest.mark.parametrize("cookie", COOKIES)
def test_a_cookie_of_an_earlier_connection_is_not_sent(server: ScriptedServer, cookie: str) -> None:
    """What a server set is forgotten, also by the library, whose cookie jar is one for the process."""
    jar = dict(_handshake.CookieJar.jar)
    for _ in range(2):
        server.connection(accept({"Set-Cookie": cookie}))
    with websocket(server) as ws:
        ws.reconnect()
        ws.reconnect()
    with websocket(server):
        pass
    assert len(server.connections) == 4
    for record in server.connections:
        assert not {"cookie", "origin"} & set(record.headers)
    assert jar == _handshake.CookieJar.jar


def test_a_cookie_in_the_librarys_jar_is_not_sent(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other code of the process may have put cookies there for the same host."""
    monkeypatch.setattr(_handshake.CookieJar, "jar", {})
    _handshake.CookieJar.add("stolen=1; Domain=127.0.0.1")
    assert _handshake.CookieJar.get("127.0.0.1") == "stolen=1"
    with websocket(server) as ws:
        assert ask(ws) == "You said: hi."
    assert "cookie" not in head_of(server).lower()


# -- the endpoint


def test_an_endpoint_value_is_used_as_it_is(server: ScriptedServer) -> None:
    """Its URL is where the connection goes, whatever the environment says."""
    endpoint = Endpoint(f"{server.url}/own/responses?x=1")
    with WebSocket(KEY, endpoint=endpoint) as ws:
        assert ask(ws) == "You said: hi."
    assert server.connections[0].path == "/v1/own/responses?x=1"


def test_the_repr_shows_host_and_state_and_no_key(server: ScriptedServer) -> None:
    """What is shown helps and betrays nothing."""
    ws = websocket(server, headers={"X-Token": "secret-token-value"})
    assert repr(ws) == "<WebSocket 127.0.0.1 not connected>"
    with ws:
        assert repr(ws) == "<WebSocket 127.0.0.1 connected>"
        stream = ws.stream(model="m", input="hi")
        assert repr(ws) in ("<WebSocket 127.0.0.1 connected, in flight>", "<WebSocket 127.0.0.1 connected>")
        assert stream.message.content == "You said: hi."


# -- a connection that does not come about


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (429, RateLimitError),
        *[(status, HandshakeError) for status in (200, 302, 400, 404, 405, 426, 500, 502, 503)],
    ],
)
def test_a_refused_upgrade(server: ScriptedServer, status: int, error: type[ResponsesWSError]) -> None:
    """It is NOT_SENT, of the class that the status asks for, and the next connect is a fresh try."""
    server.connection(refuse(status, {"X-Request-Id": "req_1", "Location": "http://127.0.0.1:1/"}, "why"))
    ws = websocket(server)
    with pytest.raises(error) as caught:
        ws.connect()
    assert caught.value.status == status
    assert caught.value.headers["x-request-id"] == "req_1"
    assert caught.value.delivery.value == "not_sent"
    assert caught.value.partial is None
    assert not ws.connected
    with ws:
        assert ask(ws) == "You said: hi."
    assert len(server.connections) == 2


def test_a_call_on_an_object_that_could_not_connect_is_not_sent(server: ScriptedServer) -> None:
    """A failed first connect does not count as open: calls do not try by themselves."""
    server.connection(refuse(503))
    ws = websocket(server)
    with pytest.raises(HandshakeError):
        ws.connect()
    with pytest.raises(ConnectionError, match="connect"):
        ask(ws)
    assert len(server.connections) == 1


def test_a_server_that_closes_right_after_the_upgrade(server: ScriptedServer) -> None:
    """Whoever is first, the connect or the close: the next connect is a fresh one."""
    server.connection(close(1013, "later"))
    ws = websocket(server)
    with contextlib.suppress(ConnectionLost):
        ws.connect()
    join_readers()
    with ws:
        assert ask(ws) == "You said: hi."
    assert len(server.connections) == 2
