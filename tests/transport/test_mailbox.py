"""What one thread leaves for another: nothing is lost, and nobody waits longer than he wanted."""

from __future__ import annotations

import collections
import os
import signal
import sys
import threading
import time

import pytest
from shell import SECONDS, Task

from responses_ws._transport.deadline import SLICE_SECONDS
from responses_ws._transport.mailbox import Mailbox, wait_for


def test_items_come_in_order():
    mailbox: Mailbox[int] = Mailbox()
    for number in range(3):
        mailbox.put(number)
    assert [wait_for(mailbox, None) for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("seconds", [0, 0.001])
def test_an_empty_one(seconds):
    assert wait_for(Mailbox(), seconds) is None


def test_a_wait_ends_with_an_item():
    mailbox: Mailbox[str] = Mailbox()
    for seconds in (None, SECONDS):
        waiting = Task(wait_for, mailbox, seconds)
        mailbox.put("here")
        assert waiting.result() == "here"


def test_a_wait_is_as_long_as_it_should_be():
    """The ring for an item that was there without waiting does not end the next wait."""
    mailbox: Mailbox[str] = Mailbox()
    for _ in range(3):
        mailbox.put("here")
        assert wait_for(mailbox, None) == "here"
    began = time.monotonic()
    assert wait_for(mailbox, 0.05) is None
    assert time.monotonic() - began >= 0.05


def test_a_wait_that_is_over_before_it_begins():
    """A clock that has run out meanwhile. With ``queue.SimpleQueue`` one of some thousands waits for ever."""

    def wait() -> int:
        for count in range(20_000):
            assert wait_for(Mailbox(), (count % 30) * 1e-7) is None
        return count

    assert Task(wait).result() == 19_999


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_a_signal_whose_handler_outlasts_the_wait():
    """With ``queue.SimpleQueue`` the wait goes on for ever."""
    mailbox: Mailbox[str] = Mailbox()
    handled = threading.Event()

    def handle(*_: object) -> None:
        time.sleep(0.3)
        handled.set()

    def send() -> None:
        if not handled.wait(0.05):
            os.kill(os.getpid(), signal.SIGUSR1)
        handled.wait(SECONDS)
        if not over.wait(SECONDS / 2):
            mailbox.put("too late")

    over = threading.Event()
    before = signal.signal(signal.SIGUSR1, handle)
    helper = Task(send)
    try:
        assert wait_for(mailbox, 0.2) is None
    finally:
        over.set()
        helper.result()
        signal.signal(signal.SIGUSR1, before)
    assert handled.is_set()


def test_an_item_without_a_ring_is_found():
    """An interrupt falls between the two steps of ``put``."""
    mailbox: Mailbox[str] = Mailbox()
    waiting = Task(wait_for, mailbox, None)
    mailbox.items.append("here")
    assert waiting.result() == "here"
    mailbox.items.append("here too")
    assert wait_for(mailbox, None) == "here too"


class Bell:
    """Notes how long it is waited for, and leaves an item without a ring at the third time."""

    def __init__(self, mailbox: Mailbox[str]) -> None:
        self.waits: list[float] = []
        self._mailbox = mailbox

    def acquire(self, timeout: float) -> bool:
        self.waits.append(timeout)
        if len(self.waits) == 3:
            self._mailbox.items.append("here")
        return False


@pytest.mark.parametrize("seconds", [None, 100])
def test_a_wait_is_made_of_slices(seconds):
    mailbox: Mailbox[str] = Mailbox()
    mailbox.bell = bell = Bell(mailbox)
    assert wait_for(mailbox, seconds) == "here"
    assert bell.waits == [SLICE_SECONDS] * 3


def test_two_threads_ring_at_once():
    """The other one was quicker, between the look at the bell and the ring."""

    class Rung:
        def locked(self) -> bool:
            return True

        def release(self) -> None:
            raise RuntimeError("release unlocked lock")

    mailbox: Mailbox[str] = Mailbox()
    mailbox.bell = Rung()
    mailbox.put("here")
    assert mailbox.take() == "here"


def test_two_threads_take_at_once():
    """The other one was quicker, between the look at the items and the taking."""

    class Gone(collections.deque):
        def __bool__(self) -> bool:
            return True

    mailbox: Mailbox[str] = Mailbox()
    mailbox.items = Gone()
    assert mailbox.take() is None


def test_many_threads_put():
    """Each item once, and those of a thread in its order."""
    mailbox: Mailbox[tuple[int, int]] = Mailbox()

    def put(name: int) -> None:
        for number in range(500):
            mailbox.put((name, number))

    putting = [Task(put, name) for name in range(8)]
    found = [wait_for(mailbox, SECONDS) for _ in range(8 * 500)]
    assert None not in found
    for task in putting:
        task.result()
    for name in range(8):
        assert [number for owner, number in found if owner == name] == list(range(500))
    assert wait_for(mailbox, 0) is None


def test_many_threads_take():
    """Nobody waits while items are left, and each comes once."""
    mailbox: Mailbox[int] = Mailbox()
    for number in range(20_000):
        mailbox.put(number)

    def take() -> list[int]:
        found = []
        while (item := mailbox.take()) is not None:
            found.append(item)
        return found

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        taking = [Task(take) for _ in range(4)]
        found = [item for task in taking for item in task.result()]
    finally:
        sys.setswitchinterval(before)
    assert sorted(found) == list(range(20_000))
