"""The results file of a batch: what was written is found again, whatever ended the process that wrote it."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shell import Task

from responses_ws import ConcurrencyError, ConfigurationError, Message, ToolCall, _batch_file, batch, errors
from responses_ws._batch_file import ResultsFile
from responses_ws._batch_results import decode, encode
from responses_ws.errors import Delivery, ResponsesWSError


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def said(text: str) -> Message:
    return Message(content=text, status="completed", response_id=f"resp_{text}")


def write(path: Path, *names: str) -> None:
    file = ResultsFile(path)
    for name in names:
        file.add(name, f"digest of {name}", said(name))
    file.close()


def held(path: Path) -> dict[str, str]:
    """The texts in the file, by id."""
    return {found.custom_id: found.message.content for found in batch.read(path) if found.message}


# -- lines


FULL = Message(
    content="Grüße, 你好\u2028",
    tool_calls={"call_1": ToolCall("call_1", "add", '{"a": 1}', item_id="fc_1")},
    model_id="m",
    input_tokens=3,
    output_tokens=0,
    response_id="resp_1",
    built_in_tool_events=[{"type": "x"}],
    status="incomplete",
    incomplete_reason="max_output_tokens",
    output=[{"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "hi"}]}],
    refusal="no",
    reasoning="hm",
    annotations=[{"type": "url_citation"}],
    transport="http",
)


def test_a_message_is_the_same_again() -> None:
    """All of it but what repeats the request."""
    line = decode(encode("a", "d", FULL))
    assert line is not None
    assert (line.result.custom_id, line.digest) == ("a", "d")
    assert line.result.message == FULL
    assert line.result.error is None


def test_half_a_character_is_kept() -> None:
    """UTF-8 does not know it; JSON does."""
    line = decode(encode("a", "d", said("\ud83d")))
    assert line is not None
    assert line.result.message == said("\ud83d")


def test_a_line_is_json_for_every_reader() -> None:
    """Python reads 1e999 as infinite, and would write a word that no other reader knows."""
    message = said("hi")
    message.annotations = [{"score": math.inf}]
    line = json.loads(encode("a", "d", message), parse_constant=pytest.fail)
    assert line["message"]["annotations"] == [{"score": sys.float_info.max}]


def error_classes() -> list[type[ResponsesWSError]]:
    found = [getattr(errors, name) for name in errors.__all__ if name != "Delivery"]
    return [kind for kind in found if issubclass(kind, ResponsesWSError)]


VALUES: dict[str, Any] = {
    "delivery": Delivery.STARTED,
    "partial": FULL,
    "status": 400,
    "headers": {},
    "raw": None,
    "body": "",
    "largest": (),
    "retry_after": 1.5,
    "seconds": 2.5,
    "clock": "total",
}


@pytest.mark.parametrize("kind", error_classes())
def test_an_error_is_the_same_again(kind: type[ResponsesWSError]) -> None:
    """Its class and what a program decides by."""
    fields = {name: VALUES.get(name, 7 if name.endswith(("e", "s")) else "x") for name in kind._fields}
    error = kind("what happened", **fields)
    line = decode(encode("a", "d", error))
    assert line is not None
    found = line.result.error
    assert type(found) is kind
    assert found.message == "what happened"
    assert {name: getattr(found, name) for name in kind._fields} == fields
    assert line.result.message is None


def test_what_the_server_sent_with_an_error_is_not_kept() -> None:
    """It may be long, and it may tell what nobody wants in a file."""
    error = errors.BadRequestError("no", headers={"x": "secret"}, raw={"x": "secret"})
    assert b"secret" not in encode("a", "d", error)


def test_an_error_of_a_later_version_may_have_run() -> None:
    """It is some error of the package, and nothing is sent twice for it."""
    line = decode(
        b'{"custom_id": "a", "digest": "d", "message": null, "error": {"class": "New", "delivery": "new"}}'
    )
    assert line is not None
    assert type(line.result.error) is ResponsesWSError
    assert line.result.error.delivery is Delivery.UNKNOWN


# -- writing and finding again


def test_what_was_written_is_found(out: Path) -> None:
    """By this process and by the next."""
    write(out, "a", "b")
    file = ResultsFile(out)
    assert list(file.entries) == ["a", "b"]
    assert all(entry.done for entry in file.entries.values())
    file.close()
    assert held(out) == {"a": "a", "b": "b"}


def test_the_last_line_of_an_input_counts(out: Path) -> None:
    """A failure that was asked again is one no more."""
    file = ResultsFile(out)
    file.add("a", "d", errors.RateLimitError("no", delivery=Delivery.REJECTED))
    file.add("b", "d", said("b"))
    assert not file.entries["a"].done
    assert file.entries["a"].unpaid
    file.add("a", "d", said("a"))
    assert file.entries["a"].done
    file.close()
    assert [found.custom_id for found in batch.read(out)] == ["b", "a"]
    assert held(out) == {"b": "b", "a": "a"}


def test_many_threads_write_whole_lines(out: Path) -> None:
    """Each line in one piece, at the place that is noted for it."""
    file = ResultsFile(out)
    start = threading.Barrier(8)

    def add(thread: int) -> None:
        start.wait(10)
        for number in range(50):
            file.add(f"{thread}-{number}", "d", said("x" * number))

    for task in [Task(add, thread) for thread in range(8)]:
        task.result()
    entries = dict(file.entries)
    file.close()
    assert len(held(out)) == 400
    found = _batch_file.read_at(out, [entry.offset for entry in entries.values()])
    assert [one.custom_id for one in found] == list(entries)


def test_after_the_end_nothing_is_written(out: Path) -> None:
    """A thread that was left may still bring something."""
    file = ResultsFile(out)
    file.close()
    file.add("a", "d", said("a"))
    assert out.read_bytes() == b""


# -- repair


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_line_torn_anywhere_is_cut_off(out: Path, stride: int) -> None:
    """The lines before it stay, and the next one is whole."""
    write(out, "a", "grüße")
    whole = out.read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(first, len(whole) - 1, stride):
        out.write_bytes(whole[:size])
        assert held(out) == {"a": "a"}
        write(out, "c")
        assert held(out) == {"a": "a", "c": "c"}
        assert out.read_bytes()[:first] == whole[:first]


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_torn_first_line_is_cut_off(out: Path, stride: int) -> None:
    """As long as it is one of ours."""
    write(out, "a")
    whole = out.read_bytes()
    for size in range(0, len(whole) - 1, stride):
        out.write_bytes(whole[:size])
        write(out, "c")
        assert held(out) == {"c": "c"}


def test_a_line_that_only_lacks_its_newline_is_whole(out: Path) -> None:
    """It was paid for."""
    write(out, "a", "b")
    out.write_bytes(out.read_bytes()[:-1])
    write(out, "c")
    assert list(held(out)) == ["a", "b", "c"]
    assert out.read_bytes().endswith(b"\n")


@pytest.mark.parametrize(
    "garbage", [b"\0" * 4096, b"\0" * 100 + b"\n", b'\0\0{"custom_id": "b", "di', b"\n\n"]
)
def test_what_a_power_cut_leaves_is_cut_off(out: Path, garbage: bytes) -> None:
    """Blocks that never came to the disk read as zeros."""
    write(out, "a")
    with out.open("ab") as file:
        file.write(garbage)
    write(out, "c")
    assert held(out) == {"a": "a", "c": "c"}
    assert len(out.read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    "text",
    [
        "Dear diary\n",
        '{"custom_id": 3}\n',
        '{"custom_id": "a", "body": {}}\nx\n',
        "[1]\n",
        '{"other": 1',
        '{"custom_id": "a", "digest": "d", "message": {"tool_calls": {"call_1": 3}}}\n',
        '{"custom_id": "a", "digest": "d", "error": {"class": "ServerError", "headers": 3}}\n',
        '{"custom_id": "a", "digest": "d", "error": {"partial": {"tool_calls": {"call_1": [[]]}}}}\n',
    ],
)
def test_a_file_of_somebody_else_is_left_alone(out: Path, text: str) -> None:
    """Nothing is cut off from it."""
    out.write_text(text)
    with pytest.raises(ConfigurationError, match="something else"):
        ResultsFile(out)
    with pytest.raises(ConfigurationError, match="something else"):
        list(batch.read(out))
    assert out.read_text() == text


def test_somebody_elses_text_after_ours_is_left_alone(out: Path) -> None:
    """It is no torn line."""
    write(out, "a")
    with out.open("a") as file:
        file.write("do not lose this\n")
    before = out.read_bytes()
    with pytest.raises(ConfigurationError, match="something else"):
        ResultsFile(out)
    assert out.read_bytes() == before


@pytest.mark.parametrize("ends", [b"\r", b"", b" "])
def test_lines_that_somebody_joined_are_left_alone(out: Path, ends: bytes) -> None:
    """They look like one torn line, and are results that were paid for."""
    write(out, "a", "b")
    joined = ends.join(out.read_bytes().splitlines())
    out.write_bytes(joined)
    with pytest.raises(ConfigurationError, match="something else"):
        ResultsFile(out)
    assert out.read_bytes() == joined


def test_text_after_a_torn_line_is_left_alone(out: Path) -> None:
    """Somebody wrote it since."""
    write(out, "a")
    with out.open("a") as file:
        file.write('{"custom_id": "b", "dig\ndo not lose this\n')
    before = out.read_bytes()
    with pytest.raises(ConfigurationError, match="something else"):
        ResultsFile(out)
    assert out.read_bytes() == before


def test_a_file_damaged_in_the_middle_is_left_alone(out: Path) -> None:
    """Somebody should look at it."""
    write(out, "a", "b", "c")
    first, _, last = out.read_bytes().splitlines(keepends=True)
    damaged = first + b'{"custom_id": "b", "dig\n' + last
    out.write_bytes(damaged)
    with pytest.raises(ConfigurationError, match="damaged before its line 3"):
        ResultsFile(out)
    assert out.read_bytes() == damaged


def test_a_file_that_was_changed_under_a_report_is_noticed(out: Path) -> None:
    """Its places are no longer there."""
    write(out, "a")
    with pytest.raises(ConfigurationError, match="changed by somebody else"):
        list(_batch_file.read_at(out, [5]))


# -- the lock


def test_one_run_writes_at_a_time(out: Path) -> None:
    """Also within a process."""
    file = ResultsFile(out)
    with pytest.raises(ConcurrencyError, match="another run"):
        ResultsFile(out)
    file.add("a", "d", said("a"))
    file.close()
    write(out, "b")
    assert list(held(out)) == ["a", "b"]


def test_reading_takes_no_lock_and_loses_none(out: Path) -> None:
    """A POSIX lock would end with the first descriptor that is closed."""
    file = ResultsFile(out)
    file.add("a", "d", said("a"))
    assert held(out) == {"a": "a"}
    with pytest.raises(ConcurrencyError):
        ResultsFile(out)
    file.close()


HOLD = """
import sys
from pathlib import Path
from responses_ws._batch_file import ResultsFile
file = ResultsFile(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def started(command: list[str]) -> subprocess.Popen[str]:
    """A program that waits for the end of its input."""
    return subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def holder(out: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes to the file."""
    command = [sys.executable, "-c", HOLD, str(out)]
    with started(command) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def test_a_lock_ends_with_its_process(out: Path, holder: subprocess.Popen[str]) -> None:
    """However that ends."""
    with pytest.raises(ConcurrencyError):
        ResultsFile(out)
    holder.kill()
    holder.wait(10)
    write(out, "a")
    assert held(out) == {"a": "a"}


HOLD_AND_FORK = """
import os, sys
from pathlib import Path
from responses_ws._batch_file import ResultsFile
file = ResultsFile(Path(sys.argv[1]))
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.read()  # outlives its parent
    os._exit(0)
sys.stdin.read()
"""


def test_a_forked_child_does_not_hold_the_lock(out: Path) -> None:
    """A worker process may outlive the one that wrote."""
    command = [sys.executable, "-W", "ignore", "-c", HOLD_AND_FORK, str(out)]
    with started(command) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "forked\n"
        with pytest.raises(ConcurrencyError):
            ResultsFile(out)
        parent.kill()
        parent.wait(10)
        write(out, "a")
        assert held(out) == {"a": "a"}


def test_an_end_frees_the_lock_from_a_child_too(out: Path) -> None:
    """One that was forked a moment ago may not have forgotten the file yet."""
    file = ResultsFile(out)
    inherited = os.dup(file._file.fileno())
    file.close()
    write(out, "a")
    os.close(inherited)
    assert held(out) == {"a": "a"}


# -- the disk


def test_a_full_disk_leaves_no_half_line(out: Path) -> None:
    """What was written before is whole, and more can be written later."""
    write(out, "a")
    whole = out.read_bytes()
    file = ResultsFile(out)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 50, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.add("b", "d", said("b"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_bytes() == whole
    file.add("c", "d", said("c"))
    file.close()
    assert held(out) == {"a": "a", "c": "c"}


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    """The error names it."""
    with pytest.raises(FileNotFoundError, match=r"nowhere/results\.jsonl"):
        ResultsFile(tmp_path / "nowhere" / "results.jsonl")


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """What was written to it could not be read again, and reading it would never end."""
    os.mkfifo(tmp_path / "pipe")
    for use in (ResultsFile, lambda path: list(batch.read(path))):
        with pytest.raises(ConfigurationError, match=r"out: .*/pipe is no file"):
            use(tmp_path / "pipe")


class Syncs:
    """How often the system was told to bring something to the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._real = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self.count += 1
        self._real(descriptor)


def test_the_disk_is_told_once_a_second_and_at_the_end(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not at all when nothing was written."""
    now = 100.0
    monkeypatch.setattr(_batch_file.time, "monotonic", lambda: now)
    write(out, "a")  # so that the directory has it
    file = ResultsFile(out)
    syncs = Syncs(monkeypatch)
    file.sync()
    file.add("b", "d", said("b"))
    file.sync()
    assert syncs.count == 0
    now += _batch_file.SYNC_SECONDS
    file.sync()
    file.sync()
    assert syncs.count == 1
    file.add("c", "d", said("c"))
    file.close()
    assert syncs.count == 2


def test_a_file_that_is_removed_meanwhile_is_noticed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before more is paid for that nobody can read. A change of the directory is no removal."""
    monkeypatch.chdir(out.parent)
    file = ResultsFile(Path(out.name))
    monkeypatch.chdir("/")
    file.add("a", "d", said("a"))
    file.sync(now=True)
    out.unlink()
    file.add("b", "d", said("b"))
    with pytest.raises(FileNotFoundError, match="results"):
        file.sync(now=True)
    file.close()


def replace(path: Path) -> None:
    """As ``sed -i`` and many editors save a file."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def cut(path: Path) -> None:
    """As other editors save it: what was not there when they read it is gone."""
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("edit", [replace, cut])
def test_a_file_that_is_edited_meanwhile_is_noticed(out: Path, edit: Callable[[Path], None]) -> None:
    """What is written afterwards would be found by nobody, or what was written before."""
    write(out, "a")
    file = ResultsFile(out)
    file.add("b", "d", said("b"))
    edit(out)
    file.add("c", "d", said("c"))
    with pytest.raises(FileNotFoundError, match="replaced or cut"):
        file.sync(now=True)
    file.close()


def test_a_new_file_is_made_known_to_its_directory(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a power cut could lose it as a whole."""
    syncs = Syncs(monkeypatch)
    write(out, "a")
    assert syncs.count == 2
