"""Structured output: a value of the type that was asked for, or one of three errors with the raw text."""

from __future__ import annotations

import pytest

from responses_ws import IncompleteError, Message, RefusalError, SchemaError


@pytest.mark.parametrize(
    ("kind", "partial", "text"),
    [
        (RefusalError, Message(content="", refusal="I will not."), "I will not."),
        (IncompleteError, Message(content='{"a":', incomplete_reason="max_output_tokens"), '{"a":'),
        (SchemaError, Message(content='{"b": 1}'), '{"b": 1}'),
        (RefusalError, None, ""),
        (IncompleteError, None, ""),
        (SchemaError, None, ""),
    ],
)
def test_each_error_has_the_raw_text(kind, partial, text):
    """Whatever it was that is not there."""
    assert kind("no", partial=partial).text == text
