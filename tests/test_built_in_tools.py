"""The service's own tools: how a request names them, and what an answer says that they did."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from responses_ws import tools
from responses_ws.errors import ConfigurationError
from responses_ws.messages import Message
from responses_ws.streaming import StreamAccumulator, build_chunk

# -- definitions


@pytest.mark.parametrize(
    ("made", "definition"),
    [
        (tools.web_search(), {"type": "web_search"}),
        (
            tools.web_search(
                search_context_size="low",
                user_location={"city": "Oslo", "country": "NO"},
                filters={"allowed_domains": ["yr.no"]},
                external_web_access=False,
            ),
            {
                "type": "web_search",
                "search_context_size": "low",
                "user_location": {"type": "approximate", "city": "Oslo", "country": "NO"},
                "filters": {"allowed_domains": ["yr.no"]},
                "external_web_access": False,
            },
        ),
        (
            tools.web_search(user_location={}),
            {"type": "web_search", "user_location": {"type": "approximate"}},
        ),
        (tools.web_search(brand_new=1, other=None), {"type": "web_search", "brand_new": 1}),
        (tools.file_search("vs_1"), {"type": "file_search", "vector_store_ids": ["vs_1"]}),
        (
            tools.file_search(
                ("vs_1", "vs_2"),
                max_num_results=5,
                ranking_options={"score_threshold": 0.5},
                filters={"type": "eq", "key": "a", "value": 1},
            ),
            {
                "type": "file_search",
                "vector_store_ids": ["vs_1", "vs_2"],
                "max_num_results": 5,
                "ranking_options": {"score_threshold": 0.5},
                "filters": {"type": "eq", "key": "a", "value": 1},
            },
        ),
        (tools.code_interpreter(), {"type": "code_interpreter", "container": {"type": "auto"}}),
        (tools.code_interpreter("cntr_1"), {"type": "code_interpreter", "container": "cntr_1"}),
        (
            tools.code_interpreter(
                file_ids=["file_1"], memory_limit="4g", network_policy={"type": "disabled"}
            ),
            {
                "type": "code_interpreter",
                "container": {
                    "type": "auto",
                    "file_ids": ["file_1"],
                    "memory_limit": "4g",
                    "network_policy": {"type": "disabled"},
                },
            },
        ),
        (tools.image_generation(), {"type": "image_generation"}),
        (
            tools.image_generation(model="gpt-image-2", size="auto", partial_images=0, moderation="low"),
            {
                "type": "image_generation",
                "model": "gpt-image-2",
                "size": "auto",
                "partial_images": 0,
                "moderation": "low",
            },
        ),
        (
            tools.mcp("docs", server_url="https://mcp.example"),
            {"type": "mcp", "server_label": "docs", "server_url": "https://mcp.example"},
        ),
        (
            tools.mcp(
                "mail",
                connector_id="connector_gmail",
                authorization="token",
                headers={"x-a": "b"},
                allowed_tools=("search",),
                require_approval={"never": {"tool_names": ["search"]}},
                server_description="mail",
            ),
            {
                "type": "mcp",
                "server_label": "mail",
                "connector_id": "connector_gmail",
                "authorization": "token",
                "headers": {"x-a": "b"},
                "allowed_tools": ["search"],
                "require_approval": {"never": {"tool_names": ["search"]}},
                "server_description": "mail",
            },
        ),
        (
            tools.mcp("t", tunnel_id="tun_1", allowed_tools={"read_only": True}, require_approval="never"),
            {
                "type": "mcp",
                "server_label": "t",
                "tunnel_id": "tun_1",
                "allowed_tools": {"read_only": True},
                "require_approval": "never",
            },
        ),
        (tools.computer_use(), {"type": "computer"}),
        (
            tools.computer_use(display_width=800, display_height=600, environment="browser"),
            {
                "type": "computer_use_preview",
                "display_width": 800,
                "display_height": 600,
                "environment": "browser",
            },
        ),
        (tools.shell(), {"type": "shell", "environment": {"type": "container_auto"}}),
        (tools.shell("local"), {"type": "shell", "environment": {"type": "local"}}),
        (
            tools.shell(container_id="cntr_1"),
            {"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}},
        ),
        (
            tools.shell(file_ids=["file_1"], memory_limit="1g", skills=[{"type": "skill_reference"}]),
            {
                "type": "shell",
                "environment": {
                    "type": "container_auto",
                    "file_ids": ["file_1"],
                    "memory_limit": "1g",
                    "skills": [{"type": "skill_reference"}],
                },
            },
        ),
        (tools.apply_patch(), {"type": "apply_patch"}),
    ],
)
def test_definitions(made: dict[str, Any], definition: dict[str, Any]) -> None:
    """What is not given is left to the service; what is not known passes."""
    assert made == definition


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tools.web_search(user_location="Oslo"), "user_location must be a Mapping or None, not str"),
        (lambda: tools.file_search([]), "vector_store_ids must name a vector store"),
        (lambda: tools.file_search([1]), "vector_store_ids must be made of non-empty strings"),
        (lambda: tools.file_search(""), "vector_store_ids must be made of non-empty strings"),
        (lambda: tools.file_search(None), "vector_store_ids must be made of non-empty strings"),
        (lambda: tools.code_interpreter(file_ids=[""]), "file_ids must be made of non-empty strings"),
        (
            lambda: tools.code_interpreter("c", memory_limit="1g"),
            "memory_limit: for a container that the service",
        ),
        (lambda: tools.mcp("", server_url="u"), "server_label must be made of non-empty strings"),
        (lambda: tools.mcp("a"), "mcp needs one of server_url, connector_id and tunnel_id"),
        (lambda: tools.mcp("a", server_url="u", tunnel_id="t"), "mcp needs one of server_url"),
        (lambda: tools.mcp("a", server_url="u", allowed_tools=[1]), "allowed_tools must be made of"),
        (lambda: tools.computer_use(display_width=1), "needs display_height, environment too"),
        (lambda: tools.shell({"type": "local"}), "environment must be made of non-empty strings"),
        (lambda: tools.shell(file_ids=5), "file_ids must be made of non-empty strings"),
    ],
)
def test_definitions_that_cannot_be(make: Any, message: str) -> None:
    """The error names the parameter."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert message in str(caught.value)


# -- results


def message(*output: dict[str, Any], events: Any = ()) -> Message:
    return Message(output=list(output), built_in_tool_events=list(events))


def test_web_search_results() -> None:
    """Each step of the search, with what it looked at."""
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {
            "type": "search",
            "query": "old",
            "queries": ["weather Oslo", "yr"],
            "sources": [{"type": "url", "url": "https://yr.no"}, {"type": "api"}],
        },
        "results": [{"url": "https://yr.no", "title": "Yr", "snippet": "rain"}],
    }
    find = {
        "type": "web_search_call",
        "id": "ws_2",
        "action": {"type": "find_in_page", "url": "https://yr.no", "pattern": "rain"},
    }
    older = {"type": "web_search_call", "action": {"type": "search", "query": "weather"}}
    first, second, third = tools.web_search_results(message(search, {"type": "message"}, find, older))
    assert first == tools.WebSearchResult(
        id="ws_1",
        status="completed",
        action="search",
        queries=["weather Oslo", "yr"],
        url=None,
        pattern=None,
        sources=["https://yr.no"],
        results=[{"url": "https://yr.no", "title": "Yr", "snippet": "rain"}],
        raw=search,
    )
    assert (second.action, second.url, second.pattern) == ("find_in_page", "https://yr.no", "rain")
    assert (third.id, third.queries) == (None, ["weather"])


def test_file_search_results() -> None:
    """The passages, when the request asked for them."""
    item = {
        "type": "file_search_call",
        "id": "fs_1",
        "status": "completed",
        "queries": ["rain"],
        "results": [
            {"file_id": "f", "filename": "a.txt", "score": 0.5, "text": "wet", "attributes": {"a": 1}},
            {"score": True},
        ],
    }
    assert tools.file_search_results(message(item)) == [
        tools.FileSearchResult(
            id="fs_1",
            status="completed",
            queries=["rain"],
            results=[
                tools.FileResult("f", "a.txt", 0.5, "wet", {"a": 1}),
                tools.FileResult(None, None, None, "", {}),
            ],
            raw=item,
        )
    ]
    without = {"type": "file_search_call", "id": "fs_2", "results": None}
    assert tools.file_search_results(message(without))[0].results == []


def test_code_results() -> None:
    """Everything that was printed, and the images; the code of an unfinished item comes from its event."""
    item = {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "status": "completed",
        "code": "print(1)",
        "container_id": "cntr_1",
        "outputs": [
            {"type": "logs", "logs": "1\n"},
            {"type": "image", "url": "https://i"},
            {"type": "logs", "logs": "2\n"},
        ],
    }
    unfinished = {"type": "code_interpreter_call", "id": "ci_2", "code": None}
    event = {"type": "response.code_interpreter_call_code.done", "item_id": "ci_2", "code": "print(2)"}
    first, second = tools.code_results(message(item, unfinished, events=[event]))
    assert first == tools.CodeResult(
        id="ci_1",
        status="completed",
        code="print(1)",
        logs="1\n2\n",
        images=["https://i"],
        container_id="cntr_1",
        raw=item,
    )
    assert (second.code, second.logs, second.images) == ("print(2)", "", [])


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
BASE64 = base64.b64encode(PNG).decode()
PARTIAL = {
    "type": "response.image_generation_call.partial_image",
    "item_id": "ig_1",
    "partial_image_index": 0,
    "partial_image_b64": base64.b64encode(b"early").decode(),
}


@pytest.mark.parametrize(
    ("result", "data", "partial"),
    [
        (BASE64, PNG, False),
        (f"data:image/png;base64,{BASE64}", PNG, False),
        (None, b"late", True),
        ("", b"late", True),
        ("a", b"late", True),
        ("ÆØÅ=", b"late", True),
        (5, b"late", True),
    ],
)
def test_images(result: Any, data: bytes, partial: bool) -> None:
    """The bytes of the file, or of the last image that was streamed."""
    item = {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "result": result,
        "output_format": "png",
        "size": "1024x1024",
        "revised_prompt": "a cat",
    }
    late = {**PARTIAL, "partial_image_b64": base64.b64encode(b"late").decode()}
    (image,) = tools.images(message(item, events=[PARTIAL, late, {**late, "item_id": "ig_2"}]))
    assert image == tools.Image(
        id="ig_1",
        status="completed",
        data=data,
        partial=partial,
        output_format="png",
        size="1024x1024",
        revised_prompt="a cat",
        error=None,
        raw=item,
    )
    assert BASE64 not in repr(image)


def test_an_image_that_there_is_not() -> None:
    """The reason is told."""
    item = {"type": "image_generation_call", "status": "failed", "error": {"message": "blocked"}}
    (image,) = tools.images(message(item))
    assert (image.data, image.partial, image.error) == (None, False, "blocked")


def test_shell_calls() -> None:
    """With the outputs of the commands that the service ran, found by the call id."""
    call = {
        "type": "shell_call",
        "id": "sh_1",
        "call_id": "call_1",
        "status": "completed",
        "action": {"commands": ["ls", "sleep 9"], "timeout_ms": 1000, "max_output_length": 4096},
        "environment": {"type": "container_reference", "container_id": "cntr_1"},
    }
    output = {
        "type": "shell_call_output",
        "call_id": "call_1",
        "output": [
            {"stdout": "a\n", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}},
            {"stdout": "", "stderr": "slow", "outcome": {"type": "timeout"}},
        ],
    }
    local = {"type": "shell_call", "call_id": "call_2", "action": {"commands": ["rm x"]}, "environment": None}
    first, second = tools.shell_calls(message(call, local, output))
    assert first == tools.ShellCall(
        id="sh_1",
        call_id="call_1",
        status="completed",
        commands=["ls", "sleep 9"],
        timeout_ms=1000,
        max_output_length=4096,
        container_id="cntr_1",
        outputs=[tools.ShellOutput("a\n", "", 0, False), tools.ShellOutput("", "slow", None, True)],
        raw=call,
    )
    assert (second.commands, second.outputs, second.container_id) == (["rm x"], [], None)


def test_patches() -> None:
    """Each names one file."""
    update = {
        "type": "apply_patch_call",
        "id": "ap_1",
        "call_id": "call_1",
        "status": "completed",
        "operation": {"type": "update_file", "path": "a.py", "diff": "@@\n-a\n+b\n"},
    }
    delete = {
        "type": "apply_patch_call",
        "call_id": "call_2",
        "operation": {"type": "delete_file", "path": "b"},
    }
    first, second = tools.patches(message(update, delete))
    assert first == tools.Patch(
        id="ap_1",
        call_id="call_1",
        status="completed",
        operation="update_file",
        path="a.py",
        diff="@@\n-a\n+b\n",
        raw=update,
    )
    assert (second.operation, second.path, second.diff) == ("delete_file", "b", "")


def text_part(text: str, *annotations: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": list(annotations)}


def test_citations() -> None:
    """Of all kinds, in order, with the piece of text that each stands for."""
    url = {"type": "url_citation", "url": "https://yr.no", "title": "Yr", "start_index": 8, "end_index": 12}
    file = {"type": "file_citation", "file_id": "f", "filename": "a.txt", "index": 5}
    container = {"type": "container_file_citation", "container_id": "c", "file_id": "g", "start_index": 0}
    path = {"type": "file_path", "file_id": "h", "index": 0, "text": "sandbox:/h"}
    answer = {"type": "message", "content": [text_part("It will rain.", url, file), {"type": "refusal"}]}
    more = {"type": "message", "content": [text_part("More", container, "odd", path)]}
    found = tools.citations(message(answer, {"type": "reasoning", "content": []}, more))
    assert found[0] == tools.Citation(
        type="url_citation",
        text="rain",
        url="https://yr.no",
        title="Yr",
        start_index=8,
        end_index=12,
        index=None,
        file_id=None,
        filename=None,
        container_id=None,
        raw=url,
    )
    assert [(each.type, each.file_id, each.index, each.text) for each in found[1:]] == [
        ("file_citation", "f", 5, ""),
        ("container_file_citation", "g", None, ""),
        ("file_path", "h", 0, "sandbox:/h"),
    ]


PARSERS = [
    tools.web_search_results,
    tools.file_search_results,
    tools.code_results,
    tools.images,
    tools.shell_calls,
    tools.patches,
    tools.citations,
]
TYPES = ["web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "message"]
TYPES += ["shell_call", "shell_call_output", "apply_patch_call"]
FIELDS = [
    "type",
    "id",
    "call_id",
    "item_id",
    "status",
    "action",
    "queries",
    "query",
    "sources",
    "url",
    "results",
]
FIELDS += ["result", "outputs", "logs", "code", "error", "message", "commands", "environment", "container_id"]
FIELDS += ["output", "stdout", "outcome", "exit_code", "operation", "path", "diff", "content", "text"]
FIELDS += ["annotations", "start_index", "end_index", "index", "score", "attributes", "partial_image_b64"]
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([*TYPES, "half \ud83d", BASE64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=9,
)
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), ODD)
ITEMS = st.builds(lambda item, kind: {**item, "type": kind}, OBJECTS, st.sampled_from(TYPES))
EVENTS = st.builds(
    lambda event, kind: {**event, "type": kind},
    OBJECTS,
    st.sampled_from([PARTIAL["type"], "response.code_interpreter_call_code.done"]),
)


@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ITEMS, max_size=4), st.lists(EVENTS, max_size=2))
def test_anything_may_come(items: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    """Nothing raises, everything can be printed, and no item is passed over."""
    answer = message(*items, events=events)
    kinds = [item["type"] for item in items]
    for parser, kind in zip(PARSERS[:4], TYPES[:4], strict=True):
        assert len(parser(answer)) == kinds.count(kind)
    assert len(tools.shell_calls(answer)) == kinds.count("shell_call")
    assert len(tools.patches(answer)) == kinds.count("apply_patch_call")
    for parser in PARSERS:
        for result in parser(answer):
            values = [getattr(result, field.name) for field in dataclasses.fields(result)]
            "".join(value for value in values if isinstance(value, str)).encode()


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("other", [None, 5, {"output": []}, []], ids=repr)
def test_what_is_no_message_is_refused(parser: Any, other: Any) -> None:
    """At the call, and by the name of the parameter."""
    with pytest.raises(ConfigurationError, match=f"message must be a Message, not {type(other).__name__}"):
        parser(other)


@pytest.mark.parametrize("parser", PARSERS)
def test_an_answer_without_tools(parser: Any) -> None:
    """Gives nothing."""
    assert parser(Message()) == []
    assert parser(message({}, {"type": None}, {"type": ["shell_call"]})) == []


def test_an_answer_that_was_streamed() -> None:
    """From the events, before the answer is finished: the item as it was added, and what came of it since."""
    accumulator = StreamAccumulator()
    added = {"type": "image_generation_call", "id": "ig_1", "status": "in_progress", "result": None}
    for event in (
        {"type": "response.output_item.added", "output_index": 0, "item": added},
        {**PARTIAL, "output_index": 0},
    ):
        accumulator.add(build_chunk(event))
    (image,) = tools.images(accumulator.to_message())
    assert (image.data, image.partial, image.status) == (b"early", True, "in_progress")
    done = {**added, "status": "completed", "result": BASE64}
    accumulator.add(
        build_chunk({"type": "response.completed", "response": {"status": "completed", "output": [done]}})
    )
    (image,) = tools.images(accumulator.to_message())
    assert (image.data, image.partial, image.status) == (PNG, False, "completed")
