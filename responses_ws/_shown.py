"""What an error shows of texts, values and other errors, which may come from anywhere."""

from __future__ import annotations

__all__ = ["MAX_TEXT", "shorten", "shown", "told"]

MAX_TEXT = 500
"""Characters of a server's message that ``str()`` shows; some gateways send whole documents."""


def shorten(text: str) -> str:
    """Cut a text to what an error may show, saying how much is missing."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}... ({len(text) - MAX_TEXT} more characters)"


def shown(value: object) -> str:
    """A value as it is written, cut; its type where it cannot be written.

    Python writes no integer of more than 4,300 digits, and a class may raise anything.
    """
    try:
        return shorten(repr(value))
    except Exception:
        return f"an object of type {type(value).__name__}"


def told(error: BaseException) -> str:
    """What an exception says, after its class; only its class where it cannot say anything."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # whatever its own __str__ raises
        return type(error).__name__
