from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from responses_ws._core import json_text
from responses_ws._core.json_text import PIECE, dump

LONG = "A" * PIECE
BASE64 = "data:image/png;base64," + "iVBORw0KGgo+/=" * PIECE


def plain(value: Any) -> bytes:
    """What the encoder itself writes, all at once."""
    return json_text.ENCODER.encode(value).encode()


IMAGE = {"type": "input_image", "image_url": BASE64}
HOLDERS = [
    LONG,
    BASE64,
    [{"role": "user", "content": LONG}],
    [{"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, IMAGE]}],
    [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": LONG, "format": "mp3"}}]}],
    [{"content": "before"}, {"content": [IMAGE, IMAGE]}, {"content": "after"}, LONG, [], {}],
    ({"content": (IMAGE,)},),
    {"content": LONG},
    {"content": {1: LONG, None: [], False: {}, 2.5: "x", "a\nb": "\u00e9", LONG: 1}},
    [{"a": [{"b": {"deeper": [LONG]}}]}],
]


@pytest.mark.parametrize("held", HOLDERS)
def test_a_long_text_is_written_as_the_encoder_writes_it(held: Any) -> None:
    value = {"type": "response.create", "model": "m", "input": held, "tools": [{"x": LONG}], "store": None}
    assert dump(value) == plain(value)


@pytest.mark.parametrize("value", [{}, [], None, LONG, {"instructions": LONG}, [LONG], {"input": None}])
def test_what_is_no_request_with_a_long_input_is_written_too(value: Any) -> None:
    assert dump(value) == plain(value)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-3, 3))
@example('"', 0)
@example("\\", -1)
@example("\x00\x1f\x7f\x80\u2028\U0001f600", 0)
@example("\n", 1)
def test_every_character_is_escaped_wherever_a_piece_ends(text: str, shift: int) -> None:
    value = {"input": "A" * (PIECE + shift) + text + "A" * (2 * PIECE - shift) + text}
    assert dump(value) == plain(value)
    assert json.loads(dump(value) or b"") == value


@pytest.mark.parametrize("unfit", ["half: \ud83d", "\udc00", {"a set"}, b"bytes", float("nan"), {("a",): 1}])
def test_beside_a_long_text_too_what_cannot_be_written_gives_none(unfit: Any) -> None:
    value = {"input": [{"content": [IMAGE, unfit]}]}
    assert dump(value) is None
    assert json_text.reason(value)


def test_a_long_text_in_what_holds_itself_gives_none() -> None:
    items: list[Any] = [{"content": LONG}]
    items[0]["items"] = items
    assert dump({"input": items}) is None


def test_a_long_text_takes_no_second_copy_of_itself() -> None:
    value = {"input": [{"content": [{"image_url": "A" * (64 * PIECE)}]}]}
    tracemalloc.start()
    try:
        dump(value)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * 64 * PIECE
