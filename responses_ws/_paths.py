"""Paths of files, as a caller gives them."""

from __future__ import annotations

import os

from responses_ws.errors import ConfigurationError

__all__ = ["check_path"]


def check_path(name: str, value: object) -> str:
    """The path as text. Raises :class:`ConfigurationError` for what can be that of no file."""
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(path, str):
        raise ConfigurationError(f"{name} must be a str or a path, not {type(value).__name__}")
    if not path or "\0" in path or not _is_encodable(path):
        raise ConfigurationError(f"{name} must name a file")
    return path


def _is_encodable(path: str) -> bool:
    """Whether the system can have such a name."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True
