"""The memory of a large message is kept for the next one: the C library would give it back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from responses_ws._core import parser

PROGRAM = """
import resource, sys
from responses_ws._core import parser
from responses_ws._core.frames import FrameParser

def fresh():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

parser._loads = parser._scan_message  # orjson has memory of its own
frames = FrameParser()
for _ in range(4):
    before = fresh()
    for name in sys.argv[1:]:
        with open(name, "rb", buffering=0) as wire:
            while data := wire.read(65536):
                for payload in frames.feed(data):
                    event = parser.parse(payload)
                    del payload
    print(fresh() - before)
"""


def message(size: int, form: str) -> bytes:
    text = b'{"type":"response.output_text.done","text":"%b"}' % (b"x" * size)
    if form == "one frame":
        return bytes([0x81, 127]) + len(text).to_bytes(8, "big") + text
    pieces = [text[place : place + 1000] for place in range(0, len(text), 1000)]
    first, *more = [bytes([126]) + len(piece).to_bytes(2, "big") + piece for piece in pieces]
    return b"\1" + first + b"".join(b"\0" + each for each in more) + b"\x80\0"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other thresholds")
@pytest.mark.parametrize("form", ["one frame", "fragments"])
@pytest.mark.parametrize("size", [8_000_000, 12_000_000])
def test_large_messages_come_to_need_no_fresh_pages(tmp_path: Path, form: str, size: int) -> None:
    """Each takes three blocks: its bytes, its text and its values. The first few find out how much it is.

    The program itself has no large block: the first that it freed would tell the C library of its size too.
    """
    names = []
    for nth, each in enumerate((size, size * 9 // 10, size * 8 // 10, size * 7 // 10)):
        names.append(tmp_path / str(nth))
        names[-1].write_bytes(message(each, form))
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, check=True, timeout=60
    )
    assert max(map(int, done.stdout.split()[2:])) < size // 4096, done.stdout


def test_only_a_larger_message_asks_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing above what the C library takes notice of."""
    monkeypatch.setattr(parser, "_kept", 0)
    kept = []
    for size in (1000, 100_000, 90_000, 300_000, 2**40, 2**41):
        parser._keep_memory(size)
        kept.append(parser._kept)
    most = parser.MOST_KEPT_BYTES
    assert kept == [0, 300_000, 300_000, 900_000, most, most]


SCARCE = """
import resource
from responses_ws._core import parser

parser._loads = parser._scan_message
SIZE = 8_000_000
message = bytearray(b'{"text":"%b"}' % (b"x" * SIZE))
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2 * SIZE + 1_000_000,) * 2)
print(len(parser.parse(message)["text"]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has this limit and tells what is taken")
def test_where_memory_is_scarce_a_message_is_read_that_has_room_itself() -> None:
    """What would be kept for the next one does not fit: then nothing is kept."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", SCARCE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("8000000\n", "")
