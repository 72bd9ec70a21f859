"""Options of a wrong kind, refused when they are given and not when they are first used."""

from __future__ import annotations

import copy
import inspect
from typing import TypeVar

from responses_ws._core import json_text
from responses_ws._shown import shown, told
from responses_ws.errors import ConfigurationError

__all__ = ["check_callable", "check_count", "check_flag", "check_method", "check_type", "copied"]

T = TypeVar("T")


def check_type(name: str, value: object, wanted: type) -> None:
    """Refuse what is neither None nor of the type, naming the option and never showing its value."""
    if value is not None and not isinstance(value, wanted):
        raise ConfigurationError(f"{name} must be a {wanted.__name__} or None, not {type(value).__name__}")


def check_count(name: str, value: object, *, least: int) -> None:
    """Refuse what is no whole number, or too small a one."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {shown(value)}")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False: a text from the environment is true whatever it says."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {shown(value)}")


def check_callable(name: str, value: object) -> None:
    """The same for what is to be called, by nobody who could await what an async function gives."""
    if value is None:
        return
    if not callable(value):
        raise ConfigurationError(f"{name} must be callable or None, not {type(value).__name__}")
    if inspect.iscoroutinefunction(value):
        raise ConfigurationError(f"{name} is async, and nothing here would await it")


def check_method(name: str, value: object, method: str) -> None:
    """The same for what may be of any type that has the method."""
    if value is not None and not callable(getattr(value, method, None)):
        raise ConfigurationError(f"{name} must have a method {method}(), as {type(value).__name__} has not")


def copied(name: str, value: T) -> T:
    """A copy of what is to be sent, for the caller may change his own later.

    What cannot be copied can seldom be sent: a lock, a generator, a mapping that is no dict.
    """
    try:
        return copy.deepcopy(value)
    except Exception as error:
        why = json_text.reason(value) or f"it cannot be copied ({told(error)})"
    raise ConfigurationError(f"{name} cannot be sent: {why}")
