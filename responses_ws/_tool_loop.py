"""The calls that a conversation waits for: which there are, who answers them, and their answers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from responses_ws._core.fields import mapping, printable
from responses_ws._core.items import Item, tool_call
from responses_ws._core.transcript import open_approvals, output_item
from responses_ws._tool_runner import ToolRunner
from responses_ws.errors import ConfigurationError, ToolError
from responses_ws.messages import ToolCall
from responses_ws.tools import report

if TYPE_CHECKING:
    from responses_ws._chat_options import ChatOptions
    from responses_ws._core.continuation import Ledger

__all__ = ["ToolLoop"]

logger = logging.getLogger("responses_ws")

WENT_ON = "the call was not made: the user went on without it"
AMBIGUOUS = "no call was made: the answer has two with this call_id; make them again, one at a time"
BEGUN = (
    "the answer has two calls with this call_id: the first was begun and may have had effects, the other was "
    "not made"
)
REFUSED = "the user refused the call"


class ToolLoop:
    """The open calls of a ledger and the answers to them, which stay here until a completed step took them.

    One thread uses it at a time; :meth:`wake` and :meth:`copied` may be called from any.
    """

    def __init__(self, ledger: Ledger, answers: Iterable[Item] = ()) -> None:
        self._ledger = ledger
        self._runner = ToolRunner()
        self._runner.answers = {_answered(item): item for item in answers}

    def waiting(self) -> dict[str, ToolCall | None]:
        """The calls and the approvals without an answer in the ledger, by their ids, in order.

        None stands for calls that only the caller can answer, such as those of a computer.
        """
        calls: dict[str, ToolCall | None] = {
            call_id: tool_call(item) for call_id, item in self._ledger.open_calls.items()
        }
        return calls | open_approvals(self._ledger.items)

    def unsent(self) -> list[Item]:
        """The answers that the ledger does not have yet, in the order of their calls."""
        answers = self._runner.answers
        return self._addressed([answers[call_id] for call_id in self.waiting() if call_id in answers])

    def copied(self, options: ChatOptions, *, in_use: bool) -> list[Item]:
        """The answers for a copy of the conversation, which is to make no call that is made here. From any
        thread.

        :param in_use: whether the calls that were not begun will be made here at once.
        """
        waiting = self.waiting()
        taken = {call.id for call in self._skippable(options)} if in_use else set()
        copied = {
            call_id: self._runner.copied(call, taken=call_id in taken)
            for call_id, call in waiting.items()
            if call is not None
        }
        # The answers come last: a call may have ended meanwhile.
        answers = {call_id: item for call_id, item in (copied | self._runner.answers).items() if item}
        return self._addressed([answers[call_id] for call_id in waiting if call_id in answers])

    def left(self) -> bool:
        """Whether something waits that has no answer yet."""
        return any(call_id not in self._runner.answers for call_id in self.waiting())

    def todo(self, options: ChatOptions) -> list[ToolCall]:
        """The calls that are to be answered here and have no answer yet."""
        answers = self._runner.answers
        return [
            call
            for call_id, call in self.waiting().items()
            if call is not None and call_id not in answers and _is_ours(call, options)
        ]

    def theirs(self, options: ChatOptions) -> list[str]:
        """The ids of the calls and the approvals that only the caller can answer, and has not."""
        known = {*self._runner.answers, *(call.id for call in self.todo(options))}
        return [call_id for call_id in self.waiting() if call_id not in known]

    def answers_for(self, items: Iterable[Item], options: ChatOptions) -> list[Item]:
        """What has to go before new items: the answers that are ready, what there is of calls that were
        begun ahead, and for calls that were not made that they were not; without those that the items answer
        themselves. Approvals that could be given here are refused.
        """
        self._refuse_ambiguous(options)
        given = {_answered(item) for item in items}
        skipped = [self._skipped(call) for call in self.todo(options)]
        before = [*self.unsent(), *self._addressed(skipped)]
        return [item for item in before if _answered(item) not in given]

    def start(self, call: ToolCall, options: ChatOptions) -> None:
        """Start a call ahead of the end of its response, if there is room for it, and a thread.

        One without arguments may have some that are not known yet.
        """
        tool = options.toolbox.functions.get(str(call.name)) if call.arguments else None
        if tool is not None and len(self._runner.running) < options.limits.max_parallel:
            with contextlib.suppress(RuntimeError):  # its turn comes when the response is over
                self._runner.start(call, tool, options.limits.timeout_per_tool)

    def run(
        self, options: ChatOptions, check: Callable[[], None], heartbeat: float | None = None
    ) -> Iterator[None]:
        """Answer all that is to be answered here: ask for approval, then run the tools.

        :param check: raises to end it.
        :param heartbeat: seconds between two times that the caller gets a word while tools run; None means
            never.

        Raises what the approval hook raises, and :class:`ToolError` for a tool that is to raise.
        """
        self.prune()
        self._refuse_ambiguous(options)
        ready = []
        for call in self.todo(options):
            check()
            approved = self._approve(call, options)
            if approved is None:
                continue
            tool = options.toolbox.functions.get(str(call.name))
            if tool is None:
                self._answer(call, report(ToolError(f"there is no tool of the name {call.name!r}")))
            else:
                ready.append((approved, tool))
        limits = options.limits
        yield from self._runner.run(
            ready,
            max_parallel=limits.max_parallel,
            seconds=limits.timeout_per_tool,
            check=check,
            heartbeat=heartbeat,
        )

    def prune(self) -> None:
        """Forget what belongs to no call of the ledger: to a response that failed, or to one long over."""
        self._runner.keep(self.waiting().keys())

    def forget(self, call_ids: Iterable[str]) -> None:
        """A completed step has answered these. Some services give a later call the same id."""
        self._runner.forget(call_ids)

    def orphan(self) -> None:
        """In a forked child: the threads of the tools are not here."""
        self._runner.orphan()

    def wake(self) -> None:
        """Let the thread that waits for tools look at its ``check``."""
        self._runner.wake()

    def _refuse_ambiguous(self, options: ChatOptions) -> None:
        """Each id takes one output, which the model would take for that of either call."""
        twice = self._ledger.ambiguous_calls
        for call in self.todo(options) if twice else ():
            if call.id in twice:
                logger.warning("an answer has two calls with one call_id; the model is asked to call again")
                self._answer(call, report(ToolError(BEGUN if self._runner.left_behind(call) else AMBIGUOUS)))

    def _addressed(self, answers: list[Item]) -> list[Item]:
        """The answers with the ``caller`` of their calls, where that is a program of the model's."""
        callers = {call_id: call.get("caller") for call_id, call in self._ledger.open_calls.items()}
        return [
            {**item, "caller": caller}
            if mapping(caller := callers.get(_answered(item))).get("type") == "program"
            else item
            for item in answers
        ]

    def _skipped(self, call: ToolCall) -> Item:
        if call.type == "mcp_approval_request":
            return _approval(call, WENT_ON)
        return self._runner.left_behind(call) or output_item(call, report(ToolError(WENT_ON)))

    def _skippable(self, options: ChatOptions) -> list[ToolCall]:
        return [call for call in self.todo(options) if call.type != "mcp_approval_request"]

    def _approve(self, call: ToolCall, options: ChatOptions) -> ToolCall | None:
        """The call as it is to be made, or None when it has its answer."""
        if options.approve is None:
            return call
        said = options.approve(replace(call))
        if call.type == "mcp_approval_request":
            self._runner.answers[str(call.id)] = _approval(call, said)
            return None
        if said is True:
            return call
        if isinstance(said, ToolCall):
            if said.name not in (call.name, None):
                raise ConfigurationError("approve can edit the arguments of a call, not its name")
            return replace(call, arguments=said.arguments)
        reason = _reason(said)
        self._answer(call, report(ToolError(f"{REFUSED}: {reason}" if reason else REFUSED)))
        return None

    def _answer(self, call: ToolCall, output: str) -> None:
        self._runner.answers[str(call.id)] = output_item(call, output)


def _is_ours(call: ToolCall, options: ChatOptions) -> bool:
    if call.type == "mcp_approval_request":
        return options.approve is not None
    return options.toolbox.runs(call.name)


def _approval(call: ToolCall, said: object) -> Item:
    if isinstance(said, ToolCall):
        raise ConfigurationError("approve cannot edit the call of an MCP server, only allow or refuse it")
    item: Item = {"type": "mcp_approval_response", "approval_request_id": call.id, "approve": said is True}
    reason = "" if said is True else printable(_reason(said))
    return {**item, "reason": reason} if reason else item


def _reason(said: object) -> str:
    """Why the hook refused, if it said so; an error when what it said is no refusal."""
    if said is False:
        return ""
    if isinstance(said, str):
        return said
    raise ConfigurationError(
        f"approve must return True, False, a reason to refuse or a ToolCall, not {type(said).__name__}"
    )


def _answered(item: Item) -> str:
    """The id of the call or the approval that an item answers; an empty string for any other."""
    if item.get("type") == "mcp_approval_response":
        return str(item.get("approval_request_id"))
    return str(item.get("call_id")) if str(item.get("type")).endswith("_output") else ""
