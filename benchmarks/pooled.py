"""A process as a web server has it: connections in a pool that rest, and conversations that live."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from clients import OURS
from harness import Measure, Plot, Server, Size, Task
from memory import resident
from peers import API_KEY
from turns import Turn

if TYPE_CHECKING:
    from responses_ws import Chat, ConnectionPool

__all__ = ["MEASURE", "pooled", "tasks"]

THREADS = 8
QUESTION = (
    "What did the report of the third quarter say about the stores in the north, and what did it leave "
)
ANSWER = Turn(events=60)
"""Deltas of a short answer, of a word or two each."""


def pooled(server: Server, connections: int, chats: int, turns: int) -> dict[str, float]:
    """Megabytes above the import: of the connections, of the chats, and of both together."""
    from responses_ws import ConnectionPool, Endpoint

    gc.collect()
    imported = resident()
    endpoint = replace(Endpoint.of(server.url("ws")), max_age=None)
    with ConnectionPool(API_KEY, endpoint=endpoint, max_connections=connections, max_idle=None) as pool:
        pool.prewarm(connections)
        rested = resident()
        with ThreadPoolExecutor(THREADS) as threads:
            talks = list(threads.map(partial(converse, pool, turns), range(chats)))
        gc.collect()
        total = resident()
        found = pool.stats()
        if found.connections != connections or sum(len(talk.messages) for talk in talks) != chats * turns * 2:
            raise RuntimeError("something was lost")
    figures = {"connections": rested - imported, "chats": total - rested, "together": total - imported}
    return {name: size / 1e6 for name, size in figures.items()}


def converse(pool: ConnectionPool, turns: int, _number: int) -> Chat:
    from responses_ws import Chat

    talk = Chat("bench", pool=pool).with_params(transport="websocket", metadata=ANSWER.metadata)
    for _ in range(turns):
        talk.ask(QUESTION)
    return talk


def tasks(server: Server, size: Size) -> list[Task]:
    connections, chats, turns = size.of(200, 2), size.of(1_000, 3), size.of(20, 2)
    return [Task("200 connections, 1,000 chats", OURS, partial(pooled, server, connections, chats, turns))]


MEASURE = Measure(
    name="pooled",
    title="A pool at rest",
    about="""
The memory that a process takes above the import: 200 connections in a pool, at rest, and 1,000 ``Chat``
objects with 20 turns each, a question of about 100 characters and an answer of 60 deltas.
""",
    columns={"connections": "connections, MB", "chats": "chats, MB", "together": "together, MB"},
    tasks=tasks,
    against=OURS,
    plots=(Plot("together", "memory above the import, MB"),),
    rounds=3,
)
