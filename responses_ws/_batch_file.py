"""The file with the results of a batch: one line an input, only appended to, by one run at a time."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from responses_ws._batch_results import LINE_START, Result, decode, encode, is_json, is_unpaid
from responses_ws._process import watch
from responses_ws.errors import ConcurrencyError, ConfigurationError, ResponsesWSError
from responses_ws.messages import Message

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["Entry", "ResultsFile", "read", "read_at"]

logger = logging.getLogger("responses_ws")

SYNC_SECONDS = 1.0
"""What a machine that loses its power may forget. A process that is killed forgets nothing."""
LOCKED_BYTE = 2**30
"""On Windows, where a locked byte cannot be read: one that no line is at."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the last line of an input stands, and what it says.

    :ivar done: it holds an answer.
    :ivar unpaid: it holds an error, of a request that did not run.
    """

    offset: int
    digest: str
    done: bool
    unpaid: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """What is in a file.

    :ivar size: bytes of whole lines from the beginning on.
    :ivar tail: what follows them.
    :ivar ended: the last whole line has its newline.
    """

    entries: dict[str, Entry]
    size: int
    tail: bytes
    ended: bool


class ResultsFile:
    """The open file. :meth:`add` may be called from any thread, the rest from one.

    A line is handed to the system in one piece, at the end of the file, so that a process that is killed
    leaves whole lines behind. The system is told at most once a second to bring them to the disk. Both can
    fail half-way (a full disk, a power cut); what that leaves behind is repaired when the file is opened
    again.

    The lock belongs to the open file: it ends with the process, however that ends.

    :raises ConcurrencyError: another run writes to it.
    :raises ConfigurationError: it is no file, or holds something else than results.
    :raises OSError: it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        _check_file(path)
        self._path = path
        self._place = path.absolute()  # the program may change its directory
        existed = path.exists()
        self._lock = threading.Lock()
        self._unsynced = False
        self._synced_at = time.monotonic()
        self._file = io.FileIO(path, "a+")
        try:
            _lock(self._file, path)
            watch(self)
            self.entries = self._repaired()
            self._size = os.fstat(self._file.fileno()).st_size
            if not existed:
                _sync_directory(path.parent)
        except BaseException:
            self._file.close()
            raise

    def add(self, custom_id: str, digest: str, outcome: Message | ResponsesWSError) -> None:
        """Write what became of an input. After :meth:`close` it is too late, and nothing is written.

        :raises OSError: the line could not be written; no part of it is left.
        """
        line = encode(custom_id, digest, outcome)
        error = outcome if isinstance(outcome, ResponsesWSError) else None
        with self._lock:
            if self._file.closed:
                return
            self.entries[custom_id] = _entry(self._append(line), digest, error)
            self._unsynced = True

    def sync(self, *, now: bool = False) -> None:
        """Have the system bring to the disk what was written, unless it was told to a second ago.

        :raises OSError: it cannot, or the file is there no more, or no longer all of it.
        """
        if self._unsynced and (now or time.monotonic() - self._synced_at >= SYNC_SECONDS):
            self._unsynced = False
            os.fsync(self._file.fileno())
            self._synced_at = time.monotonic()
            self._check_in_place()

    def close(self) -> None:
        """Bring all to the disk and let the lock go."""
        with self._lock:
            try:
                self.sync(now=True)
            finally:
                _give_back(self._file)
                self._file.close()

    def forget(self) -> None:
        """In a forked child: the lock must end with the parent."""
        self._lock = threading.Lock()
        self._file.close()

    def _check_in_place(self) -> None:
        """Whether what was written will be found. An editor that saves the file puts another in its place, or
        cuts it to what it had read."""
        wanted = self._size  # before the look, for lines are added meanwhile
        found = os.fstat(self._file.fileno())
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._place.stat(), found) and found.st_size >= wanted:
                return
        told = "removed, replaced or cut while results were written to it"
        raise FileNotFoundError(errno.ENOENT, told, self._path)

    def _append(self, line: bytes) -> int:
        offset = os.fstat(self._file.fileno()).st_size
        view = memoryview(line)
        try:
            while view:
                view = view[self._file.write(view) :]
        except BaseException:
            self._file.truncate(offset)
            raise
        self._size += len(line)
        return offset

    def _repaired(self) -> dict[str, Entry]:
        with self._path.open("rb") as lines:
            scan = _scan(lines, self._path)
        if scan.tail:
            logger.warning("the last line of %s was torn and is cut off", self._path)
            self._file.truncate(scan.size)
        elif not scan.ended:
            self._file.write(b"\n")
        if scan.tail or not scan.ended:
            os.fsync(self._file.fileno())
        return scan.entries


def read(path: Path) -> Iterator[Result]:
    """The results in a file, one for each input, in the order in which they came. A torn last line is none.

    :raises ConfigurationError: it is no file, or holds something else than results.
    :raises OSError: it cannot be read.
    """
    _check_file(path)
    with path.open("rb") as lines:
        entries = _scan(lines, path).entries
    yield from read_at(path, sorted(entry.offset for entry in entries.values()))


def read_at(path: Path, offsets: Iterable[int]) -> Iterator[Result]:
    """The results at these places of a file."""
    with path.open("rb") as lines:
        for offset in offsets:
            lines.seek(offset)
            line = decode(lines.readline())
            if line is None:
                raise ConfigurationError(f"out: {path} was changed by somebody else")
            yield line.result


def _check_file(path: Path) -> None:
    """Refuse what keeps no lines. To read a pipe to its end could take for ever."""
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"out: {path} is no file")


def _scan(lines: Iterable[bytes], path: Path) -> Scan:
    """Read a file to its end. Only its end may be broken."""
    entries: dict[str, Entry] = {}
    size = 0
    tail = b""
    ended = True
    for number, line in enumerate(lines, 1):
        found = decode(line)
        if found is None:
            tail += line
            if not _is_torn(tail):
                raise ConfigurationError(f"out: {path} holds something else than results of a batch")
            continue
        if tail:
            raise ConfigurationError(f"out: {path} is damaged before its line {number}")
        entries[found.result.custom_id] = _entry(size, found.digest, found.result.error)
        size += len(line)
        ended = line.endswith(b"\n")
    return Scan(entries, size, tail, ended)


def _is_torn(tail: bytes) -> bool:
    """Whether it is the beginning of one line of ours, or the zeros that a power cut leaves behind."""
    rest = tail.strip(b"\0\n")
    begins = rest[: len(LINE_START)] == LINE_START[: len(rest)]
    return begins and b"\n" not in rest and rest.count(LINE_START) <= 1 and not is_json(rest)


def _entry(offset: int, digest: str, error: ResponsesWSError | None) -> Entry:
    return Entry(offset, digest, error is None, error is not None and is_unpaid(error))


def _lock(file: io.FileIO, path: Path) -> None:
    try:
        _take(file)
    except (BlockingIOError, PermissionError) as error:
        raise ConcurrencyError(f"out: {path} is being written by another run") from error


if sys.platform == "win32":

    def _take(file: io.FileIO) -> None:
        os.lseek(file.fileno(), LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _sync_directory(path: Path) -> None:
        """There it cannot be done."""

    def _give_back(file: io.FileIO) -> None:
        """It goes with the file."""

else:

    def _take(file: io.FileIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _give_back(file: io.FileIO) -> None:
        """Also from a child that was forked a moment ago and has not forgotten the file yet."""
        fcntl.flock(file, fcntl.LOCK_UN)

    def _sync_directory(path: Path) -> None:
        """A new file is found again after a power cut only when its directory is on the disk too."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
