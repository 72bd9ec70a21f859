"""The open WebSocket: what it reads and says, when it says nothing any more, and who may call what."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import threading
import time
import tracemalloc
from typing import Any

import pytest
from opened import Peer, Polls, Reading, given_back, opened
from shell import SECONDS, Task
from test_interrupt import AtStep
from websockets.frames import Opcode

from responses_ws._transport import ws
from responses_ws._transport.base import Target
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.ws import FRAGMENT_BYTES, READ_BYTES, SocketTransport
from responses_ws.errors import ConnectionLost, PayloadTooLarge, ProtocolError, ResponseTimeout
from responses_ws.messages import Limits, Timeouts
from responses_ws.testing import (
    ScriptedServer,
    close,
    close_frame,
    eof,
    expect,
    expect_close,
    expect_gone,
    expect_ping,
    expect_pong,
    fragments,
    frame,
    gate,
    mark,
    optional,
    ping,
    raw,
    read_bytes,
    repeat,
    reset,
    run,
    send,
)

KIB = 1024
MIB = 1024 * KIB
PING = frame(b"there?", opcode=Opcode.PING)
QUICK = Timeouts(send=0.2)
PATTERN = b"".join(b"%08x" % place for place in range(FRAGMENT_BYTES // 8 + 1))


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request):
    with ScriptedServer(tls=request.param, receive_buffer=64 * KIB) as server:
        yield server


def message_of(size: int) -> bytes:
    """A JSON object of so many bytes; no two fragments of it are alike."""
    head, foot = b'{"s":"', b'"}'
    body = PATTERN * (size // len(PATTERN) + 1)
    return head + body[: size - len(head) - len(foot)] + foot


# -- reading


def test_what_receive_returns():
    """Whole messages, an empty list for bytes that complete none, None for no byte."""
    with Peer() as peer:
        assert peer.transport.receive(0.01) is None
        peer.send(frame(b"one") + frame(b"two") + frame(b"three")[:4])
        assert peer.transport.receive(None) == [b"one", b"two"]
        peer.send(frame(b"three")[4:5])
        assert peer.transport.receive(None) == []
        peer.send(frame(b"three")[5:])
        assert peer.transport.receive(None) == [b"three"]


def test_what_came_with_the_answer_to_the_upgrade_is_read_first():
    """Frames that share a packet with the 101 are the first to be received."""
    ours, theirs = socket.socketpair()
    begun = frame(b"one") + frame(b"two")[:3]
    with given_back(SocketTransport(ours, Target("ws://x"), {}, begun)) as transport, theirs:
        assert transport.receive(0) == [b"one"]
        theirs.sendall(frame(b"two")[3:])
        assert transport.receive(None) == [b"two"]


def test_nothing_is_left_in_a_full_buffer(server):
    """More than one read holds is received without waiting for anything new to come."""
    events = [{"n": number, "pad": "x" * 1000} for number in range(1000)]
    server.connection(send(*events), mark("sent"), expect_gone())
    with opened(server) as transport:
        server.wait_for("sent")
        found: list[bytes] = []
        while len(found) < len(events):
            found += transport.receive(SECONDS) or pytest.fail("nothing came any more")
        assert [b'"n": %d,' % number in message for number, message in enumerate(found)] == [True] * 1000


def test_a_read_that_is_exactly_full():
    """When the last read was full and nothing is behind it, the next one waits and does not fail."""
    with Peer() as peer:
        whole = frame(b"x" * (READ_BYTES - 4))
        assert len(whole) == READ_BYTES
        peer.send(whole)
        assert peer.transport.receive(None) == [b"x" * (READ_BYTES - 4)]
        assert peer.transport.receive(0.01) is None
        peer.send(frame(b"more"))
        assert peer.transport.receive(None) == [b"more"]


ENDS = [
    pytest.param(close(1000), 1000, "", id="1000"),
    pytest.param(close(1001, "going"), 1001, "going", id="1001"),
    pytest.param(close(1011, "keepalive ping timeout"), 1011, "keepalive ping timeout", id="1011"),
    pytest.param(close(4402, "\u00e9" * 60), 4402, "\u00e9" * 60, id="4402"),
    pytest.param(close(None), 1005, "", id="1005"),
    pytest.param(eof(), 1006, "", id="eof"),
    pytest.param(reset(), 1006, "", id="reset"),
]


def exhaust(transport: SocketTransport) -> None:
    """Receive until that raises."""
    while True:
        transport.receive(SECONDS)


@pytest.mark.parametrize(("end", "code", "reason"), ENDS)
def test_an_end_comes_after_everything_before_it_and_stays(server, end, code, reason):
    """Messages before the end are returned; then ``receive`` raises, each time again."""
    server.connection(send("one", "two"), mark("sent"), gate("read"), end)
    with opened(server) as transport:
        found: list[bytes] = []
        while len(found) < 2:
            found += transport.receive(SECONDS)
        assert found == [b"one", b"two"]
        server.open("read")
        for _ in range(3):
            with pytest.raises(ConnectionLost) as caught:
                exhaust(transport)
            assert (caught.value.close_code, caught.value.close_reason) == (code, reason)


ANSWERS = [
    pytest.param(close_frame(b""), 1000, id="no code"),
    pytest.param(close_frame(b"\x03\xe8"), 1000, id="1000"),
    pytest.param(close_frame(b"\x0f\xa0bye"), 4000, id="4000"),
    pytest.param(close_frame(b"\x03"), 1002, id="half a code"),
    pytest.param(close_frame(b"\x03\xed"), 1002, id="1005 on the wire"),
    pytest.param(close_frame(b"\x03\xe8\xff"), 1007, id="reason not UTF-8"),
    pytest.param(raw(frame(b"x", opcode=2)), 1003, id="binary"),
    pytest.param(raw(frame(b"x", rsv=4)), 1002, id="reserved bit"),
    pytest.param(raw(frame(b"x", opcode=3)), 1002, id="reserved opcode"),
    pytest.param(raw(frame(b"x", masked=True)), 1002, id="masked"),
    pytest.param(raw(frame(b"x" * 126, opcode=9)), 1002, id="long ping"),
    pytest.param(raw(frame(b"", opcode=0)), 1002, id="continuation of nothing"),
    pytest.param(raw(frame(b"", length=1 << 32)), 1009, id="4 GiB announced"),
    pytest.param(fragments("x" * 2000, 100), 1009, id="too large in fragments"),
]


@pytest.mark.parametrize(("step", "code"), ANSWERS)
def test_an_end_is_answered_with_its_code(server, step, code):
    """RFC 6455, 5.5.1 and 7.1.7: the peer's close frame is answered, and a fault is told to the peer."""
    server.connection(step, expect_close(code))
    with opened(server, limits=Limits(max_message_bytes=KIB)) as transport, Reading(transport) as reading:
        assert isinstance(reading.wait(), (ConnectionLost, ProtocolError, PayloadTooLarge))


def test_a_message_over_the_limit_is_not_waited_for():
    """The header alone ends the connection; its payload is neither read nor kept."""
    with Peer(limits=Limits(max_message_bytes=1000)) as peer:
        peer.send(frame(b"", length=1001)[:4])
        assert peer.transport.receive(None) == []
        with pytest.raises(PayloadTooLarge) as caught:
            peer.transport.receive(None)
        assert (caught.value.limit, caught.value.size) == (1000, 1005)


# -- pings


def test_pings_are_answered_with_their_data(server):
    """RFC 6455, 5.5.3: a pong carries the payload of its ping, at any moment, between fragments too."""
    between = [ping(b"inside"), expect_pong(b"inside")]
    steps = [ping(), expect_pong(b""), ping(b"p" * 125), expect_pong(b"p" * 125)]
    server.connection(*steps, fragments("whole", 2, between), expect_gone())
    with opened(server) as transport, Reading(transport) as reading:
        assert reading.next() == b"whole"


def test_our_ping_is_sent_by_whoever_asks(server):
    """``ping`` sends one, from any thread."""
    server.connection(expect_ping(), expect_ping(), mark("both"))
    with opened(server) as transport, Reading(transport):
        transport.ping()
        Task(transport.ping).result()
        server.wait_for("both")


def test_a_ping_flood_costs_one_pending_pong():
    """A peer that pings without end and reads nothing is owed the latest pong, and nothing that grows."""
    pings = 4000
    with Peer(buffer=4096) as peer:

        def flood() -> None:
            for number in range(pings):
                peer.send(frame(b"%0100d" % number, opcode=Opcode.PING))
                assert peer.transport.receive(None) == []

        flood()  # by its end the process has what masking needs, once for all connections
        tracemalloc.start()
        try:
            flood()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 100 * KIB
        last = b"%0100d" % (pings - 1)
        with Reading(peer.transport):
            peer.take_until(lambda _: last in peer.pongs())
        assert peer.pongs()[-1] == last
        assert len(peer.pongs()) < 200


def test_a_late_pong_leaves_when_there_is_room_again():
    """What the socket did not take at once is sent by the reader when it can be, without a new event."""
    with Peer(buffer=4096) as peer:
        fill(peer.transport)
        with Reading(peer.transport):
            peer.send(PING)
            peer.take_until(lambda _: peer.pongs() == [b"there?"])


def fill(transport: SocketTransport) -> None:
    """Ping until the socket takes no more."""
    for _ in range(100_000):
        transport.ping()
        if transport._owes():
            return
    pytest.fail("the socket takes everything")


# -- sending

SIZES = [
    20,
    125,
    126,
    65535,
    65536,
    65537,
    FRAGMENT_BYTES - 1,
    2 * FRAGMENT_BYTES - 1,
    2 * FRAGMENT_BYTES,
    2 * FRAGMENT_BYTES + 1,
    16 * FRAGMENT_BYTES,
    1_000_001,
]


@pytest.mark.parametrize("size", SIZES)
def test_messages_arrive_masked_and_in_fragments_of_64_kib(server, size):
    """The server, which refuses what is not masked (RFC 6455, 5.1), gets the bytes that were sent."""
    message = message_of(size)
    assert len(message) == size
    server.connection(expect(), mark("met"))
    with opened(server) as transport, Reading(transport):
        transport.send(message)
        server.wait_for("met")
    (found,) = [entry for entry in server.log if (entry.direction, entry.kind) == ("in", "text")]
    assert found.data == message
    assert found.frames == -(-size // FRAGMENT_BYTES)


def test_frames_are_masked_each_with_a_key_of_its_own():
    """RFC 6455, 5.3: a fresh key for every frame, and the mask bit set."""
    with Peer() as peer:
        for _ in range(8):
            peer.transport.send(b"x" * 100)
        data = peer.sock.recv(10_000)
    frames = [data[start : start + 106] for start in range(0, len(data), 106)]
    assert [(piece[0], piece[1]) for piece in frames] == [(0x81, 0x80 | 100)] * 8
    assert len({piece[2:6] for piece in frames}) == 8


def test_no_fragment_is_larger_than_64_kib():
    """Between two fragments a pong can leave, so none may be long."""
    with Peer() as peer, Reading(peer.transport):
        sender = Task(peer.transport.send, message_of(300_000))
        frames = peer.take_until(lambda found: bool(found) and found[-1].fin)
        sender.result()
    assert [len(piece.data) for piece in frames] == [65536] * 4 + [300_000 - 4 * 65536]
    assert [piece.opcode for piece in frames] == [Opcode.TEXT] + [Opcode.CONT] * 4
    assert [piece.fin for piece in frames] == [False] * 4 + [True]


def test_a_ping_in_the_middle_of_an_upload_is_answered_before_its_end(server):
    """20 MB to a peer that reads slowly: the pong goes between two fragments."""
    message = message_of(20_000_000)
    server.connection(read_bytes(500_000), ping(b"mid"), expect_pong(b"mid"), expect(), mark("met"))
    with opened(server) as transport, Reading(transport):
        transport.send(message)
        server.wait_for("met", SECONDS)
    arrived = [entry for entry in server.log if entry.direction == "in"]
    assert [entry.kind for entry in arrived[:3]] == ["handshake", "pong", "text"]
    assert arrived[2].data == message


def test_a_pong_waits_for_one_fragment_at_most():
    """After the ping at most the fragment that is on its way comes before the pong."""
    with Peer(buffer=8 * KIB) as peer, Reading(peer.transport):
        sender = Task(peer.transport.send, message_of(2 * MIB))
        peer.take_until(lambda found: len(found) >= 3)
        wait_until(lambda: is_blocked(peer.transport))
        peer.send(PING)
        wait_until(peer.transport._owes)
        before = len(peer.frames)
        frames = peer.take_until(
            lambda found: bool(found) and found[-1].fin and found[-1].opcode is Opcode.CONT
        )
        sender.result()
    position = next(place for place, piece in enumerate(frames) if piece.opcode is Opcode.PONG)
    assert position - before <= 2
    assert b"".join(piece.data for piece in frames if piece.opcode is not Opcode.PONG) == message_of(2 * MIB)


def is_blocked(transport: SocketTransport) -> bool:
    """Whether a sender is in the middle of a frame and the socket takes no more."""
    return transport.sending and not ws.poll(transport._sock, write=True, timeout=0)


def wait_until(done: Any) -> None:
    """Give other threads the processor until it is so."""
    until = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < until, "it did not come so far"
        threading.Event().wait(0.001)


def test_a_pong_waits_behind_little_that_the_kernel_holds(server):
    """The kernel would take megabytes of an upload, and over a slow link a pong would come too late."""
    behind: list[int] = []

    def measure(connection: Any) -> None:
        before = connection._wire.received
        connection.send_ping(b"x")
        connection.receive_pong()
        behind.append(connection._wire.received - before)

    # Three times, for a reader that gets no processor for a while is late for a reason of its own.
    for number in range(3):
        full, met = f"full {number}", f"met {number}"
        server.connection(read_bytes(1000), gate(full), run(measure), expect(), mark(met))
        with opened(server) as transport, Reading(transport):
            sender = Task(transport.send, message_of(8_000_000))
            wait_until(lambda transport=transport: is_blocked(transport))
            server.open(full)
            sender.result()
            server.wait_for(met)
    assert min(behind) < 2_000_000


@pytest.mark.parametrize("pinged", [False, True], ids=["events", "events and pings"])
def test_a_server_that_only_writes_while_we_upload_blocks_nobody(server, pinged):
    """It reads our message only after we have read its flood: the blocked writer must not stop the reader."""
    flood = [
        send(*[{"n": number, "pad": "x" * 10_000} for number in range(20)]),
        *([ping()] if pinged else []),
    ]
    server.connection(read_bytes(1000), repeat(50, *flood), expect(), send("done"), expect_gone())
    with opened(server) as transport, Reading(transport) as reading:
        transport.send(message_of(10_000_000))
        for number in range(1000):
            assert b'"n": %d,' % (number % 20) in reading.next()
        assert reading.next() == b"done"


def test_a_send_without_progress_ends_by_the_send_clock(server):
    """Nothing is read for ``Timeouts.send`` seconds: the error names the clock, and no more is said."""
    server.connection(read_bytes(1000), gate("end"), expect_gone())
    with opened(server, timeouts=Timeouts(send=0.3)) as transport, Reading(transport) as reading:
        with pytest.raises(ResponseTimeout) as caught:
            transport.send(message_of(20_000_000))
        assert (caught.value.clock, caught.value.seconds) == ("send", 0.3)
        assert "0.3 seconds (send)" in str(caught.value)
        assert not transport.sending
        assert reading.end is None
        server.open("end")


@pytest.mark.parametrize(
    ("timeouts", "deadline"),
    [(Timeouts(send=0.05), None), (Timeouts(send=None), 0.05)],
    ids=["send", "total"],
)
def test_a_pong_that_cannot_follow_a_message_is_no_failure_of_it(monkeypatch, timeouts, deadline):
    """The message has left whole: nothing is raised when a clock runs out, and only then is no more said."""
    write = SocketTransport._try_write

    def takes_no_pong(transport: SocketTransport, view: memoryview) -> int:
        if view[0] & 0x0F == Opcode.PONG:
            return 0
        taken = write(transport, view)
        assert taken == len(view)
        transport._pong.append(ws._frame(Opcode.PONG, b"late"))
        return taken

    with Peer(timeouts=timeouts) as peer:
        monkeypatch.setattr(SocketTransport, "_try_write", takes_no_pong)
        monkeypatch.setattr(ws, "poll", lambda sock, timeout, **_: threading.Event().wait(timeout))
        Task(peer.transport.send, b"{}", Deadline(deadline)).result()
        monkeypatch.undo()
        assert [bytes(frame.data) for frame in peer.drain()] == [b"{}"]
        with pytest.raises(ConnectionLost):
            peer.transport.send(b"{}")


@pytest.mark.slow
def test_a_slow_send_with_progress_takes_as_long_as_it_takes():
    """The send clock counts from the last byte that the socket took."""
    with Peer(buffer=8 * KIB, timeouts=Timeouts(send=1)) as peer:

        def is_sent_after(size: int) -> bool:
            with contextlib.suppress(BlockingIOError):  # the sender had no turn since
                peer.sock.recv(size)
            return not peer.transport.sending

        sender = Task(peer.transport.send, message_of(2 * MIB))
        wait_until(lambda: peer.transport.sending)
        begun = time.monotonic()
        while time.monotonic() - begun < 2:
            threading.Event().wait(0.02)
            assert not is_sent_after(8 * KIB)
        wait_until(lambda: is_sent_after(MIB))
        sender.result()


def send_often(transport: SocketTransport, message: bytes) -> None:
    """The kernel may take the first of them after the peer has gone."""
    for _ in range(10):
        transport.send(message)


@pytest.mark.parametrize("size", [1000, 20_000_000], ids=["small", "large"])
def test_sending_after_the_peer_has_gone_is_a_loss(server, size):
    """A broken pipe is :class:`ConnectionLost`, whatever its name on this system."""
    server.connection(reset())
    with opened(server) as transport:
        assert server.connections[0].gone.wait(SECONDS)
        with pytest.raises(ConnectionLost, match="while the request was sent"):
            send_often(transport, message_of(size))


def test_an_aborted_send_returns_at_once(server):
    """A sender that is blocked is woken by ``abort``."""
    server.connection(read_bytes(1000), mark("blocked"), gate("aborted"), expect_gone())
    with opened(server) as transport, Reading(transport):
        sender = Task(transport.send, message_of(20_000_000))
        server.wait_for("blocked")
        transport.abort()
        assert isinstance(sender.error(), ConnectionLost)
        assert not transport.sending
        server.open("aborted")


def test_half_a_message_is_never_followed_by_anything():
    """After a send that stopped half-way neither message, pong, ping nor close frame goes out."""
    with Peer(buffer=8 * KIB, timeouts=QUICK) as peer:
        with pytest.raises(ResponseTimeout):
            peer.transport.send(message_of(MIB))
        peer.send(PING)
        assert peer.transport.receive(None) == []
        peer.transport.ping()
        peer.transport.close(1000)
        with pytest.raises(ConnectionLost):
            peer.transport.send(b'{"second":1}')
        assert peer.transport.receive(0.01) is None
        peer.drain()
        assert peer.transport.receive(0.01) is None
        assert peer.drain() == []


def test_an_interrupt_between_two_fragments_silences_the_connection(monkeypatch):
    """A KeyboardInterrupt in a send is passed on, and nothing follows the half message."""
    with Peer() as peer:
        whole = ws.encode_message

        def interrupted(message: bytes) -> Any:
            yield next(whole(message))
            raise KeyboardInterrupt

        monkeypatch.setattr(ws, "encode_message", interrupted)
        with pytest.raises(KeyboardInterrupt):
            peer.transport.send(message_of(200_000))
        monkeypatch.undo()
        assert not peer.transport.sending
        peer.transport.ping()
        with pytest.raises(ConnectionLost):
            peer.transport.send(b"{}")
        (only,) = peer.drain()
        assert (only.opcode, only.fin) == (Opcode.TEXT, False)


def test_a_close_frame_behind_a_ping_that_cannot_be_answered_is_seen():
    """A pong that fails must not hide what is already in the buffer."""
    with Peer() as peer:
        peer.send(PING)
        peer.sock.shutdown(socket.SHUT_RD)
        assert peer.transport.receive(None) == []
        peer.send(frame(b"\x03\xf0policy", opcode=Opcode.CLOSE))
        assert peer.transport.receive(None) == []
        with pytest.raises(ConnectionLost) as caught:
            peer.transport.receive(None)
        assert (caught.value.close_code, caught.value.close_reason) == (1008, "policy")


def test_a_close_frame_is_seen_by_a_reader_whose_sender_is_blocked(server):
    """1009 in the middle of an upload reaches the reader, which does not wait for the sender."""
    server.connection(read_bytes(1000), ping(), close_frame(b"\x03\xf1too big"), gate("seen"), expect_gone())
    with opened(server) as transport, Reading(transport) as reading:
        sender = Task(transport.send, message_of(20_000_000))
        end = reading.wait()
        assert isinstance(end, ConnectionLost)
        assert (end.close_code, end.close_reason) == (1009, "too big")
        assert isinstance(sender.error(), ConnectionLost)
        server.open("seen")


# -- signal handlers


def say_hello(transport: SocketTransport) -> None:
    transport.send(b'"hello"')


def is_pressed(_: SocketTransport) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("handler", [is_pressed, SocketTransport.close])
@pytest.mark.parametrize("say", [say_hello, SocketTransport.ping, SocketTransport.close])
def test_a_signal_handler_leaves_no_lock_behind(say, handler):
    """Wherever it falls: the next message leaves, or its sender is told that the connection takes none."""
    for step in range(1, 1000):
        with Peer() as peer:
            at_step = AtStep(step, functools.partial(handler, peer.transport))
            with contextlib.suppress(KeyboardInterrupt, ConnectionLost), at_step.watching():
                say(peer.transport)
            with contextlib.suppress(ConnectionLost):
                Task(peer.transport.send, b"{}").result()
            peer.drain()
        if not at_step.place:
            break
    assert step > 10


# -- closing


def test_after_our_close_frame_no_message_follows():
    """RFC 6455, 5.5.1: not a new one, and not the rest of one that is being sent."""
    with Peer(buffer=8 * KIB) as peer, Reading(peer.transport):
        sender = Task(peer.transport.send, message_of(2 * MIB))
        peer.take_until(bool)
        peer.transport.close(1000)
        frames = peer.take_until(lambda found: found[-1].opcode is Opcode.CLOSE)
        assert isinstance(sender.error(), ConnectionLost)
        with pytest.raises(ConnectionLost):
            peer.transport.send(b"{}")
        assert peer.drain()[-1] is frames[-1]
        assert frames[-1].data == b"\x03\xe8"


def test_closing_is_said_once():
    """A second close, also the answer to the peer's own, sends nothing."""
    with Peer() as peer:
        peer.transport.close(1001, "leaving")
        peer.transport.close(1000)
        peer.send(frame(b"\x03\xe8", opcode=Opcode.CLOSE))
        peer.transport.receive(None)
        with pytest.raises(ConnectionLost):
            peer.transport.receive(None)
        assert [(piece.opcode, piece.data) for piece in peer.drain()] == [(Opcode.CLOSE, b"\x03\xe9leaving")]


def close_together(transport: SocketTransport, together: threading.Barrier) -> None:
    together.wait(SECONDS)
    transport.close(1000)


def test_threads_that_close_at_once_say_it_once():
    """Whoever is first speaks, the others are silent."""
    together = threading.Barrier(3)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            with Peer() as peer:
                closers = [Task(close_together, peer.transport, together) for _ in range(3)]
                for closer in closers:
                    closer.result()
                assert [piece.opcode for piece in peer.drain()] == [Opcode.CLOSE]
    finally:
        sys.setswitchinterval(interval)


def test_a_close_frame_leaves_even_when_the_reader_sleeps(server):
    """``close`` from another thread is sent at once where the socket takes it."""
    server.connection(expect_close(1000))
    with opened(server) as transport, Reading(transport) as reading:
        transport.close(1000)
        end = reading.wait()
        assert isinstance(end, ConnectionLost)
        assert end.close_code == 1000


def test_abort_wakes_the_reader_and_says_nothing(server):
    """``abort`` ends TCP without a close frame; the reader is told whose doing it was."""
    server.connection(mark("up"), expect_gone())
    with opened(server) as transport, Reading(transport) as reading:
        server.wait_for("up")
        begun = time.monotonic()
        transport.abort()
        end = reading.wait()
        assert time.monotonic() - begun < 1
        assert isinstance(end, ConnectionLost)
        assert end.close_code is None
        assert "by this side" in str(end)
        transport.abort()
    assert server.connections[0].gone.wait(SECONDS)
    assert server.connections[0].close_code is None


def test_nothing_is_delivered_after_an_abort():
    """What the buffers still hold is not handed out."""
    with Peer() as peer:
        peer.send(frame(b"secret"))
        peer.transport.abort()
        with pytest.raises(ConnectionLost):
            peer.transport.receive(None)


def test_every_method_may_be_called_after_the_end():
    """Other threads may hold on to a transport whose socket was given back; only sending says so."""
    with Peer() as peer:
        transport = peer.transport
        for end in (transport.abort, transport.release):
            end()
            transport.ping()
            transport.close(1000)
            transport.abort()
            with pytest.raises(ConnectionLost):
                transport.send(b"{}")
        transport.release()
        transport.forget()


def test_a_finalizer_may_abort_from_inside_the_guard():
    """``abort`` in a thread that holds the guard already, as a finalizer can run in it, does not block."""
    with Peer() as peer, peer.transport._guard:
        peer.transport.abort()
        with pytest.raises(ConnectionLost):
            peer.transport.receive(None)


def test_forget_gives_up_the_socket_without_a_byte():
    """In a forked child: the parent's connection stays as it was."""
    with Peer() as peer:
        parents = os.dup(peer.transport._sock.fileno())
        try:
            peer.transport.forget()
            assert not peer.take()
            assert peer.sock.send(b"still open") == 10
        finally:
            os.close(parents)


# -- at rest


def test_an_idle_connection_does_not_turn(server, monkeypatch):
    """A reader that waits for nothing in particular waits in one system call."""
    polls = Polls(monkeypatch)
    server.connection(ping(), expect_pong(), mark("idle"), expect_gone())
    with opened(server) as transport, Reading(transport):
        server.wait_for("idle")
        assert polls.over(0.3) <= 3


def test_a_pong_that_cannot_leave_does_not_turn_the_reader(monkeypatch):
    """A full socket is waited for, not asked again and again."""
    with Peer(buffer=4096) as peer:
        fill(peer.transport)
        polls = Polls(monkeypatch)
        with Reading(peer.transport):
            peer.send(PING)
            wait_until(lambda: polls.count > 0)
            assert polls.over(0.3) <= 5


def test_a_pong_that_waits_for_a_sender_does_not_turn_the_reader(monkeypatch):
    """While a message is on its way its sender takes the pong along."""
    with Peer(buffer=4096) as peer, Reading(peer.transport):
        sender = Task(peer.transport.send, message_of(MIB))
        wait_until(lambda: is_blocked(peer.transport))
        peer.send(PING)
        wait_until(peer.transport._owes)
        polls = Polls(monkeypatch)
        assert polls.over(0.3) <= 5
        peer.transport.abort()
        assert isinstance(sender.error(), ConnectionLost)


def test_a_connection_that_cannot_speak_any_more_does_not_turn(monkeypatch):
    """After a broken write the reader goes on reading and does not ask for a socket that takes bytes."""
    with Peer() as peer:
        peer.sock.shutdown(socket.SHUT_RD)
        polls = Polls(monkeypatch)
        with Reading(peer.transport) as reading:
            peer.send(PING)
            wait_until(lambda: peer.transport._mute)
            assert polls.over(0.3) <= 5
            peer.send(frame(b"still heard"))
            assert reading.next() == b"still heard"


@pytest.mark.parametrize("size", [100, 20_000_000], ids=["at rest", "sending"])
def test_a_peer_that_ends_its_direction_ends_the_connection(server, monkeypatch, size):
    """Half a connection is none: a FIN without a close frame ends it, without turning."""
    polls = Polls(monkeypatch)
    server.connection(read_bytes(100), eof(), expect_gone())
    with opened(server) as transport, Reading(transport) as reading:
        sender = Task(transport.send, message_of(size))
        end = reading.wait()
        assert isinstance(end, ConnectionLost)
        assert end.close_code == 1006
        if size > MIB:
            assert isinstance(sender.error(), ConnectionLost)
        else:
            sender.result()
    assert polls.count < 2000


# -- many threads


def test_threads_that_send_ping_and_close_never_mix_their_messages(server):
    """Three senders, a pinger and at last a closer: every message arrives whole, every error is typed."""
    rounds = 40
    met: list[dict[str, Any]] = []

    def take(connection: Any) -> None:
        for number in range(3 * rounds):
            met.append(connection.receive())
            connection.send({"n": number})
            if number % 10 == 0:
                connection.send_ping(b"%d" % number)

    server.connection(run(take), expect_close(1000))
    with opened(server) as transport, Reading(transport) as reading:

        def talk(name: int) -> None:
            for number in range(rounds):
                size = (20, 500, 70_000, 200_000)[number % 4]
                letter = "abc"[name]
                transport.send(b'{"t":%d,"n":%d,"s":"%s"}' % (name, number, letter.encode() * size))
                transport.ping()

        for talker in [Task(talk, name) for name in range(3)]:
            talker.result()
        for number in range(3 * rounds):
            assert reading.next() == b'{"n": %d}' % number
        transport.close(1000)
        reading.wait()
    for name, letter in enumerate("abc"):
        mine = [message for message in met if message["t"] == name]
        assert [message["n"] for message in mine] == list(range(rounds))
        assert all(set(message["s"]) == {letter} for message in mine)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_an_end_in_the_middle_of_many_senders_is_a_typed_error_for_each(server, end):
    """Whatever the moment, a sender gets its message out whole or :class:`ConnectionLost`."""
    taken: list[dict[str, Any]] = []

    def take(connection: Any) -> None:
        for _ in range(10):
            taken.append(connection.receive())
        connection.shared.mark("flowing")
        while True:
            taken.append(connection.receive())

    server.connection(optional(run(take)), expect_gone())
    with opened(server) as transport, Reading(transport):

        def talk(name: int) -> None:
            while True:
                transport.send(b'{"t":%d,"s":"%s"}' % (name, b"x" * 100_000))

        talkers = [Task(talk, name) for name in range(3)]
        server.wait_for("flowing")
        getattr(transport, end)()
        assert [type(talker.error()) for talker in talkers] == [ConnectionLost] * 3
    assert all(len(message["s"]) == 100_000 for message in taken)
    assert server.connections[0].gone.wait(SECONDS)
