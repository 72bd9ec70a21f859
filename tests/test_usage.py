"""What each request cost is told once, whatever comes between."""

from __future__ import annotations

from typing import Any

import pytest

from responses_ws import Delivery, Usage
from responses_ws._usage import Accounts


class Left:
    """A source over HTTP that its caller has left, where Ctrl-C may come with the question whether it was."""

    transport = "http"
    delivery = Delivery.STARTED
    last_event_at = 0.0

    def __init__(self, *, interrupts: bool) -> None:
        self._interrupts = interrupts

    @property
    def cancelled(self) -> bool:
        if self._interrupts:
            self._interrupts = False
            raise KeyboardInterrupt
        return True

    def next(self, seconds: float | None) -> Any:
        raise AssertionError(seconds)

    def abandon(self) -> None:
        raise AssertionError


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_interrupt_loses_no_account(at: int) -> None:
    """Ctrl-C in mid-flush leaves what was not told for the next one."""
    told: list[tuple[Usage, str | None]] = []
    accounts = Accounts(lambda usage, response_id: told.append((usage, response_id)))
    for number in range(3):
        accounts.open(Left(interrupts=number == at))
    with pytest.raises(KeyboardInterrupt):
        accounts.flush()
    accounts.flush()
    accounts.flush()
    assert told == [(Usage(), None)] * 3
