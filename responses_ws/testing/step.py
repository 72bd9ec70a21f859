"""What a step is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from responses_ws.testing.connection import Connection

__all__ = ["Step"]


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
