"""The example applications in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from browser import Page, chromium
from chatting import calling
from running import APPLICATIONS, Site, site
from shell import SECONDS

from responses_ws.testing import Model, ScriptedServer

pytestmark = pytest.mark.slow
TWO_SERVERS = ("--preload", "--workers", "2", "--threads", "8")


class Held:
    """Lets each piece of an answer pass one by one, where it is told to."""

    def __init__(self) -> None:
        self.holding = False
        self._pass = threading.Semaphore(0)

    def before_event(self, event: Mapping[str, Any]) -> None:
        if self.holding and str(event["type"]).endswith("text.delta"):
            assert self._pass.acquire(timeout=SECONDS)

    def let(self, pieces: int) -> None:
        """Let so many pass."""
        self._pass.release(pieces)

    def release(self) -> None:
        """Hold no more."""
        self.holding = False
        self._pass.release(1000)


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.release()


@pytest.fixture
def model(held: Held) -> Model:
    return Model(before_event=held.before_event)


@pytest.fixture
def service(model: Model) -> Iterator[ScriptedServer]:
    with ScriptedServer(model=model) as server:
        yield server


@pytest.fixture(params=sorted(APPLICATIONS))
def running(request: pytest.FixtureRequest, service: ScriptedServer, tmp_path: Path) -> Iterator[Site]:
    with site(request.param, service.url, tmp_path, *TWO_SERVERS, CHAT_HEARTBEAT="0.2") as running:
        yield running


@pytest.fixture
def page(running: Site, tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path / "profile") as driver:
        yield Page(driver, running.url)


def test_a_conversation(page: Page, held: Held) -> None:
    """Pieces appear as they come; a tool is seen while it runs; a reload shows it all again; it goes on."""
    page.until(lambda: page.shows("empty"))
    held.holding = True
    page.ask("My name is Ada.")
    page.until(lambda: page.lines() == ["My name is Ada.", ""])
    held.let(2)
    page.until(lambda: page.lines(".assistant") == ["You said: "])
    assert page.shows("stop")
    assert not page.shows("send")
    assert not page.shows("empty")
    held.release()
    page.idle()
    assert page.lines() == ["My name is Ada.", "You said: My name is Ada.."]

    page.ask(calling("set_timer", seconds=1))
    page.until(lambda: page.lines(".tool.running") == ['set_timer {"seconds": 1}'])
    page.until(lambda: page.lines(".tool.done") == ['set_timer {"seconds": 1}'])
    page.idle()
    assert page.lines(".assistant")[-1].startswith("set_timer returned: the time is over.")

    before = page.lines()
    page.reload()
    page.until(lambda: page.lines() == before)
    page.ask("Who am I?")
    known = f"Before that: My name is Ada.; {before[2]}."
    page.until(lambda: page.lines(".assistant")[-1].endswith(known))

    page.press("new")
    page.until(lambda: page.shows("empty"))
    page.ask("Who am I?")
    page.until(lambda: page.lines() == ["Who am I?", "You said: Who am I?."])


def test_stop_ends_the_answer(page: Page, held: Held, model: Model) -> None:
    """Here and there; the conversation is what it was before the question, and goes on.

    The next question is asked when the server has noticed, and so has left the answer.
    """
    page.ask("one")
    page.until(lambda: page.lines() == ["one", "You said: one."])
    held.holding = True
    page.ask("two")
    held.let(1)
    page.until(lambda: page.lines(".assistant")[-1] == "You ")
    page.press("stop")
    page.until(lambda: page.lines(".note"))
    page.idle()
    page.ask("three")
    page.until(lambda: model.creates == 3)
    held.release()
    page.idle()
    assert page.lines(".assistant")[-1] == "You said: three. Before that: one."
    page.reload()
    page.until(lambda: len(page.lines()) == 4)
    assert page.lines(".user") == ["one", "three"]


def test_two_tabs_take_turns(page: Page, held: Held, running: Site) -> None:
    """They have one conversation: the second question waits for the first answer, and knows of it.

    A tab that is looked at again shows what was said in the other one.
    """
    page.until(lambda: page.shows("empty"))
    page.driver.switch_to.new_window("tab")
    other = Page(page.driver, running.url)
    held.holding = True
    page.ask("one")
    held.let(1)
    page.until(lambda: page.lines(".assistant") == ["You "])
    other.ask("two")
    other.until(lambda: other.lines(".user") == ["two"])
    held.release()
    said = ["You said: one.", "You said: two. Before that: one."]
    other.until(lambda: other.lines(".assistant")[-1:] == said[-1:])
    other.idle()
    page.until(lambda: page.lines(".assistant") == said)
    other.until(lambda: other.lines(".assistant") == said)


def test_a_failure_is_told_and_the_question_is_not_lost(page: Page, model: Model) -> None:
    """It stands in the box again, ready to be asked once more."""
    model.fail_next("invalid_value", 400, message="details")
    page.ask("one")
    page.until(lambda: page.lines(".alarm") == ["The service could not answer."])
    page.idle()
    assert page.value("question") == "one"
    page.ask("")
    page.until(lambda: page.lines(".assistant") == ["You said: one."])


def test_a_tab_that_is_closed_gives_its_conversation_free(
    page: Page, held: Held, model: Model, running: Site
) -> None:
    """The server notices, although the service has nothing to say at the moment."""
    held.holding = True
    page.driver.switch_to.new_window("tab")
    other = Page(page.driver, running.url)
    other.ask("one")
    held.let(1)
    other.until(lambda: other.lines(".assistant") == ["You "])
    other.close(page)
    page.ask("two")
    page.until(lambda: model.creates == 2)
    held.release()
    page.until(lambda: page.lines(".assistant") == ["You said: two."])
