"""The verbs that ask for a response, for whatever can send one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from responses_ws._core.options import check_callable
from responses_ws._core.request import UNSET, Unset, build
from responses_ws.errors import Delivery, ProtocolError
from responses_ws.messages import Chunk, Message
from responses_ws.stream import ResponseStream

__all__ = ["Chained", "Verbs"]


class Chained(ABC):
    """Continues what was completed last."""

    __slots__ = ()

    @property
    @abstractmethod
    def last_response_id(self) -> str | None:
        """The last completed response, which the next one continues; None at the start of a chain."""

    def _payload(
        self, *, previous_response_id: str | Unset | None, extra: Mapping[str, Any], **fields: Any
    ) -> Callable[[], dict[str, Any]]:
        """What makes the payload; it may be asked again, when what it continues has changed."""
        return lambda: build(
            previous_response_id=self._chained(previous_response_id, extra), extra=extra, **fields
        )

    def _chained(self, given: str | Unset | None, extra: Mapping[str, Any]) -> str | Unset | None:
        """The caller's word, else the chain; a ``conversation`` holds its history itself."""
        if given is not UNSET or extra.get("conversation") is not None:
            return given
        return self.last_response_id or UNSET


class Verbs(Chained):
    """Asks."""

    __slots__ = ()

    @abstractmethod
    def _start(self, payload: Callable[[], Mapping[str, Any]]) -> ResponseStream:
        """Send a request; the running response.

        ``payload`` may be asked again, when what it continues has changed.
        """

    def call(self, payload: Mapping[str, Any], on_chunk: Callable[[Chunk], object] | None = None) -> Message:
        """Send a payload of ``POST /v1/responses`` as it is, and wait for the answer.

        ``stream`` and ``background`` are left out and top-level None is dropped, except an explicit
        ``previous_response_id``. Nothing is chained.

        :param on_chunk: called with each :class:`Chunk`, in this thread.
        :raises ResponseError: the service refused or failed the response.
        :raises ConnectionError: not connected, or lost, or a clock ran out.
        :raises ConcurrencyError: a response is already running.
        :raises ConfigurationError: the payload cannot be sent; the message names the parameter.
        """
        check_callable("on_chunk", on_chunk)
        return self._start(lambda: payload).run(on_chunk)

    def create_response(
        self,
        *,
        model: str,
        input: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        previous_response_id: str | Unset | None = UNSET,
        instructions: str | None = None,
        on_chunk: Callable[[Chunk], object] | None = None,
        **extra: Any,
    ) -> Message:
        """Ask, and wait for the answer.

        :param input: a text, or items as the service defines them.
        :param previous_response_id: left out, the last completed response is continued; None begins a new
            chain.
        :param on_chunk: called with each :class:`Chunk`, in this thread.
        :param extra: any other field of the service; ``compact_threshold`` (tokens) asks for compaction.
        :raises: what :meth:`call` raises.
        """
        check_callable("on_chunk", on_chunk)
        return self.stream(
            model=model,
            input=input,
            tools=tools,
            previous_response_id=previous_response_id,
            instructions=instructions,
            **extra,
        ).run(on_chunk)

    def stream(
        self,
        *,
        model: str,
        input: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        previous_response_id: str | Unset | None = UNSET,
        instructions: str | None = None,
        **extra: Any,
    ) -> ResponseStream:
        """Ask, and return as soon as the request has left. See :meth:`create_response`."""
        payload = self._payload(
            model=model,
            input=input,
            tools=tools,
            previous_response_id=previous_response_id,
            instructions=instructions,
            extra=extra,
        )
        return self._start(payload)

    def warmup(self, *, model: str, **extra: Any) -> str:
        """Prepare the service for what comes (tools, instructions), without an answer; the response's id.

        It continues the chain and is continued by the next response, like an answer. A service that does not
        know ``generate: false`` refuses it, or answers for real.

        :raises: what :meth:`call` raises.
        """

        def payload() -> dict[str, Any]:
            asked = {"input": (), "previous_response_id": UNSET, **extra, "generate": False}
            previous = self._chained(asked.pop("previous_response_id"), extra)
            fields = build(
                model=model,
                input=asked.pop("input"),
                tools=asked.pop("tools", None),
                instructions=asked.pop("instructions", None),
                previous_response_id=previous,
                extra=asked,
            )
            return fields if "input" in extra else {k: v for k, v in fields.items() if k != "input"}

        message = self._start(payload).run()
        if message.response_id is None:
            raise ProtocolError(
                "the warmup ended without a response id", delivery=Delivery.STARTED, partial=message
            )
        return message.response_id
