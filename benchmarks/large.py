"""Large messages: received in one frame and in small ones, and sent; plain and over TLS."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import raw
from clients import OFFICIAL, OURS, OURS_ORJSON, available, opened
from harness import Measure, Plot, Server, Size, Task
from turns import Turn

__all__ = ["MEASURE", "received", "sent", "tasks"]

MEBIBYTE = 1024 * 1024
FRAGMENT = 1024
REPEATS = 5
PARSED = raw.RAW_PARSED
PARSED_ORJSON = "bare socket and orjson.loads"
CLIENTS = (OURS, OURS_ORJSON, "websocket-client", "websockets", OFFICIAL)


def received(client: str, server: Server, turn: Turn, secure: bool) -> dict[str, float]:
    """Milliseconds from a short request to the final message of ``turn.size`` bytes of text, and CPU."""
    seconds: list[float] = []
    cpu = 0.0
    for _ in range(2):  # as with the bare sockets, the first connection finds its memory
        seconds.clear()
        with opened(client, server, secure=secure) as exchange:
            cpu = time.process_time()
            for _ in range(REPEATS):
                start = time.perf_counter()
                text = exchange(turn.metadata, _ignore)
                seconds.append(time.perf_counter() - start)
                if len(text) != turn.size:
                    raise RuntimeError(f"{client} received {len(text)} bytes of {turn.size}")
            cpu = time.process_time() - cpu
    return {"wall": statistics.median(seconds) * 1e3, "cpu": cpu / REPEATS * 1e3}


def sent(client: str, server: Server, size: int, secure: bool) -> dict[str, float]:
    """Milliseconds from the call with an input of ``size`` bytes to the end of a short answer, and CPU."""
    text = "0123456789abcdef" * (size // 16)
    seconds = []
    with opened(client, server, secure=secure) as exchange:
        cpu = time.process_time()
        for _ in range(REPEATS):
            start = time.perf_counter()
            exchange(Turn(events=1).metadata, _ignore, text)
            seconds.append(time.perf_counter() - start)
        cpu = time.process_time() - cpu
    return {"wall": statistics.median(seconds) * 1e3, "cpu": cpu / REPEATS * 1e3}


def bare_received(server: Server, turn: Turn, parse: str, secure: bool) -> dict[str, float]:
    seconds = raw.receive_and_parse(server, turn, _parser(parse), repeats=REPEATS, secure=secure)
    return {"wall": statistics.median(seconds) * 1e3}


def bare_sent(server: Server, size: int, secure: bool) -> dict[str, float]:
    seconds = [raw.send_large(server, size, secure=secure) for _ in range(REPEATS)]
    return {"wall": statistics.median(seconds) * 1e3}


def _parser(client: str) -> Callable[[bytes], object] | None:
    if client == PARSED_ORJSON:
        import orjson

        return orjson.loads
    return json.loads if client == PARSED else None


def _ignore(_delta: str) -> None:
    pass


def tasks(server: Server, size: Size) -> list[Task]:
    return [
        task
        for secure in (False, True)
        if server.secure or not secure
        for task in [*receiving(server, size, secure), *sending(server, size, secure)]
    ]


def receiving(server: Server, size: Size, secure: bool) -> list[Task]:
    found = []
    parsed = [PARSED, *([PARSED_ORJSON] if available(OURS_ORJSON) else [])]
    for mebibytes in (1, 8):
        for fragment, form in ((0, "in one frame"), (FRAGMENT, "in frames of 1 KiB")):
            setting = f"receive {mebibytes} MiB {form}{over(secure)}"
            turn = Turn(size=size.of(mebibytes * MEBIBYTE, mebibytes * 4 * FRAGMENT), fragment=fragment)
            for limit in [raw.RAW, *([] if fragment else parsed)]:
                found.append(Task(setting, limit, partial(bare_received, server, turn, limit, secure)))
            for name in available(*CLIENTS):
                found.append(Task(setting, name, partial(received, name, server, turn, secure)))
    return found


def sending(server: Server, size: Size, secure: bool) -> list[Task]:
    setting, count = f"send 8 MiB{over(secure)}", size.of(8 * MEBIBYTE, 16 * FRAGMENT)
    limit = Task(setting, raw.RAW, partial(bare_sent, server, count, secure))
    clients = available(*CLIENTS)
    return [limit, *(Task(setting, name, partial(sent, name, server, count, secure)) for name in clients)]


def over(secure: bool) -> str:
    return ", wss" if secure else ", ws"


MEASURE = Measure(
    name="large",
    title="Large messages",
    about="""
One ``response.completed`` of 1 and 8 MiB, in one frame and in frames of 1 KiB, from the request to the final
message; and a request of 8 MiB, from the call to the end of a short answer, JSON and masking included. The
median of 5 on one connection is one figure; of those that receive, clients and bare sockets alike, it is the
second connection of the process. The bare socket drains the bytes without looking for frames; with
``json.loads`` (``orjson.loads``) it keeps them all in memory, and then the message is parsed once.
""",
    columns={"wall": "wall, ms", "cpu": "CPU, ms"},
    tasks=tasks,
    against=OFFICIAL,
    plots=(Plot("wall", "wall, ms"),),
    rounds=3,
)
