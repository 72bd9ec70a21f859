"""Tunnels through a SOCKS 5 proxy (RFC 1928, RFC 1929), for both transports."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opened import given_back, target_of
from shell import SECONDS

from responses_ws import HTTPTransport, Timeouts
from responses_ws._core.secret import Secret
from responses_ws._transport.base import Target, unused
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.dial import dial
from responses_ws._transport.net import Proxy, proxy_for
from responses_ws._transport.ws import SocketTransport
from responses_ws.errors import ConnectionError, Delivery
from responses_ws.testing import Model, ScriptedServer, Step, eof, expect_gone, gate, send, serve

USER, PASSWORD = "me", "sesame-0123456789"
DONE = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"


@dataclass(frozen=True)
class Socks(Step):
    """Plays the proxy: takes what it expects byte by byte, answers, and goes on as the target."""

    turns: tuple[tuple[bytes, bytes], ...]
    opens = True
    needs_client = True

    def play(self, connection: Any) -> None:
        for asked, answer in self.turns:
            assert connection.read_body(len(asked)) == asked
            connection.send_raw(answer)


def socks(*turns: tuple[bytes, bytes]) -> Step:
    return Socks(turns)


def request(address: bytes, port: int = 80) -> bytes:
    return b"\x05\x01\x00" + address + port.to_bytes(2, "big")


def by_name(name: str) -> bytes:
    return b"\x03" + bytes([len(name)]) + name.encode()


GREETING = b"\x05\x01\x00"
GREETING_WITH_PASSWORD = b"\x05\x02\x00\x02"
LOGIN = b"\x01" + bytes([len(USER)]) + USER.encode() + bytes([len(PASSWORD)]) + PASSWORD.encode()
V4 = b"\x01\x7f\x00\x00\x01"


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=request.param, model=Model()) as server:
        yield server


def through(server: ScriptedServer, scheme: str = "socks5h", credentials: str = "") -> Secret:
    return Secret(f"{scheme}://{credentials}127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("socks5://one.local", Proxy("socks5", "one.local", 1080)),
        ("SOCKS5H://one.local:9", Proxy("socks5h", "one.local", 9)),
        ("socks5h://a%3A:b%20c@[::1]", Proxy("socks5h", "::1", 1080, Secret("a::b c"))),
    ],
)
def test_the_url_of_a_proxy(url: str, proxy: Proxy) -> None:
    """By its scheme; the port is 1080 unless it says otherwise."""
    assert proxy_for("wss://api.example/v1", Secret(url)) == proxy


@pytest.mark.parametrize("variable", ["{s}_proxy", "all_proxy"])
def test_the_environment_may_name_it(
    server: ScriptedServer, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for requests."""
    scheme = "https" if server.ssl_context else "http"
    monkeypatch.setenv(variable.format(s=scheme), through(server).reveal())
    server.connection(socks((GREETING, b"\x05\x00"), (request(V4, server.port), DONE)), send("welcome"))
    with given_back(SocketTransport.connect(target_of(server), Deadline(SECONDS), unused)) as transport:
        assert transport.receive(SECONDS) == [b"welcome"]


def test_credentials_are_given_when_they_are_asked_for(server: ScriptedServer) -> None:
    """Name and password, percent-decoded."""
    server.connection(
        socks((GREETING_WITH_PASSWORD, b"\x05\x02"), (LOGIN, b"\x01\x00"), (request(V4, server.port), DONE)),
        send("welcome"),
    )
    target = target_of(server, proxy=through(server, credentials=f"{USER}:{PASSWORD}@"))
    with given_back(SocketTransport.connect(target, Deadline(SECONDS), unused)) as transport:
        assert transport.receive(SECONDS) == [b"welcome"]


@pytest.mark.parametrize(
    "reply",
    [
        b"\x05\x00\x00\x03\x05proxy\x00\x50",
        b"\x05\x00\x00\x04" + bytes(16) + b"\x00\x50",
    ],
    ids=["name", "ipv6"],
)
def test_http_takes_the_same_way(reply: bytes) -> None:
    """And the name is looked up by the proxy; what its answer is bound to does not matter."""
    with ScriptedServer() as server:
        server.connection(
            socks((GREETING, b"\x05\x00"), (request(by_name("api.invalid"), 8000), reply)), serve(Model())
        )
        with HTTPTransport(
            "sk-test-0123456789",
            api_base="http://api.invalid:8000/v1",
            proxy=through(server).reveal(),
            allow_insecure=True,
        ) as transport:
            assert transport.create_response(model="m", input="hi").content == "You said: hi."
            assert transport.create_response(model="m", input="you").content.startswith("You said: you.")


def test_socks5_looks_the_name_up_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does for requests."""
    real = socket.getaddrinfo

    def look_up(host: str, *given: Any, **named: Any) -> Any:
        return real("127.0.0.1" if host == "api.invalid" else host, *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with ScriptedServer() as server:
        server.connection(socks((GREETING, b"\x05\x00"), (request(V4), DONE)), expect_gone())
        proxy = through(server, "socks5")
        dial(Target("ws://api.invalid/v1", proxy=proxy), Deadline(SECONDS), unused).close()


@pytest.mark.parametrize(
    ("credentials", "turns", "told"),
    [
        ("", [(GREETING, b"\x05\xff")], "wants credentials that it was not given"),
        ("", [(GREETING, b"\x05\x02")], "wants credentials that it was not given"),
        ("", [(GREETING, b"\x05\x01")], "wants method 1 that it was not given"),
        ("", [(GREETING, b"HTTP/1.1 400 Bad\r\n\r\n")], "not SOCKS 5"),
        (
            f"{USER}:{PASSWORD}@",
            [(GREETING_WITH_PASSWORD, b"\x05\x02"), (LOGIN, b"\x01\x01")],
            "not accept the credentials",
        ),
        ("", [(GREETING, b"\x05\x00"), (request(V4), b"\x05\x02\x00\x01")], "not allowed by its rules"),
        ("", [(GREETING, b"\x05\x00"), (request(V4), b"\x05\x05\x00\x01")], "connection refused"),
        ("", [(GREETING, b"\x05\x00"), (request(V4), b"\x05\x77\x00\x01")], "reply 119"),
    ],
)
def test_a_proxy_that_refuses_is_named_with_its_reason(
    credentials: str, turns: list[tuple[bytes, bytes]], told: str
) -> None:
    """Nothing was sent, and nobody goes past it."""
    with ScriptedServer() as server:
        server.connection(socks(*turns), expect_gone())
        target = Target("ws://127.0.0.1/v1", proxy=through(server, credentials=credentials))
        with pytest.raises(
            ConnectionError, match=f"through the proxy 127.0.0.1:{server.port}: .*{told}"
        ) as caught:
            dial(target, Deadline(SECONDS), unused)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert PASSWORD not in str(caught.value)


def test_a_proxy_that_hangs_up(server: ScriptedServer) -> None:
    """In the middle of its answer."""
    server.connection(socks((GREETING, b"\x05")), Plain(eof()))
    with pytest.raises(ConnectionError, match="it closed the connection"):
        dial(target_of(server, proxy=through(server)), Deadline(SECONDS), unused)


@dataclass(frozen=True)
class Plain(Step):
    """A step without an upgrade before it."""

    step: Step
    opens = True

    def play(self, connection: Any) -> None:
        connection.answered = True
        self.step.play(connection)


def test_a_proxy_that_does_not_answer() -> None:
    """The connect clock covers it."""
    with ScriptedServer() as server:
        server.connection(socks((GREETING, b"")), Plain(gate("never")))
        with (
            HTTPTransport(
                "sk-test-0123456789",
                api_base="http://127.0.0.1:9/v1",
                proxy=through(server).reveal(),
                timeouts=Timeouts(connect=0.1),
            ) as transport,
            pytest.raises(ConnectionError, match=r"through the proxy .* within 0.1 seconds"),
        ):
            transport.create_response(model="m", input="hi")
        server.open("never")
