"""The one thread that hands out the inputs of a batch, and hears what becomes of them."""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from responses_ws._batch_crew import Crew
from responses_ws._batch_file import SYNC_SECONDS, ResultsFile
from responses_ws._batch_inputs import Input
from responses_ws._batch_policy import Throttle, Verdict, judge
from responses_ws._batch_progress import Progress
from responses_ws._batch_worker import Outcome
from responses_ws._transport.mailbox import Mailbox, wait_for
from responses_ws.errors import (
    ConfigurationError,
    ConnectionLost,
    Delivery,
    RateLimitError,
    ResponseError,
    ResponsesWSError,
)
from responses_ws.messages import Message

__all__ = ["Run"]

logger = logging.getLogger("responses_ws")

RECORDED = (Verdict.DONE, Verdict.FAILED, Verdict.LOST)
"""What is written down."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that has come to its end, whatever that was."""

    input: Input
    sent_at: float
    verdict: Verdict
    error: BaseException | None = None


class Run:
    """Hands out inputs, as many as may be under way, until none is left.

    What came of one is written down by the thread that brings it, which no Ctrl-C interrupts, before this one
    hears of it.
    """

    def __init__(
        self,
        crew: Crew,
        file: ResultsFile,
        concurrency: int,
        progress: Progress,
    ) -> None:
        self._crew = crew
        self._file = file
        self._progress = progress
        self._throttle = Throttle(concurrency)
        self._waiting: deque[Input] = deque()
        self._running = 0
        self._ended: Mailbox[Ended] = Mailbox()
        self._fatal: BaseException | None = None

    def finish(self, inputs: Sequence[Input]) -> None:
        """Ask them all. Raises what every other input would meet too, once nothing is under way any more."""
        self._waiting.extend(inputs)
        try:
            while self._is_under_way():
                self._file.sync()
        finally:
            self._crew.leave()
        if self._fatal is not None:
            raise self._fatal

    def _is_under_way(self) -> bool:
        """Begin what may be begun, and hear of one end. False when there is nothing left to wait for."""
        now = time.monotonic()
        while self._may_begin and self._throttle.lets(self._running, now):
            self._begin(self._waiting.popleft())
        pause = self._throttle.pause(now) if self._may_begin else 0.0
        if not (self._running or pause):
            return False
        self._progress.pauses(pause)
        self._hear(min(pause or SYNC_SECONDS, SYNC_SECONDS))
        return True

    @property
    def _may_begin(self) -> bool:
        return bool(self._waiting) and self._fatal is None

    def _begin(self, one: Input) -> None:
        try:
            self._crew.begin(one.payload, functools.partial(self._bring, one, time.monotonic()))
        except Exception as error:
            self._fatal = error  # a process died, or somebody has shut it down
            return
        self._running += 1

    def _hear(self, seconds: float) -> None:
        found = wait_for(self._ended, seconds)
        if found is not None:
            self._running -= 1
            self._settle(found)

    def _settle(self, ended: Ended) -> None:
        verdict = ended.verdict
        if verdict in RECORDED:
            self._progress.ended(failed=verdict is not Verdict.DONE)
        if verdict in (Verdict.AGAIN, Verdict.LATER):  # at the end, so that one that fails holds up no other
            self._waiting.append(ended.input if _is_blameless(ended) else ended.input.failed())
        if not self._may_go_on(ended):
            self._fatal = self._fatal or ended.error

    def _may_go_on(self, ended: Ended) -> bool:
        """Tell the throttle. Whether there is hope for the next request."""
        if ended.verdict in (Verdict.DONE, Verdict.FAILED):
            self._throttle.answered()
            return True
        if ended.verdict is Verdict.AGAIN:
            return self._throttle.turned_back()
        if ended.verdict is Verdict.STOP:
            return False
        now = time.monotonic()
        wanted = ended.error.retry_after if isinstance(ended.error, ResponseError) else None
        hope = self._throttle.refused(ended.sent_at, wanted, now)
        logger.info("a batch pauses for %.1f s (%s)", self._throttle.pause(now), type(ended.error).__name__)
        return hope

    # -- in the thread that brings the outcome

    def _bring(self, one: Input, sent_at: float, future: Future[Outcome]) -> None:
        try:
            outcome = _outcome(future)
            verdict = judge(outcome, one.attempts) if isinstance(outcome, ResponsesWSError) else Verdict.DONE
            if verdict in RECORDED:
                self._file.add(one.custom_id, one.digest, outcome)
            error = outcome if isinstance(outcome, ResponsesWSError) else None
            ended = Ended(one, sent_at, verdict, error)
        except BaseException as error:  # brought to the thread that waits
            ended = Ended(one, sent_at, Verdict.STOP, error)
        self._ended.put(ended)


def _is_blameless(ended: Ended) -> bool:
    """Whether it says nothing about the input that it is asked again."""
    return ended.verdict is Verdict.AGAIN or isinstance(ended.error, RateLimitError)


def _outcome(future: Future[Outcome]) -> Outcome:
    try:
        return _checked(future.result())
    except Exception as error:
        if not _killed_its_workers(error):
            raise
        lost = ConnectionLost("the processes that asked this died of it", delivery=Delivery.UNKNOWN)
        lost.__cause__ = error
        return lost


def _checked(found: object) -> Outcome:
    """What :data:`Ask` gave; an executor may make something else of it."""
    if not isinstance(found, Message | ResponsesWSError):
        raise ConfigurationError(f"executor brought {type(found).__name__} and no result of a request")
    return found


def _killed_its_workers(error: Exception) -> bool:
    """Whether dask.distributed has given up an input, and goes on with the others."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(error, distributed.KilledWorker)
