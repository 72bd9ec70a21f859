"""Going on with a conversation: one response after the other, with the tools between them."""

from __future__ import annotations

import copy
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from responses_ws._chat_stream import ChatStream, Turn
from responses_ws._core.continuation import Form
from responses_ws._core.fields import sendable
from responses_ws._core.items import Item
from responses_ws._core.tally import total
from responses_ws._core.transcript import AnnouncedCalls, messages_of
from responses_ws._tool_loop import ToolLoop
from responses_ws._usage import REJECTED
from responses_ws.errors import (
    ConcurrencyError,
    ConfigurationError,
    ConnectionError,
    Delivery,
    IncompleteError,
    RefusalError,
    SchemaError,
    ToolRoundsExceeded,
    with_context,
)
from responses_ws.messages import Chunk, Message, Usage

if TYPE_CHECKING:
    from responses_ws._chat_options import ChatOptions
    from responses_ws._core.continuation import Ledger
    from responses_ws._usage import OnUsage
    from responses_ws.session import Session
    from responses_ws.stream import ResponseStream

__all__ = ["Conversation"]

Steps = Generator[Chunk | None, None, Message]
"""Responses and what comes between them, as their chunks and heartbeats; it returns the last message."""


class Conversation:
    """The history with what sends it, what runs its tools and who uses it.

    One thread uses it at a time; :meth:`cancel` and the properties are for any.

    :ivar ledger: the completed steps.
    """

    def __init__(
        self,
        session: Session,
        ledger: Ledger,
        on_usage: OnUsage | None,
        *,
        answers: Iterable[Item] = (),
        usage: Usage | None = None,
    ) -> None:
        self.session = session
        self.ledger = ledger
        self.on_usage = on_usage
        self.closed = False
        self._loop = ToolLoop(ledger, answers)
        self._counts: deque[Usage] = deque([] if usage is None else [usage])
        self._begin_alone()

    @property
    def items(self) -> list[Item]:
        """The history and the answers that wait to be sent, of one moment, copied."""
        while True:
            items = self.ledger.items
            answers = self._loop.unsent()
            if self.ledger.items is items:
                return copy.deepcopy([*items, *answers])

    @property
    def waiting(self) -> bool:
        """Whether a call or an approval has no answer in the ledger."""
        return bool(self._loop.waiting())

    @property
    def usage(self) -> Usage:
        """Of all responses."""
        return total(list(self._counts))

    def ask(self, options: ChatOptions, items: list[Item]) -> ChatStream:
        """Send the items, and go on until no call is left that is to be answered here."""
        return self._start(options, items, self._rounds)

    def run_tools(self, options: ChatOptions) -> ChatStream:
        """Answer the open calls, and go on likewise."""
        return self._start(options, None, self._rounds)

    def step(self, options: ChatOptions, items: list[Item] | None) -> ChatStream:
        """Get one response: to the items, or to the answers of the open calls."""
        return self._start(options, items, self._step)

    def cancel(self) -> None:
        """Stop what is running, if anything is."""
        turn = self._turn()
        if turn is None:
            return
        turn.cancel()
        stream = turn.stream()
        if stream is not None:
            stream.cancel()  # nobody may be reading it, who would end the turn

    def copied(self, options: ChatOptions) -> tuple[Ledger, list[Item]]:
        """The history for a copy, and the answers of its open calls; of one moment, from any thread.

        A call that is being made here is answered there, so that nobody makes it again.
        """
        self._check_process()
        while True:
            latest, ledger = self._turn, self.ledger.fork()
            turn = latest()
            answers = self._loop.copied(options, in_use=turn is not None and not turn.over)
            if self._turn is latest and self.ledger.items is ledger.items:
                return ledger, answers

    @contextmanager
    def alone(self) -> Iterator[Turn]:
        """Nobody else uses it meanwhile. Raises :class:`ConcurrencyError` when somebody does."""
        turn = Turn(self._loop.wake)
        try:
            self._take(turn)
            yield turn
        finally:
            turn.over = True  # here already, for an interrupt may keep the call from being made
            turn.end()

    def compact(self, options: ChatOptions) -> None:
        """Let the service shorten the history."""
        with self.alone() as turn:
            if self.waiting:
                raise ConfigurationError(_not_yet(self._loop.theirs(options)))
            if not self.ledger.items:
                return
            payload = options.to_compact(self.ledger.step((), {}).request(None, Form.WHOLE).payload["input"])
            made = self.session.compact(payload, on_usage=self._counter(), on_begin=turn.hold)
            self.ledger.replace(map(sendable, made.output))

    # -- inside

    def _begin_alone(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()  # held for a look at ``_turn`` and a change of it
        # Weak, so that whatever an interrupt leaves behind at any moment holds nobody up.
        self._turn: Callable[[], Turn | None] = lambda: None

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # a forked child: whoever was at it is not here
            self._begin_alone()
            self._loop.orphan()

    def _take(self, turn: Turn) -> None:
        """Begin a turn, which the caller ends in any case: an interrupt may come when it has begun."""
        self._check_process()
        self._check_open()
        with self._lock:
            running = self._turn()
            if running is not None and not running.over:
                raise ConcurrencyError("the chat is in use: one thread at a time, and one stream")
            self._turn = weakref.ref(turn)
        self._check_open()  # once more: who closes it from now on finds the turn

    def _check_open(self) -> None:
        if self.closed:
            raise ConnectionError("the chat is closed")

    def _start(
        self,
        options: ChatOptions,
        items: list[Item] | None,
        go_on: Callable[[Turn, ChatOptions, ResponseStream | None], Steps],
    ) -> ChatStream:
        """Send the items, if there are any; what follows as a stream."""
        turn = Turn(self._loop.wake)
        try:
            self._take(turn)
            self._loop.prune()
            response = None if items is None else self._respond(turn, options, items)
            return ChatStream(go_on(turn, options, response), turn)
        except BaseException:
            turn.end()
            raise

    def _rounds(self, turn: Turn, options: ChatOptions, response: ResponseStream | None) -> Steps:
        limit = options.limits.max_rounds
        rounds = 0
        while True:
            rounds += response is None
            message = yield from self._step(turn, options, response)
            if not self._loop.todo(options):
                return message
            if rounds == limit:
                raise ToolRoundsExceeded(
                    f"the model wants tools after {rounds} rounds (max_rounds); run_tools() goes on",
                    rounds=rounds,
                    **_context(message),
                )
            response = None

    def _step(self, turn: Turn, options: ChatOptions, response: ResponseStream | None) -> Steps:
        """One response: the one that is running, or a new one after the tools."""
        if response is None:
            yield from self._loop.run(options, turn.check, turn.heartbeat)
            if self._loop.left() or not self._loop.unsent():
                return self._last_message()
            response = self._respond(turn, options, [])
        message = yield from self._read(turn, options, response)
        return message if self.waiting else _parsed(message, options)

    def _respond(self, turn: Turn, options: ChatOptions, items: list[Item]) -> ResponseStream:
        turn.check()
        return self.session.respond(
            self.ledger,
            [*self._loop.answers_for(items, options), *items],
            options.fields(),
            transport=options.transport,
            on_usage=self._counter(),
            on_begin=turn.follow,
        )

    def _read(self, turn: Turn, options: ChatOptions, response: ResponseStream) -> Steps:
        announced = AnnouncedCalls()
        before, answered = self.ledger.items, list(self._loop.waiting())
        try:
            for chunk in response.chunks(heartbeat=turn.heartbeat):
                call = announced.feed(chunk.raw) if chunk and options.eager_tools else None
                if call is not None:
                    self._loop.start(call, options)
                yield chunk
            return response.message
        finally:
            response.close()  # not by ``with``, which an interrupt may end on its way in
            turn.rest()
            if self.ledger.items is not before:
                self._loop.forget(answered)

    def _last_message(self) -> Message:
        answers = [message for message in messages_of(self.items) if message.role == "assistant"]
        if not answers:
            raise ConfigurationError("there is nothing to go on with: ask something first")
        return answers[-1]

    def _counter(self) -> Callable[[Usage, str | None], None]:
        """What counts a response. It may be called when this object is gone, so it does not hold it."""
        counts, on_usage = self._counts, self.on_usage

        def count(usage: Usage, response_id: str | None) -> None:
            if usage is not REJECTED:
                counts.append(usage)
            if on_usage is not None:
                on_usage(usage, response_id)

        return count


def _not_yet(theirs: list[str]) -> str:
    """Why a history cannot be compacted, and the way out.

    :param theirs: what only the caller can answer.
    """
    if not theirs:
        return "compact: calls wait for their outputs; run_tools() first"
    return (
        f"compact: {', '.join(theirs)}: only the caller can answer; ask() with the output, or with an "
        "mcp_approval_response, first"
    )


def _parsed(message: Message, options: ChatOptions) -> Message:
    """The message with the value that was asked for, if one was."""
    if options.schema is None:
        return message
    if message.refusal is not None:
        raise RefusalError("the model refused", **_context(message))
    if message.status == "incomplete":
        raise IncompleteError(f"the answer stopped early: {message.incomplete_reason}", **_context(message))
    try:
        message.parsed = options.schema.parse(message.content)
    except SchemaError as error:
        raise with_context(error, **_context(message)) from error.__cause__
    return message


def _context(message: Message) -> dict[str, Any]:
    """What an error about a whole answer carries."""
    return {"delivery": Delivery.STARTED, "partial": message, "response_id": message.response_id}
