"""Values that no log, repr, pickle or traceback may show.

Tracebacks with locals (pytest, crash reporters) print the repr of every local variable, so a key lives in a
:class:`Secret` from the first line of the public constructor on, and is revealed only inside an expression.
"""

from __future__ import annotations

from typing import NoReturn

__all__ = ["Secret"]

MASK = "*"


class Secret:
    """A string that shows itself only when asked with :meth:`reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself. Use it inside an expression; never keep it in a variable."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")
