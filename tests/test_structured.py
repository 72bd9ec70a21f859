"""Structured output: a value of the type that was asked for, or one of three errors with the raw text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from chatting import add, calling, chat, seen
from shell import KEY

from responses_ws import ConfigurationError, Delivery, IncompleteError, Message, RefusalError, SchemaError
from responses_ws._core.schema import Schema
from responses_ws.chat import Chat
from responses_ws.testing import Model, ScriptedServer


@dataclass
class Weather:
    """The weather in a city."""

    city: str
    degrees: int


class Point(TypedDict):
    x: int


OSLO = '{"city": "Oslo", "degrees": 7}'


def saying(*answers: Any) -> ScriptedServer:
    """A server whose model says these, one after the other."""
    left = iter(answers)
    return ScriptedServer(model=Model(lambda items, request: next(left)))


def refusing(text: str) -> list[dict[str, Any]]:
    return [{"type": "message", "content": [{"type": "refusal", "refusal": text}]}]


@pytest.mark.parametrize(
    ("schema", "said", "parsed"),
    [
        (Weather, OSLO, Weather("Oslo", 7)),
        (Schema(Weather, name="forecast"), OSLO, Weather("Oslo", 7)),
        (Point, '{"x": 1}', {"x": 1}),
        (list[int], '{"value": [1, 2]}', [1, 2]),
        ({"type": "object", "properties": {}}, '{"any": 1}', {"any": 1}),
    ],
)
def test_the_answer_is_parsed(schema, said, parsed):
    """Into what was asked for."""
    with saying(said) as server, chat(server) as talk:
        assert talk.with_schema(schema).ask("Weather?").parsed == parsed


def test_the_schema_travels_with_every_request_until_it_is_taken_away():
    """Beside the other settings of the text."""
    with saying(OSLO, "plain") as server, chat(server, schema=Weather) as talk:
        talk.with_params(text={"verbosity": "low"}).ask("Weather?")
        talk.with_schema(None).ask("Weather?")
    first, second = (request["text"] for request in server.requests)
    assert first["verbosity"] == second["verbosity"] == "low"
    assert first["format"] == Schema(Weather).format
    assert (first["format"]["name"], first["format"]["strict"]) == ("Weather", True)
    assert "format" not in second


def test_only_the_answer_after_the_tools_is_parsed():
    """A response with calls has none."""
    call = {"type": "function_call", "name": "add", "arguments": '{"a": 3, "b": 4}'}
    with saying([call], OSLO) as server, chat(server, tools=[add], schema=Weather) as talk:
        assert talk.ask("Weather?").parsed == Weather("Oslo", 7)
        assert [message.parsed for message in talk.messages] == [None] * 4


def test_a_step_with_calls_is_not_parsed():
    """The one that ends the turn is."""
    with ScriptedServer(model=Model()) as server, chat(server, tools=[add], schema=Weather) as talk:
        assert talk.step(calling("add", a=1, b=2)).parsed is None
        with pytest.raises(SchemaError):
            talk.step()


@pytest.mark.parametrize(
    ("said", "params", "kind", "message", "text"),
    [
        (refusing("I will not."), {}, RefusalError, "the model refused", "I will not."),
        (
            OSLO,
            {"max_output_tokens": 1},
            IncompleteError,
            "the answer stopped early: max_output_tokens",
            '{"city": ',
        ),
        ("It rains.", {}, SchemaError, "the answer does not fit the schema", "It rains."),
        ('{"city": "Oslo"}', {}, SchemaError, "degrees", '{"city": "Oslo"}'),
        ('{"city": 1, "degrees": 7}', {}, SchemaError, "city", '{"city": 1, "degrees": 7}'),
    ],
)
def test_what_is_not_there_is_an_error_of_its_own(said, params, kind, message, text):
    """With the raw text and the whole answer; the answer stays in the history, and the chat goes on."""
    with saying(said, OSLO) as server, chat(server, schema=Weather) as talk:
        talk.with_params(**params)
        with pytest.raises(kind, match=message) as caught:
            talk.ask("Weather?")
        error = caught.value
        assert (type(error), error.text, error.delivery) == (kind, text, Delivery.STARTED)
        assert error.partial.output == talk.messages[-1].output
        assert error.response_id == error.partial.response_id
        assert text not in str(error)
        talk.with_params(**dict.fromkeys(params))
        assert talk.ask("Again?").parsed == Weather("Oslo", 7)
        assert [item["role"] for item in talk.items] == ["user", "assistant", "user", "assistant"]


def test_a_stream_raises_at_its_end():
    """After all of the text was shown."""
    with saying("no JSON") as server, chat(server, schema=Weather) as talk:
        stream = talk.stream("Weather?")
        pieces: list[str] = []
        with pytest.raises(SchemaError):
            pieces.extend(stream.text)
        assert "".join(pieces) == "no JSON"
        with pytest.raises(SchemaError):
            stream.message  # noqa: B018


def test_without_a_schema_a_refusal_is_an_answer():
    """Only structured output is missing something."""
    with saying(refusing("I will not.")) as server, chat(server) as talk:
        assert talk.ask("Weather?").refusal == "I will not."
        assert seen(server.model, talk) == talk.items


def test_a_stored_chat_wants_its_schema_again():
    """Types are not stored."""
    with saying(OSLO) as server:
        stored = json.loads(json.dumps(Chat("m", schema=Weather, api_key=KEY).to_dict()))
        with pytest.raises(ConfigurationError, match="schema: the stored chat has 'Weather'"):
            Chat.from_dict(stored, api_key=KEY)
        with Chat.from_dict(stored, schema=Weather, api_key=KEY, api_base=server.url) as talk:
            assert talk.ask("Weather?").parsed == Weather("Oslo", 7)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda talk: talk.with_schema(dict[str, Any]), "strict mode"),
        (
            lambda talk: talk.with_params(text={"format": {"type": "text"}}),
            "text must be a dict without a format",
        ),
        (lambda talk: talk.with_params(text="low"), "text must be a dict"),
    ],
)
def test_what_cannot_be_a_schema_is_refused_when_it_is_given(change, fault):
    """And not by the service."""
    talk = Chat("m", schema=Weather, api_key=KEY)
    with pytest.raises(ConfigurationError, match=fault):
        change(talk)


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
