"""The other side: one process that answers with turns encoded beforehand, over WebSocket and over HTTP.

A request's ``metadata`` says what to answer with, see :class:`turns.Turn`::

    {"events": "20000"}                   as fast as the socket takes them, delta text made of words
    {"events": "400", "rate": "200"}      200 a second, each delta's text being the time of its sending
    {"calls": "20"}                       a call of a function, and after 20 of them text
    {"size": "1048576", "fragment": "1024"}    one message of 1 MiB in frames of 1 KiB
    {"events": "1", "delay": "50"}        after 50 ms, whatever else is running on other lanes

That time is ``time.monotonic_ns()``, one clock for all processes of a machine, in 20 digits.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import json
import multiprocessing
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from turns import (
    RECEIVED,
    STAMP,
    Turn,
    chunk,
    closing,
    delta,
    encode_lane,
    encode_lanes,
    encode_turn,
    event_text,
    opening,
    with_ids,
)
from wire import Wire, accept, content_length, server_frame

__all__ = ["HEADERS", "run"]

METADATA = re.compile(rb'"metadata": ?(\{[^{}]*\})')
STREAM = re.compile(rb'"stream_id": ?"([^"]*)"')
HEADERS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
BACKLOG = 512


def run(ready: Connection, certificate: str | None) -> None:
    """Serve on free ports of loopback, which are sent to ``ready``: plain, and with the certificate TLS.

    Until the process that started this one ends, or ends it.
    """
    plain = listen(lambda sock: sock)
    if certificate is None:
        ready.send((plain, None))
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        ready.send((plain, listen(lambda sock: context.wrap_socket(sock, server_side=True))))
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()


def listen(wrap: Callable[[socket.socket], socket.socket]) -> int:
    """Accept in a thread of its own, serve each connection in one; the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)

    def accept_all() -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock, wrap), daemon=True).start()

    threading.Thread(target=accept_all, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def serve(sock: socket.socket, wrap: Callable[[socket.socket], socket.socket]) -> None:
    """Answer the upgrade or the requests of one connection, until the client leaves."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock, contextlib.suppress(EOFError, OSError), wrap(sock) as wrapped:
        wire = Wire(wrapped)
        head = wire.head()
        if head.startswith(b"POST"):
            serve_http(wire, head)
        else:
            wire.send(accept(head))
            serve_websocket(wire)


def serve_websocket(wire: Wire) -> None:
    script = Script(wire)
    for ordinal in itertools.count():
        request = wire.message()
        turn = turn_of(request)
        if turn.delay:
            serve_in_time(wire, request)
        elif turn.rate:
            send_paced(wire, turn, ordinal)
        elif turn.lanes:
            requests = [request, *(wire.message() for _ in range(turn.lanes - 1))]
            # In one order, whichever thread asked first: encoding them anew would keep the clients waiting.
            wire.send_large(encode_lanes(turn, tuple(sorted(map(stream_of, requests))), ordinal))
        else:
            wire.send_large(script.answer(turn, ordinal))
            # Most turns are like the one before. Encoded now, the next one keeps no client waiting.
            encode_turn(turn, ordinal + 1, False)


def serve_in_time(wire: Wire, request: bytes) -> None:
    """Answer this request and those that follow, each in its own time."""
    due: list[tuple[float, int, bytes]] = []
    numbers = itertools.count()
    for ordinal in itertools.count():
        for moment, encoded in schedule(request, ordinal):
            heapq.heappush(due, (moment, next(numbers), encoded))
        another: bytes | None = None
        while another is None:
            if due and not wire.readable(due[0][0] - time.monotonic()):
                wire.send(heapq.heappop(due)[2])
            else:
                another = wire.message_or_control()
        request = another


def schedule(request: bytes, ordinal: int) -> Iterator[tuple[float, bytes]]:
    """When to send what: the whole answer at once, or with a rate each event after the other."""
    turn = turn_of(request)
    frames = encode_lane(turn, stream_of(request), ordinal)
    start = time.monotonic() + turn.delay / 1e3
    if turn.rate:
        yield from ((start + index / turn.rate, frame) for index, frame in enumerate(frames))
    else:
        yield start, b"".join(frames)


def serve_http(wire: Wire, head: bytes) -> None:
    script = Script(wire)
    for ordinal in itertools.count():
        turn = turn_of(wire.read(content_length(head)))
        if turn.rate:
            wire.send(HEADERS)
            send_paced(wire, turn, ordinal, http=True)
        else:
            wire.send(HEADERS + script.answer(turn, ordinal, http=True))
        head = wire.head()


class Script:
    """The turns of one connection: of a tool loop, so many calls and then text, again and again."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._called = 0

    def answer(self, turn: Turn, ordinal: int, *, http: bool = False) -> bytes:
        if not turn.calls:
            return encode_turn(turn, ordinal, http)
        ended = self._called == turn.calls
        self._called = 0 if ended else self._called + 1
        encoded = encode_turn(Turn(events=1) if ended else Turn(calls=1), ordinal, http)
        return encoded.replace(RECEIVED, b"%020d" % self._wire.received)


def turn_of(request: bytes | bytearray) -> Turn:
    """What the request asks for; clients write ``metadata`` after what is long."""
    *_, metadata = METADATA.finditer(request, max(0, len(request) - 64 * 1024))
    return turn_in(metadata[1])


@functools.lru_cache(maxsize=64)
def turn_in(metadata: bytes) -> Turn:
    return Turn.of(json.loads(metadata))


def stream_of(request: bytes) -> str:
    found = STREAM.search(request)
    if found is None:
        raise ValueError("a request among lanes names none")
    return found[1].decode()


def send_paced(wire: Wire, turn: Turn, ordinal: int, *, http: bool = False) -> None:
    """Send each delta at its own time after the start (lateness does not add up) and stamp it."""

    def encode(payload: bytes) -> bytes:
        named = with_ids(payload, ordinal)
        return chunk(event_text(named)) if http else server_frame(named)

    stamps = []
    wire.send(b"".join(map(encode, opening())))
    start = time.monotonic()
    for index in range(turn.events):
        encoded = encode(delta(index, STAMP.decode()))
        wait_until(wire, start + (index + 1) / turn.rate)
        stamp = b"%020d" % time.monotonic_ns()
        wire.send(encoded.replace(STAMP, stamp))
        stamps.append(stamp)
    text = b"".join(stamps).decode()
    wire.send(b"".join(map(encode, closing(turn.events, text))) + (chunk(b"") if http else b""))


def wait_until(wire: Wire, due: float) -> None:
    """Answer what comes before ``due`` (monotonic seconds). Nothing does over HTTP."""
    while (remaining := due - time.monotonic()) > 0:
        wire.answer_for(remaining)
