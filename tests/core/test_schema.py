"""Types as JSON schemas in the service's strict mode, and what the model wrote as values of those types."""

from __future__ import annotations

import collections
import copy
import datetime
import decimal
import enum
import json
import pathlib
import pickle
import subprocess
import sys
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypeVar, Union

import jsonschema
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import Doc, NotRequired, ReadOnly, Required, TypeAliasType, TypedDict

from responses_ws._core.schema import Schema
from responses_ws._core.strict import FORMATS
from responses_ws._core.written import to_json
from responses_ws.errors import ConfigurationError, SchemaError

SENTINEL = "sentinel-answer"


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rate(enum.Enum):
    HALF = 0.5
    WHOLE = 1.0


class Corner(enum.Enum):
    """Its values are none that JSON has, so its names stand for them."""

    NEAR = (0, 0)
    FAR = (1, 1)


@dataclass
class Point:
    """A place.

    :ivar x: to the right
    """

    x: int
    y: int = 0


@dataclass(frozen=True)
class Tree:
    name: str
    branches: tuple[Tree, ...] = ()
    parent: Optional["Tree"] = None  # noqa: UP037, UP045


class Infinite(enum.Enum):
    """JSON has no such numbers, so its names stand for them."""

    UP = float("inf")
    NOT = float("nan")


class Pair(NamedTuple):
    left: str
    right: float = 0.5


class Film(TypedDict, total=False):
    """A film.

    Attributes:
        title: in its own language
    """

    title: Required[str]
    year: int
    director: Annotated[str, "who made it"]


class Sequel(Film):
    of: ReadOnly[str]
    note: NotRequired[Optional[str]]  # noqa: UP045
    length: Annotated[NotRequired[int], "in minutes"]


@dataclass
class Everything:
    """One of each."""

    flag: bool
    count: int
    share: float
    name: str
    nothing: None
    color: Color
    level: Level
    corner: Corner
    mode: Literal["a", 1, True, None]
    maybe: str | None
    either: int | float | str
    day: datetime.date
    moment: datetime.datetime
    number: decimal.Decimal
    key: uuid.UUID
    path: pathlib.PurePath
    names: list[str]
    tags: set[str]
    levels: frozenset[Level]
    scores: tuple[float, ...]
    place: tuple[int, str]
    points: Sequence[Point]
    pair: Pair
    tree: Tree
    film: Film
    extra: list[Point | Pair | Tree] = field(default_factory=list)


UserId = NewType("UserId", int)
Names = TypeAliasType("Names", list[str])
Name = TypeAliasType("Name", str)
T = TypeVar("T")


def schema_of(annotation: Any, **options: Any) -> dict[str, Any]:
    return Schema(annotation, **options).format["schema"]


def value_schema(annotation: Any, **options: Any) -> dict[str, Any]:
    """What stands for a type that is no object, in the object that is put around it."""
    schema = schema_of(annotation, **options)
    assert schema["required"] == ["value"]
    return schema["properties"]["value"]


def an_object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def or_null(*schemas: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [*schemas, NULL]}


STRING, INTEGER, NUMBER, NULL = ({"type": name} for name in ("string", "integer", "number", "null"))
BOOLEAN = {"type": "boolean"}
COLORS = {"type": "string", "enum": ["red", "blue"]}

# -- the schemas


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, STRING),
        (int, INTEGER),
        (float, NUMBER),
        (bool, BOOLEAN),
        (None, NULL),
        (UserId, INTEGER),
        (Names, {"$ref": "#/$defs/Names"}),
        (Color, COLORS),
        (Level, {"type": "integer", "enum": [1, 2]}),
        (Rate, {"type": "number", "enum": [0.5, 1.0]}),
        (Corner, {"type": "string", "enum": ["NEAR", "FAR"]}),
        (Infinite, {"type": "string", "enum": ["UP", "NOT"]}),
        (Literal[Color.RED, "red"], {"type": "string", "enum": ["red"]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a", 1, None], {"type": ["string", "integer", "null"], "enum": ["a", 1, None]}),
        (Literal[Color.RED, True], {"type": ["string", "boolean"], "enum": ["red", True]}),
        (Optional[int], or_null(INTEGER)),  # noqa: UP045
        (int | None, or_null(INTEGER)),
        (Union[int, str, None], or_null(INTEGER, STRING)),  # noqa: UP007
        (int | Annotated[int, ""], INTEGER),
        (list[int] | None, or_null({"type": "array", "items": INTEGER})),
        (list[int], {"type": "array", "items": INTEGER}),
        (typing.List[int], {"type": "array", "items": INTEGER}),  # noqa: UP006
        (Sequence[int], {"type": "array", "items": INTEGER}),
        (typing.Iterable[int], {"type": "array", "items": INTEGER}),
        (set[int], {"type": "array", "items": INTEGER}),
        (frozenset[Color], {"type": "array", "items": COLORS}),
        (tuple[int, ...], {"type": "array", "items": INTEGER}),
        (tuple[int, int], {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2}),
        (
            tuple[int, str | None],
            {"type": "array", "items": {"anyOf": [INTEGER, STRING, NULL]}, "minItems": 2, "maxItems": 2},
        ),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (datetime.date, {"type": "string", "format": "date"}),
        (datetime.time, {"type": "string", "format": "time"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (decimal.Decimal, STRING),
        (pathlib.Path, STRING),
        (Annotated[str, "a name"], {**STRING, "description": "a name"}),
        (Annotated[str, 1, Doc("a name")], {**STRING, "description": "a name"}),
        (Annotated[str, pydantic.Field(description="a name")], {**STRING, "description": "a name"}),
        (Annotated[int | None, "how many"], {**or_null(INTEGER), "description": "how many"}),
    ],
    ids=repr,
)
def test_what_is_no_object(annotation: Any, schema: dict[str, Any]) -> None:
    """The service wants an object, so one is put around."""
    assert value_schema(annotation) == schema


def test_a_dataclass() -> None:
    """Every field is required; null stands for one that has a default. The docstring describes."""
    assert schema_of(Point) == {
        **an_object(x={**INTEGER, "description": "to the right"}, y=or_null(INTEGER)),
        "description": "A place.",
    }


def test_a_typed_dict() -> None:
    """What need not be there may be null; a description in the annotation counts too."""
    assert schema_of(Film) == {
        **an_object(
            title={**STRING, "description": "in its own language"},
            year=or_null(INTEGER),
            director={**or_null(STRING), "description": "who made it"},
        ),
        "description": "A film.",
    }


def test_a_typed_dict_that_is_derived() -> None:
    """``Required`` and the like count more than the class, also where hints are strings."""
    assert Schema(Sequel, strict=False).format["schema"]["required"] == ["title", "of"]
    assert schema_of(Sequel)["properties"]["length"] == {**or_null(INTEGER), "description": "in minutes"}


def test_a_named_tuple() -> None:
    """An object, as its fields have names."""
    assert schema_of(Pair) == an_object(left=STRING, right=or_null(NUMBER))


def test_a_type_that_holds_itself() -> None:
    """The root is no reference, as strict mode asks; what it holds is."""
    tree = an_object(
        name=STRING,
        branches=or_null({"type": "array", "items": {"$ref": "#/$defs/Tree"}}),
        parent=or_null({"$ref": "#/$defs/Tree"}),
    )
    assert schema_of(Tree) == {**tree, "$defs": {"Tree": tree}}


def test_an_alias() -> None:
    """Its type stands among the definitions, as it may hold the alias."""
    assert schema_of(Names)["$defs"] == {"Names": {"type": "array", "items": STRING}}
    assert parsed(Names, ["a"]) == ["a"]


def test_a_type_that_is_used_twice() -> None:
    """It stands in the definitions once, and nothing stands beside a reference."""

    @dataclass
    class Line:
        start: Annotated[Point, "from"]
        end: Point

    schema = schema_of(Line)
    reference = {"$ref": "#/$defs/Point"}
    assert schema["properties"] == {"start": {"anyOf": [reference], "description": "from"}, "end": reference}
    assert list(schema["$defs"]) == ["Point"]


@dataclass
class Timed:
    """It takes what it does not keep."""

    seconds: float

    def __init__(self, minutes: int, more: Seconds = 0.0, near: Point | None = None) -> None:
        self.seconds = 60 * minutes + more
        self.near = near


Seconds = Annotated[float, "below 60"]


def test_a_dataclass_with_a_constructor_of_its_own() -> None:
    properties = schema_of(Timed)["properties"]
    assert properties == {
        "minutes": INTEGER,
        "more": {**or_null({"type": "number"}), "description": "below 60"},
        "near": or_null({"$ref": "#/$defs/Point"}),
    }
    assert parsed(Timed, {"minutes": 2, "more": 1, "near": None}) == Timed(2, 1.0)


def test_two_types_of_one_name() -> None:
    """Each has its own definition."""

    def another() -> type:
        @dataclass
        class Point:
            z: str

        return Point

    schema = value_schema(tuple[Point, another()])
    assert schema["items"]["anyOf"] == [{"$ref": "#/$defs/Point"}, {"$ref": "#/$defs/Point_2"}]


def test_not_strict() -> None:
    """A field with a default may be left out, and there are dictionaries and anything."""

    @dataclass
    class Query:
        text: str
        limit: int = 10
        filters: dict[str, list[int]] = field(default_factory=dict)
        rest: Any = None
        more: Mapping[Color, Any] | None = None
        named: dict[Name, int] = field(default_factory=dict)
        raw: dict = field(default_factory=dict)

    schema = Schema(Query, strict=False).format
    assert schema["strict"] is False
    assert schema["schema"]["required"] == ["text"]
    assert schema["schema"]["properties"] == {
        "text": STRING,
        "limit": INTEGER,
        "filters": {"type": "object", "additionalProperties": {"type": "array", "items": INTEGER}},
        "rest": {},
        "more": or_null({"type": "object", "additionalProperties": {}}),
        "named": {"type": "object", "additionalProperties": INTEGER},
        "raw": {"type": "object", "additionalProperties": {}},
    }


def test_the_whole_format() -> None:
    """As ``text.format`` wants it, flat."""
    given = Schema(Pair, name="a-pair", description="two of a kind").format
    assert given == {
        "type": "json_schema",
        "name": "a-pair",
        "schema": schema_of(Pair),
        "strict": True,
        "description": "two of a kind",
    }


@pytest.mark.parametrize(
    ("annotation", "name"),
    [(Point, "Point"), (list[int], "list"), (int | str, "answer"), ({"type": "object"}, "answer")],
)
def test_the_name(annotation: Any, name: str) -> None:
    """That of the type, where it has one."""
    assert Schema(annotation).format["name"] in (name, "Union")  # as 3.14 calls it


def test_the_name_of_a_type_with_other_letters() -> None:
    """The service takes ASCII, 64 characters of it."""
    assert Schema(enum.Enum("Größe" + "x" * 80, "A")).format["name"] == "Gr__e" + "x" * 59


def test_a_json_schema() -> None:
    """Goes as it is, and the answer is what JSON has."""
    schema = Schema({"type": "object", "properties": {}}, name="raw", strict=False)
    assert schema.format["schema"] == {"type": "object", "properties": {}}
    assert schema.parse('{"a": [1, null]}') == {"a": [1, None]}


def test_a_json_schema_is_copied() -> None:
    """A schema is immutable, whatever its maker goes on to do with what it was made of."""
    given: dict[str, Any] = {"type": "object", "properties": {}}
    schema = Schema(given)
    given["properties"]["later"] = {"type": "string"}
    assert schema.format["schema"] == {"type": "object", "properties": {}}
    with pytest.raises(ConfigurationError, match=r"^type cannot be sent: .*generator"):
        Schema({"enum": (name for name in "ab")})


# -- what has no schema


class Ghostly:
    """An alias of Python 3.12, ``type Ghost = Missing``, as it is to those who ask for its meaning."""

    __name__ = "Ghost"

    @property
    def __value__(self) -> Any:
        raise NameError("name 'Missing' is not defined")

    def __repr__(self) -> str:
        return "Ghost"


Ghostly.__name__ = "TypeAliasType"
Ghost = Ghostly()


class Circular:
    """``type Circle = dict[Circle, int]`` of Python 3.12."""

    __name__ = "Circle"

    @property
    def __value__(self) -> Any:
        return dict[self, int]  # type: ignore[misc]

    def __repr__(self) -> str:
        return "Circle"


Circular.__name__ = "TypeAliasType"
Circle = Circular()


class Secretive:
    """As settings are, given in place of their class."""

    def __repr__(self) -> str:
        return SENTINEL


class Column:
    """As those of databases are: what a comparison gives has no truth value."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Any:
        raise TypeError(SENTINEL)

    def __repr__(self) -> str:
        return "Column"


class Proxy:
    """As what web frameworks have for the request, outside of one."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(SENTINEL)


@dataclass
class Unresolved:
    x: Missing  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Deep:
    points: list[dict[str, int]]


Bare = collections.namedtuple("Bare", "a b")


@pytest.mark.parametrize(
    ("annotation", "options", "message"),
    [
        (dict[str, int], {}, "type takes any names"),
        (dict, {}, "type takes any names"),
        (Any, {}, "type takes anything"),
        (object, {}, "type takes anything"),
        (list, {}, "type takes anything"),
        (tuple, {}, "type takes anything"),
        (Deep, {}, "Deep.points takes any names, which strict mode does not have; use strict=False"),
        (dict[int, str], {"strict": False}, "type: the names in a JSON object are strings"),
        (Circle, {"strict": False}, "type: the names in a JSON object are strings"),
        (bytes, {}, "type: bytes has no JSON schema"),
        (complex, {}, "type: complex has no JSON schema"),
        (tuple[()], {}, "has no JSON schema"),
        (typing.Callable[[], int], {}, "has no JSON schema"),
        (T, {}, "type: ~T has no JSON schema"),
        ([int], {}, "has no JSON schema"),
        (({},), {}, "type: an object of type tuple has no JSON schema"),
        ([Secretive()], {}, "type: an object of type list has no JSON schema"),
        ((Secretive(), []), {}, "type: an object of type tuple has no JSON schema"),
        (typing.NewType("Odd", ({},)), {}, "type: an object of type tuple has no JSON schema"),
        (list[int, str], {}, "type: list has no JSON schema"),
        (dict[str], {"strict": False}, "type: dict has no JSON schema"),
        (dict[({},), int], {"strict": False}, "type: an object of type tuple has no JSON schema"),
        (Column(), {}, "type: an object of type Column has no JSON schema"),
        (5, {}, "5 has no JSON schema"),
        (enum.Enum("Empty", ""), {}, "type: Empty has no JSON schema"),
        (Literal[b"x"], {}, "type: JSON has no literal bytes"),
        (Ghost, {}, "type: Ghost cannot be resolved: name 'Missing' is not defined"),
        (list[Ghost], {}, "type: Ghost cannot be resolved"),
        (Secretive(), {}, "type: an object of type Secretive has no JSON schema"),
        (list[Secretive()], {}, "type: an object of type Secretive has no JSON schema"),
        (Unresolved, {}, "the annotations of Unresolved cannot be resolved: name 'Missing' is not defined"),
        (Bare, {}, "Bare.a needs a type annotation"),
        (int, {"description": 5}, "description must be a str or None, not int"),
        (int, {"strict": 1}, "strict must be a bool or None, not int"),
        (int, {"name": "no spaces"}, "name must be"),
        (int, {"name": ""}, "name must be"),
        (int, {"name": "x" * 65}, "name must be 1 to 64"),
    ],
    ids=str,
)
def test_what_has_no_schema(annotation: Any, options: dict[str, Any], message: str) -> None:
    """The error names the place and what would help."""
    with pytest.raises(ConfigurationError, match=r"^[^\n]+$") as caught:
        Schema(annotation, **options)
    assert message in str(caught.value)
    assert SENTINEL not in str(caught.value)


def test_an_object_that_answers_no_question_has_no_schema() -> None:
    """Nothing is asked of what is no type."""
    with pytest.raises(ConfigurationError, match=r"^type: an object of type Proxy has no JSON schema$"):
        Schema(Proxy())


# -- what the model wrote


def parsed(annotation: Any, value: Any, **options: Any) -> Any:
    schema = Schema(annotation, **options)
    wrapped = schema.format["schema"].get("required") == ["value"]
    text = json.dumps({"value": value} if wrapped else value)
    return schema.parse(text.replace("Infinity", "1e999"))


UTC = datetime.timezone.utc
HUGE = float("inf")
"""As the parser reads 1e999; what the tests write has that in its place."""


class Twice(TypedDict):
    """The same value, once where it fits."""

    either: Name | int
    text: Name


class Stubborn(datetime.date):
    @classmethod
    def fromisoformat(cls, text: str) -> Stubborn:
        raise KeyError(text)


@dataclass
class Hashless:
    x: int

    def __hash__(self) -> int:
        raise ValueError("no hash")


@pytest.mark.parametrize(
    ("annotation", "written", "value"),
    [
        (int, 5, 5),
        (int, 5.0, 5),
        (float, 5, 5.0),
        (int | float, 5, 5),
        (float | int, 5, 5),
        (int | float, 5.0, 5.0),
        (str | int, 5, 5),
        (int | str, "5", "5"),
        (bool | int, 1, 1),
        (datetime.date | str, "2024-02-03", datetime.date(2024, 2, 3)),
        (datetime.date | str, "soon", "soon"),
        (Literal[1, True], True, True),
        (Literal[1, True], 1, 1),
        (Level, 2, Level.HIGH),
        (Level, 2.0, Level.HIGH),
        (Rate, 1, Rate.WHOLE),
        (Rate | float, 0.5, Rate.HALF),
        (float | Rate, 0.5, 0.5),
        (Rate | int | float, 1, Rate.WHOLE),
        (Corner, "FAR", Corner.FAR),
        (Literal[Color.RED], "red", Color.RED),
        (Literal[Color.RED, "red"], "red", Color.RED),
        (Infinite, "UP", Infinite.UP),
        (list[int], [1, 2], [1, 2]),
        (set[str], ["a", "a"], {"a"}),
        (frozenset[int], [], frozenset()),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (Point, {"x": 1, "y": None}, Point(1, 0)),
        (Point, {"x": 1}, Point(1)),
        (Pair, {"left": "a", "right": 1}, Pair("a", 1.0)),
        (Film, {"title": "M", "year": None, "director": None}, {"title": "M"}),
        (Sequel, {"title": "M", "of": "L", "note": None}, {"title": "M", "of": "L", "note": None}),
        (Sequel, {"title": "M", "of": "L", "length": None}, {"title": "M", "of": "L"}),
        (Point | Pair, {"left": "a", "right": None}, Pair("a")),
        (list[Point] | Point, [{"x": 1, "y": 2}], [Point(1, 2)]),
        (datetime.datetime, "2024-02-03T04:05:06Z", datetime.datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (
            datetime.datetime,
            "2024-02-03T04:05:06.5+00:00",
            datetime.datetime(2024, 2, 3, 4, 5, 6, 500000, UTC),
        ),
        (
            datetime.datetime,
            "2024-02-03T04:05:06.123456789",
            datetime.datetime(2024, 2, 3, 4, 5, 6, 123456),
        ),
        (datetime.time, "04:05:06z", datetime.time(4, 5, 6, tzinfo=UTC)),
        (decimal.Decimal, "0.10", decimal.Decimal("0.10")),
        (pathlib.Path, "a/b", pathlib.Path("a/b")),
    ],
    ids=str,
)
def test_what_fits(annotation: Any, written: Any, value: Any) -> None:
    """The value is of the type, and numbers are of their own."""
    found = parsed(annotation, written)
    assert found == value
    assert type(found) is type(value)


def pickled(schema: Schema) -> Schema:
    return pickle.loads(pickle.dumps(schema))  # noqa: S301


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, '{"value": 5}'),
        (Point, '{"x": 1, "y": null}'),
        (Pair, '{"left": "a", "right": 1}'),
        (Tree, '{"name": "a", "branches": [{"name": "b", "branches": [], "parent": null}], "parent": null}'),
        (Film, '{"title": "M", "year": null, "director": null}'),
        (list[Color | Level], '{"value": ["red", 2]}'),
        (set[datetime.date | uuid.UUID], '{"value": ["2024-02-03", "12345678123456781234567812345678"]}'),
        (tuple[datetime.datetime, decimal.Decimal], '{"value": ["2024-02-03T04:05:06Z", "0.10"]}'),
        (list[pathlib.Path], '{"value": ["a/b"]}'),
        ({"type": "object"}, '{"a": 1}'),
    ],
    ids=str,
)
def test_a_copy_wants_and_reads_the_same(way: Callable[[Schema], Schema], annotation: Any, text: str) -> None:
    """In a value that is copied, and in the processes of an executor."""
    schema = Schema(annotation, description="of the test")
    other = way(schema)
    assert other.format == schema.format
    assert other.parse(text) == schema.parse(text)
    with pytest.raises(SchemaError):
        other.parse("[]")


def test_a_copy_of_a_models_schema_reads_the_same() -> None:
    """The model goes by its name, as its values do."""
    schema = pickled(Schema(Pet))
    assert schema.parse('{"animal": {"kind": "dog"}}') == Pet(animal=Dog(kind="dog"))


def test_what_fits_when_not_strict() -> None:
    """Dictionaries have typed names and values; anything is as JSON has it."""
    days = {"2024-02-03": {"x": 1}}
    assert parsed(dict[datetime.date, Point], days, strict=False) == {datetime.date(2024, 2, 3): Point(1)}
    assert parsed(dict[str, Any], {"a": [1, {"b": None}]}, strict=False) == {"a": [1, {"b": None}]}


def test_a_default_factory_is_used_anew() -> None:
    """Null means the default, which no two answers share."""
    everything = Schema(Query)
    first, second = everything.parse('{"words": null}'), everything.parse('{"words": null}')
    assert first.words == []
    assert first.words is not second.words


class Odd(Exception):
    errors = ("not as pydantic has them",)


@dataclass
class Faulty:
    x: int

    def __post_init__(self) -> None:
        raise Odd("no")


@dataclass
class Query:
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if "bad" in self.words:
            raise ValueError("no such word")


@pytest.mark.parametrize(
    ("annotation", "written", "fault"),
    [
        (Point, {"x": "1"}, "x: expected an integer, not a string"),
        (Point, {"x": True}, "x: expected an integer, not a boolean"),
        (Point, {"x": 1.5}, "x: expected an integer, not a number"),
        (Point, {"x": None}, "x: expected an integer, not null"),
        (Point, {}, "the field 'x' is missing"),
        (Point, {"x": 1, "z": 1}, "there is no field 'z'"),
        (Point, {"x": 1, "y": [SENTINEL]}, "y: expected an integer, not an array"),
        (list[Point], [{"x": 1}, {"x": SENTINEL}], "value[1].x: expected an integer, not a string"),
        (list[Point], {}, "value: expected an array, not an object"),
        (
            Tree,
            {"name": "a", "branches": [{"name": 1}]},
            "branches[0].name: expected a string, not an integer",
        ),
        (Tree, {"name": "a", "parent": 1}, "parent: expected Tree or null, not an integer"),
        (tuple[int, str], {}, "value: expected an array of 2, not an object"),
        (Annotated[int, "n"] | None, "1", "value: expected an integer or null, not a string"),
        (tuple[int, str], [1], "value: expected an array of 2, not of 1"),
        (tuple[int, str], ["a", 1], "value[0]: expected an integer, not a string"),
        (set[Any], [[1]], "value: TypeError: unhashable type: 'list'"),
        (Color, SENTINEL, "value: expected one of 'red', 'blue'"),
        (Literal[1], True, "value: expected one of 1"),
        (Rate, True, "value: expected one of 0.5, 1.0"),
        (list[Faulty], [{"x": 1}], "value[0]: Odd: no"),
        (Literal[1], [1], "value: expected one of 1"),
        (int | str | None, [], "value: expected an integer or a string or null, not an array"),
        (Point | None, {"y": 1}, "value: the field 'x' is missing"),
        (Point | Pair, {"left": 1}, "value.left: expected a string, not an integer"),
        (float, 10**400, "value: the number is too large"),
        (Twice, {"either": 1, "text": 1}, "text: expected a string, not an integer"),
        (float, HUGE, "value: the number is too large"),
        (float | None, -HUGE, "value: the number is too large"),
        (int, HUGE, "value: expected an integer, not a number"),
        (Stubborn, "2024-01-01", "value: expected a string with a date, not another text"),
        (set[Hashless], [{"x": 1}], "value: ValueError: no hash"),
        (datetime.date, SENTINEL, "value: expected a string with a date, not another text"),
        (datetime.datetime, 5, "value: expected a string with a date-time, not an integer"),
        (uuid.UUID, SENTINEL, "value: expected a string with a uuid, not another text"),
        (decimal.Decimal, "NaN", "value: expected a string with a Decimal, not another text"),
        (decimal.Decimal, SENTINEL, "value: expected a string with a Decimal, not another text"),
        (dict[Color, int], {"green": 1}, "green: expected one of 'red', 'blue'"),
        (dict[str, int], {"a": "1"}, "a: expected an integer, not a string"),
        (list[dict[str, int]], [[]], "value[0]: expected an object, not an array"),
        (Query, {"words": ["bad"]}, "ValueError: no such word"),
        (list[Query], [{"words": ["bad"]}], "value[0]: ValueError: no such word"),
    ],
    ids=str,
)
def test_what_does_not_fit(annotation: Any, written: Any, fault: str) -> None:
    """The error says where and what was expected there, and never shows what was written."""
    strict = not any(name in str(annotation) for name in ("dict", "Any"))
    with pytest.raises(SchemaError) as caught:
        parsed(annotation, written, strict=strict)
    assert fault in str(caught.value)
    assert str(caught.value).startswith("the answer does not fit the schema: ")
    assert SENTINEL not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is no JSON"),
        (SENTINEL, "is no JSON"),
        ('{"x": NaN}', "is no JSON"),
        ('{"x": 1', "is no JSON"),
        ("[1]", "is JSON but no object"),
        ('{"x":' * 1000 + "1" + "}" * 1000, "is nested too deeply"),
    ],
    ids=lambda text: text[:10],
)
def test_what_is_no_json_object(text: str, fault: str) -> None:
    """Cut answers and chatter around the JSON are told as that."""
    with pytest.raises(SchemaError) as caught:
        Schema(Point).parse(text)
    assert str(caught.value).endswith(f"what the model wrote {fault}")
    assert SENTINEL not in str(caught.value)


def test_half_a_character_in_a_name_can_be_shown() -> None:
    """An error can always be printed."""
    with pytest.raises(SchemaError) as caught:
        Schema(Point).parse('{"\\ud800": 1}')
    str(caught.value).encode()


# -- pydantic


class Address(pydantic.BaseModel):
    """Where someone lives."""

    street: str = pydantic.Field(description="with its number", min_length=1)
    town: Literal["Oslo", "Bergen"] = "Oslo"


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(title="somebody")

    name: str
    age: Annotated[int, pydantic.Field(ge=0, description="in years")]
    born: datetime.date | None = None
    homes: list[Address] = []
    home: Address = pydantic.Field(default_factory=lambda: Address(street="x"), description="the first")
    friends: list[Person] = []
    place: tuple[int, str] = (1, "a")
    site: pydantic.AnyUrl | None = None
    tags: set[str] = set()

    @pydantic.field_validator("name")
    @classmethod
    def known(cls, name: str) -> str:
        if name == "nobody":
            raise ValueError("nobody has that name")
        return name


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]


class Pet(pydantic.BaseModel):
    animal: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


class Free(pydantic.BaseModel):
    names: dict[str, int]


class Open(pydantic.BaseModel):
    anything: Any


class Combined(pydantic.BaseModel):
    x: Annotated[int, pydantic.WithJsonSchema({"allOf": [{"type": "integer"}, {"minimum": 0}]})]


class Denied(pydantic.BaseModel):
    x: Annotated[int, pydantic.WithJsonSchema({"type": "integer", "not": {"const": 0}})]


class Extra(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


class Words(pydantic.RootModel[list[str]]):
    pass


class Unfinished(pydantic.BaseModel):
    x: Missing  # type: ignore[name-defined]  # noqa: F821


class Calling(pydantic.BaseModel):
    call: typing.Callable[[int], int]


class Share(pydantic.BaseModel):
    part: float


def test_a_pydantic_model() -> None:
    """Its own schema, closed, with every field required, and without what strict mode does not have."""
    schema = schema_of(Person)
    address = {
        **an_object(
            street={**STRING, "description": "with its number"},
            town={"type": "string", "enum": ["Oslo", "Bergen"]},
        ),
        "description": "Where someone lives.",
    }
    assert schema.pop("$defs") == {"Address": address, "Person": schema}
    assert schema == an_object(
        name=STRING,
        age={**INTEGER, "minimum": 0, "description": "in years"},
        born=or_null({"type": "string", "format": "date"}),
        homes={"type": "array", "items": {"$ref": "#/$defs/Address"}},
        home={"anyOf": [{"$ref": "#/$defs/Address"}], "description": "the first"},
        friends={"type": "array", "items": {"$ref": "#/$defs/Person"}},
        place={"type": "array", "items": {"anyOf": [INTEGER, STRING]}, "minItems": 2, "maxItems": 2},
        site=or_null(STRING),
        tags={"type": "array", "items": STRING},
    )


def test_a_union_with_a_discriminator() -> None:
    """Strict mode has ``anyOf`` only."""
    schema = schema_of(Pet)
    assert schema["properties"]["animal"] == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}
    assert schema["$defs"]["Dog"] == an_object(kind={"type": "string", "const": "dog"})
    assert Schema(Pet).parse('{"animal": {"kind": "dog"}}') == Pet(animal=Dog(kind="dog"))


def test_models_within_other_types() -> None:
    """They share the definitions, and each reads its own."""

    @dataclass
    class Visit:
        who: Person
        where: Address
        pet: Cat | Dog

    schema = Schema(Visit)
    assert set(schema.format["schema"]["$defs"]) == {"Person", "Address", "Address_2", "Cat", "Dog"}
    home = Address(street="Main 1")
    visit = Visit(Person(name="Ann", age=3, homes=[home], home=home), home, Cat(kind="cat", lives=9))
    assert schema.parse(to_json(visit)) == visit


def test_a_root_model() -> None:
    """It is no object, so one is put around."""
    assert value_schema(Words) == {"$ref": "#/$defs/Words"}
    assert parsed(Words, ["a"]) == Words(["a"])


def test_a_model_that_is_not_strict() -> None:
    """Its schema is sent as pydantic makes it."""
    assert schema_of(Free, strict=False) == Free.model_json_schema()
    assert parsed(Free, {"names": {"a": 1}}, strict=False) == Free(names={"a": 1})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Unfinished, "Unfinished has no JSON schema: PydanticUserError: `Unfinished` is not fully defined"),
        (Calling, "Calling has no JSON schema: PydanticInvalidForJsonSchema: Cannot generate"),
        (pydantic.BaseModel, "BaseModel has no JSON schema: AttributeError"),
        (list[Calling], "Calling has no JSON schema"),
        (Free, "Free.names takes any names, which strict mode does not have; use strict=False"),
        (Open, "Open.anything takes anything, which strict mode does not have; use strict=False"),
        (Extra, "Extra takes any names"),
        (Combined, "Combined.x: strict mode has no 'allOf'; use strict=False"),
        (Denied, "Denied.x: strict mode has no 'not'; use strict=False"),
    ],
)
def test_models_that_strict_mode_cannot_express(model: Any, message: str) -> None:
    """The error names the field, in one line."""
    with pytest.raises(ConfigurationError, match=r"^[^\n]+$") as caught:
        Schema(model)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ({"name": "a", "age": SENTINEL}, "age: Input should be a valid integer"),
        ({"name": "a", "age": -1}, "age: Input should be greater than or equal to 0"),
        ({"name": "nobody", "age": 1}, "name: Value error, nobody has that name"),
        (
            {"name": "a", "age": 1, "homes": [{"street": ""}]},
            "homes[0].street: String should have at least 1",
        ),
        ({"age": 1}, "name: Field required"),
    ],
)
def test_what_a_model_refuses(written: Any, fault: str) -> None:
    """Pydantic validates; its words are kept, without the value that it shows."""
    with pytest.raises(SchemaError) as caught:
        parsed(Person, written)
    assert fault in str(caught.value)
    assert SENTINEL not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_number_that_json_does_not_have() -> None:
    """Pydantic would take it, and nobody could send it back."""
    with pytest.raises(SchemaError, match="Out of range"):
        Schema(Share).parse('{"part": 1e999}')


@pydantic.dataclasses.dataclass
class Checked:
    age: Annotated[int, pydantic.Field(ge=0)]


def test_a_pydantic_dataclass() -> None:
    """Is a dataclass that checks its values."""
    assert schema_of(Checked) == an_object(age=INTEGER)
    assert parsed(list[Checked], [{"age": 1}]) == [Checked(1)]
    with pytest.raises(SchemaError) as caught:
        parsed(list[Checked], [{"age": 1}, {"age": -12345}])
    assert "value[1].age: Input should be greater than or equal to 0" in str(caught.value)
    assert "12345" not in str(caught.value)


class Box(pydantic.BaseModel, typing.Generic[T]):
    content: T


def test_a_generic_model() -> None:
    """Its name becomes one that the service takes."""
    schema = Schema(Box[int])
    assert schema.format["name"] == "Box_int_"
    assert list(Schema(list[Box[int]]).format["schema"]["$defs"]) == ["Box_int_"]
    assert schema.parse('{"content": 1}') == Box[int](content=1)


def test_pydantic_is_never_imported_by_the_package() -> None:
    """A model is known by its methods."""
    program = "import responses_ws, responses_ws.tools, sys; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "False\n"


# -- both ways, for any value

KEYWORDS = {
    *(
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "maxItems",
        "enum",
        "const",
    ),
    *("anyOf", "$ref", "$defs", "description", "format", "minimum"),
}


def strict_faults(schema: dict[str, Any]) -> list[str]:
    """What the service's strict mode would not take."""
    nested = [entry for name in ("anyOf",) for entry in schema.get(name, [])]
    nested += [entry for name in ("properties", "$defs") for entry in schema.get(name, {}).values()]
    nested += [schema["items"]] if "items" in schema else []
    faults = [fault for entry in nested for fault in strict_faults(entry)]
    faults += [f"keyword {name}" for name in schema.keys() - KEYWORDS]
    if schema.get("type") == "object":
        if schema["additionalProperties"] is not False or schema["required"] != list(schema["properties"]):
            faults.append(f"open object {schema}")
    elif "$ref" in schema:
        faults += [f"{name} beside $ref" for name in schema.keys() - {"$ref"}]
    elif "anyOf" not in schema and "type" not in schema:
        faults.append(f"no type in {schema}")
    if schema.get("format", "date") not in FORMATS:
        faults.append(f"format {schema['format']}")
    return faults


STRICT = [
    Everything,
    Film,
    Sequel,
    Tree,
    Pair,
    Person,
    Pet,
    Words,
    Names,
    list[Person],
    Point | Tree,
    tuple[Point, Pet],
]


@pytest.mark.parametrize("annotation", STRICT, ids=str)
def test_every_schema_is_valid_and_strict(annotation: Any) -> None:
    """By the meta-schema of JSON Schema, and by the service's rules."""
    schema = schema_of(annotation)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert strict_faults(schema) == []


PATIENT = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
MOMENTS = st.datetimes(timezones=st.none() | st.just(UTC))
POINTS = st.builds(Point, st.integers(), st.integers())
PAIRS = st.builds(Pair, TEXTS, NUMBERS)
LEAVES = st.builds(Tree, TEXTS)
TREES = st.recursive(
    LEAVES, lambda trees: st.builds(Tree, TEXTS, st.lists(trees).map(tuple), trees), max_leaves=9
)
FILMS = st.fixed_dictionaries({"title": TEXTS}, optional={"year": st.integers(), "director": TEXTS})
EVERYTHING = st.builds(
    Everything,
    flag=st.booleans(),
    count=st.integers(),
    share=NUMBERS,
    name=TEXTS,
    nothing=st.none(),
    color=st.sampled_from(Color),
    level=st.sampled_from(Level),
    corner=st.sampled_from(Corner),
    mode=st.sampled_from(["a", 1, True, None]),
    maybe=st.none() | TEXTS,
    either=st.integers() | NUMBERS | TEXTS,
    day=st.dates(),
    moment=MOMENTS,
    number=st.decimals(allow_nan=False, allow_infinity=False),
    key=st.uuids(),
    path=TEXTS.map(pathlib.PurePath),
    names=st.lists(TEXTS),
    tags=st.sets(TEXTS),
    levels=st.frozensets(st.sampled_from(Level)),
    scores=st.lists(NUMBERS).map(tuple),
    place=st.tuples(st.integers(), TEXTS),
    points=st.lists(POINTS),
    pair=PAIRS,
    tree=TREES,
    film=FILMS,
    extra=st.lists(POINTS | PAIRS | TREES),
)
EVERYTHING_SCHEMA = Schema(Everything)
EVERYTHING_VALIDATOR = jsonschema.Draft202012Validator(EVERYTHING_SCHEMA.format["schema"])


@given(EVERYTHING)
@PATIENT
def test_every_value_comes_back(value: Everything) -> None:
    """Value to JSON to value changes nothing, not even the type of a number."""
    found = EVERYTHING_SCHEMA.parse(to_json(value))
    assert found == value
    assert type(found.either) is type(value.either)
    assert type(found.mode) is type(value.mode)


@given(EVERYTHING)
@PATIENT
def test_every_value_written_is_valid(value: Everything) -> None:
    """What need not be there may be left out or be null."""
    written = json.loads(to_json(value))
    written["film"] = {"year": None, "director": None, **written["film"]}
    EVERYTHING_VALIDATOR.validate(written)
    assert EVERYTHING_SCHEMA.parse(json.dumps(written)) == value


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS | st.sampled_from(["red", "x", "2024-01-01"]),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS | st.sampled_from(["x", "y", "name"]), inner),
    max_leaves=9,
)
VALUES: list[Any] = [
    int | None,
    Rate | Literal[True, 2],
    list[Point],
    Point | Tree | str,
    Color,
    set[float],
    Film,
]
VALIDATORS = [(Schema(each), jsonschema.Draft202012Validator(schema_of(each))) for each in VALUES]


@PATIENT
@given(ANY_JSON, st.sampled_from(VALIDATORS))
def test_what_the_schema_allows_can_be_read(
    value: Any, both: tuple[Schema, jsonschema.Draft202012Validator]
) -> None:
    """Whatever is written is read, or refused with a SchemaError; what is valid is never refused."""
    schema, validator = both
    answer = {"value": value}
    try:
        schema.parse(json.dumps(answer))
    except SchemaError:
        assert not validator.is_valid(answer)
