"""What a browser makes of server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

Told = tuple[str, dict[str, Any]]


def events(pieces: Iterable[bytes]) -> Iterator[Told]:
    """The events of a body with their data, each as soon as it is whole; ``("", {})`` for a comment."""
    waiting = b""
    for piece in pieces:
        *whole, waiting = (waiting + piece).split(b"\n\n")
        for block in whole:
            yield parse(block)
    assert waiting == b"", "the body ends within an event"


def parse(block: bytes) -> Told:
    fields = dict(line.split(": ", 1) for line in block.decode().splitlines() if not line.startswith(":"))
    return (fields["event"], json.loads(fields["data"])) if fields else ("", {})


def text(told: Iterable[Told]) -> str:
    """The pieces of the answer, joined."""
    return "".join(data["text"] for name, data in told if name == "text")
