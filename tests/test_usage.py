"""What each request cost is told once, whatever comes between."""

from __future__ import annotations

from typing import Any

import pytest
from chatting import chat

from responses_ws import Delivery, Usage, _usage
from responses_ws._core.tally import total
from responses_ws._usage import Accounts
from responses_ws.testing import Model, ScriptedServer


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


def test_an_interrupt_of_the_reckoning_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the usage is read from the last event leaves it to be told."""
    read = _usage._read

    def interrupted(*given: Any) -> Any:
        monkeypatch.setattr(_usage, "_read", read)
        raise KeyboardInterrupt

    told: list[tuple[Usage, str | None]] = []
    with (
        ScriptedServer(model=Model()) as server,
        chat(server, on_usage=lambda *given: told.append(given)) as talk,
    ):
        monkeypatch.setattr(_usage, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            talk.ask("one")
        assert talk.ask("two").content == "You said: two."
        talk.close()
        assert [usage.output_tokens is not None for usage, _ in told] == [True, True]
        assert talk.usage == total(usage for usage, _ in told)
