"""What a step is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from responses_ws.testing.connection import Connection

__all__ = ["Step", "flattened"]


@dataclass(frozen=True)
class Step:
    """One thing to do on a connection.

    :cvar opens: whether it answers the upgrade itself; before any other step the upgrade is accepted.
    :cvar needs_client: whether it waits for something that the client does.
    :cvar ends_client: whether what it waits for is the client's leaving.
    """

    opens: ClassVar[bool] = False
    needs_client: ClassVar[bool] = False
    ends_client: ClassVar[bool] = False

    @property
    def required(self) -> bool:
        """Whether a test fails when this step was not played to its end."""
        return True

    def flatten(self) -> tuple[Step, ...]:
        """The steps that stand for this one."""
        return (self,)

    def play(self, connection: Connection) -> None:
        """Do it. Raises ClientGone, Closing or ScriptError."""
        raise NotImplementedError


def flattened(steps: Iterable[object]) -> tuple[Step, ...]:
    """The steps that stand for these. Raises TypeError for what is none, such as ``eof`` without a call."""
    return tuple(part for step in steps for part in _checked(step).flatten())


def _checked(step: object) -> Step:
    if not isinstance(step, Step):
        raise TypeError(f"a script is made of steps, such as expect(), not of {step!r}")
    return step
