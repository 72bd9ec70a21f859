"""The README is valid, its code runs, and it speaks of nothing that is not there."""

from __future__ import annotations

import configparser
import dataclasses
import doctest
import importlib.metadata
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docutils.core
import docutils.nodes
import pytest

import responses_ws
from responses_ws import Endpoint, Limits, Timeouts, errors, store
from responses_ws.testing import Model, ScriptedServer, Step, close, default_reply, expect, send

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.rst").read_text(encoding="utf-8")
SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Block:
    """A piece of code, the heading that it stands under, and the comment before it."""

    section: str
    language: str
    mark: str
    text: str


COMPLAINTS = io.StringIO()
DOCUMENT = docutils.core.publish_doctree(
    README,
    settings_overrides={"syntax_highlight": "none", "report_level": 1, "warning_stream": COMPLAINTS},
)


def blocks() -> Iterator[Block]:
    for node in DOCUMENT.findall(docutils.nodes.literal_block):
        section = node.parent
        before = section[section.index(node) - 1]
        mark = before.astext() if isinstance(before, docutils.nodes.comment) else ""
        title = section.next_node(docutils.nodes.title).astext()
        yield Block(title, node["classes"][-1], mark, node.astext())


BLOCKS = list(blocks())


def named(language: str, mark: str) -> list[Any]:
    found = [block for block in BLOCKS if (block.language, block.mark) == (language, mark)]
    return [pytest.param(block, id=f"{number}-{block.section}") for number, block in enumerate(found, 1)]


def literals() -> set[str]:
    return {node.astext() for node in DOCUMENT.findall(docutils.nodes.literal)}


# -- form


def test_it_is_valid() -> None:
    """docutils has nothing to say about it, references included."""
    assert COMPLAINTS.getvalue() == ""


def test_the_changelog_is_valid_and_begins_with_this_version() -> None:
    """A release is not made without a word about it."""
    complaints = io.StringIO()
    text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    document = docutils.core.publish_doctree(
        text, settings_overrides={"report_level": 1, "warning_stream": complaints}
    )
    assert complaints.getvalue() == ""
    titles = [title.astext() for title in document.findall(docutils.nodes.title)]
    assert titles[1].split()[0] == responses_ws.__version__


def test_lines_are_short() -> None:
    """It is read in terminals too."""
    assert [line for line in README.splitlines() if len(line) > 110] == []


def test_the_code_is_of_known_kinds() -> None:
    """So that no block is left out by the tests below."""
    kinds = {(block.language, block.mark) for block in BLOCKS}
    assert kinds == {("python", ""), ("python", "pytest"), ("sh", ""), ("text", "")}


# -- the code


def reply(items: list[dict[str, Any]], request: dict[str, Any]) -> Any:
    """Use the tool that is offered, once; fit the schema that is wanted; otherwise say what was seen."""
    if request.get("tools") and items[-1].get("role") == "user":
        return [{"type": "function_call", "name": "get_weather", "arguments": '{"city": "Oslo"}'}]
    if request.get("text"):
        return '{"name": "Oslo", "inhabitants": 724290}'
    return default_reply(items, request)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedServer]:
    """What the environment points to: the examples take no address. What they write is not kept."""
    monkeypatch.chdir(tmp_path)
    with ScriptedServer(model=Model(reply)) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-readme")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


def run(block: Block) -> None:
    code = compile(block.text, f"README.rst, {block.section}", "exec", dont_inherit=True)
    exec(code, {"__name__": "readme"})  # noqa: S102


SAID = {
    "Start": ["You said: Hello!", "You said: Hello!"],
    "Chat": ["You said: What is my name?. Before that: My name is Ada.."],
    "Tools": [
        "get_weather returned: 7 degrees and rain in Oslo.",
        'call get_weather {"city": "Oslo"}\nget_weather returned: Error: the user refused the call: ask',
    ],
    "Structured output": ["Oslo 724290"],
    "Images, files and audio": [
        "You said: What is this?.\nYou said: And that?. Before that: What is this?.\n"
    ],
    "Another process": ["You said: What is my name?. Before that: My name is Ada.."],
    "Keeping conversations": [
        "You said: My name is Ada..\nYou said: What is my name?. Before that: My name is Ada..\n"
    ],
    "Web applications": [""],
    "Recovery": ["You said: What is the capital of Norway?."],
    "Batch": ["fjord - You said: Where does the word fjord come from?.\nski - "],
    "Streaming": ["You said: Tell me a story..\ncompleted 6", "You said: What is the capital of Norway?."],
    "Chaining and store": ["You said: What is my name?. Before that: My name is Ada..\nresp_"],
    "Tools by hand": ["get_weather returned: 7 degrees and rain in Oslo."],
    "Warmup": ["Instructions: You are a patient teacher.. You said: What is a socket?."],
    "Steering": [""],
    "The same over HTTP": ["You said: What is my name?. Before that: My name is Ada..completed\n"],
    "A history of your own": ["You said: What is my name?. Before that: My name is Ada.."],
    "Errors": [""],
    "Lanes": [""],
    "A pool": ["You said: What is my name?. Before that: My name is Barbara..\n"],
}
"""What the examples print with the scripted model, block by block of a section."""


def test_every_example_has_an_expectation() -> None:
    """A new example needs one."""
    sections = [block.section for block in BLOCKS if (block.language, block.mark) == ("python", "")]
    assert sections == [section for section, texts in SAID.items() for _ in texts]


@pytest.mark.parametrize("block", named("python", ""))
def test_an_example_runs_as_it_stands(
    block: Block,
    service: ScriptedServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """In a namespace and a directory of its own, with nothing but the environment to go by."""
    monkeypatch.chdir(tmp_path)
    number = [other for other in BLOCKS if (other.section, other.mark) == (block.section, "")].index(block)
    run(block)
    out, err = capsys.readouterr()
    assert SAID[block.section][number] in out
    assert err == ""


def example(section: str) -> Block:
    return next(block for block in BLOCKS if block.section == section and block.language == "python")


def test_the_chaining_example_begins_a_new_chain_with_none(service: ScriptedServer) -> None:
    """The second request continues the first, the third begins anew."""
    run(example("Chaining and store"))
    first, second, third = service.requests
    assert "previous_response_id" not in first
    assert second["previous_response_id"]
    assert third["previous_response_id"] is None


def test_the_warmup_example_warms_up(service: ScriptedServer) -> None:
    """The answer continues the warmup."""
    run(example("Warmup"))
    warm, asked = service.requests
    assert warm["generate"] is False
    assert asked["previous_response_id"].startswith("resp_")


def test_the_steering_example_steers(service: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The input goes to the running answer, and the text of its successor is the message."""
    steered = {"type": "response.incomplete", "response": {"id": "resp_1", "status": "incomplete"}}
    successor = {"type": "response.created", "response": {"id": "resp_2"}}
    end = {"type": "response.completed", "response": {"id": "resp_2", "status": "completed"}}
    service.connection(
        expect(model="gpt-6"),
        send(CREATED, DELTA),
        expect(type="response.steer", previous_response_id="resp_1", input="Make it a limerick."),
        send(steered, successor, {**DELTA, "delta": "There was"}, end),
    )
    scope: dict[str, Any] = {"__name__": "readme"}
    exec(compile(example("Steering").text, "README.rst", "exec", dont_inherit=True), scope)  # noqa: S102
    scope["write"](Endpoint(f"{service.url}/responses", steering=True))
    assert capsys.readouterr().out == "HelThere was\n committed There was\n"


def test_the_lanes_example_translates(service: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Three questions on three lanes of one connection."""
    scope: dict[str, Any] = {"__name__": "readme"}
    exec(compile(example("Lanes").text, "README.rst", "exec", dont_inherit=True), scope)  # noqa: S102
    scope["translate"](Endpoint(f"{service.url}/responses", max_in_flight=16, max_lanes=32))
    languages = ["Norwegian", "Danish", "Swedish"]
    said = [f"You said: Hello in {language}?." for language in languages]
    assert capsys.readouterr().out.splitlines() == said
    assert {request["stream_id"] for request in service.requests} == set(languages)
    assert len(service.connections) == 1


def test_the_web_example_streams(
    service: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the conversation of a key goes on."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"__name__": "readme"}
    exec(compile(example("Web applications").text, "README.rst", "exec", dont_inherit=True), scope)  # noqa: S102
    client = scope["app"].test_client()
    assert "My name is Ada" in client.post("/ask/ada", data={"question": "My name is Ada."}).text
    answer = client.post("/ask/ada", data={"question": "Who am I?"}).text
    assert "You said: Who am I?. Before that: My name is Ada.." in answer
    with scope["app"].app_context():
        scope["web"].pool.close()


def error(status: int, code: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "status": status, "error": {"code": code, "message": "No.", **more}}


CREATED = {"type": "response.created", "response": {"id": "resp_1"}}
DELTA = {"type": "response.output_text.delta", "delta": "Hel"}


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (
            [send(error(429, "rate_limit_exceeded", headers={"retry-after": "3"}))],
            "ask again in 3.0 seconds\n",
        ),
        ([send(error(400, "invalid_value"))], "refused: 400 invalid_value No.\n"),
        ([send(CREATED, DELTA), close(1000)], "lost after: Hel\n"),
    ],
)
def test_the_errors_example_tells_what_went_wrong(
    steps: list[Step], told: str, service: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each branch is one that happens."""
    service.connection(expect(), *steps)
    run(example("Errors"))
    assert capsys.readouterr().out == told


def test_the_recovery_example_pays_for_nothing_twice(
    service: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """An answer that has begun is not asked for again."""
    service.connection(expect(), send(CREATED, DELTA), close(1011))
    with pytest.raises(errors.ConnectionLost):
        run(example("Recovery"))
    assert capsys.readouterr().out == "Delivery.STARTED Hel\n"
    assert len(service.requests) == 1


def plugin_arguments() -> list[str]:
    """The fixtures come by themselves where the package is installed."""
    installed = importlib.metadata.entry_points(group="pytest11")
    return [] if any(point.name == "responses_ws" for point in installed) else ["-p", PLUGIN]


PLUGIN = "responses_ws.testing.pytest_plugin"


@pytest.mark.parametrize("block", named("python", "pytest"))
def test_a_pytest_example_passes(block: Block, tmp_path: Path) -> None:
    """As a file of its own, in a directory of its own, with warnings as errors."""
    (tmp_path / "test_example.py").write_text(block.text, encoding="utf-8")
    run_pytest = [sys.executable, "-m", "pytest", "-W", "error", *plugin_arguments()]
    done = subprocess.run(  # noqa: S603
        run_pytest,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_doctests_hold() -> None:
    """They show defaults, so they tell when one changes."""
    tests = doctest.DocTestParser().get_doctest(README, {}, "README.rst", "README.rst", 0)
    runner = doctest.DocTestRunner()
    runner.run(tests)
    results = runner.summarize(verbose=False)
    assert results.attempted == 4
    assert results.failed == 0


# -- the commands

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def commands() -> list[list[str]]:
    lines = [line for block in BLOCKS if block.language == "sh" for line in block.text.splitlines()]
    lines += [text for text in literals() if text.startswith(("make ", "pip ", "python "))]
    return [shlex.split(line, comments=True) for line in lines]


def fault_of(command: list[str]) -> str | None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    match command:
        case ["make", target, *_]:
            return None if target in TARGETS else "no such target"
        case ["python", "-m", module]:
            return None if importlib.util.find_spec(f"{module}.__main__") else "no such module"
        case ["pip", "install", "."]:
            return None
        case ["pip", "install", place] if match := re.fullmatch(r"\.\[(\w+)\]", place):
            return None if match[1] in setup["options.extras_require"] else "no such extra"
    return "unknown command"


def test_every_command_exists() -> None:
    """Targets of make, modules that can be run, extras that can be installed."""
    found = commands()
    assert len(found) >= 8
    assert [(command, fault) for command in found if (fault := fault_of(command))] == []


@pytest.mark.parametrize(
    "command", [["make", "install"], ["python", "-m", "responses_ws"], ["pip", "install", ".[all]"], ["ls"]]
)
def test_a_command_that_does_not_exist_is_noticed(command: list[str]) -> None:
    """The test above can fail."""
    assert fault_of(command)


def test_make_help_and_readme_name_the_same_targets() -> None:
    """All that there is, and nothing else."""
    last = README.partition("Working on it\n=")[2]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    helped = set(re.findall(r'echo "make ([a-z-]+)', makefile))
    assert set(re.findall(r"``make ([a-z-]+)``", last)) == helped == TARGETS - {"help"}


# -- the words

OF_OTHERS = {"Cookie", "False", "None", "Origin", "Response", "True"}


def test_every_class_that_is_named_is_there() -> None:
    """But for those that are not ours."""
    words = {word for text in literals() for word in re.findall(r"\b[A-Z]\w*[a-z]\w*\b", text)}
    ours = {*dir(responses_ws), *responses_ws.__all__, *store.__all__}
    assert words - ours == OF_OTHERS & words


BASES = {"Delivery", "ResponseError", "ResponsesWSError"}


def first_cells(section: str) -> list[str]:
    """The literals of the first column of the section's table."""
    found = next(node for node in DOCUMENT.findall(docutils.nodes.section) if node[0].astext() == section)
    rows = [row for body in found.findall(docutils.nodes.tbody) for row in body.findall(docutils.nodes.row)]
    return [row[0].astext() for row in rows]


def test_the_table_of_errors_is_complete() -> None:
    """Every class that can be raised is in it."""
    assert set(first_cells("Errors")) == set(errors.__all__) - BASES


def test_the_tables_name_every_delivery_and_every_clock() -> None:
    """And no more."""
    assert first_cells("Delivery") == [member.name for member in errors.Delivery]
    clocks = {field.name for field in dataclasses.fields(Timeouts)} | {"response_timeout"}
    assert set(first_cells("Timeouts")) == clocks
    limits = {field.name for field in dataclasses.fields(Limits)}
    assert limits <= literals()
