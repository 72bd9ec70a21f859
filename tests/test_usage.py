"""What each request cost is told once, whatever comes between."""

from __future__ import annotations

from typing import Any

import pytest
from chatting import chat
from sessions import Costs
from shell import error_event, until

from responses_ws import Delivery, Usage, _usage
from responses_ws._core.states import State
from responses_ws._core.tally import total
from responses_ws._usage import Accounts
from responses_ws.testing import Model, ScriptedServer, expect, expect_gone, gate, mark, send


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


@pytest.mark.parametrize("told_at", ["drain", "close"])
def test_a_request_that_was_left_and_then_rejected_counts_for_nothing(told_at: str) -> None:
    """Nobody reads the refusal, and nothing ran."""
    costs = Costs()
    with ScriptedServer() as server:
        server.connection(expect(), mark("asked"), gate("left"), send(error_event()), expect_gone())
        with chat(server, transport="websocket", on_usage=costs) as talk:
            stream = talk.stream("one")
            server.wait_for("asked")
            if told_at == "drain":
                stream.close()
            server.open("left")
            source = talk._conversation._turn().response._source._source  # type: ignore[union-attr]
            until(lambda: source.state is State.DONE)
            stream.close()
            talk.close()
            costs.wait_for(lambda: bool(costs.told))
            assert (costs.told, talk.usage) == ([(Usage(), None)], Usage(0, 0, 0, 0, 0))
