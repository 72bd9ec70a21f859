"""Where the key comes from, and that it shows nowhere on its way."""

from __future__ import annotations

import copy
import functools
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from responses_ws._core.key import KeySource
from responses_ws._core.secret import Secret
from responses_ws.errors import ConfigurationError

SENTINEL = "sk-sentinel-0123456789"


class Vault(dict[str, str]):
    """A source of keys that is empty, and so false, and can be called all the same."""

    def __call__(self) -> str:
        return SENTINEL


def returning(value: Any) -> Callable[[], str]:
    """A function that shows its value to no traceback."""
    return functools.partial({"key": value}.__getitem__, "key")


@pytest.mark.parametrize(
    ("given", "missing", "sent", "key"),
    [
        (None, True, False, None),
        ("", False, False, None),
        (SENTINEL, False, True, SENTINEL),
        (f" {SENTINEL}\n", False, True, SENTINEL),
        (returning(SENTINEL), False, True, SENTINEL),
        (returning(f"{SENTINEL}\r\n"), False, True, SENTINEL),
        (Vault(), False, True, SENTINEL),
    ],
    ids=["none", "empty", "text", "a line", "function", "function of a line", "object"],
)
def test_a_source(given: Any, missing: bool, sent: bool, key: str | None) -> None:
    """None is a key that was not found, an empty text the wish to send none."""
    source = KeySource(given)
    source.check()
    assert (source.missing, bool(source)) == (missing, sent)
    assert source.secret() == (None if key is None else Secret(key))


def test_a_function_is_called_each_time_and_not_before() -> None:
    """A key that is renewed is found renewed at the next connect."""
    keys = iter(["first-key", "second-key"])
    source = KeySource(lambda: next(keys))
    source.check()
    assert source
    assert not source.missing
    assert [source.secret(), source.secret()] == [Secret("first-key"), Secret("second-key")]


def test_what_a_function_raises_is_raised() -> None:
    failure = LookupError("the vault is closed")

    def ask() -> str:
        raise failure

    source = KeySource(ask)
    source.check()
    with pytest.raises(LookupError) as caught:
        source.secret()
    assert caught.value is failure


def report(call: Callable[[], object]) -> str:
    """The refusal as a crash reporter prints it, with the locals of every frame of ours."""
    with pytest.raises(ConfigurationError) as caught:
        call()
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    inner = error.__traceback__
    while inner is not None and inner.tb_frame.f_code.co_filename == __file__:
        inner = inner.tb_next
    assert inner is not None
    shown = traceback.TracebackException(type(error), error, inner, capture_locals=True)
    return f"{error!r}{error}{''.join(shown.format())}"


BAD_TEXTS = [
    f"{SENTINEL}\r\nX-Evil: 1",
    f"a {SENTINEL}",
    f"{SENTINEL}\x00",
    f"{SENTINEL}\u2026",
    f"{SENTINEL}\ud800",
    " \n",
]
NO_TEXTS: list[Any] = [5, 0, False, b"", SENTINEL.encode(), [], [SENTINEL], {}, {"key": SENTINEL}, object()]


@pytest.mark.parametrize("given", [*BAD_TEXTS, *NO_TEXTS])
def test_a_key_that_cannot_be_sent_is_refused_at_once_and_shown_nowhere(given: Any) -> None:
    told = report(KeySource(given).check)
    assert "api_key" in told
    assert SENTINEL not in told


@pytest.mark.parametrize("given", BAD_TEXTS)
def test_a_key_that_cannot_be_sent_is_refused_when_it_is_asked_for(given: str) -> None:
    told = report(KeySource(given).secret)
    assert "api_key" in told
    assert SENTINEL not in told


@pytest.mark.parametrize("value", [*BAD_TEXTS, *NO_TEXTS, "", None, Secret(SENTINEL), returning(SENTINEL)])
def test_a_function_that_returns_no_key_is_refused_and_shows_nothing(value: object) -> None:
    """A function that has nothing to give must raise; no request goes out without the key that it meant."""
    source = KeySource(returning(value))
    source.check()
    told = report(source.secret)
    assert "api_key" in told
    assert isinstance(value, str) or "the function must return a str" in told
    assert SENTINEL not in told


def test_a_function_that_fails_shows_no_key_of_ours() -> None:
    """Its own frames are its own; in ours there is nothing to see."""

    def fail() -> str:
        raise LookupError("closed")

    with pytest.raises(LookupError) as caught:
        KeySource(fail).secret()
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if frame.filename != __file__]
    assert ours
    assert all((frame.locals or {}).keys() <= {"self"} for frame in ours)


@pytest.mark.parametrize("given", [SENTINEL, returning(SENTINEL), None, ""])
def test_a_source_shows_nothing(given: Any) -> None:
    """Neither whether it has a key, nor what it is."""
    source = KeySource(given)
    assert {repr(source), str(source), f"{source}"} == {"KeySource('***')"}
    assert SENTINEL not in repr(source.secret())
    assert not hasattr(source, "__dict__")


@pytest.mark.parametrize(
    "save", [pickle.dumps, copy.copy, copy.deepcopy, *[lambda s, p=p: pickle.dumps(s, p) for p in range(6)]]
)
def test_a_source_is_not_written_anywhere(save: Callable[[KeySource], object]) -> None:
    """Like the secret that it gives, it cannot be pickled."""
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        save(KeySource(SENTINEL))
    assert SENTINEL not in repr(caught.value)
