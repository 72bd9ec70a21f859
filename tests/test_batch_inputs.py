"""The inputs of a batch: each has a name that it keeps, and a list with a fault costs nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest

from responses_ws import ConfigurationError
from responses_ws._batch_inputs import Input, read_inputs

MODEL = {"model": "m"}


def ids(*requests: Any, **fields: Any) -> list[str]:
    return [one.custom_id for one in read_inputs(requests, MODEL | fields)]


def test_a_text_and_a_payload_become_payloads() -> None:
    """What all have is added where it is not given."""
    text, payload = read_inputs(["a", {"input": "b", "model": "n"}], {"model": "m", "store": False})
    assert text.payload == {"model": "m", "store": False, "input": "a"}
    assert payload.payload == {"model": "n", "store": False, "input": "b"}


def test_a_given_id_is_not_part_of_the_payload() -> None:
    """It is the name in the file, and the service does not know it."""
    (one,) = read_inputs([{"custom_id": "mine", "input": "a"}], MODEL)
    assert one.custom_id == "mine"
    assert "custom_id" not in one.payload


def test_a_derived_id_follows_the_content_and_not_the_place() -> None:
    """So that inputs may be added, left out, and put in another order."""
    a, b = ids("a", "b")
    assert ids("b", "c", "a")[::2] == [b, a]
    assert a != b


def test_a_derived_id_knows_nothing_of_the_order_of_keys() -> None:
    """It is the same question."""
    assert ids({"input": "a", "store": True}) == ids({"store": True, "input": "a"})


def test_equal_inputs_have_names_of_their_own() -> None:
    """The same question may be asked several times."""
    first, second, third = ids("a", "a", "a")
    assert (second, third) == (f"{first}-2", f"{first}-3")


def test_another_model_is_another_question() -> None:
    """Its answer is not in the file."""
    assert ids("a") != ids("a", model="n")


def test_a_payload_is_copied() -> None:
    """The caller may go on with his own."""
    items = [{"role": "user", "content": "a"}]
    (one,) = read_inputs([{"input": items}], MODEL)
    items.append({"role": "user", "content": "b"})
    assert one.payload["input"] == [{"role": "user", "content": "a"}]


def test_a_prompt_of_the_service_needs_no_model() -> None:
    """The prompt names it."""
    (one,) = read_inputs([{"prompt": {"id": "pmpt_1"}}], {})
    assert one.payload == {"prompt": {"id": "pmpt_1"}}


def test_the_payload_is_not_shown() -> None:
    """It may be a secret."""
    (one,) = read_inputs(["a secret"], MODEL)
    assert isinstance(one, Input)
    assert "secret" not in repr(one)


@pytest.mark.parametrize(
    ("requests", "complaint"),
    [
        ("a text", "requests must be an iterable of str or mappings, not str"),
        ({"input": "a"}, "requests must be an iterable of str or mappings, not dict"),
        (3, "requests must be an iterable of str or mappings, not int"),
        (["a", 3], r"requests\[1\] must be a str or a mapping, not int"),
        (["a", {"input": "b", "custom_id": 3}], r"requests\[1\]: custom_id must be a str that is not empty"),
        ([{"input": "b", "custom_id": ""}], r"requests\[0\]: custom_id must be a str that is not empty"),
        ([{"input": "b", "model": None}], r"requests\[0\] needs a model"),
        ([{"input": "b", "model": ""}], r"requests\[0\]: model must be a non-empty str"),
        (["a", {"input": "b", "model": 5}], r"requests\[1\]: model must be a non-empty str"),
        ([{"input": {1, 2}}], r"requests\[0\]: input cannot be sent: .*set"),
        ([{"input": "a", "top_p": math.nan}], r"requests\[0\]: top_p cannot be sent: .*NaN"),
        ([{"input": "a", "stream": {1}}], r"requests\[0\]: .*set"),
        (["a", {"input": "b", "background": True}], r"requests\[1\]: background .* a batch waits"),
        ([{"input": "a", "type": "response.steer"}], r"requests\[0\]: type must be"),
        (
            [{"input": "a", "custom_id": "x"}, "b", {"input": "c", "custom_id": "x"}],
            r"requests\[2\] has the custom_id 'x' of requests\[0\]",
        ),
    ],
)
def test_a_bad_input_is_refused_by_name(requests: Any, complaint: str) -> None:
    """Before anything is paid."""
    with pytest.raises(ConfigurationError, match=complaint):
        read_inputs(requests, MODEL)


def test_a_given_id_may_not_be_one_that_is_derived() -> None:
    """Two inputs are two."""
    (derived,) = ids("a")
    with pytest.raises(ConfigurationError, match=rf"custom_id '{derived}' of requests\[0\]"):
        ids("a", {"input": "b", "custom_id": derived})
