"""The parser: text to event, and nothing else to an event."""

from __future__ import annotations

import importlib.util
import json
import sys
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from responses_ws._core import parser
from responses_ws.errors import ProtocolError

received: type[bytes] | type[bytearray] = bytes


def parse(payload):
    """As it is received at once, or in pieces into memory that the parser may use again."""
    return parser.parse(received(payload))


@pytest.fixture(params=["stdlib", "orjson"], autouse=True)
def _parser(request, monkeypatch):
    """Every rule holds with the standard library alone and with orjson."""
    loads = {"stdlib": parser._scan_message, "orjson": orjson.loads}[request.param]
    monkeypatch.setattr(parser, "_loads", loads)


@pytest.fixture(params=[bytes, bytearray], autouse=True)
def _received(request, monkeypatch):
    """And however the message came."""
    monkeypatch.setattr(sys.modules[__name__], "received", request.param)


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (b"{}", {}),
        (b'{"type":"keepalive","sequence_number":3}', {"type": "keepalive", "sequence_number": 3}),
        (b' \r\n\t{"type":"x"} \r\n\t', {"type": "x"}),
        ('{"delta":"Øl — 北京 🍻"}'.encode(), {"delta": "Øl — 北京 🍻"}),
        (b'{"delta":"\\ud83c\\udf7b"}', {"delta": "🍻"}),
        (b'{"delta":"\\ud83d"}', {"delta": "\ud83d"}),
        (b'{"delta":"\\udd0d out"}', {"delta": "\udd0d out"}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":-0.25e1,"b":true,"c":null}', {"a": -2.5, "b": True, "c": None}),
        (b'{"error":{"message":"m"}}', {"error": {"message": "m"}}),
    ],
)
def test_parse_gives_the_object_as_it_was_sent(payload, event):
    assert parse(payload) == event


@pytest.mark.parametrize(
    ("payload", "close_code"),
    [
        (b'{"delta":"\xff secret"}', 1007),
        (b'{"delta":"secret \xed\xa0\xbd"}', 1007),
        (b'{"delta":"secret \xc3', 1007),
        (b"", 1008),
        (b"   ", 1008),
        (b"secret", 1008),
        (b'{"secret":', 1008),
        (b'{"type":"x"} secret', 1008),
        (b'{"type":"x"}{"secret":1}', 1008),
        (b'\xef\xbb\xbf{"type":"secret"}', 1008),
        (b'{"secret":NaN}', 1008),
        (b'{"secret":Infinity}', 1008),
        (b'{"secret":-Infinity}', 1008),
        (b'{"secret":"\x01"}', 1008),
        (b"{'secret':1}", 1008),
        (b'["secret"]', 1008),
        (b'"secret"', 1008),
        (b"null", 1008),
        (b"12", 1008),
        (b" [] ", 1008),
    ],
)
def test_what_is_no_event_is_a_protocol_error_that_does_not_hold_the_payload(payload, close_code):
    with pytest.raises(ProtocolError) as caught:
        parse(payload)
    error = caught.value
    assert error.close_code == close_code
    assert "secret" not in str(error)
    assert error.__context__ is None
    assert error.__cause__ is None


@pytest.mark.parametrize("depth", [parser.MAX_DEPTH, 2_000, 10_000, 100_000])
@pytest.mark.parametrize(
    ("opening", "middle", "closing"),
    [(b"[", b"", b"]"), (b'{"a":', b"1", b"}"), (b"[1,[],", b"2", b",3]"), (b"[", b"", b"")],
    ids=["arrays", "objects", "siblings", "unclosed"],
)
def test_deep_nesting_is_refused_at_the_same_depth_by_every_parser(opening, middle, closing, depth):
    with pytest.raises(ProtocolError) as caught:
        parse(b'{"a":' + opening * depth + middle + closing * depth + b"}")
    assert caught.value.close_code == 1008
    assert caught.value.__context__ is None


def test_brackets_alone_are_no_event():
    with pytest.raises(ProtocolError):
        parse(b"[" * 10_000)
    with pytest.raises(ProtocolError):
        parse(b"[" * 10_000 + b"]" * 10_000)


def test_nesting_up_to_the_limit_is_accepted():
    levels = parser.MAX_DEPTH - 1
    event = parse(b'{"a":' + b"[" * levels + b"]" * levels + b',"b":[]}')
    assert list(event) == ["a", "b"]


def test_many_brackets_side_by_side_are_not_deep():
    items = [{"content": [{"text": "[{"}]}] * 5_000
    assert parse(json.dumps({"output": items}).encode()) == {"output": items}


@pytest.mark.parametrize("text", [0, parser.LARGE_BYTES], ids=["small", "large"])
@pytest.mark.parametrize("bracket", [b"[", b"{"])
@pytest.mark.parametrize("count", [0, 1, parser.MAX_DEPTH, parser.MAX_DEPTH + 1, 10 * parser.MAX_DEPTH])
def test_brackets_are_counted_alike_in_small_and_in_large_messages(text, bracket, count):
    """Large ones as far as it matters."""
    found = parser._brackets(b"x" * text + bracket * count)
    assert min(found, parser.MAX_DEPTH + 1) == min(count, parser.MAX_DEPTH + 1)


@pytest.mark.parametrize("depth", [parser.MAX_DEPTH - 2, parser.MAX_DEPTH])
def test_a_large_message_may_be_as_deep_as_a_small_one(depth):
    payload = b'{"text":"%b","a":%b1%b}' % (b"x" * parser.LARGE_BYTES, b'{"a":' * depth, b"}" * depth)
    if depth < parser.MAX_DEPTH:
        assert list(parse(payload)) == ["text", "a"]
    else:
        with pytest.raises(ProtocolError):
            parse(payload)


@given(
    st.dictionaries(
        st.text(st.characters(codec=None, exclude_categories=()), max_size=6),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**63)
            | st.text(st.characters(exclude_categories=())),
            lambda inner: (
                st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
            ),
            max_leaves=12,
        ),
        max_size=5,
    )
)
def test_any_object_survives_the_round_trip(event):
    text = json.dumps(event)
    assert parse(text.encode()) == json.loads(text)


@given(st.binary(max_size=40))
def test_any_bytes_give_an_event_or_a_protocol_error(payload):
    try:
        event = parse(payload)
    except ProtocolError:
        return
    assert isinstance(event, dict)


def test_the_values_of_a_large_message_take_its_place(monkeypatch):
    """It takes two blocks and not three, beside the one that nothing is written to."""
    monkeypatch.setattr(parser, "_loads", parser._scan_message)
    monkeypatch.setattr(parser, "_kept", parser.MOST_KEPT_BYTES)
    size = 1 << 20
    message = b'{"text":"' + b"x" * size + b'"}'
    tracemalloc.start()
    try:
        event = parser.parse(bytearray(message))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(event["text"]) == size
    assert peak < 2.5 * size


def load_parser(monkeypatch, orjson_module):
    monkeypatch.setitem(sys.modules, "orjson", orjson_module)
    spec = importlib.util.spec_from_file_location("parser_by_itself", parser.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_orjson_is_used_where_it_is_installed_and_not_needed_where_it_is_not(monkeypatch):
    with_it = load_parser(monkeypatch, orjson)
    assert with_it.parse(b'{"type":"x"}') == {"type": "x"}
    assert with_it._loads is orjson.loads
    without_it = load_parser(monkeypatch, None)
    assert without_it.parse(b'{"type":"x"}') == {"type": "x"}
    assert without_it._loads is without_it._scan_message
