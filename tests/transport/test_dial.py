"""From an address to a socket: which address, through which proxy, until when, and who may call it off."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opened import given_back, target_of
from shell import SECONDS, Task

from responses_ws._core.secret import Secret
from responses_ws._link import Link
from responses_ws._transport.base import Target, unused
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.dial import dial
from responses_ws._transport.ws import SocketTransport
from responses_ws.errors import (
    ConfigurationError,
    ConnectionError,
    Delivery,
    HandshakeError,
)
from responses_ws.testing import ScriptedServer, Step, connect_reply, hang, send
from responses_ws.testing.interruptions import ClientGone

LOOPBACK = "127.0.0.1"
OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
KEY = "sesame-0123456789"
PASSWORD = "open-0123456789"
Address = tuple[int, Any]


@dataclass(frozen=True)
class Act(Step):
    """Does something before, or in place of, an answer to the upgrade, as long as the client stays."""

    function: Callable[[Any], object]
    opens = True

    def play(self, connection: Any) -> None:
        with contextlib.suppress(ClientGone):
            self.function(connection)


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=request.param) as server:
        yield server


@pytest.fixture
def plain() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield listener


@pytest.fixture
def refusing() -> int:
    """A port on which nobody listens."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def swallowing() -> Iterator[int]:
    """A port that answers no SYN: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Address]]:
    """Host names and what they stand for."""
    known: dict[str, list[Address]] = {}
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *given: Any, **named: Any) -> list[Any]:
        if host not in known:
            return real(host, port, *given, **named)
        return [(family, socket.SOCK_STREAM, 0, "", address) for family, address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def v4(port: int) -> Address:
    return socket.AF_INET, (LOOPBACK, port)


def dialled(url: str, seconds: float | None = SECONDS, **options: Any) -> socket.socket:
    return dial(Target(url, **options), Deadline(seconds), unused)


def failed(url: str, seconds: float = SECONDS, **options: Any) -> ConnectionError:
    """The error of a connection that must not come about."""
    with pytest.raises(ConnectionError) as caught:
        dialled(url, seconds, **options)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert not isinstance(caught.value, HandshakeError)
    return caught.value


# -- addresses


def test_the_socket_is_made_for_small_messages(listener):
    """TCP_NODELAY: a request waits for nothing; SO_KEEPALIVE besides our pings."""
    with dialled(f"ws://{LOOPBACK}:{listener.getsockname()[1]}/x") as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0


def test_tls_keeps_the_options_of_the_socket():
    """They hold for what is sent under TLS too."""
    with ScriptedServer(tls=True) as server:
        server.connection()
        with dial(target_of(server), Deadline(SECONDS), unused) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_an_ipv6_address_is_dialled():
    """Brackets belong to the URL and not to the address."""
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as listener,
        dialled(f"ws://[::1]:{listener.getsockname()[1]}/x") as sock,
    ):
        assert sock.family == socket.AF_INET6


NOBODY = [
    pytest.param((socket.AF_INET6, ("::1", 9, 0, 0)), id="refused on IPv6"),
    pytest.param((12345, ("?", 0)), id="family that this system does not know"),
    pytest.param((socket.AF_INET6, ("2001:db8::1%nowhere", 9)), id="address that cannot be"),
    pytest.param((socket.AF_INET, ("255.255.255.255", 9)), id="address that may not be"),
]


@pytest.mark.parametrize("first", NOBODY)
def test_the_next_address_is_tried(names, listener, first):
    """A host with an address that does not work is reached by its other one."""
    names["api.example"] = [first, v4(listener.getsockname()[1])]
    with dialled("ws://api.example/x") as sock:
        assert sock.getpeername() == listener.getsockname()


def test_an_address_that_swallows_packets_leaves_time_for_the_next(names, listener, swallowing):
    """Each address has its share of the time that is left."""
    names["api.example"] = [v4(swallowing), v4(listener.getsockname()[1])]
    begun = time.monotonic()
    with dialled("ws://api.example/x", 1) as sock:
        assert sock.getpeername() == listener.getsockname()
    assert 0.4 < time.monotonic() - begun < 1


def test_when_no_address_works_the_last_reason_is_told(names, refusing):
    """Host, port and the system's words; the system's error is the cause."""
    names["api.example"] = [NOBODY[0].values[0], v4(refusing)]
    error = failed("ws://api.example:8080/x")
    assert str(error) == "could not connect to api.example:8080: Connection refused"
    assert isinstance(error.__cause__, ConnectionRefusedError)


def test_a_name_without_an_address(names):
    """An empty answer of the resolver is an error like others."""
    names["api.example"] = []
    assert str(failed("ws://api.example/x")) == "could not connect to api.example:80: no address"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "Temporary failure"),
        (UnicodeError("label empty or too long"), "label empty or too long"),
    ],
)
def test_a_name_that_cannot_be_looked_up(monkeypatch, raised, told):
    """The error says that it was the look-up, of which name, and why."""

    def look_up(*given: Any, **named: Any) -> None:
        raise raised

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    error = failed("wss://api.example/x")
    assert str(error).startswith(f"could not look up api.example: {told}")
    assert error.__cause__ is raised


# -- time


STEPS = ["connect", "tunnel", "secure", "upgrade"]


@contextlib.contextmanager
def stuck(step: str, swallowing: int) -> Iterator[tuple[Target, Callable[[], None]]]:
    """A way to a server that does not answer at one step, and what waits until it is asked."""
    if step == "connect":
        yield Target(f"ws://{LOOPBACK}:{swallowing}/x"), lambda: None
        return
    with ScriptedServer(tls=step == "secure") as server:
        server.connection(hang(read=False) if step == "secure" else Act(listen))
        target = target_of(server)
        if step == "tunnel":
            target = Target("ws://api.example/x", proxy=through(server))
        yield target, (lambda: None) if step == "secure" else lambda: server.wait_for("asked")


def listen(connection: Any) -> None:
    connection.read_head()
    connection.answered = True
    connection.shared.mark("asked")
    connection.wait(lambda: connection.over)


SAYS = {
    "connect": "could not connect to 127.0.0.1:",
    "tunnel": "could not open a tunnel through the proxy 127.0.0.1:",
    "secure": "could not secure the connection to 127.0.0.1",
    "upgrade": "could not upgrade the connection to 127.0.0.1:",
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_hangs_ends_at_the_deadline(swallowing, step):
    """The error says which step it was, with whom, and how long it was waited for."""
    with stuck(step, swallowing) as (target, _):
        begun = time.monotonic()
        with pytest.raises(ConnectionError) as caught:
            SocketTransport.connect(target, Deadline(0.3), unused)
        assert 0.2 < time.monotonic() - begun < 3
        assert str(caught.value).startswith(SAYS[step])
        assert str(caught.value).endswith(" within 0.3 seconds")
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert isinstance(caught.value, HandshakeError) is (step == "upgrade")


def test_one_deadline_is_for_all_steps():
    """Time that was spent in the tunnel is missing in the upgrade: six seconds and five are over ten."""
    now = [0.0]

    def spend(until: float, data: bytes = b"") -> Callable[[Any], None]:
        def act(connection: Any) -> None:
            connection.read_head()
            connection.answered = True
            now[0] = until
            connection.send_raw(data, kind=None)

        return act

    with ScriptedServer() as server:
        server.connection(Act(spend(6, OPENED)), Act(spend(11, b"HTTP/1.1 101 S")))
        target = Target("ws://api.example/x", proxy=through(server))
        with pytest.raises(
            HandshakeError, match=r"could not upgrade the connection to api\.example within 10 seconds"
        ):
            SocketTransport.connect(target, Deadline(10, clock=lambda: now[0]), unused)
    assert now == [11]


def test_a_deadline_that_has_passed_dials_nobody(plain):
    """Nothing is sent to anyone any more."""
    with pytest.raises(ConnectionError, match=r"could not connect to 127\.0\.0\.1:.* within 5 seconds"):
        dial(target_of(plain), Deadline(5, clock=iter([0.0, *[6.0] * 50]).__next__), unused)
    assert plain.connections == []


def test_without_a_deadline_every_step_is_waited_for(server):
    """None is no limit."""
    server.connection(connect_reply(OPENED), send("welcome"))
    target = target_of(server, proxy=through(server))
    with given_back(SocketTransport.connect(target, Deadline(None), unused)) as transport:
        assert transport.receive(None) == [b"welcome"]


# -- calling it off


@pytest.mark.parametrize("step", STEPS)
def test_connecting_can_be_called_off_at_any_step(swallowing, step):
    """Another thread aborts the socket; the error comes at once, and nothing stays open."""
    link = Link(None)
    there = threading.Event()
    wanted = {"connect": 1, "secure": 3}.get(step, 2)

    def hold(sock: socket.socket) -> None:
        nonlocal wanted
        link.hold(sock)
        wanted -= 1
        if not wanted:
            there.set()

    with stuck(step, swallowing) as (target, wait_until_asked):
        dialling = Task(SocketTransport.connect, target, Deadline(None), hold)
        assert there.wait(SECONDS)
        wait_until_asked()
        begun = time.monotonic()
        link.abort()
        error = dialling.error()
        assert time.monotonic() - begun < 1
        assert isinstance(error, ConnectionError)


@pytest.mark.parametrize("seconds", [None, SECONDS])
def test_connecting_that_is_called_off_before_it_begins_ends_at_once(swallowing, seconds):
    """A shutdown in the moment between the socket's making and its connecting is not lost."""
    link = Link(None)

    def hold(sock: socket.socket) -> None:
        link.hold(sock)
        link.abort()

    begun = time.monotonic()
    with pytest.raises(ConnectionError):
        SocketTransport.connect(Target(f"ws://{LOOPBACK}:{swallowing}/x"), Deadline(seconds), hold)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("held", [1, 3])
def test_connecting_that_was_called_off_before_a_step_goes_no_further(held):
    """A socket that comes too late is closed and not used."""
    link = Link(None)

    def hold(sock: socket.socket) -> None:
        nonlocal held
        held -= 1
        if not held:
            link.abort()
        link.hold(sock)

    with ScriptedServer(tls=True) as server:
        if held > 1:
            server.connection()
        with pytest.raises(ConnectionError, match="given up"):
            dial(target_of(server), Deadline(SECONDS), hold)
        assert all(record.path is None for record in server.connections)


# -- proxies


def through(server: ScriptedServer, credentials: str = "") -> Secret:
    """The URL of the server as a proxy."""
    return Secret(f"http://{credentials}{LOOPBACK}:{server.port}")


def heads(server: ScriptedServer) -> list[str]:
    return [entry.text for entry in server.log if (entry.direction, entry.kind) == ("in", "handshake")]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nProxy-Agent: old\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nVia: 1.1 p\r\n\r\n",
    ],
)
def test_any_2xx_of_any_http_opens_the_tunnel(server, answer):
    """RFC 9110, 9.3.6; after it the upgrade goes to the target, which sees nothing of the proxy."""
    server.connection(connect_reply(answer), send("welcome"))
    headers = {"Authorization": Secret(f"Bearer {KEY}")}
    target = target_of(server, proxy=through(server, f"us%40er:{PASSWORD}%2F%C3%BC@"), headers=headers)
    with given_back(SocketTransport.connect(target, Deadline(SECONDS), unused)) as transport:
        assert transport.receive(SECONDS) == [b"welcome"]
    to_proxy, to_target = heads(server)
    place = f"{LOOPBACK}:{server.port}"
    credentials = base64.b64encode(f"us@er:{PASSWORD}/\u00fc".encode()).decode()
    assert to_proxy == (
        f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n"
    )
    assert KEY not in to_proxy
    assert f"Bearer {KEY}" in to_target
    assert "proxy" not in to_target.lower()


REFUSED = [
    (
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
        "refused the tunnel: 407",
    ),
    (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "refused the tunnel: 401"),
    (b"HTTP/1.1 403 Forbidden\r\n\r\nnot for you", "refused the tunnel: 403"),
    (b"HTTP/1.0 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad", "refused the tunnel: 502"),
    (b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n", "refused the tunnel: 302"),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "refused the tunnel: 101"),
    (b"HTTP/1.1 407 user:" + PASSWORD.encode() + b"\r\n\r\n", "refused the tunnel: 407"),
    (b"2\r\n\r\n", "no HTTP"),
    (b"220 mail.example ESMTP\r\n\r\n", "no HTTP"),
    (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "no HTTP"),
    (b"\r\n\r\n", "no HTTP"),
    (b"HTTP/1.1 200 OK\r\n\r\nearly", "before the tunnel was used"),
    (b"x" * 100_000, "head of more than 65536 bytes"),
]


@pytest.mark.parametrize(("answer", "told"), REFUSED)
def test_a_proxy_that_refuses_is_named(plain, answer, told):
    """The error names the proxy and its answer; the credentials are not in it, nor does the key leave."""
    plain.connection(Act(lambda connection: refuse_tunnel(connection, answer)))
    headers = {"Authorization": Secret(f"Bearer {KEY}")}
    proxy = through(plain, f"user:{PASSWORD}@")
    error = failed("wss://api.example/x", proxy=proxy, headers=headers)
    assert told in str(error)
    assert f"the proxy {LOOPBACK}:{plain.port}" in str(error)
    assert PASSWORD not in repr(error)
    assert KEY not in "".join(heads(plain))


def refuse_tunnel(connection: Any, answer: bytes) -> None:
    connection.read_head()
    connection.answered = True
    connection.send_raw(answer, kind=None)


@pytest.mark.parametrize("how", ["reset", "finish"])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 O"])
def test_a_proxy_that_breaks_off_is_named(plain, how, answer):
    """An end in place of an answer, or in the middle of it."""

    def end(connection: Any) -> None:
        refuse_tunnel(connection, answer)
        getattr(connection, how)(**({"notify": False} if how == "finish" else {}))

    plain.connection(Act(end))
    error = failed("wss://api.example/x", proxy=through(plain))
    assert str(error).startswith(f"could not open a tunnel through the proxy {LOOPBACK}:{plain.port}: ")
    assert "upgrade" not in str(error)


def test_a_proxy_that_is_not_there_is_named(refusing):
    """It is the proxy that could not be reached."""
    error = failed("wss://api.example/x", proxy=Secret(f"http://user:{PASSWORD}@{LOOPBACK}:{refusing}"))
    assert str(error) == f"could not connect to the proxy {LOOPBACK}:{refusing}: Connection refused"


def test_a_proxy_whose_name_is_unknown_is_named(monkeypatch):
    """The target is the proxy's to look up, and never ours."""
    asked = []

    def look_up(host: str, *given: Any, **named: Any) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    error = failed("wss://api.example/x", proxy=Secret("http://proxy.example:3128"))
    assert str(error) == "could not look up the proxy proxy.example: Name or service not known"
    assert asked == ["proxy.example"]


def test_tls_in_the_tunnel_is_with_the_target():
    """SNI and the check of the certificate go by the host of the URL, not by the proxy's."""
    with ScriptedServer(tls=True) as server:
        asked: list[str | None] = []
        server._certificates.server_context.sni_callback = lambda sock, name, context: asked.append(name)
        for host in ("localhost", "api.example"):
            server.connection(connect_reply(OPENED))
            target = Target(
                f"wss://{host}/v1/responses", proxy=through(server), ssl_context=server.ssl_context
            )
            if host == "localhost":
                SocketTransport.connect(target, Deadline(SECONDS), unused)._sock.close()
            else:
                with pytest.raises(
                    ConnectionError, match=r"secure the connection to api.example: .*api\.example"
                ):
                    dial(target, Deadline(SECONDS), unused)
        assert asked == ["localhost", "api.example"]
        assert [head.split(" ")[1] for head in heads(server) if head.startswith("CONNECT")] == [
            "localhost:443",
            "api.example:443",
        ]


@pytest.mark.parametrize(
    ("variables", "proxied"),
    [
        ({"{s}_proxy": "{p}"}, True),
        ({"all_proxy": "{p}"}, True),
        ({"ALL_PROXY": "{p}", "NO_PROXY": "api.example"}, True),
        ({"all_proxy": "{p}", "no_proxy": "127.0.0.1"}, False),
        ({"all_proxy": "{p}", "no_proxy": "127.0.0.0/8"}, False),
        ({"all_proxy": "{p}", "no_proxy": "*"}, False),
    ],
)
def test_the_environment_chooses_the_proxy(server, monkeypatch, variables, proxied):
    """The same server is the proxy and the target, so its log tells which way was taken."""
    scheme = "https" if server.ssl_context else "http"
    for name, value in variables.items():
        monkeypatch.setenv(name.format(s=scheme), value.format(p=f"http://{LOOPBACK}:{server.port}"))
    server.connection(*([connect_reply(OPENED)] if proxied else []), send("welcome"))
    with given_back(SocketTransport.connect(target_of(server), Deadline(SECONDS), unused)) as transport:
        assert transport.receive(SECONDS) == [b"welcome"]
    assert [head.startswith("CONNECT ") for head in heads(server)] == [True, False] if proxied else [False]


def test_a_proxy_that_cannot_be_used_is_never_passed_by(plain):
    """The chosen way, or none."""
    with pytest.raises(ConfigurationError, match="SOCKS"):
        dial(target_of(plain, proxy=Secret("socks4://127.0.0.1:1080")), Deadline(SECONDS), unused)
    assert plain.connections == []
