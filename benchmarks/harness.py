"""What all measures share: the server's process, a process for each client, interleaved rounds."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeAlias, TypeVar

import server

__all__ = ["Measure", "Plot", "Samples", "Server", "Size", "Task", "isolated", "measured", "serving"]

P = ParamSpec("P")
T = TypeVar("T")
SPAWN = multiprocessing.get_context("spawn")
HOST = "127.0.0.1"
PATIENCE = 600
"""Seconds after which what does not end is an error."""

Samples: TypeAlias = dict[str, dict[str, dict[str, list[float]]]]
"""Setting, client, column: the figures of all rounds, in order."""


@dataclass(frozen=True)
class Server:
    """Where the server is; ``ca_file`` and ``secure`` are None where trustme is not installed."""

    plain: int
    secure: int | None
    ca_file: str | None

    def url(self, scheme: str, *, secure: bool = False) -> str:
        """What stands for ``OPENAI_BASE_URL``."""
        return f"{scheme}s://{HOST}:{self.secure}/v1" if secure else f"{scheme}://{HOST}:{self.plain}/v1"


@dataclass(frozen=True)
class Size:
    """How much is measured.

    :ivar quick: only enough to see that everything runs.
    """

    quick: bool = False

    def of(self, whole: int, quick: int) -> int:
        return quick if self.quick else whole


@dataclass(frozen=True)
class Task:
    """One client in one setting. ``run`` is called in a process of its own, so it must be picklable."""

    setting: str
    client: str
    run: Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Plot:
    """A drawing of one column: a bar for each client, in each setting."""

    column: str
    label: str


@dataclass(frozen=True)
class Measure:
    """One question, with the clients and settings that answer it.

    :ivar about: what is measured, for the page (reStructuredText).
    :ivar columns: the header of each column, with its unit.
    :ivar against: the client whose figures the ratios are of.
    :ivar rounds: None means as many as are asked for; else a measure that takes long has at most this many.
    """

    name: str
    title: str
    about: str
    columns: Mapping[str, str]
    tasks: Callable[[Server, Size], list[Task]]
    against: str
    plots: tuple[Plot, ...] = ()
    rounds: int | None = None


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """The server in its own process."""
    with tempfile.TemporaryDirectory() as directory:
        certificate, ca_file = certificates(Path(directory))
        receiver, sender = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=server.run, args=(sender, certificate), daemon=True)
        process.start()
        sender.close()
        try:
            plain, secure = receiver.recv()
            yield Server(plain, secure, ca_file)
        finally:
            process.terminate()
            process.join()


def certificates(directory: Path) -> tuple[str | None, str | None]:
    """Files with the server's certificate and its authority's; None where trustme is not installed."""
    try:
        import trustme
    except ImportError:
        return None, None
    authority = trustme.CA()
    ca_file, certificate = directory / "ca.pem", directory / "server.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    authority.issue_cert("localhost", HOST).private_key_and_cert_chain_pem.write_to_path(str(certificate))
    return str(certificate), str(ca_file)


def isolated(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the function in a new interpreter: no client meets the imports or the garbage of another."""
    with SPAWN.Pool(1) as pool:
        return pool.apply_async(function, args, dict(kwargs)).get(PATIENCE)


@dataclass
class Progress:
    """Says on the terminal what is being measured."""

    measure: str
    rounds: int
    shown: bool = field(default_factory=sys.stderr.isatty)

    def show(self, number: int, task: Task) -> None:
        text = f"{self.measure}, round {number} of {self.rounds}: {task.setting}, {task.client}"
        self._write(f"{text:<78.78}")

    def end(self) -> None:
        self._write(" " * 78)

    def _write(self, text: str) -> None:
        if self.shown:
            print(f"\r{text}", end="\r", file=sys.stderr, flush=True)


def measured(measure: Measure, where: Server, size: Size, rounds: int) -> Samples:
    """All rounds of a measure: in each, every client once in every setting."""
    rounds = min(rounds, measure.rounds or rounds)
    tasks = measure.tasks(where, size)
    samples: Samples = {}
    progress = Progress(measure.name, rounds)
    for number in range(1, rounds + 1):
        for task in tasks:
            progress.show(number, task)
            columns = samples.setdefault(task.setting, {}).setdefault(task.client, {})
            for column, value in isolated(task.run).items():
                columns.setdefault(column, []).append(value)
    progress.end()
    return samples
