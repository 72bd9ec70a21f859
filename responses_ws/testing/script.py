"""The script of one connection: plays its steps and keeps what became of them."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from responses_ws.testing.interruptions import ClientGone, Closing, ScriptError
from responses_ws.testing.step import Step, flattened

if TYPE_CHECKING:
    from responses_ws.testing.connection import Connection

__all__ = ["Script", "perform"]

SHOWN = 160
"""Characters of a step that a report shows."""
LISTED = 8
"""Of the steps that were not played: ``repeat`` can make thousands of them."""


class Script:
    """Steps to play in order on one connection.

    :ivar connection: the number of the connection that got this script, or None while none has.
    :ivar fault: what went wrong, or None.
    :ivar cause: the exception behind it, or None.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self.connection: int | None = None
        self.fault: str | None = None
        self.cause: BaseException | None = None
        self._steps = flattened(steps)
        self._position = 0

    def play(self, connection: Connection) -> None:
        """Play every step, then wait for the client to leave. Raises nothing: see :meth:`problems`."""
        self.connection = connection.record.number
        try:
            self._play_steps(connection)
            _accept(connection, may_leave=True)
            connection.idle()
        except Closing:
            connection.part(1001, "the server is closing")
        except ClientGone:
            self.fault = self.fault or f"the client was gone ({_how(connection)})"
        except ScriptError as error:
            self._fail(connection, str(error))
        except BaseException as error:  # whatever the test's code raises here belongs in its report
            self.cause = error
            self._fail(connection, "".join(traceback.format_exception(error)).rstrip())

    def problems(self) -> list[str]:
        """What a test should hear of: the fault and the steps that were not played."""
        found = []
        if self.fault:
            found.append(f"{self._where()}: {self.fault}")
        if left := [step for step in self._steps[self._position :] if step.required]:
            found.append(f"{self._who()}: not played: {_listed(left)}")
        return found

    def _play_steps(self, connection: Connection) -> None:
        while self._position < len(self._steps):
            try:
                perform(self._steps[self._position], connection)
            except ClientGone:
                if not self._leaving_expected(connection):
                    raise
            self._position += 1

    def _leaving_expected(self, connection: Connection) -> bool:
        """Whether this step may fail because a later one wants the client to leave.

        What is sent to a client that leaves may or may not be taken by the kernel; a script must not depend
        on that.
        """
        if not connection.answered or self._steps[self._position].needs_client:
            return False
        later = (step for step in self._steps[self._position + 1 :] if step.needs_client)
        step = next(later, None)
        return step is not None and step.ends_client

    def _fail(self, connection: Connection, fault: str) -> None:
        self.fault = fault
        connection.part(1011, "the script was not followed")

    def _where(self) -> str:
        if self._position >= len(self._steps):
            return f"{self._who()}, after its last step"
        step = self._steps[self._position]
        return f"{self._who()}, step {self._position + 1} of {len(self._steps)} {_describe(step)}"

    def _who(self) -> str:
        return "a script without a connection" if self.connection is None else f"connection {self.connection}"


def perform(step: Step, connection: Connection) -> None:
    """Play one step, after the upgrade if that is still to be answered."""
    if not step.opens:
        _accept(connection, may_leave=step.ends_client)
    step.play(connection)


def _accept(connection: Connection, *, may_leave: bool) -> None:
    if connection.answered:
        return
    try:
        connection.begin()
    except ClientGone:
        if not may_leave:
            raise


def _how(connection: Connection) -> str:
    code = connection.record.close_code
    return "its TCP connection ended" if code is None else f"it sent a close frame with code {code}"


def _describe(step: Step) -> str:
    text = repr(step)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _listed(steps: Sequence[Step]) -> str:
    more = f" and {len(steps) - LISTED} more" if len(steps) > LISTED else ""
    return ", ".join(map(_describe, steps[:LISTED])) + more
