"""Thousands of inputs, asked side by side, with the results in a file that a second run goes on from.

::

    report = batch.run(questions, model="gpt-5.5", out="results.jsonl")
    for result in report:
        ...

**The file** has one line of JSON for each input that was dealt with: ``custom_id``, ``digest`` (of the
payload), ``message`` or ``error``. It is only appended to; of an input that failed and was asked again the
last line counts. :func:`read` and a :class:`Report` give the lines as :class:`Result`. The same call on the
same file goes on where the last one stopped:

- An input with an answer is not asked again. An answer that is incomplete is an answer: look at
  ``message.status``.
- One that failed is, when the service is known not to have run it (``delivery`` NOT_SENT or REJECTED, or a
  rate limit before any output). One that may have been paid for is not, but with ``rerun="all"``.
- A line is in the hands of the system before the next input is begun in its place, so that a killed process
  loses no result; it goes to the disk once a second, so that a power cut loses those of the last second. A
  last line that was torn by it is cut off.
- What had been sent and not yet written down when the process was killed is asked, and paid, again: only the
  service could tell. That is ``concurrency`` inputs at most, for each kill.

**One throttle for all.** After a rate limit, and while the service cannot be reached or fails, nothing is
sent: for as long as the service says (``retry_after``), or, where it says nothing or that was not enough, for
a pause that doubles up to a minute. Then one input goes first, and each answer lets one more join. Rate
limits do not count as attempts of an input; everything else that may pass is tried five times. The run ends,
and raises, when all inputs would meet the same: a key that is not accepted (401), no quota, a ``retry_after``
of more than 10 minutes, ten pauses without an answer.

**Ctrl-C** leaves what is under way (see above for what that costs) and keeps what is done. A second one, at
any moment, loses no result either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from responses_ws._batch_file import Entry, ResultsFile, read_at
from responses_ws._batch_file import read as read_results
from responses_ws._batch_inputs import Input, read_inputs
from responses_ws._batch_progress import show_progress
from responses_ws._batch_results import Result
from responses_ws._batch_run import Run
from responses_ws._batch_worker import workers
from responses_ws._core.options import check_callable, check_count, check_method
from responses_ws._paths import check_path
from responses_ws._shown import shown
from responses_ws.errors import ConfigurationError
from responses_ws.pool import ConnectionPool

__all__ = ["Report", "Result", "read", "run"]


@dataclass(frozen=True, repr=False)
class Report:
    """What became of the inputs of one call. Iterating gives a :class:`Result` for each, in their order, read
    from the file one by one.

    :ivar out: the file.
    :ivar asked: inputs that this call dealt with; the others were found in the file.
    :ivar completed: inputs that have an answer, which may be incomplete (``message.status``).
    :ivar failures: the others, in the order of the inputs, each with its error.
    """

    out: Path
    asked: int
    completed: int
    failures: tuple[Result, ...]
    _offsets: tuple[int, ...]

    def __iter__(self) -> Iterator[Result]:
        return read_at(self.out, self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def __repr__(self) -> str:
        counts = f"{self.completed} completed, {len(self.failures)} failed, {self.asked} asked"
        return f"<Report {counts}: {self.out}>"


def read(out: str | os.PathLike[str]) -> Iterator[Result]:
    """The results in a file: one for each input, its last, in the order in which they came.

    May be called while a run writes to it.

    :raises ConfigurationError: it is no path, no file (a directory, a pipe), or holds something else.
    :raises OSError: it cannot be read.
    """
    return read_results(Path(check_path("out", out)))


def run(
    requests: Iterable[str | Mapping[str, Any]],
    *,
    model: str | None = None,
    pool: ConnectionPool | Callable[[], ConnectionPool] | None = None,
    out: str | os.PathLike[str] = "results.jsonl",
    concurrency: int = 8,
    executor: Executor | None = None,
    rerun: Literal["unpaid", "all"] = "unpaid",
    progress: bool = True,
    **extra: Any,
) -> Report:
    """Ask all inputs that the file has no answer for, and wait for the end.

    See :mod:`responses_ws.batch` for what is promised.

    Nothing is sent before all inputs are read and checked. May be called from any thread but one of the
    executor's own, where it would wait for itself.

    :param requests: texts, or payloads of ``POST /v1/responses``. A payload may have a ``custom_id`` besides,
        which is not sent: the name of the input in the file. Without one the name is derived from what is
        asked (and from how many equal ones came before), so that inputs may be added, left out and put in
        another order between two runs. ``background`` is refused.
    :param model: of those that name none.
    :param extra: further fields, likewise.
    :param pool: a :class:`ConnectionPool` that is open, and stays so, or a function without arguments that
        makes one. None makes one with the key and the address of the environment, and with a connection for
        each request under way, where the service does not run several on one.
    :param out: the file; it is made when it is not there.
    :param concurrency: inputs under way at once.
    :param executor: runs the requests, one in each of its workers: any :class:`concurrent.futures.Executor`,
        of processes and of other machines too (``Client.get_executor()`` of dask.distributed). It is not shut
        down. Each process makes its own pool, so ``pool`` must be None or a function that can be pickled,
        such as ``functools.partial(ConnectionPool, max_connections=2)``: let it read the key from the
        environment there. Only this process writes to the file. ``concurrency`` should be no more than it has
        workers: what waits in an executor's own queue waits for no rate limit. None uses threads of this
        process.
    :param rerun: which failures of earlier runs are asked again: ``unpaid``, or ``all``.
    :param progress: show a bar, if stderr is a terminal and tqdm is installed (extra ``batch``).
    :raises ConfigurationError: an option or an input cannot work, two have one ``custom_id``, an input of the
        file with the same ``custom_id`` asked something else, or the file holds something else than results.
    :raises ConcurrencyError: another run writes to the file.
    :raises ResponsesWSError: what every other input would meet too. What was under way is waited for.
    :raises OSError: the file cannot be written.
    :raises concurrent.futures.BrokenExecutor: a process of the executor died. What was under way in it is
        asked again by the next call, which needs a new executor. dask.distributed replaces processes by
        itself: there the run goes on, and an input that several of them died of is a failure
        (:class:`ConnectionLost`).
    """
    path = Path(check_path("out", out))
    _check(pool, concurrency, executor, rerun)
    fields = extra if model is None else {"model": model, **extra}
    inputs = read_inputs(requests, fields)
    file = ResultsFile(path)
    try:
        wanted = _to_ask(inputs, file, rerun)
        done = len(inputs) - len(wanted)
        with (
            show_progress(progress, total=len(inputs), done=done) as bar,
            workers(pool, concurrency, executor) as crew,
        ):
            Run(crew, file, concurrency, bar).finish(wanted)
        return _report(path, inputs, file, len(wanted))
    finally:
        file.close()


def _to_ask(inputs: Iterable[Input], file: ResultsFile, rerun: str) -> list[Input]:
    return [one for one in inputs if _is_to_ask(one, file.entries.get(one.custom_id), rerun)]


def _is_to_ask(one: Input, entry: Entry | None, rerun: str) -> bool:
    if entry is None:
        return True
    if not entry.done:
        return entry.unpaid or rerun == "all" or entry.digest != one.digest
    if entry.digest != one.digest:
        raise ConfigurationError(
            f"requests: {one.custom_id!r} is not what was asked under this custom_id before; "
            "give it another one, or another file as out"
        )
    return False


def _report(path: Path, inputs: Sequence[Input], file: ResultsFile, asked: int) -> Report:
    entries = [file.entries[one.custom_id] for one in inputs]
    failed = [entry.offset for entry in entries if not entry.done]
    offsets = tuple(entry.offset for entry in entries)
    completed = len(entries) - len(failed)
    return Report(path, asked, completed, tuple(read_at(path, failed)), offsets)


def _check(pool: Any, concurrency: object, executor: object, rerun: object) -> None:
    check_count("concurrency", concurrency, least=1)
    if rerun not in ("unpaid", "all"):
        raise ConfigurationError(f"rerun must be 'unpaid' or 'all', not {shown(rerun)}")
    check_method("executor", executor, "submit")
    if not isinstance(pool, ConnectionPool):
        check_callable("pool", pool)
