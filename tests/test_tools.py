"""Functions as tools: what the model is told of them, and what becomes of its calls."""

from __future__ import annotations

import datetime
import enum
import functools
import json
import threading
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import pytest

from responses_ws import tools
from responses_ws._core import built_in_tools, tool_results
from responses_ws.content import Image
from responses_ws.errors import ConfigurationError, ResponseTimeout, ToolError
from responses_ws.tools import Tool, custom_tool, report, tool

SENTINEL = "sentinel-argument"


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


@dataclass
class Place:
    """Somewhere.

    :ivar name: in English
    """

    name: str
    country: str | None = None


class Forecast(NamedTuple):
    day: datetime.date
    degrees: float


class Note(pydantic.BaseModel):
    text: str
    at: datetime.datetime | None = pydantic.Field(default=None, serialization_alias="moment")


def get_weather(place: Place, /, days: int = 3, *, unit: Unit = Unit.CELSIUS) -> list[Forecast]:
    """The weather of the next days.

    Asks nobody.

    :param place: where
    :param days: how many
    """
    return [Forecast(datetime.date(2024, 2, day + 1), len(place.name)) for day in range(days)]


WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of the next days.\n\nAsks nobody.",
    "parameters": {
        "type": "object",
        "properties": {
            "place": {"anyOf": [{"$ref": "#/$defs/Place"}], "description": "where"},
            "days": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "how many"},
            "unit": {"anyOf": [{"type": "string", "enum": ["C", "F"]}, {"type": "null"}]},
        },
        "required": ["place", "days", "unit"],
        "additionalProperties": False,
        "$defs": {
            "Place": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "in English"},
                    "country": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
                "required": ["name", "country"],
                "additionalProperties": False,
                "description": "Somewhere.",
            }
        },
    },
    "strict": True,
}
NOTHING = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


# -- the definition


def test_the_whole_definition() -> None:
    """Flat, as the service wants it; types, docstrings and defaults of the function are in it."""
    assert tool(get_weather).definition == WEATHER
    assert Tool.of(get_weather).definition == WEATHER


def test_a_function_without_parameters_and_docstring() -> None:
    """No description is better than an empty one."""

    @tool
    def now():
        return 1

    assert now.definition == {"type": "function", "name": "now", "parameters": NOTHING, "strict": True}


def test_options() -> None:
    """They count more than what the function says."""

    @tool(name="other-name", description="Other words.", strict=False, on_error="raise", timeout=1.5)
    def f(options: dict[str, Any], limit: int = 1) -> None:
        """Words."""

    assert (f.name, f.on_error, f.timeout) == ("other-name", "raise", 1.5)
    assert f.definition == {
        "type": "function",
        "name": "other-name",
        "description": "Other words.",
        "parameters": {
            "type": "object",
            "properties": {
                "options": {"type": "object", "additionalProperties": {}},
                "limit": {"type": "integer"},
            },
            "required": ["options"],
            "additionalProperties": False,
        },
        "strict": False,
    }


def test_parameters_by_a_schema() -> None:
    """From somewhere else, for a function whose parameters cannot be described."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}

    @tool(parameters=schema, strict=False)
    def f(**arguments):
        """Whatever."""
        return arguments

    assert f.definition == {
        "type": "function",
        "name": "f",
        "description": "Whatever.",
        "parameters": schema,
        "strict": False,
    }
    assert f.run('{"a": 1, "b": [null]}') == '{"a":1,"b":[null]}'
    assert f.run("") == "{}"
    assert (
        f.answer("[]") == "Error: the arguments for f do not fit: what the model wrote is JSON but no object"
    )


def test_a_tool_stays_a_function() -> None:
    """The decorated name can be called, documented and tested as before."""
    made = tool(get_weather)
    assert made(Place("Oslo"), days=1) == [Forecast(datetime.date(2024, 2, 1), 4)]
    assert made.__doc__ == get_weather.__doc__
    assert made.__name__ == "get_weather"
    assert repr(made) == "<Tool get_weather>"
    assert Tool.of(made) is made


class Clock:
    """Tells the time."""

    name = "not the name of the tool"

    def __init__(self) -> None:
        self.timeout = 99

    def __call__(self, zone: str) -> str:
        return f"noon in {zone}"

    def tell(self, zone: str) -> str:
        """Tell the time.

        :param zone: where
        """
        return self(zone)

    @classmethod
    def of_class(cls, zone: str) -> str:
        return zone

    @staticmethod
    def static(zone: str) -> str:
        return zone


def logged(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return f"logged {function(*args, **kwargs)}"

    return wrapper


@logged
def ask(question: Annotated[str, "what to ask"], key: str = "k", *, zone: str | None = "UTC") -> str:
    """Ask.

    :param question: something else
    """
    return f"{question} {key} {zone}"


@pytest.mark.parametrize(
    ("function", "name", "description", "parameters"),
    [
        (Clock().tell, "tell", "Tell the time.", ["zone"]),
        (Clock(), "Clock", "Tells the time.", ["zone"]),
        (Clock.of_class, "of_class", None, ["zone"]),
        (Clock.static, "static", None, ["zone"]),
        (ask, "ask", "Ask.", ["question", "key", "zone"]),
        (functools.partial(ask, key=SENTINEL), "ask", "Ask.", ["question", "zone"]),
        (functools.partial(functools.partial(ask, "why"), zone="x"), "ask", "Ask.", ["key"]),
        (functools.cache(ask), "ask", "Ask.", ["question", "key", "zone"]),
        (tool(ask), "ask", "Ask.", ["question", "key", "zone"]),
        (functools.partial(tool(ask), key=SENTINEL), "ask", "Ask.", ["question", "zone"]),
    ],
)
def test_all_kinds_of_functions(
    function: Any, name: str, description: str | None, parameters: list[str]
) -> None:
    """What a partial has bound, a secret for example, is neither shown to the model nor set by it."""
    made = tool(function)
    assert made.name == name
    assert made.timeout is None
    assert made.definition.get("description") == description
    assert list(made.definition["parameters"]["properties"]) == parameters
    assert SENTINEL not in json.dumps(made.definition)


def test_the_bound_arguments_are_passed() -> None:
    """And the decorator of the function is not left out."""
    made = tool(functools.partial(ask, key="secret"))
    assert made.run('{"question": "why", "zone": null}') == "logged why secret None"
    assert "there is no field 'key'" in str(made.answer('{"question": "why", "zone": null, "key": "mine"}'))


def test_none_is_the_default_unless_it_is_a_value() -> None:
    """``zone`` may be None, so None it is; ``key`` may not, so its default counts."""
    assert tool(ask).run('{"question": "why", "key": null, "zone": null}') == "logged why k None"
    assert tool(ask).run('{"question": "why"}') == "logged why k UTC"


def test_an_annotation_counts_more_than_the_docstring() -> None:
    """``Annotated`` stands nearer to the parameter."""
    assert tool(ask).definition["parameters"]["properties"]["question"]["description"] == "what to ask"


def test_what_a_function_returns_needs_no_type() -> None:
    """Only its parameters are for the model."""
    assert list(tool(returning).definition["parameters"]["properties"]) == ["city"]


def test_arguments_that_are_nested_too_deeply() -> None:
    """Are told to the model like any others that do not fit."""

    @tool
    def count(node: Node) -> int:
        return 1

    nested = '{"name": "a", "children": [' * 240 + "]}" * 240
    told = "Error: the arguments for count do not fit: what the model wrote is nested too deeply"
    assert count.answer(f'{{"node": {nested}}}') in ("1", told)  # Python 3.12 goes deeper than 3.11


def local() -> Any:
    class Local: ...

    def f(x: Local) -> None: ...

    return f


def starred(*names: str) -> None: ...
def double_starred(**names: str) -> None: ...
def untyped(city) -> None: ...
def free(options: dict[str, int]) -> None: ...
def binary(data: bytes) -> None: ...
def returning(city: str) -> Missing: ...  # noqa: F821
async def awaited(city: str) -> None: ...
async def awaited_piecemeal(city: str) -> Any:
    yield city


class Patient:
    async def __call__(self, city: str) -> str:
        return city

    async def ask(self, city: str) -> str:
        return city


class Vague:
    __signature__ = "none"

    def __call__(self) -> None: ...


def plain(city: str) -> None: ...


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tool(starred), "starred(names): name each parameter instead of *names"),
        (lambda: tool(double_starred), "double_starred(names): name each parameter instead of **names"),
        (lambda: tool(untyped), "untyped(city) needs a type annotation"),
        (lambda: tool(Clock.tell), "tell(self) needs a type annotation"),
        (
            lambda: tool(free),
            "free(options) takes any names, which strict mode does not have; use strict=False",
        ),
        (lambda: tool(binary), "binary(data): bytes has no JSON schema"),
        (lambda: tool(local()), "f(x): the annotation cannot be resolved in its module: name 'Local'"),
        (lambda: tool(awaited), "awaited is async, and nothing here would await it"),
        (lambda: tool(awaited_piecemeal), "awaited_piecemeal is async"),
        (lambda: tool(Patient()), "Patient is async"),
        (lambda: tool(Patient().ask), "ask is async"),
        (lambda: tool(functools.partial(awaited, city="x")), "awaited is async"),
        (lambda: custom_tool(Patient()), "Patient is async"),
        (lambda: tool(Vague()), "Vague does not tell its parameters"),
        (lambda: tool(functools.partial(plain, key=SENTINEL)), "plain does not tell its parameters"),
        (lambda: tool(lambda: 1), "name must be 1 to 128 letters"),
        (lambda: tool(plain, name="a b"), "name must be 1 to 128 letters"),
        (lambda: tool(plain, name=""), "name must be 1 to 128 letters"),
        (lambda: tool(plain, on_error="ignore"), "on_error must be 'report' or 'raise'"),
        (lambda: tool(plain, timeout=0), "timeout must be a positive number of seconds or None"),
        (lambda: tool(plain, description=5), "description must be a str or None, not int"),
        (lambda: tool(plain, parameters=[]), "parameters must be a Mapping or None, not list"),
        (lambda: tool(plain, strict="no"), "strict must be a bool or None, not str"),
        (lambda: custom_tool(plain, format="lark"), "format must be a Mapping or None, not str"),
        (lambda: tool(getattr), "getattr does not tell its parameters"),
        (lambda: tool(Place), "a tool must be a function or a Tool, not type"),
        (lambda: Tool.of("plain"), "a tool must be a function or a Tool, not str"),
        (lambda: Tool.of({"type": "web_search"}), "a tool must be a function or a Tool, not dict"),
        (lambda: custom_tool(lambda: 1, name="f"), "must take one argument, the text that the model wrote"),
        (lambda: custom_tool(get_weather, on_error="no"), "on_error must be"),
    ],
)
def test_what_is_no_tool(make: Any, message: str) -> None:
    """The error names the function and the parameter, and shows nothing that was bound."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert message in str(caught.value)
    assert SENTINEL not in str(caught.value)


# -- running


def echo(value: Any) -> Any:
    return value


def test_arguments_become_values_of_their_types() -> None:
    """Positional ones too; what is null or left out has its default."""
    seen: list[Any] = []

    @tool
    def f(a: int, b: Place, /, c: Literal["x", "y"] = "x", *, d: list[Unit] = []) -> str:  # noqa: B006
        seen.append((a, b, c, d))
        return "done"

    assert f.run('{"a": 1, "b": {"name": "Oslo", "country": null}, "c": null, "d": ["F"]}') == "done"
    assert f.run('{"d": [], "b": {"name": "Rome"}, "a": 2, "c": "y"}') == "done"
    assert seen == [(1, Place("Oslo"), "x", [Unit.FAHRENHEIT]), (2, Place("Rome"), "y", [])]


def test_large_integers_are_exact() -> None:
    """Whichever parser reads the events."""

    @tool
    def successor(n: int) -> int:
        return n + 1

    assert successor.run('{"n": 123456789012345678901234567890}') == "123456789012345678901234567891"


@pytest.mark.parametrize("arguments", ["", " \n", "{}", " {} "])
def test_no_arguments(arguments: str) -> None:
    """Some models write nothing where nothing is asked."""
    assert tool(lambda: 1, name="f").run(arguments) == "1"


class Doubtful(str):
    pass


@pytest.mark.parametrize(
    ("result", "output"),
    [
        ("text", "text"),
        ("", ""),
        (Doubtful("text"), "text"),
        ("half \ud83d", "half \ufffd"),
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (0.5, "0.5"),
        ("Ærø", "Ærø"),
        (["Ærø", 1], '["Ærø",1]'),
        ({"a": (1, {2})}, '{"a":[1,[2]]}'),
        ({1: "a", Unit.CELSIUS: "b", None: "c"}, '{"1":"a","C":"b","null":"c"}'),
        ({datetime.date(2024, 2, 3): "a"}, '{"2024-02-03":"a"}'),
        ({"half": "\ud83d"}, '{"half":"\ufffd"}'),
        (deque([1]), "[1]"),
        (range(3), "[0,1,2]"),
        (Place("Oslo"), '{"name":"Oslo","country":null}'),
        ([Forecast(datetime.date(2024, 2, 3), 1.5)], '[{"day":"2024-02-03","degrees":1.5}]'),
        (Note(text="x"), '{"text":"x","moment":null}'),
        ({"notes": [Note(text="x")]}, '{"notes":[{"text":"x","moment":null}]}'),
        (Unit.FAHRENHEIT, '"F"'),
        (Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
        (PurePath("a/b"), '"a/b"'),
        (datetime.time(1, 2), '"01:02:00"'),
        ([], "[]"),
        ([{"type": "other"}], '[{"type":"other"}]'),
        ([{"type": "input_text", "text": "a"}, 1], '[{"type":"input_text","text":"a"},1]'),
    ],
    ids=repr,
)
def test_results_as_text(result: Any, output: str) -> None:
    """A str is the output; anything else becomes JSON, written as the schema of its type has it."""
    found = tool(lambda: result, name="f").run("")
    assert found == output
    assert type(found) is str


def test_half_a_character_beside_an_image() -> None:
    """Is replaced as in any other text: the conversation must stay one that can be sent."""
    image = Image(b"\x89PNG\r\n\x1a\n")
    output = tool(lambda: ["half \ud83d", image], name="f").run("")
    assert output == [{"type": "input_text", "text": "half \ufffd"}, image.to_dict()]


def test_results_as_content() -> None:
    """Images and files for the model to see, as the service has them."""
    parts = [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": "data:,"}]
    assert tool(lambda: parts, name="f").run("") == parts


class Torn(Sequence[Any]):
    """As rows of a database that has gone."""

    def __getitem__(self, index: Any) -> Any:
        raise OSError("gone")

    def __len__(self) -> int:
        return 1


class Costly(pydantic.BaseModel):
    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def price(self) -> int:
        raise Speechless


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "result",
    [
        object(),
        b"bytes",
        float("nan"),
        {"a": float("inf")},
        endless(),
        {("a", b"b"): 1},
        Place,
        Note,
        (number for number in range(3)),
        [{"type": "input_text", "text": "half \ud83d"}],
        [{"type": "input_image", "image_url": b"x"}],
        {1: "a", "1": "b"},
        {True: "a", "true": "b"},
        Torn(),
        {"rows": Torn()},
        Costly(),
    ],
    ids=lambda result: type(result).__name__,
)
def test_results_that_json_cannot_express(result: Any) -> None:
    """Are errors of the tool: nothing is sent that says less than the function did."""
    made = tool(lambda: result, name="f")
    with pytest.raises(ToolError, match="f returned what JSON cannot express") as caught:
        made.run("")
    assert caught.value.tool == "f"
    assert str(made.answer("")).startswith("Error: f returned what JSON cannot express")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ('{"value": "a"}', "value: expected an integer, not a string"),
        ("{}", "the field 'value' is missing"),
        ("", "the field 'value' is missing"),
        ('{"value": 1, "other": 1}', "there is no field 'other'"),
        ("[1]", "what the model wrote is JSON but no object"),
        (SENTINEL, "what the model wrote is no JSON"),
        ('{"value": 1}}', "what the model wrote is no JSON"),
    ],
)
def test_arguments_that_do_not_fit(arguments: str, fault: str) -> None:
    """The function is not called; the model is told what to do better."""
    called: list[int] = []

    @tool
    def f(value: int) -> None:
        called.append(value)

    with pytest.raises(ToolError) as caught:
        f.run(arguments)
    assert str(caught.value) == f"the arguments for f do not fit: {fault}"
    assert caught.value.tool == "f"
    assert f.answer(arguments) == f"Error: {caught.value}"
    assert called == []


@pytest.mark.parametrize("arguments", [None, b"{}", {"value": 1}], ids=repr)
def test_arguments_that_are_no_text(arguments: Any) -> None:
    """Are a mistake of the caller, who gets the same kind of error."""
    with pytest.raises(ToolError, match=f"must be the text of the model, not {type(arguments).__name__}"):
        tool(plain).run(arguments)


def test_a_name_that_the_model_made_up_is_not_told_in_full() -> None:
    """However long it is, the error can be read."""
    made_up = "x" * 1_000_000
    assert len(tool(plain).answer(json.dumps({made_up: 1}))) < 700
    nested = json.dumps({"options": {made_up: "no number"}})
    assert len(tool(strict=False)(free).answer(nested)) < 700


class Unlucky(Exception):
    pass


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nothing to say")


def test_an_exception_that_cannot_be_told() -> None:
    """Its class is told; it does not break out of the tool."""

    def f() -> None:
        raise Speechless

    assert tool(f).answer("") == "Error: f raised Speechless"
    assert report(Speechless()) == "Error: Speechless"


def test_a_decorator_that_hides_an_async_function() -> None:
    """What nobody awaits is told, and closed: Python does not complain later."""
    made = tool(logged_quietly(awaited))
    assert made.answer('{"city": "Oslo"}') == "Error: awaited is async, and nothing here would await it"


def logged_quietly(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def test_a_function_that_raises() -> None:
    """The exception is the cause of a ToolError, or is told to the model."""

    def f() -> None:
        raise Unlucky("no such city")

    with pytest.raises(ToolError) as caught:
        tool(f).run("")
    assert str(caught.value) == "f raised Unlucky: no such city"
    assert isinstance(caught.value.__cause__, Unlucky)
    assert tool(f).answer("") == "Error: f raised Unlucky: no such city"
    with pytest.raises(ToolError, match="f raised Unlucky: no such city"):
        tool(f, on_error="raise").answer("")


def test_a_tool_error_of_the_function_itself() -> None:
    """Says what it says."""

    def f() -> None:
        raise ToolError("no such city \ud83d")

    with pytest.raises(ToolError, match=r"^no such city"):
        tool(f).run("")
    assert tool(f).answer("") == "Error: no such city \ufffd"


def test_a_tool_error_made_of_another_error() -> None:
    """Has the text of that, as other exceptions have."""

    def f() -> None:
        raise ToolError(Unlucky("no such city"))  # type: ignore[arg-type]

    with pytest.raises(ToolError, match=r"^no such city") as caught:
        tool(f).run("")
    assert caught.value.message == "no such city"
    assert tool(f).answer("") == "Error: no such city"


@pytest.mark.parametrize("on_error", ["report", "raise"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes(on_error: Any, error: type[BaseException]) -> None:
    """Ctrl-C is not for the model."""

    def f() -> None:
        raise error

    with pytest.raises(error):
        tool(f, on_error=on_error).answer("")


def test_reports() -> None:
    """One form for all errors; long ones are told in full, for the model can use it."""
    assert report(TimeoutError("too slow")) == "Error: TimeoutError: too slow"
    assert report(ResponseTimeout("x" * 1000)) == f"Error: {'x' * 1000}"


def test_several_threads() -> None:
    """A tool holds nothing of a call."""
    barrier = threading.Barrier(8)

    @tool
    def f(n: int) -> int:
        barrier.wait(10)
        return n

    outputs: dict[int, Any] = {}

    def run(n: int) -> None:
        outputs[n] = f.run(json.dumps({"n": n}))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {n: str(n) for n in range(8)}


# -- custom tools


def test_a_custom_tool() -> None:
    """Gets the text as the model wrote it."""

    @custom_tool
    def run_code(code) -> str:
        """Run Python code."""
        return code.upper()

    assert run_code.definition == {"type": "custom", "name": "run_code", "description": "Run Python code."}
    assert run_code.run('{"x') == '{"X'
    assert run_code.run("") == ""


def test_a_custom_tool_with_options() -> None:
    """A grammar goes as it is."""
    grammar = {"type": "grammar", "syntax": "regex", "definition": "[0-9]+"}

    @custom_tool(name="n", description="d", format=grammar, on_error="raise", timeout=2)
    def number(text: str, /, base: int = 10) -> int:
        return int(text, base)

    assert number.definition == {"type": "custom", "name": "n", "description": "d", "format": grammar}
    assert (number.timeout, number.run("12")) == (2, "12")
    with pytest.raises(ToolError, match="n raised ValueError"):
        number.answer("x")


def test_definitions_are_copied() -> None:
    """What the caller does later with what he gave changes no tool."""
    given: dict[str, Any] = {"nested": {}}
    made = [tool(get_weather, parameters=given), custom_tool(get_weather, format=given)]
    given["nested"]["later"] = 1
    assert made[0].definition["parameters"] == made[1].definition["format"] == {"nested": {}}
    given["nested"] = (name for name in "ab")
    with pytest.raises(ConfigurationError, match=r"^parameters cannot be sent: .*generator"):
        tool(get_weather, parameters=given)
    with pytest.raises(ConfigurationError, match=r"^format cannot be sent: .*generator"):
        custom_tool(get_weather, format=given)


def test_everything_is_reachable_from_one_module() -> None:
    """``responses_ws.tools``, and a user needs to know no other."""
    assert {*built_in_tools.__all__, *tool_results.__all__} < set(tools.__all__)


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list)


def test_a_tool_that_takes_a_tree() -> None:
    """A type that holds itself, by the name that only this module knows."""

    @tool
    def count(node: Node) -> int:
        return 1 + sum(count(child) for child in node.children)

    assert count.run('{"node": {"name": "a", "children": [{"name": "b", "children": null}]}}') == "2"


@dataclass
class Sum:
    left: Sum | Product | int
    right: Sum | Product | int
    name: Literal["+"]


@dataclass
class Product:
    left: Sum | Product | int
    right: Sum | Product | int
    name: Literal["*"]


@pytest.mark.parametrize(("leaf", "output"), [(1, "1"), ("one", None)])
def test_alternatives_within_alternatives(leaf: Any, output: str | None) -> None:
    """Each value is read once for each type, and not once for each of the 2 ** 40 ways to come to it."""

    @tool
    def leftmost(term: Sum | Product) -> int:
        return leftmost(term.left) if not isinstance(term.left, int) else term.left

    term = leaf
    for _ in range(40):
        term = {"left": term, "right": 2, "name": "*"}
    written = json.dumps({"term": term})
    path = "term" + ".left" * 40
    told = f"Error: the arguments for leftmost do not fit: {path}: expected Sum or Product or an integer"
    assert leftmost.answer(written).startswith(output or told)
