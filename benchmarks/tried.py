"""What was tried for a faster path, beside what is in use; ``docs/benchmarks/tried.rst`` has the conclusions.

::

    python benchmarks/tried.py

Needs no peer. Every row is the median of interleaved rounds in this process.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import secrets
import socket
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from figures import spread
from page import table
from turns import delta
from wire import server_frame

from responses_ws._transport.mailbox import Mailbox, wait_for

__all__ = ["EXPERIMENTS", "main"]

Alternative: TypeAlias = Callable[[], float]
"""Runs once; microseconds per unit of its table: of CPU, but for wake-ups, which are waited for."""

MEBIBYTE = 1024 * 1024
FRAME = 64 * 1024
EVENTS = 2_000
A_READ = 64
WAKE_UPS = 200
PAUSE = 0.002


def timed(run: Callable[[], object], units: int) -> Alternative:
    def once() -> float:
        start = time.process_time()
        run()
        return (time.process_time() - start) / units * 1e6

    return once


# --- masking what is sent -----------------------------------------------------------------------------------


def masking() -> Mapping[str, Alternative]:
    from responses_ws._transport.ws import encode_message

    message = secrets.token_bytes(8 * MEBIBYTE)

    def exclusive_or(payload: bytes) -> bytes:
        size = len(payload)
        mask = int.from_bytes(secrets.token_bytes(4) * (size // 4), "little")
        return (int.from_bytes(payload, "little") ^ mask).to_bytes(size, "little")

    def in_pieces() -> list[bytes]:
        return [exclusive_or(message[start : start + FRAME]) for start in range(0, len(message), FRAME)]

    return {
        "in use: frames of 64 KiB, four translation tables": timed(lambda: list(encode_message(message)), 8),
        "frames of 64 KiB as long integers": timed(in_pieces, 8),
        "one frame as one long integer": timed(lambda: exclusive_or(message), 8),
    }


# --- writing ------------------------------------------------------------------------------------------------


def writing() -> Mapping[str, Alternative]:
    from responses_ws._core import json_text

    image = base64.b64encode(secrets.token_bytes(6 * MEBIBYTE)).decode()
    value = {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": image}]}]}

    def joined() -> bytes:
        return b"".join(json_text._pieces(value, json_text.LEVELS + 1))

    return {
        "in use: in pieces, gathered in a buffer": timed(lambda: json_text.dump(value), 8),
        "the pieces joined": timed(joined, 8),
        "the encoder of json alone": timed(lambda: json_text.ENCODER.encode(value).encode(), 8),
        "json.dumps, which escapes what is not ASCII": timed(lambda: json.dumps(value).encode(), 8),
    }


# --- parsing ------------------------------------------------------------------------------------------------


def parsing() -> Mapping[str, Alternative]:
    from responses_ws._core.parser import _scan_message, parse

    payloads = [delta(index, " word") for index in range(EVENTS)]
    found: dict[str, Alternative] = {
        "in use": timed(partial(_each, parse, payloads), EVENTS),
        "in use without orjson: the scanner of json alone": timed(
            partial(_each, _scan_message, payloads), EVENTS
        ),
    }
    parsers: dict[str, Callable[[bytes], Any]] = {"json.loads": json.loads}
    with contextlib.suppress(ImportError):
        import orjson

        parsers["orjson.loads"] = orjson.loads
    for name, loads in parsers.items():
        found[name] = timed(partial(_each, loads, payloads), EVENTS)
        found[f"{name} of all events as one list"] = timed(partial(_joined, loads, payloads), EVENTS)
    return found


def _each(loads: Callable[[bytes], Any], payloads: list[bytes]) -> list[Any]:
    return list(map(loads, payloads))


def _joined(loads: Callable[[bytes], Any], payloads: list[bytes]) -> Any:
    return loads(b"[" + b",".join(payloads) + b"]")


# --- reading ------------------------------------------------------------------------------------------------


def reading() -> Mapping[str, Alternative]:
    """One event, which lies ready, taken with room for more or less."""
    event = server_frame(delta(0, " word"))

    def taking(take: Callable[[socket.socket], object]) -> Alternative:
        def once() -> float:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                seconds = []
                for _ in range(EVENTS):
                    theirs.sendall(event)
                    start = time.thread_time()
                    take(ours)
                    seconds.append(time.thread_time() - start)
            return statistics.median(seconds) * 1e6

        return once

    buffer = bytearray(64 * 1024)
    view = memoryview(buffer)
    return {
        "in use: recv with room for 64 KiB": taking(lambda sock: sock.recv(64 * 1024)),
        "recv with room for 4 KiB": taking(lambda sock: sock.recv(4 * 1024)),
        "recv with room for 256 KiB": taking(lambda sock: sock.recv(256 * 1024)),
        "recv_into a buffer that stays": taking(lambda sock: bytes(view[: sock.recv_into(buffer)])),
    }


# --- making chunks ------------------------------------------------------------------------------------------


class TupleChunk(NamedTuple):
    """The fields of a chunk, as a tuple."""

    type: str = ""
    content: str | None = None
    raw: dict[str, Any] | None = None
    tool_calls: dict[str, Any] | None = None
    reasoning: str | None = None
    refusal: str | None = None
    response_id: str | None = None
    model_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    built_in_tool_events: list[dict[str, Any]] | None = None
    role: str = "assistant"


class LazyChunk:
    """Three fields of its own, the others the class's until they are set."""

    tool_calls = reasoning = refusal = response_id = model_id = None
    role = "assistant"

    def __init__(self, type: str, content: str | None, raw: dict[str, Any]) -> None:
        self.type = type
        self.content = content
        self.raw = raw


def chunks() -> Mapping[str, Alternative]:
    from responses_ws.messages import Chunk

    event = json.loads(delta(0, " word"))
    made = range(EVENTS)
    return {
        "in use: a slotted dataclass": timed(lambda: [Chunk("t", " word", event) for _ in made], EVENTS),
        "a class with defaults for the rest": timed(
            lambda: [LazyChunk("t", " word", event) for _ in made], EVENTS
        ),
        "a named tuple": timed(lambda: [TupleChunk("t", " word", event) for _ in made], EVENTS),
    }


# --- from the reader to the caller --------------------------------------------------------------------------


def hand_over() -> Mapping[str, Alternative]:
    events = [{"delta": " word"}] * EVENTS

    def through(make: Callable[[], Any], get: Callable[[Any], Any], batch: int) -> Alternative:
        def run() -> None:
            found = make()
            reader = threading.Thread(target=_put_all, args=(found, events, batch))
            reader.start()
            for _ in range(0, EVENTS, batch):
                for _event in get(found):
                    pass
            reader.join()

        return timed(run, EVENTS)

    return {
        f"in use: Mailbox, {A_READ} events at a time": through(Mailbox, _from_mailbox, A_READ),
        "Mailbox, one event at a time": through(Mailbox, _from_mailbox, 1),
        "SimpleQueue, one event at a time": through(queue.SimpleQueue, queue.SimpleQueue.get, 1),
        "Queue, one event at a time": through(queue.Queue, queue.Queue.get, 1),
    }


def _from_mailbox(mailbox: Mailbox[Any]) -> Any:
    return wait_for(mailbox, 1)


def _put_all(found: Any, events: list[Any], batch: int) -> None:
    for start in range(0, len(events), batch):
        found.put(events[start : start + batch])


class Waker(NamedTuple):
    wake: Callable[[], object]
    wait: Callable[[], object]


def wake_ups() -> Mapping[str, Alternative]:
    mailbox: Mailbox[str] = Mailbox()
    simple: queue.SimpleQueue[None] = queue.SimpleQueue()
    plain: queue.Queue[None] = queue.Queue()
    reading, writing = os.pipe()
    wakers = {
        "in use: Mailbox with a timeout": Waker(lambda: mailbox.put("x"), lambda: wait_for(mailbox, 1)),
        "SimpleQueue.get with a timeout": Waker(lambda: simple.put(None), lambda: simple.get(timeout=1)),
        "SimpleQueue.get without": Waker(lambda: simple.put(None), simple.get),
        "Queue.get with a timeout": Waker(lambda: plain.put(None), lambda: plain.get(timeout=1)),
        "a pipe": Waker(lambda: os.write(writing, b"x"), lambda: os.read(reading, 1)),
    }
    return {name: _waking(waker) for name, waker in wakers.items()}


def _waking(waker: Waker) -> Alternative:
    """Microseconds from the word of one thread until another runs, which was asleep: the median of many."""

    def once() -> float:
        said: list[float] = []
        woken: list[float] = []

        def wait() -> None:
            for _ in range(WAKE_UPS):
                waker.wait()
                woken.append(time.perf_counter())

        sleeper = threading.Thread(target=wait)
        sleeper.start()
        for _ in range(WAKE_UPS):
            time.sleep(PAUSE)
            said.append(time.perf_counter())
            waker.wake()
        sleeper.join()
        return statistics.median(after - before for before, after in zip(said, woken, strict=True)) * 1e6

    return once


EXPERIMENTS: dict[str, Callable[[], Mapping[str, Alternative]]] = {
    "Masking 8 MiB, µs per MiB": masking,
    "Writing 8 MiB of base64, µs per MiB": writing,
    "Parsing, µs per delta event": parsing,
    "Reading an event, µs": reading,
    "Making a chunk, µs": chunks,
    "Hand-over between threads, µs per event": hand_over,
    "Waking a thread, µs": wake_ups,
}


def main(rounds: int = 9) -> None:
    for title, experiment in EXPERIMENTS.items():
        alternatives = experiment()
        samples: dict[str, list[float]] = {name: [] for name in alternatives}
        for _ in range(rounds):
            for name, once in alternatives.items():
                samples[name].append(once())
        print(table([["", title], *([name, spread(values)] for name, values in samples.items())]))


if __name__ == "__main__":
    main()
