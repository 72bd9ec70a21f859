"""The example applications under load, with workers that are replaced and a network that is cut.

``RESPONSES_WS_LOAD_SECONDS`` says how long each case runs (default: 15).
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import re
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from eventsource import events, text
from network import Network
from running import EXAMPLES, Site, site
from shell import PAUSE, until

from responses_ws.testing import Model, ScriptedServer

pytestmark = pytest.mark.slow
RUN_SECONDS = float(os.environ.get("RESPONSES_WS_LOAD_SECONDS", "15"))
BROWSERS = 16
CONNECTIONS = 8
WORKERS = 2
THREADS = 8
DELTA_SECONDS = 0.01
LONGEST = 30.0
"""Seconds that no question may take. The longest wait of a healthy one is that for its conversation: 10."""
NONCE = re.compile(r"[0-9a-f]{32}")

SERVERS = {
    "threads": ("--preload", "--workers", str(WORKERS), "--threads", str(THREADS)),
    "gevent": ("--preload", "--workers", str(WORKERS), "--config", str(EXAMPLES / "gunicorn_gevent.py")),
}
CUT_OFF = {"ConnectionLost", "ConnectionError"}
"""What a question may come to when its connection was cut."""


class Browser(threading.Thread):
    """Somebody who asks one question after the other, and now and then does not wait for the answer.

    :ivar outcomes: how many questions came to what.
    :ivar longest: seconds that one of them took.
    :ivar wrong: answers that are not those to their questions.
    """

    def __init__(self, url: str, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.longest = 0.0
        self.wrong: list[str] = []
        self._url = url
        self._stop_asking = stop
        self._random = random.Random(number)  # noqa: S311
        self._cookies: dict[str, str] = {}
        self._asked: list[str] = []
        self._left: set[str] = set()

    def run(self) -> None:
        self._cookies = requests.get(self._url, timeout=LONGEST).cookies.get_dict()
        while not self._stop_asking.is_set():
            began = time.monotonic()
            self.outcomes[self.ask()] += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def ask(self) -> str:
        """Ask once; what came of it."""
        nonce = uuid.uuid4().hex
        leaving = self._random.random() < 0.1
        try:
            with self._post(f"Please repeat {nonce}") as response:
                if response.status_code != 200:
                    return f"HTTP {response.status_code}"
                return self._read(response, nonce, leaving=leaving)
        except requests.RequestException as error:
            return f"HTTP {type(error).__name__}"

    def _post(self, question: str) -> requests.Response:
        return requests.post(
            f"{self._url}/ask",
            json={"question": question},
            cookies=self._cookies,
            headers={"X-CSRFToken": self._cookies.get("csrftoken", ""), "Connection": "close"},
            stream=True,
            timeout=LONGEST,
        )

    def _read(self, response: requests.Response, nonce: str, *, leaving: bool) -> str:
        told = []
        for event in events(response.iter_content(None)):
            told.append(event)
            if leaving and event[0] == "text":
                self._left.add(nonce)
                return "left"
        name, data = told[-1]
        if name == "failure":
            return str(data["type"])
        # What was left may have come to its end before that was noticed.
        said = [found for found in NONCE.findall(text(told)) if found not in self._left]
        if name != "message" or text(told) != data["content"] or said != [nonce, *self._asked]:
            self.wrong.append(f"{nonce} after {self._asked}: {told}")
        self._asked.append(nonce)
        return "answered"


@contextlib.contextmanager
def browsers(url: str) -> Iterator[list[Browser]]:
    """Sixteen of them, who ask until this is left."""
    stop = threading.Event()
    crowd = [Browser(url, number, stop) for number in range(BROWSERS)]
    for browser in crowd:
        browser.start()
    try:
        yield crowd
    finally:
        stop.set()
        for browser in crowd:
            browser.join(LONGEST)


def at_a_pace(event: object) -> None:
    """Let an answer take a while, so that cuts find some that are running."""
    PAUSE.wait(DELTA_SECONDS)


@pytest.fixture
def network() -> Iterator[Network]:
    """The way to a scripted model, which is not asked what it thinks of the cuts."""
    server = ScriptedServer(model=Model(before_event=at_a_pace), record=False).start()
    try:
        with Network(server.port) as network:
            yield network
    finally:
        server.close()


def in_use(running: Site) -> list[tuple[int, int]]:
    """The threads and the sockets of each worker."""
    found = []
    for pid in running.children():
        sockets = sum(_is_socket(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())
        found.append((len(os.listdir(f"/proc/{pid}/task")), sockets))
    return found


def _is_socket(descriptor: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # closed meanwhile
        return os.readlink(descriptor).startswith("socket:")
    return False


@pytest.mark.parametrize("framework", ["django", "flask"])
@pytest.mark.parametrize("server", sorted(SERVERS))
@pytest.mark.timeout(RUN_SECONDS + 240)
def test_load(framework: str, server: str, network: Network, tmp_path: Path) -> None:
    """Every answer belongs to its question, nothing hangs, and nothing is left over."""
    service = f"ws://127.0.0.1:{network.port}/v1"
    settings = {"CHAT_CONNECTIONS": str(CONNECTIONS), "CHAT_HEARTBEAT": "0.5"}
    with site(framework, service, tmp_path, *SERVERS[server], **settings) as running:
        crowd = under_load(running, network)
        outcomes = sum((browser.outcomes for browser in crowd), collections.Counter[str]())
        longest = max(browser.longest for browser in crowd)
        print(f"\n{framework} {server}: {dict(outcomes)}, {network.cuts} cuts, longest {longest:.1f} s")
        assert [browser for browser in crowd if browser.is_alive()] == []
        assert [wrong for browser in crowd for wrong in browser.wrong] == []
        assert set(outcomes) <= CUT_OFF | {"answered", "left"}
        assert outcomes["answered"] > BROWSERS * RUN_SECONDS / 4
        assert longest < LONGEST
        check_that_all_go_on(running)
        check_that_nothing_is_left(running, network)


def under_load(running: Site, network: Network) -> list[Browser]:
    """Browsers that ask for a while; each second a connection is cut; half-way the workers are replaced."""
    first = running.children()
    with browsers(running.url) as crowd:
        seconds = max(2, round(RUN_SECONDS))
        for second in range(seconds):
            PAUSE.wait(1)
            network.cut()
            if second == seconds // 2:
                running.process.send_signal(signal.SIGHUP)
    until(lambda: not set(first) & set(running.children()))
    return crowd


def check_that_all_go_on(running: Site) -> None:
    """With no cuts nothing fails: no connection, lane or conversation is still taken by one who has gone."""
    with browsers(running.url) as crowd:
        until(lambda: all(browser.outcomes["answered"] for browser in crowd))
    assert {outcome for browser in crowd for outcome in browser.outcomes} <= {"answered", "left"}


def check_that_nothing_is_left(running: Site, network: Network) -> None:
    """A worker has its own threads and its pool, and no more than that."""
    until(lambda: network.links <= WORKERS * CONNECTIONS)
    until(lambda: all(threads <= 2 + THREADS + CONNECTIONS for threads, _ in in_use(running)))
    until(lambda: all(sockets <= 2 + CONNECTIONS for _, sockets in in_use(running)))
    print(f"threads and sockets of each worker: {in_use(running)}")
    assert len(in_use(running)) == WORKERS
