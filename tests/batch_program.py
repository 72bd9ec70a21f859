"""A program with a batch, for tests that kill it: ``python batch_program.py EXECUTOR OUT COUNT CONCURRENCY``.

The environment says where the service is. It prints the id of one process that asks, then what it has done.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from batches import named

from responses_ws import batch


def questions(count: int) -> list[str]:
    return [f"question {number}" for number in range(count)]


@contextlib.contextmanager
def executors(kind: str) -> Iterator[tuple[int, concurrent.futures.Executor | None]]:
    """An executor of a kind, and the id of one of its processes."""
    if kind == "threads":
        yield os.getpid(), None
    elif kind == "dask":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield min(client.run(os.getpid).values()), client.get_executor()
    else:
        context = multiprocessing.get_context(kind)
        with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
            yield pool.submit(os.getpid).result(), pool


def die() -> Any:
    """Makes no pool, and ends the process that wants one."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(kind: str, out: str, count: str, concurrency: str, pool: str = "") -> None:
    with executors(kind) as (pid, executor):
        print(pid, flush=True)
        inputs = named(*questions(int(count)))
        report = batch.run(
            inputs,
            model="m",
            out=out,
            concurrency=int(concurrency),
            executor=executor,
            pool=die if pool == "die" else None,
        )
        done = {"asked": report.asked, "completed": report.completed, "failed": len(report.failures)}
    print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
