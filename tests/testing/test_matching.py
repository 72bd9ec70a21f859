"""What a script takes for a match."""

from __future__ import annotations

import pytest

from responses_ws.testing.matching import differences


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({}, {"any": "thing"}),
        ({"input": "hi"}, {"input": "hi", "model": "m"}),
        ({"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low", "summary": None}}),
        ({"input": [{"role": "user"}]}, {"input": [{"role": "user", "content": "hi"}]}),
        ({"id": None}, {"id": None}),
        ({"n": 1}, {"n": 1.0}),
        ({"n": lambda n: n > 3}, {"n": 4}),
        (lambda message: "a" in message, {"a": 1}),
    ],
)
def test_matches(expected, actual):
    """An object may have more keys, at every depth, and a callable decides."""
    assert differences(expected, actual) == []


@pytest.mark.parametrize(
    ("expected", "actual", "fault"),
    [
        ({"input": "hi"}, {"input": "ho"}, "input: expected 'hi', got 'ho'"),
        ({"input": "hi"}, {}, "input: missing"),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {}}}, "a.b.c: missing"),
        ({"a": {"b": 1}}, {"a": 5}, "a: expected {'b': 1}, got 5"),
        ({"input": [{"role": "user"}]}, {"input": [{"role": "system"}]}, "input[0].role: expected"),
        ({"input": [1, 2]}, {"input": [1, 2, 3]}, "input: expected [1, 2], got [1, 2, 3]"),
        ({"input": "ab"}, {"input": ["a", "b"]}, "input: expected 'ab', got ['a', 'b']"),
        ({"store": False}, {"store": 0}, "store: expected False, got 0"),
        ({"store": 1}, {"store": True}, "store: expected 1, got True"),
        ({"store": None}, {}, "store: missing"),
        ({"n": str.isdigit}, {"n": "x"}, "n: isdigit is not true of 'x'"),
        (lambda message: False, {}, "message: <lambda> is not true of {}"),
        ({"input": "hi"}, {"input": "x" * 1000}, "xxx..."),
    ],
)
def test_differences_name_the_place(expected, actual, fault):
    """Each difference says where it is and what is there, cut to a sane length."""
    (found,) = differences(expected, actual)
    assert fault in found
    assert len(found) < 500


def test_every_difference_is_told():
    """A report holds all differences at once."""
    assert differences({"a": 1, "b": {"c": 2}}, {"a": 2, "b": {"c": 3}}) == [
        "a: expected 1, got 2",
        "b.c: expected 2, got 3",
    ]
