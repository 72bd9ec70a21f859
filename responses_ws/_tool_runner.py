"""Running tools: each call at most once, in threads, none for longer than it may."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from responses_ws._core.transcript import output_item
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.mailbox import WOKEN, Mailbox, Mark, wait_for
from responses_ws.errors import ToolError, with_context
from responses_ws.messages import ToolCall
from responses_ws.tools import report

if TYPE_CHECKING:
    from responses_ws._core.items import Item
    from responses_ws.tools import Tool, ToolOutput

__all__ = ["ToolRunner"]

INTERRUPTED = "the call was interrupted while it ran, and may have had effects"
NOT_RUN = "the call was not made: the user interrupted"
BEING_MADE = "the call was still being made when this conversation was copied, and may have had effects"
LEFT_BEHIND = "the call was still being made when the user went on without it, and may have had effects"


class Run:
    """One call in its thread, which writes ``output`` or ``error`` and then puts the run in the queue.

    :ivar deadline: when it has taken too long, from its start on.
    """

    __slots__ = ("call", "deadline", "error", "output", "tool")

    def __init__(self, call: ToolCall, tool: Tool, seconds: float | None) -> None:
        self.call = call
        self.tool = tool
        self.deadline = Deadline(seconds if tool.timeout is None else tool.timeout)
        self.output: ToolOutput | None = None
        self.error: BaseException | None = None

    def go(self, ended: Mailbox[Run | Mark]) -> None:
        try:
            self.output = self.tool.answer(self.call.arguments)
        except BaseException as error:  # brought to the thread that asked
            self.error = error
        ended.put(self)

    @property
    def ended(self) -> bool:
        return self.output is not None or self.error is not None

    def outcome(self, unknown: str) -> ToolOutput:
        """What answers the call: ``unknown`` as an error, as long as it has not ended."""
        if self.error is not None:
            return report(self.error)
        return report(ToolError(unknown)) if self.output is None else self.output


class ToolRunner:
    """The calls of one conversation, and the items that answer them.

    One thread uses it at a time; :meth:`wake` and :meth:`copied` may be called from any. A call that was
    started is not started again, whatever becomes of its response or of its output. The threads are daemons:
    a tool that hangs blocks neither its caller beyond the timeout nor the end of the process.

    :ivar answers: the items that answer calls, by call id.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Item] = {}
        self._runs: dict[str, Run] = {}
        self._ended: Mailbox[Run | Mark] = Mailbox()

    @property
    def running(self) -> list[Run]:
        """The runs that have no answer yet."""
        return [run for call_id, run in self._runs.items() if call_id not in self.answers]

    def start(self, call: ToolCall, tool: Tool, seconds: float | None) -> None:
        """Start a call that was not started before, in a thread with this thread's context variables.

        :param seconds: that it may take, if its tool has no timeout of its own; None means no limit.
        """
        if call.id is None or call.id in self._runs or call.id in self.answers:
            return
        run = self._runs[call.id] = Run(call, tool, seconds)
        go = contextvars.copy_context().run
        name = f"responses_ws-tool-{tool.name}"
        try:
            threading.Thread(target=go, args=(run.go, self._ended), name=name, daemon=True).start()
        except RuntimeError:  # there is no thread to be had, so that the call is still to be made
            del self._runs[call.id]
            raise

    def run(
        self,
        calls: Sequence[tuple[ToolCall, Tool]],
        *,
        max_parallel: int,
        seconds: float | None,
        check: Callable[[], None],
        heartbeat: float | None = None,
    ) -> Iterator[None]:
        """Run the calls that were not started before, and wait until every one has its answer.

        A tool that takes too long is left behind, with an answer that says so. When this is interrupted, by
        Ctrl-C, ``check`` or its own close, the rest gets such answers too, so that the conversation can go
        on.

        :param check: called at each wake; raises to end the waiting.
        :param heartbeat: seconds between two times that the caller gets a word; None means never.

        Raises the first error, in the order of the calls, of a tool that is to raise, after all have ended.
        """
        waiting = deque(calls)
        beat = Deadline(heartbeat)
        try:
            while waiting or self.running:
                check()
                self._start_all(waiting, max_parallel, seconds)
                self._wait(beat)
                if beat.expired:
                    yield
                    beat = Deadline(heartbeat)
        except BaseException:
            self._give_up([call for call, _ in waiting])
            raise
        self._raise_first([call for call, _ in calls])

    def _start_all(
        self, waiting: deque[tuple[ToolCall, Tool]], max_parallel: int, seconds: float | None
    ) -> None:
        """Start what there is room for. Without a thread to be had, those that run give theirs back."""
        while waiting and len(self.running) < max_parallel:
            following = waiting.popleft()
            try:
                self.start(*following, seconds)
            except RuntimeError:
                if not self.running:
                    raise
                waiting.appendleft(following)
                return

    def copied(self, call: ToolCall, *, taken: bool) -> Item | None:
        """The answer of a call that has none here yet, for a copy of the conversation. From any thread.

        :param taken: whether the call will be made here, if it was not begun.
        :return: its output if it has ended, or else that it is being made; None for a call that is free.
        """
        run = self._runs.get(str(call.id))
        if run is not None:
            return output_item(call, run.outcome(BEING_MADE))
        return output_item(call, report(ToolError(BEING_MADE))) if taken else None

    def left_behind(self, call: ToolCall) -> Item | None:
        """The answer of a call that nobody waits for: its output if it has ended, or else that it is being
        made; None when it was not begun.
        """
        run = self._runs.get(str(call.id))
        return None if run is None else output_item(call, run.outcome(LEFT_BEHIND))

    def wake(self) -> None:
        """Let the thread in :meth:`run` call its ``check``. From any thread."""
        self._ended.put(WOKEN)

    def keep(self, call_ids: Collection[str]) -> None:
        """Forget the runs and the answers of all other calls."""
        self._runs = {call_id: run for call_id, run in self._runs.items() if call_id in call_ids}
        self.answers = {call_id: item for call_id, item in self.answers.items() if call_id in call_ids}

    def forget(self, call_ids: Iterable[str]) -> None:
        """Forget the runs and the answers of these calls: another one of the same id is another call."""
        self.keep((self._runs.keys() | self.answers.keys()).difference(call_ids))

    def orphan(self) -> None:
        """In a forked child: the threads of the runs are not here, so that none of them will ever end."""
        self._ended = Mailbox()
        for run in self.running:
            self._fail(run.call, INTERRUPTED)

    def _wait(self, beat: Deadline) -> None:
        """Wait until a run ends, or has taken too long, or someone wakes, or the beat is due.

        A run that has ended keeps its output, also when it ended too late and nobody had looked: it has had
        its effects, and its output says more of them than that it took long.
        """
        left = [run.deadline.remaining() for run in self.running]
        shortest = min((seconds for seconds in left if seconds is not None), default=None)
        word = wait_for(self._ended, beat.remaining(shortest))
        while word is not None:  # a word is no more than a reason to look at every run
            word = self._ended.take()
        for run in self.running:
            too_long = run.deadline.expired  # asked first: a run may end between the two questions
            if run.ended:
                self._take(run)
            elif too_long:
                self._fail(run.call, f"the call took longer than {run.deadline.seconds:g} seconds")

    def _take(self, run: Run) -> None:
        self._answer(run.call, run.outcome(INTERRUPTED))

    def _give_up(self, waiting: Sequence[ToolCall]) -> None:
        for run in self.running:
            self._take(run)
        for call in waiting:
            self._fail(call, NOT_RUN)

    def _fail(self, call: ToolCall, why: str) -> None:
        self._answer(call, report(ToolError(why)))

    def _answer(self, call: ToolCall, output: ToolOutput) -> None:
        self.answers[str(call.id)] = output_item(call, output)

    def _raise_first(self, calls: Sequence[ToolCall]) -> None:
        runs = [self._runs[str(call.id)] for call in calls if str(call.id) in self._runs]
        for run in runs:
            error, run.error = run.error, None  # raised once: the call has its answer
            if isinstance(error, ToolError):
                raise with_context(error, tool=run.tool.name, call_id=run.call.id) from error.__cause__
            if error is not None:
                raise error
