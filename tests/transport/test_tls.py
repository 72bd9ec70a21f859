"""TLS under a WebSocket: two threads and one SSLSocket, records cut anywhere, certificates, and trust."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme
from duplex import Duplex
from opened import Polls, Reading, given_back, opened, target_of
from shell import SECONDS, Task

from responses_ws._transport import net, ws
from responses_ws._transport.base import Target, unused
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.dial import dial
from responses_ws._transport.ws import SocketTransport
from responses_ws.errors import ConnectionError, ConnectionLost, ResponseTimeout
from responses_ws.messages import Timeouts
from responses_ws.testing import ScriptedServer, Step, expect, frame, mark, send

DUPLEX_SECONDS = float(os.environ.get("RESPONSES_WS_DUPLEX_SECONDS", "60"))
"""How long the load test runs."""

KNOWN_TO_FAIL = sys.version_info < (3, 13)
"""Whether this Python's ssl shows at once that two threads were inside; later ones hide most of it."""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=True) as server:
        yield server


# -- one SSLSocket, two threads


@pytest.mark.slow
def test_traffic_in_both_directions_is_not_corrupted(server):
    """Four connections, full in both directions for a minute: every message arrives as it was sent."""
    duplex = Duplex(server)
    assert duplex.run(DUPLEX_SECONDS) == []
    assert duplex.taken > 1000 * DUPLEX_SECONDS


if KNOWN_TO_FAIL:

    @pytest.mark.slow
    def test_the_load_finds_a_guard_that_is_missing():
        """The same load without the guard fails; in a process of its own, for it may crash."""
        done = subprocess.run(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("duplex.py")), "30", "unguarded"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=120,
            check=False,
        )
        crashed = done.returncode < 0
        assert crashed or (done.returncode == 1 and b"ing: " in done.stdout)


def watched() -> tuple[type[ssl.SSLSocket], list[str]]:
    """A class of sockets that notices a second thread inside one (and lets it wait), and what was noticed.

    Made for one connection.
    """
    inside = threading.Lock()
    met: list[str] = []

    @contextlib.contextmanager
    def alone(doing: str) -> Iterator[None]:
        if not inside.acquire(blocking=False):
            met.append(doing)
            inside.acquire()
        try:
            time.sleep(0)  # gives others the chance to come in
            yield
        finally:
            inside.release()

    class Watched(ssl.SSLSocket):
        def recv(self, *given: Any) -> bytes:
            with alone("recv"):
                return super().recv(*given)

        def send(self, *given: Any) -> int:
            with alone("send"):
                return super().send(*given)

        def pending(self) -> int:
            with alone("pending"):
                return super().pending()

    return Watched, met


@pytest.mark.parametrize("guarded", [True, False])
def test_only_one_thread_is_inside_an_ssl_socket(monkeypatch, server, guarded):
    """A reader and a sender at full speed never meet inside the socket; without the guard they do."""
    monkeypatch.setattr("duplex.CONNECTIONS", 1)
    server.ssl_context.sslsocket_class, met = watched()
    assert Duplex(server, guarded=guarded).run(0.3) == []
    assert bool(met) is not guarded


# -- records


class TLSPeer:
    """A server without a thread, on the other end of a pair of sockets, whose records can be cut.

    :ivar transport: the end under test.
    """

    def __init__(self, kind: type[ssl.SSLSocket] = ssl.SSLSocket) -> None:
        authority = trustme.CA()
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(server_context)
        client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_context.sslsocket_class = kind
        authority.configure_trust(client_context)
        ours, self.sock = socket.socketpair()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = server_context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        secured = client_context.wrap_socket(ours, server_hostname="127.0.0.1", do_handshake_on_connect=False)
        shaking = Task(secured.do_handshake)
        while not self._agreed():
            self._incoming.write(self.sock.recv(65536))
        shaking.result()
        self.transport = SocketTransport(secured, Target("wss://127.0.0.1/responses"))

    def __enter__(self) -> TLSPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.abort()
        self.transport.release()
        self.sock.close()

    def records(self, *contents: bytes) -> bytes:
        """The ciphertext of as many records."""
        for content in contents:
            self._tls.write(content)
        return self._outgoing.read()

    def _agreed(self) -> bool:
        """Go on with the handshake as far as it goes; whether that is its end."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.sock.sendall(self._outgoing.read())
        return True


def test_many_frames_in_one_record_are_received_without_waiting(monkeypatch):
    """What TLS has decrypted already is read, though the socket itself has nothing more to say."""
    monkeypatch.setattr(ws, "RECORD_BYTES", 100)
    with TLSPeer() as peer:
        peer.sock.sendall(peer.records(b"".join(frame(b"%d" % number) for number in range(1000))))
        found: list[bytes] = []
        while len(found) < 1000:
            more = peer.transport.receive(SECONDS)
            assert more is not None, f"only {len(found)} messages were received"
            found += more
        assert found == [b"%d" % number for number in range(1000)]


FULL = frame(b"x" * (ws.RECORD_BYTES - 4))
"""What fills a record of its own."""


class Stumbling(ssl.SSLSocket):
    """Meets something else than bytes behind the first full record."""

    met: BaseException | None = None
    full = False

    def recv(self, *given: Any) -> bytes:
        met = Stumbling.met
        if met is not None and self.full:
            Stumbling.met = None
            raise met
        data = super().recv(*given)
        self.full = len(data) == ws.RECORD_BYTES
        return data


def test_full_records_are_taken_together():
    """As much as a read of a plain socket brings; the rest comes with the next."""
    with TLSPeer() as peer:
        peer.sock.sendall(peer.records(*[FULL] * 5, frame(b"last")))
        assert len(FULL) == ws.RECORD_BYTES
        assert list(map(len, peer.transport.receive(None) or [])) == [ws.RECORD_BYTES - 4] * 4
        assert list(map(len, peer.transport.receive(None) or [])) == [ws.RECORD_BYTES - 4, 4]
        assert peer.transport.receive(0) is None


def end_of_tls(peer: TLSPeer) -> None:
    """A close_notify, while the socket stays open: nothing that ``poll`` shows once it was read."""
    with contextlib.suppress(ssl.SSLWantReadError):
        peer._tls.unwrap()
    peer.sock.sendall(peer._outgoing.read())


ENDS_OF_RECORDS = {
    "FIN": lambda peer: peer.sock.shutdown(socket.SHUT_WR),
    "half a record": lambda peer: (
        peer.sock.sendall(peer.records(FULL)[:20]),
        peer.sock.shutdown(socket.SHUT_WR),
    ),
    "close_notify": end_of_tls,
    "no record": lambda peer: peer.sock.sendall(peer.records(FULL)[:-1] + b"x"),
}


def received_before_the_end(transport: SocketTransport) -> list[bytes]:
    found: list[bytes] = []
    while True:
        try:
            messages = transport.receive(SECONDS)
        except ConnectionLost:
            return found
        assert messages is not None, "waited for an end that was there"
        found += messages


@pytest.mark.parametrize("end", ENDS_OF_RECORDS.values(), ids=ENDS_OF_RECORDS)
@pytest.mark.parametrize("count", range(1, 6))
def test_an_end_right_after_full_records_costs_none_of_them(count, end):
    """Whatever a read meets behind a record, it brings that first; then the end is told at once."""
    with TLSPeer() as peer:
        peer.sock.sendall(peer.records(*[FULL] * count))
        end(peer)
        assert len(received_before_the_end(peer.transport)) == count


def test_a_record_that_fails_behind_full_ones_is_told_as_what_it_is():
    """OpenSSL tells it once; a second read would take it for an end like any other."""
    with TLSPeer() as peer:
        peer.sock.sendall(peer.records(FULL))
        ENDS_OF_RECORDS["no record"](peer)
        assert peer.transport.receive(None) == [FULL[4:]]
        with pytest.raises(ConnectionLost, match="SSLError") as caught:
            peer.transport.receive(0)
        assert isinstance(caught.value.__cause__, ssl.SSLError)


def test_a_reset_behind_full_records_is_told_when_there_is_room_for_more(monkeypatch):
    """The system tells it once; the next read, into the place of a large frame, would find a mere end."""
    with TLSPeer(Stumbling) as peer:
        peer.sock.sendall(peer.records(frame(b"x" * 70_000)[: ws.RECORD_BYTES]))
        peer.sock.shutdown(socket.SHUT_WR)
        monkeypatch.setattr(Stumbling, "met", ConnectionResetError(errno.ECONNRESET, "reset"))
        assert peer.transport.receive(None) == []
        with pytest.raises(ConnectionLost, match="ConnectionResetError"):
            peer.transport.receive(0)


@pytest.mark.parametrize("met", [ssl.SSLWantReadError(2, ""), ssl.SSLWantWriteError(3, "")])
def test_what_interrupts_a_row_of_records_costs_none_of_them(monkeypatch, met):
    """The next read tries before it waits, for OpenSSL may have taken what waiting would show."""
    with TLSPeer(Stumbling) as peer:
        peer.sock.sendall(peer.records(FULL, frame(b"last")))
        monkeypatch.setattr(Stumbling, "met", met)
        assert peer.transport.receive(None) == [FULL[4:]]
        monkeypatch.setattr(peer.transport, "wait", lambda _: pytest.fail("waited"))
        assert peer.transport.receive(None) == [b"last"]


def test_what_a_signal_handler_raises_between_two_records_is_not_lost(monkeypatch):
    """It is no end of the connection, which its caller decides about."""
    with TLSPeer(Stumbling) as peer:
        peer.sock.sendall(peer.records(FULL, frame(b"last")))
        monkeypatch.setattr(Stumbling, "met", TimeoutError("the handler's"))
        with pytest.raises(TimeoutError, match="the handler's"):
            peer.transport.receive(None)


def test_a_record_that_is_cut_anywhere_completes_nothing_until_its_last_byte():
    """Half a record is no byte of data; with its rest the message is there."""
    with TLSPeer() as peer:
        for cut in (1, 4, 5, 6, 20, -16, -1):
            record = peer.records(frame(b"message"))
            peer.sock.sendall(record[:cut])
            assert peer.transport.receive(0.01) is None
            peer.sock.sendall(record[cut:])
            assert peer.transport.receive(None) == [b"message"]


def test_frames_and_records_end_where_they_like():
    """A frame over many records, and a record over many frames."""
    data = b"".join(frame(b"m" * size) for size in (1, 200, 70_000, 0, 3))
    with TLSPeer() as peer:
        peer.sock.sendall(peer.records(*(data[start : start + 7] for start in range(0, 700, 7)), data[700:]))
        found: list[bytes] = []
        while len(found) < 5:
            found += peer.transport.receive(None) or []
        assert [len(message) for message in found] == [1, 200, 70_000, 0, 3]


def test_half_a_record_does_not_turn_the_reader(monkeypatch):
    """The reader waits for the rest of a record in one system call."""
    with TLSPeer() as peer:
        record = peer.records(frame(b"message"))
        polls = Polls(monkeypatch)
        with Reading(peer.transport) as reading:
            peer.sock.sendall(record[:20])
            assert polls.over(0.3) <= 5
            peer.sock.sendall(record[20:])
            assert reading.next() == b"message"


def test_an_abort_never_lets_ciphertext_through():
    """After an abort the layer of TLS is still there, and what lies behind it is not taken for data."""
    with TLSPeer() as peer:
        peer.sock.sendall(peer.records(frame(b"message")) * 3)
        peer.transport.abort()
        with pytest.raises(ConnectionLost, match="by this side"):
            peer.transport.receive(None)
        assert peer.transport._sock.pending() == 0
        with contextlib.suppress(OSError):
            assert peer.transport._sock.recv(65536) in (b"", frame(b"message"))


def test_an_end_without_notice_is_the_end():
    """A FIN in the middle of a record ends the connection like any other FIN."""
    with TLSPeer() as peer:
        peer.sock.sendall(peer.records(frame(b"first")) + peer.records(frame(b"second"))[:20])
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.transport.receive(None) == [b"first"]
        with pytest.raises(ConnectionLost) as caught:
            peer.transport.receive(None)
        assert caught.value.close_code == 1006


def test_a_record_that_was_changed_on_the_way_ends_the_connection():
    """Nothing of a record that fails its check is let through."""
    with TLSPeer() as peer:
        record = peer.records(frame(b"message"))
        peer.sock.sendall(record[:-1] + bytes([record[-1] ^ 1]))
        with pytest.raises(ConnectionLost, match="SSLError"):
            peer.transport.receive(None)


class Renegotiating(ssl.SSLSocket):
    """What OpenSSL may answer in the middle of a renegotiation, for as long as ``wants`` says."""

    wants: str | None = None
    tries = 0

    def send(self, *given: Any) -> int:
        Renegotiating.tries += 1
        if Renegotiating.wants == "read":
            raise ssl.SSLWantReadError
        return super().send(*given)

    def recv(self, *given: Any) -> bytes:
        Renegotiating.tries += 1
        if Renegotiating.wants == "write":
            raise ssl.SSLWantWriteError
        return super().recv(*given)


@pytest.fixture
def renegotiating(monkeypatch: pytest.MonkeyPatch) -> type[Renegotiating]:
    monkeypatch.setattr(Renegotiating, "wants", None)
    monkeypatch.setattr(Renegotiating, "tries", 0)
    return Renegotiating


def test_a_write_that_wants_to_read_waits_by_the_send_clock_and_does_not_turn(server, renegotiating):
    """A socket that is writable does not help a renegotiation; the clock counts all the same."""
    server.connection()
    server.ssl_context.sslsocket_class = renegotiating
    with opened(server, timeouts=Timeouts(send=0.5)) as transport:
        renegotiating.wants = "read"
        renegotiating.tries = 0
        with pytest.raises(ResponseTimeout) as caught:
            transport.send(b"{}")
        assert caught.value.clock == "send"
        assert renegotiating.tries < 50


def test_a_write_that_wanted_to_read_goes_on(server, renegotiating):
    """Once the reader has read what the renegotiation waited for, the message leaves."""
    server.connection(send("more"), expect(), mark("met"))
    server.ssl_context.sslsocket_class = renegotiating
    with opened(server) as transport, Reading(transport) as reading:
        renegotiating.wants = "read"
        sender = Task(transport.send, b"{}")
        assert reading.next() == b"more"
        renegotiating.wants = None
        sender.result()
        server.wait_for("met")


def test_a_read_that_wants_to_write_does_not_turn(renegotiating):
    """Bytes that cannot be read before the full socket takes some do not keep the reader busy."""
    with TLSPeer(renegotiating) as peer:
        peer.sock.sendall(peer.records(frame(b"waiting")))
        with contextlib.suppress(BlockingIOError):
            while True:
                socket.socket.send(peer.transport._sock, b"x" * 10_000)
        renegotiating.wants = "write"
        renegotiating.tries = 0
        until = Deadline(0.3)
        while not until.expired:
            assert peer.transport.receive(until.remaining()) is None
        assert renegotiating.tries < 50
        renegotiating.wants = None
        assert peer.transport.receive(SECONDS) == [b"waiting"]


def test_a_wait_for_nothing_reads_nothing(renegotiating):
    """Of a connection at rest an error of OpenSSL at each ping would be most of the cost."""
    with TLSPeer(renegotiating) as peer:
        assert peer.transport.receive(0) is None  # the session tickets of TLS 1.3
        renegotiating.tries = 0
        assert peer.transport.receive(0) is None
        assert renegotiating.tries == 0
        peer.sock.sendall(peer.records(frame(b"something")))
        assert peer.transport.receive(SECONDS) == [b"something"]
        assert renegotiating.tries == 1


def test_a_read_that_wanted_to_write_is_tried_again(renegotiating, monkeypatch):
    """What OpenSSL has taken from the socket meanwhile, waiting for bytes would not show."""
    with TLSPeer(renegotiating) as peer:
        peer.sock.sendall(b"x")
        renegotiating.wants = "write"
        assert peer.transport.receive(SECONDS) is None
        assert socket.socket.recv(peer.transport._sock, 1000)
        monkeypatch.setattr(renegotiating, "recv", lambda *_: frame(b"taken"))
        assert peer.transport.receive(SECONDS) == [b"taken"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_carry_both_directions(server, version):
    """TLS 1.2 and 1.3: a message there and one back."""
    server.ssl_context.maximum_version = server.ssl_context.minimum_version = version
    server.connection(expect(n=1), send("x" * 100_000))
    with opened(server) as transport, Reading(transport) as reading:
        transport.send(b'{"n":1}')
        assert reading.next() == b"x" * 100_000
        assert transport._sock.version() == version.name.replace("v1_", "v1.")


# -- certificates


def dialled(server: ScriptedServer, host: str = "127.0.0.1", **options: Any) -> socket.socket:
    url = f"wss://{host}:{server.port}/responses"
    return dial(Target(url, **options), Deadline(SECONDS), unused)


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def presents(server: ScriptedServer, *names: str, **options: Any) -> ssl.SSLContext:
    """Let the server present a certificate of a new authority; a context that trusts it."""
    authority = trustme.CA()
    authority.issue_cert(*names, **options).configure_cert(server._certificates.server_context)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_an_authority_that_nobody_knows_is_refused(server, no_variables):
    """The error names the host and says what is wrong with the certificate."""
    server.connection()
    with pytest.raises(
        ConnectionError, match=r"could not secure the connection to 127.0.0.1: .*certificate"
    ) as caught:
        dialled(server)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert server.connections[0].gone.wait(SECONDS)
    assert server.connections[0].ended == "tls"


def test_a_certificate_for_another_host_is_refused(server, monkeypatch):
    """The name that was asked for counts, not the address it led to."""
    server.connection()
    context = presents(server, "other.example")
    with pytest.raises(ConnectionError, match=r"could not secure the connection to localhost: .*localhost"):
        dialled(server, "localhost", ssl_context=context)


def test_an_expired_certificate_is_refused(server):
    """The error says that it has expired."""
    server.connection()
    then = datetime.now(timezone.utc) - timedelta(days=1)
    context = presents(server, "127.0.0.1", not_after=then)
    with pytest.raises(
        ConnectionError, match=r"could not secure the connection to 127\.0\.0\.1: certificate has expired"
    ):
        dialled(server, ssl_context=context)


@dataclass(frozen=True)
class Blurt(Step):
    """Speaks before it was asked."""

    data: bytes
    opens = True

    def play(self, connection: Any) -> None:
        connection.answered = True
        connection.send_raw(self.data)
        connection.finish(notify=False)


def test_a_server_that_speaks_no_tls_is_refused():
    """What a plain server says to ``wss://`` is not taken for a connection."""
    with ScriptedServer() as server:
        server.connection(Blurt(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        with pytest.raises(ConnectionError, match=r"could not secure the connection to 127\.0\.0\.1: "):
            dialled(server)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_the_authorities_of_a_variable_are_trusted(server, monkeypatch, no_variables, variable):
    """Without a context of the caller's the environment names whom to trust."""
    monkeypatch.setenv(variable, server.ca_file)
    server.connection(send("welcome"))
    target = target_of(server, ssl_context=None)
    with given_back(SocketTransport.connect(target, Deadline(SECONDS), unused)) as transport:
        assert transport.receive(SECONDS) == [b"welcome"]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_context_of_the_callers_wins_over_the_variables(server, monkeypatch, tmp_path, variable):
    """The environment is not even looked at."""
    monkeypatch.setenv(variable, str(tmp_path / "missing.pem"))
    server.connection(send("welcome"))
    with opened(server) as transport:
        assert transport.receive(SECONDS) == [b"welcome"]


class Untouchable(ssl.SSLContext):
    """A context that tells of every change."""

    closed = False

    def __setattr__(self, name: str, value: object) -> None:
        assert not self.closed, f"{name} was set"
        super().__setattr__(name, value)

    def _refuse(self, *given: Any, **named: Any) -> None:
        pytest.fail("the caller's context was changed")

    set_alpn_protocols = set_ciphers = load_cert_chain = load_default_certs = _refuse


def test_the_callers_context_is_not_changed(server):
    """It may be shared with others, so it is used as it is."""
    context = Untouchable(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(server.ca_file)
    Untouchable.closed = True
    try:
        server.connection(send("welcome"))
        with opened(server, ssl_context=context) as transport:
            assert transport.receive(SECONDS) == [b"welcome"]
    finally:
        Untouchable.closed = False
    assert len(context.get_ca_certs()) == 1


def test_our_own_context_refuses_to_renegotiate(no_variables):
    """A server cannot hold up a connection of TLS 1.2 half-way through a second handshake."""
    assert net.tls_context().options & ssl.OP_NO_RENEGOTIATION
