from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responses_ws._core.request import UNSET, build, encode, encode_http, stores
from responses_ws.errors import ConfigurationError, Delivery, PayloadTooLarge

SENTINEL = "sentinel-prompt"
CREATE = {"type": "response.create"}


def built(**options: Any) -> dict[str, Any]:
    extra = options.pop("extra", {})
    return build(**{"model": "m", "input": "hi", **options}, extra=extra)


def sent(payload: Mapping[str, Any]) -> Any:
    return json.loads(encode(payload, max_bytes=None))


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


ITEM = {"role": "user", "content": "hi"}

BUILT = [
    ({}, {}),
    ({"input": [ITEM]}, {"input": [ITEM]}),
    ({"input": (ITEM, ITEM)}, {"input": [ITEM, ITEM]}),
    ({"input": []}, {"input": []}),
    ({"input": ""}, {"input": ""}),
    ({"instructions": "be brief"}, {"instructions": "be brief"}),
    ({"tools": [{"type": "web_search"}]}, {"tools": [{"type": "web_search"}]}),
    ({"tools": ()}, {"tools": []}),
    ({"tools": None, "instructions": None}, {}),
    ({"previous_response_id": UNSET}, {}),
    ({"previous_response_id": None}, {"previous_response_id": None}),
    ({"previous_response_id": "resp_1"}, {"previous_response_id": "resp_1"}),
    ({"extra": {"store": False}}, {"store": False}),
    ({"extra": {"store": True}}, {"store": True}),
    ({"extra": {"store": None}}, {}),
    ({"extra": {"metadata": {"a": "b"}}}, {"metadata": {"a": "b"}}),
    ({"extra": {"metadata": {}}}, {}),
    ({"extra": {"metadata": None}}, {}),
    (
        {"extra": {"compact_threshold": 9}},
        {"context_management": [{"type": "compaction", "compact_threshold": 9}]},
    ),
    (
        {"extra": {"compact_threshold": 9, "context_management": [{"type": "other"}]}},
        {"context_management": [{"type": "compaction", "compact_threshold": 9}]},
    ),
    (
        {"extra": {"compact_threshold": None, "context_management": [{"type": "other"}]}},
        {"context_management": [{"type": "other"}]},
    ),
    ({"extra": {"context_management": None}}, {}),
    ({"extra": {"temperature": 0, "top_p": None, "new": [None]}}, {"temperature": 0, "new": [None]}),
    ({"extra": {"conversation": "conv_1"}}, {"conversation": "conv_1"}),
    (
        {"extra": {"conversation": "conv_1"}, "previous_response_id": None},
        {"conversation": "conv_1", "previous_response_id": None},
    ),
    ({"extra": {"conversation": None}, "previous_response_id": "r"}, {"previous_response_id": "r"}),
]


@pytest.mark.parametrize(("options", "fields"), BUILT)
def test_fields_of_a_request(options: dict[str, Any], fields: dict[str, Any]) -> None:
    assert built(**options) == {"model": "m", "input": "hi", **fields}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"input": None}, "input must be a str or a list of dicts, not NoneType"),
        ({"input": ITEM}, "input must be a str or a list of dicts, not dict"),
        ({"input": b"hi"}, "input .* not bytes"),
        ({"input": {"a"}}, "input .* not set"),
        ({"input": iter([ITEM])}, "input .* not list_iterator"),
        ({"input": [ITEM, SENTINEL]}, r"input\[1\] must be a dict, not str"),
        ({"input": [None]}, r"input\[0\]"),
        ({"tools": "web_search"}, "tools must be a list of dicts, not str"),
        ({"tools": {"type": "web_search"}}, "tools .* not dict"),
        ({"tools": [ITEM, print]}, r"tools\[1\] must be a dict, not builtin_function_or_method"),
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"previous_response_id": False}, "previous_response_id"),
        ({"extra": {"compact_threshold": 0}}, "compact_threshold"),
        ({"extra": {"compact_threshold": -1}}, "compact_threshold"),
        ({"extra": {"compact_threshold": True}}, "compact_threshold"),
        ({"extra": {"compact_threshold": 1.5}}, "compact_threshold"),
        ({"extra": {"compact_threshold": "9"}}, "compact_threshold"),
        (
            {"extra": {"conversation": "c"}, "previous_response_id": "r"},
            "conversation and previous_response_id",
        ),
    ],
)
def test_an_argument_that_cannot_work_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        built(**options)
    assert SENTINEL not in str(caught.value)


def test_building_leaves_the_arguments_as_they_are() -> None:
    items, extra = [ITEM], {"compact_threshold": 9, "metadata": {}, "store": None}
    payload = build(model="m", input=items, extra=extra)
    payload["input"].append(ITEM)
    assert items == [ITEM]
    assert extra == {"compact_threshold": 9, "metadata": {}, "store": None}


def test_unset_says_what_it_is() -> None:
    assert repr(UNSET) == "UNSET"
    assert copy.deepcopy(UNSET) is UNSET


SENT = [
    ({}, {}),
    ({"model": "m", "input": "hi"}, {"model": "m", "input": "hi"}),
    ({"type": "response.create", "model": "m"}, {"model": "m"}),
    ({"type": None}, {}),
    ({"stream": True, "background": True, "stream_options": {"x": 1}}, {"stream_options": {"x": 1}}),
    ({"stream": None, "store": None, "user": None}, {}),
    ({"previous_response_id": None}, {"previous_response_id": None}),
    ({"previous_response_id": "r"}, {"previous_response_id": "r"}),
    ({"text": {"format": None, "stream": True}}, {"text": {"format": None, "stream": True}}),
    (
        {"store": False, "temperature": 0, "generate": False},
        {"store": False, "temperature": 0, "generate": False},
    ),
    ({"client_metadata": {"a": [1, None]}}, {"client_metadata": {"a": [1, None]}}),
    ({"input": ({"a": (1, 2)},)}, {"input": [{"a": [1, 2]}]}),
    ({"input": "caf\u00e9 \U0001f600 \u2028 \x00"}, {"input": "caf\u00e9 \U0001f600 \u2028 \x00"}),
    (MappingProxyType({"model": "m"}), {"model": "m"}),
]


@pytest.mark.parametrize(("payload", "fields"), SENT)
def test_the_message_is_flat(payload: Mapping[str, Any], fields: dict[str, Any]) -> None:
    before = copy.deepcopy(dict(payload))
    assert sent(payload) == {**CREATE, **fields}
    assert payload == before


def test_the_message_is_compact_utf8() -> None:
    data = encode({"model": "m", "input": "\u00e9"}, max_bytes=None)
    assert data == '{"type":"response.create","model":"m","input":"\u00e9"}'.encode()


WELL_FORMED = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WELL_FORMED,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WELL_FORMED, inner, max_size=4),
    max_leaves=12,
)
NAMES = (
    st.sampled_from(["model", "input", "stream", "background", "previous_response_id", "store"]) | WELL_FORMED
)


@given(st.dictionaries(NAMES.filter(lambda name: name != "type"), VALUES))
def test_what_arrives_is_what_was_given(payload: dict[str, Any]) -> None:
    before = copy.deepcopy(payload)
    kept = {
        name: value
        for name, value in payload.items()
        if name not in ("stream", "background") and (value is not None or name == "previous_response_id")
    }
    assert sent(payload) == {**CREATE, **kept}
    assert payload == before


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (None, "payload must be a mapping, not NoneType"),
        ([("model", "m")], "payload must be a mapping, not list"),
        ("{}", "payload must be a mapping, not str"),
        ({1: SENTINEL}, "payload .* int"),
        ({None: SENTINEL}, "payload .* NoneType"),
        ({"type": "response.cancel"}, "type must be 'response.create'"),
        ({"type": ["response.create"]}, "type must be 'response.create'"),
        ({"input": {SENTINEL}}, "^input cannot be sent: .*set"),
        ({"input": SENTINEL.encode()}, "^input cannot be sent: .*bytes"),
        ({"model": "m", "input": [ITEM, {"content": {SENTINEL}}]}, r"^input\[1\] cannot be sent: .*set"),
        ({"tools": [{}, {}, {"f": print}]}, r"^tools\[2\] cannot be sent: .*builtin_function_or_method"),
        ({"metadata": {"when": datetime.date(2026, 1, 1)}}, "^metadata cannot be sent: .*date"),
        ({"metadata": {("a", SENTINEL): 1}}, "^metadata cannot be sent: .*tuple"),
        ({"temperature": float("nan")}, "^temperature cannot be sent: .*NaN"),
        ({"temperature": float("inf")}, "^temperature cannot be sent: .*Infinity"),
        ({"temperature": [{"x": [float("-inf")]}]}, r"^temperature\[0\] cannot be sent: .*Infinity"),
        ({"input": f"{SENTINEL}\ud83d"}, "^input cannot be sent: .*surrogate"),
        ({"input": [ITEM, {"content": f"{SENTINEL}\udc00"}]}, r"^input\[1\] cannot be sent: .*surrogate"),
        ({"\ud800": 1}, "^payload cannot be sent: .*surrogate"),
        ({"input": [ITEM, {"content": cycle()}]}, r"^input\[1\] cannot be sent: .*itself"),
        ({"input": cycle()}, r"^input\[0\] cannot be sent: .*itself"),
        ({"input": [nested(100_000)]}, r"^input\[0\] cannot be sent: .*deep"),
        ({"x": nested(100_000)}, r"^x\[0\] cannot be sent: .*deep"),
    ],
)
def test_what_json_cannot_express_is_named_and_not_shown(payload: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        encode(payload, max_bytes=1)
    assert SENTINEL not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_message_of_exactly_the_limit_passes() -> None:
    size = len(encode({"input": "x" * 100}, max_bytes=None))
    assert len(encode({"input": "x" * 100}, max_bytes=size)) == size
    with pytest.raises(PayloadTooLarge):
        encode({"input": "x" * 100}, max_bytes=size - 1)


def too_large(payload: Mapping[str, Any]) -> PayloadTooLarge:
    with pytest.raises(PayloadTooLarge) as caught:
        encode(payload, max_bytes=100)
    return caught.value


def test_too_large_names_the_five_largest_items() -> None:
    error = too_large(
        {
            "model": "m",
            "instructions": SENTINEL * 30,
            "input": [{"content": "\u00e9" * count} for count in (5, 10, 300, 20)],
            "tools": [{"name": "a" * 150}],
        }
    )
    assert error.largest == (
        ("input[2]", 300 * 2 + 14),
        ("instructions", len(SENTINEL) * 30 + 2),
        ("tools[0]", 150 + 11),
        ("input[3]", 20 * 2 + 14),
        ("input[1]", 10 * 2 + 14),
    )
    assert error.limit == 100
    assert error.size > 1200
    assert error.delivery is Delivery.NOT_SENT
    assert f"input[2] ({300 * 2 + 14} bytes)" in str(error)
    assert SENTINEL not in str(error)


IMAGE = "data:image/png;base64," + "A" * 500


@pytest.mark.parametrize(
    ("item", "where", "size"),
    [
        (
            {"content": [{"text": "what is it?"}, {"type": "input_image", "image_url": IMAGE}]},
            "input[0].content[1].image_url",
            len(IMAGE) + 2,
        ),
        (
            {"output": ({"image_url": IMAGE[:60]}, {"image_url": IMAGE})},
            "input[0].output[1].image_url",
            len(IMAGE) + 2,
        ),
        ({"output": {"image_url": IMAGE}}, "input[0].output.image_url", len(IMAGE) + 2),
        ({"content": "x" * 600}, "input[0]", 614),
        ({"content": [{"image_url": IMAGE[:60]}, "x" * 600]}, "input[0]", 693),
        ("x" * 600, "input[0]", 602),
    ],
)
def test_too_large_names_the_image_that_makes_up_most_of_an_item(item: Any, where: str, size: int) -> None:
    assert too_large({"input": [item]}).largest == ((where, size),)


@pytest.mark.parametrize(
    ("payload", "kept"),
    [({}, True), ({"store": True}, True), ({"store": None}, True), ({"store": False}, False)],
)
def test_a_response_is_stored_unless_told_not_to(payload: dict[str, Any], kept: bool) -> None:
    assert stores(payload) is kept


# -- over HTTP


@pytest.mark.parametrize(
    ("payload", "stream", "body"),
    [
        ({"model": "m"}, True, {"model": "m", "stream": True}),
        ({"stream": False}, True, {"stream": True}),
        ({"stream": True}, False, {"stream": False}),
        ({}, None, {"stream": True}),
        ({"background": True}, None, {"background": True, "stream": False}),
        ({"background": True}, True, {"background": True, "stream": True}),
        ({"background": True, "stream": True}, None, {"background": True, "stream": True}),
        ({"background": False, "stream": False}, None, {"background": False, "stream": True}),
        ({"type": "response.create", "generate": False, "stream_id": "a"}, True, {"stream": True}),
        ({"previous_response_id": None, "tools": None, "user": ""}, True, {"user": "", "stream": True}),
        ({"stream_options": {}}, True, {"stream_options": {}, "stream": True}),
        ({"stream_options": {}}, False, {"stream": False}),
        ({"new": [None, {"generate": None}]}, True, {"new": [None, {"generate": None}], "stream": True}),
    ],
)
def test_the_body_over_http(payload: dict[str, Any], stream: bool | None, body: dict[str, Any]) -> None:
    """What only a socket knows is left out, and every None at the top; the payload stays as it is."""
    before = copy.deepcopy(payload)
    assert json.loads(encode_http(payload, stream=stream)) == body
    assert payload == before


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800", cycle(), nested(100_000)])
def test_what_cannot_be_sent_over_http_is_named(value: Any) -> None:
    """As over a socket, without its value."""
    with pytest.raises(ConfigurationError, match=r"^user(\[0\])? cannot be sent") as caught:
        encode_http({"model": SENTINEL, "user": value}, stream=True)
    assert SENTINEL not in str(caught.value)
