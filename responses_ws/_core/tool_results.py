"""What the service's own tools did for an answer, read from its output items.

Every function takes a :class:`Message`, finished or not (else :class:`ConfigurationError`), and tolerates
whatever a service leaves out, adds or sends with another type: a field that is not there is None, or empty.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from responses_ws._core.fields import count, mapping, mappings, printable, text
from responses_ws._core.items import Item
from responses_ws.errors import ConfigurationError
from responses_ws.messages import Message

__all__ = [
    "Citation",
    "CodeResult",
    "FileResult",
    "FileSearchResult",
    "Image",
    "Patch",
    "ShellCall",
    "ShellOutput",
    "ToolResult",
    "WebSearchResult",
    "citations",
    "code_results",
    "file_search_results",
    "images",
    "patches",
    "shell_calls",
    "web_search_results",
]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What every item of a tool has.

    :ivar status: ``completed``, ``in_progress``, ``failed`` or what the service calls it.
    :ivar raw: the item as received.
    """

    id: str | None
    status: str | None
    raw: Item = field(repr=False)


@dataclass(frozen=True, slots=True)
class WebSearchResult(ToolResult):
    """One step of a search of the web.

    :ivar action: ``search``, ``open_page``, ``find_in_page`` or what the service calls it.
    :ivar queries: what was searched for.
    :ivar url: the page that was opened or looked through.
    :ivar pattern: what was looked for in the page.
    :ivar sources: the addresses of the pages that were searched; the request must ask for them with
        ``include=["web_search_call.action.sources"]``.
    :ivar results: what was found, as received, from services that tell.
    """

    action: str | None
    queries: list[str]
    url: str | None
    pattern: str | None
    sources: list[str]
    results: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class FileResult:
    """A passage of a file.

    :ivar score: how well it fits, 0 to 1.
    """

    file_id: str | None
    filename: str | None
    score: float | None
    text: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileSearchResult(ToolResult):
    """One search of the vector stores.

    :ivar results: the passages that were found, best first; the request must ask for them with
        ``include=["file_search_call.results"]``.
    """

    queries: list[str]
    results: list[FileResult]


@dataclass(frozen=True, slots=True)
class CodeResult(ToolResult):
    """Code that the service ran.

    :ivar logs: what it printed; the request must ask for it with
        ``include=["code_interpreter_call.outputs"]``.
    :ivar images: the addresses of the images that it made.
    """

    code: str
    logs: str
    images: list[str]
    container_id: str | None


@dataclass(frozen=True, slots=True)
class Image(ToolResult):
    """An image that the service made.

    :ivar data: the bytes of its file; None when there is none, or none that can be decoded.
    :ivar partial: the image was not finished: this is the last that was streamed of it.
    :ivar output_format: ``png``, ``webp``, ``jpeg`` and the like.
    :ivar revised_prompt: what the model asked for in the end.
    :ivar error: why there is none.
    """

    data: bytes | None = field(repr=False)
    partial: bool
    output_format: str | None
    size: str | None
    revised_prompt: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class ShellOutput:
    """What one command left.

    :ivar exit_code: None when the command did not end by itself.
    :ivar timed_out: the command took too long.
    """

    stdout: str
    stderr: str
    exit_code: int | None
    timed_out: bool


@dataclass(frozen=True, slots=True)
class ShellCall(ToolResult):
    """Commands for a shell.

    :ivar call_id: what a ``shell_call_output`` by the program must carry.
    :ivar timeout_ms: milliseconds that the commands may take, or None.
    :ivar max_output_length: characters that each may print, or None.
    :ivar container_id: the service's container that ran them, or None.
    :ivar outputs: what came of them, where the service ran them.
    """

    call_id: str | None
    commands: list[str]
    timeout_ms: int | None
    max_output_length: int | None
    container_id: str | None
    outputs: list[ShellOutput]


@dataclass(frozen=True, slots=True)
class Patch(ToolResult):
    """A change of a file, for the program to make.

    :ivar call_id: what the ``apply_patch_call_output`` must carry.
    :ivar operation: ``create_file``, ``update_file``, ``delete_file`` or what the service calls it.
    :ivar diff: empty when a file is deleted.
    """

    call_id: str | None
    operation: str | None
    path: str | None
    diff: str


@dataclass(frozen=True, slots=True)
class Citation:
    """What a piece of the answer rests on.

    :ivar type: ``url_citation``, ``file_citation``, ``container_file_citation``, ``file_path`` or what the
        service calls it.
    :ivar text: the piece of the answer that it stands for, or an empty string.
    :ivar start_index: where that begins in its output text, in characters.
    :ivar end_index: where it ends.
    :ivar index: where in the text a ``file_citation`` belongs, or the place of a file among the files.
    :ivar raw: the annotation as received.
    """

    type: str | None
    text: str
    url: str | None
    title: str | None
    start_index: int | None
    end_index: int | None
    index: int | None
    file_id: str | None
    filename: str | None
    container_id: str | None
    raw: dict[str, Any] = field(repr=False)


def web_search_results(message: Message) -> list[WebSearchResult]:
    """What was searched on the web, step by step."""
    return [_web_search(item) for item in _of(message, "web_search_call")]


def _web_search(item: Item) -> WebSearchResult:
    action = mapping(item.get("action"))
    return WebSearchResult(
        **_head(item),
        action=_string(action.get("type")),
        queries=_texts(action.get("queries")) or _texts([action.get("query")]),
        url=_string(action.get("url")),
        pattern=_string(action.get("pattern")),
        sources=_texts([source.get("url") for source in mappings(action.get("sources"))]),
        results=mappings(item.get("results")),
    )


def file_search_results(message: Message) -> list[FileSearchResult]:
    """What was searched in vector stores."""
    return [
        FileSearchResult(
            **_head(item),
            queries=_texts(item.get("queries")),
            results=[_file_result(result) for result in mappings(item.get("results"))],
        )
        for item in _of(message, "file_search_call")
    ]


def _file_result(result: dict[str, Any]) -> FileResult:
    return FileResult(
        file_id=_string(result.get("file_id")),
        filename=_string(result.get("filename")),
        score=_number(result.get("score")),
        text=_text(result.get("text")),
        attributes=mapping(result.get("attributes")),
    )


def code_results(message: Message) -> list[CodeResult]:
    """The code that was run, with what it printed."""
    done = _of(message, "response.code_interpreter_call_code.done", "built_in_tool_events")
    streamed = {text(event.get("item_id")): event.get("code") for event in done}
    return [
        _code_result(item, item.get("code") or streamed.get(text(item.get("id"))))
        for item in _of(message, "code_interpreter_call")
    ]


def _code_result(item: Item, code: object) -> CodeResult:
    outputs = mappings(item.get("outputs")) or mappings(item.get("results"))
    return CodeResult(
        **_head(item),
        code=_text(code),
        logs="".join(_text(output.get("logs")) for output in outputs),
        images=_texts([output.get("url") for output in outputs]),
        container_id=_string(item.get("container_id")),
    )


def images(message: Message) -> list[Image]:
    """The images that were made; for one that was not finished, the last that was streamed of it."""
    streamed = _of(message, "response.image_generation_call.partial_image", "built_in_tool_events")
    partial = {text(event.get("item_id")): event.get("partial_image_b64") for event in streamed}
    return [
        _image(item, _bytes(item.get("result")), _bytes(partial.get(text(item.get("id")))))
        for item in _of(message, "image_generation_call")
    ]


def _image(item: Item, final: bytes | None, partial: bytes | None) -> Image:
    return Image(
        **_head(item),
        data=partial if final is None else final,
        partial=final is None and partial is not None,
        output_format=_string(item.get("output_format")),
        size=_string(item.get("size")),
        revised_prompt=_string(item.get("revised_prompt")),
        error=_string(mapping(item.get("error")).get("message")),
    )


def _bytes(value: object) -> bytes | None:
    """Base64, with or without the head of a data URL."""
    encoded = (text(value) or "").rpartition(",")[2]
    try:
        return base64.b64decode(encoded) or None
    except (binascii.Error, ValueError):
        return None


def shell_calls(message: Message) -> list[ShellCall]:
    """The commands for a shell; with their outputs, where the service ran them."""
    outputs = {text(item.get("call_id")): item.get("output") for item in _of(message, "shell_call_output")}
    calls = _of(message, "shell_call")
    return [_shell_call(item, mappings(outputs.get(text(item.get("call_id"))))) for item in calls]


def _shell_call(item: Item, outputs: list[dict[str, Any]]) -> ShellCall:
    action = mapping(item.get("action"))
    environment = mapping(item.get("environment"))
    return ShellCall(
        **_head(item),
        call_id=_string(item.get("call_id")),
        commands=_texts(action.get("commands")),
        timeout_ms=count(action.get("timeout_ms")),
        max_output_length=count(action.get("max_output_length")),
        container_id=_string(environment.get("container_id")) or _string(item.get("container_id")),
        outputs=[_shell_output(output) for output in outputs],
    )


def _shell_output(output: dict[str, Any]) -> ShellOutput:
    outcome = mapping(output.get("outcome"))
    exit_code = outcome.get("exit_code")
    return ShellOutput(
        stdout=_text(output.get("stdout")),
        stderr=_text(output.get("stderr")),
        exit_code=exit_code if type(exit_code) is int else None,
        timed_out=outcome.get("type") == "timeout",
    )


def patches(message: Message) -> list[Patch]:
    """The changes of files that the model wants."""
    return [_patch(item, mapping(item.get("operation"))) for item in _of(message, "apply_patch_call")]


def _patch(item: Item, operation: dict[str, Any]) -> Patch:
    return Patch(
        **_head(item),
        call_id=_string(item.get("call_id")),
        operation=_string(operation.get("type")),
        path=_string(operation.get("path")),
        diff=_text(operation.get("diff")),
    )


def citations(message: Message) -> list[Citation]:
    """What the answer cites, in order of appearance."""
    parts = [part for item in _of(message, "message") for part in mappings(item.get("content"))]
    cited = [(note, _text(part.get("text"))) for part in parts for note in mappings(part.get("annotations"))]
    return [_citation(annotation, answer) for annotation, answer in cited]


def _citation(annotation: dict[str, Any], answer: str) -> Citation:
    start, end = count(annotation.get("start_index")), count(annotation.get("end_index"))
    return Citation(
        type=_string(annotation.get("type")),
        text=_text(annotation.get("text")) or ("" if start is None or end is None else answer[start:end]),
        url=_string(annotation.get("url")),
        title=_string(annotation.get("title")),
        start_index=start,
        end_index=end,
        index=count(annotation.get("index")),
        file_id=_string(annotation.get("file_id")),
        filename=_string(annotation.get("filename")),
        container_id=_string(annotation.get("container_id")),
        raw=annotation,
    )


# -- reading


def _head(item: Item) -> dict[str, Any]:
    return {"id": _string(item.get("id")), "status": _string(item.get("status")), "raw": item}


def _of(message: Message, kind: str, among: str = "output") -> Iterator[dict[str, Any]]:
    if not isinstance(message, Message):
        raise ConfigurationError(f"message must be a Message, not {type(message).__name__}")
    return (each for each in getattr(message, among) if each.get("type") == kind)


def _text(value: object) -> str:
    return printable(text(value) or "")


def _string(value: object) -> str | None:
    return _text(value) or None


def _texts(value: object) -> list[str]:
    return [printable(entry) for entry in value if text(entry)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
