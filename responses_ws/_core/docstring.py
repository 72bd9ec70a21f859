"""What a docstring says of a function or class and of its parameters: reST, Google and NumPy style."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterable, Iterator

__all__ = ["read_docstring"]

FIELD = re.compile(
    r":(?P<kind>param|parameter|arg|argument|key|keyword|ivar|var|cvar|attribute"
    r"|type|vartype|raises?|except|exception|returns?|rtype|yields?|ytype|meta)\b(?P<names>[^:`]*):(?P<text>.*)"
)
DESCRIBING = ("param", "parameter", "arg", "argument", "key", "keyword", "ivar", "var", "cvar", "attribute")

PARAMETERS = ("args", "arguments", "parameters", "params", "attributes", "keyword args", "keyword arguments")
OTHERS = ("returns", "return", "yields", "yield", "raises", "warns", "other parameters")
GOOGLE_ENTRY = re.compile(r"\*{0,2}(?P<names>\w+)\s*(?:\(.*?\))?\s*:(?!:)\s*(?P<text>.*)")
NUMPY_ENTRY = re.compile(r"(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*)\s*(?::.*)?")


def read_docstring(docstring: str | None) -> tuple[str, dict[str, str]]:
    """The text before the first section or field, and what is said of each parameter or attribute."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    starts = [index for index in range(len(lines)) if _starts(lines, index)]
    described: dict[str, str] = {}
    for start, end in itertools.pairwise([*starts, len(lines)]):
        for names, text in _entries(lines[start:end]):
            described |= dict.fromkeys(re.findall(r"\w+", names), text)
    summary = lines[: starts[0]] if starts else lines
    return "\n".join(summary).strip(), {name: text for name, text in described.items() if text}


def _starts(lines: list[str], index: int) -> bool:
    """Whether a field or a section starts in this line."""
    line = lines[index]
    if _title(line.rstrip(":")) is None:
        return FIELD.match(line) is not None
    return line.endswith(":") or _underlined(lines[index : index + 2])


def _title(line: str) -> str | None:
    title = line.strip().lower()
    return title if title in (*PARAMETERS, *OTHERS) and not line[:1].isspace() else None


def _underlined(lines: list[str]) -> bool:
    return len(lines) == 2 and re.fullmatch("-{3,}", lines[1].strip()) is not None


def _entries(section: list[str]) -> Iterator[tuple[str, str]]:
    """The names and the text of each entry of a section; of a field, which is an entry of its own."""
    head, *body = section
    field = FIELD.match(head)
    if field is not None:
        if field["kind"] in DESCRIBING:
            yield (field["names"].split() or [""])[-1], _joined([field["text"], *_indented(body)])
    elif _title(head.rstrip(":")) not in PARAMETERS:
        return
    elif _underlined(section[:2]):
        yield from _grouped(body[1:], NUMPY_ENTRY)
    else:
        yield from _grouped(inspect.cleandoc("\n".join(["", *_indented(body)])).splitlines(), GOOGLE_ENTRY)


def _grouped(lines: list[str], entry: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Entries begin at the margin, and what is indented below them belongs to them."""
    for index, line in enumerate(lines):
        match = entry.fullmatch(line)
        if match is not None:
            first = match.groupdict().get("text", "")
            yield match["names"], _joined([first, *_indented(lines[index + 1 :])])


def _indented(lines: list[str]) -> Iterable[str]:
    """The lines up to the first that is at the margin."""
    for line in lines:
        if line and not line[0].isspace():
            return
        yield line


def _joined(lines: Iterable[str]) -> str:
    return " ".join(" ".join(lines).split())
