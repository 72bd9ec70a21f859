"""What every test is held to: it leaves no thread, socket or file behind."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator

import hypothesis
import pytest

SETTLE_SECONDS = 5.0
DESCRIPTORS = "/proc/self/fd"


def pytest_configure() -> None:
    """A shell's background job is born deaf to Ctrl-C, which some tests send to their own process.

    And on a busy machine whatever Hypothesis does may take its time.
    """
    hypothesis.settings.register_profile(
        "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("patient")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def open_descriptors() -> dict[str, str]:
    """What this process holds open, by number; empty where the system does not tell."""
    if not os.path.isdir(DESCRIPTORS):
        return {}
    found = {}
    for number in os.listdir(DESCRIPTORS):
        try:
            found[number] = os.readlink(f"{DESCRIPTORS}/{number}")
        except FileNotFoundError:  # the listing's own
            continue
    return found


@pytest.fixture(scope="module", autouse=True)
def collections_are_short() -> None:
    """Thousands of tests, their reports and their libraries are not looked through for garbage each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Threads, sockets and files are as many after the test as before it."""
    threads = set(threading.enumerate())
    descriptors = open_descriptors()
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(SETTLE_SECONDS)
    left = [thread.name for thread in set(threading.enumerate()) - threads]
    assert not left, f"threads left behind: {left}"
    if len(open_descriptors()) > len(descriptors):
        gc.collect()
    new = {number: what for number, what in open_descriptors().items() if descriptors.get(number) != what}
    assert len(open_descriptors()) <= len(descriptors), f"left open: {new}"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, address or proxy of this machine decides a test."""
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
