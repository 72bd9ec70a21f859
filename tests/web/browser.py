"""A headless Chromium, and the page of the examples in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shell import until

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,900",
)


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """The browser of the system, with a profile of its own."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in programs.items() if path is None]
    assert not missing, f"not installed: {', '.join(missing)}"
    options = ChromeOptions()
    options.binary_location = str(programs["chromium"])
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=ChromeService(str(programs["chromedriver"])))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The chat as somebody sees it."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        driver.get(url)
        self.tab = driver.current_window_handle

    def ask(self, question: str) -> None:
        """Type it in, once the answer before it has ended."""
        self.idle()
        box = self.driver.find_element("id", "question")
        box.send_keys(question)
        box.send_keys("\n")

    def press(self, button: str) -> None:
        self._look()
        self.driver.find_element("id", button).click()

    def lines(self, kind: str = "*") -> list[str]:
        """The texts of one kind of lines, in order."""
        self._look()
        lines = "[...document.querySelectorAll(`#log > ${arguments[0]}`)]"
        script = f"return {lines}.map((line) => line.textContent)"
        return list(self.driver.execute_script(script, kind))

    def shows(self, element: str) -> bool:
        return bool(self._of(element, "checkVisibility()"))

    def value(self, element: str) -> Any:
        return self._of(element, "value")

    def reload(self) -> None:
        self._look()
        self.driver.refresh()

    def close(self, other: Page) -> None:
        """Close this tab; the other one stays."""
        self._look()
        self.driver.close()
        self.driver.switch_to.window(other.tab)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for what the page must show."""
        try:
            until(condition)
        except AssertionError:
            log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            raise AssertionError(f"the page shows {self.lines()}; its console: {log}") from None

    def idle(self) -> None:
        """Wait until no answer streams."""
        self.until(lambda: self.shows("send"))

    def _of(self, element: str, what: str) -> Any:
        """Asked in one go: a page that is just being loaded has it not yet, or not any more."""
        self._look()
        return self.driver.execute_script(f"return document.getElementById({element!r})?.{what}")

    def _look(self) -> None:
        if self.driver.current_window_handle != self.tab:
            self.driver.switch_to.window(self.tab)
