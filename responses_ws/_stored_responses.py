"""What can be asked about responses that the service holds: each verb with the checks of its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from responses_ws._core.events import Event
from responses_ws._core.failures import parse_error, response_error
from responses_ws._core.fields import mappings, text
from responses_ws._http_call import as_event
from responses_ws._transport.deadline import NEVER, Deadline, overdue
from responses_ws._transport.mailbox import pause
from responses_ws.errors import ConfigurationError, Delivery, ProtocolError, ResponseTimeout
from responses_ws.messages import Message, check_seconds
from responses_ws.streaming import StreamAccumulator, build_chunk

__all__ = ["UNFINISHED", "StoredResponses"]

UNFINISHED = frozenset({"queued", "in_progress"})
PAGE = 100
"""Items that are asked for at a time; the most that the service gives."""

T = TypeVar("T")


class StoredResponses(ABC):
    """The verbs of :class:`HTTPTransport` that need nothing of it but a request."""

    @abstractmethod
    def _request(
        self,
        method: str,
        path: str,
        read: Callable[[Event], T],
        *,
        query: Mapping[str, str] | None = None,
        deadline: Deadline = NEVER,
    ) -> T:
        """See :meth:`HttpLine.request` and :meth:`HttpRequest.answer`."""

    def retrieve(self, response_id: str) -> Message:
        """A stored response as it is now, whatever its status.

        :raises NotFoundError: the service does not hold it.
        :raises ConnectionError: it cannot be reached, or was lost, or a clock ran out.
        """
        return self._retrieve(response_id, NEVER)

    def poll(self, response_id: str, *, interval: float = 2, timeout: float | None = None) -> Message:
        """Wait for the end of a background response; the answer.

        May be called again after any error: it only asks.

        :param interval: seconds between two looks.
        :param timeout: seconds in all; None means no limit.
        :raises ResponseError: the response failed, or the service does not hold it.
        :raises ResponseTimeout: it is still running after ``timeout`` seconds, or is not told in time.
        :raises ConnectionError: the service cannot be reached.
        :raises ConfigurationError: the interval cannot be waited.
        """
        check_seconds("interval", interval, unlimited=False)
        deadline = Deadline(check_seconds("timeout", timeout))
        while True:
            try:
                message = self._retrieve(response_id, deadline)
            except ResponseTimeout:
                if not deadline.expired:  # another clock has
                    raise
                break
            if message.status not in UNFINISHED:
                return _succeeded(message)
            pause(deadline.remaining(interval))
            if deadline.expired:
                break
        raise overdue(deadline, delivery=Delivery.STARTED, response_id=response_id)

    def cancel(self, response_id: str) -> Message:
        """Stop a background response; what there is of it. One that is over stays as it is.

        :raises BadRequestError: it does not run in the background.
        :raises NotFoundError: the service does not hold it.
        """
        path = f"{_path(response_id)}/cancel"
        return self._request("POST", path, lambda answer: _message(answer, response_id))

    def delete(self, response_id: str) -> None:
        """Let the service forget a stored response.

        :raises NotFoundError: it does not hold it.
        :raises ProtocolError: it does not say that the response is deleted.
        """
        self._request("DELETE", _path(response_id), lambda answer: _check_deleted(answer, response_id))

    def input_items(self, response_id: str) -> Iterator[dict[str, Any]]:
        """What a stored response was given, oldest first, asked for page by page.

        :raises NotFoundError: the service does not hold it.
        :raises ProtocolError: a page is none, or does not lead to the next.
        """
        return self._items(f"{_path(response_id)}/input_items")

    def _items(self, path: str) -> Iterator[dict[str, Any]]:
        query = {"order": "asc", "limit": str(PAGE)}
        seen: set[str] = set()
        while True:
            items, last = self._request("GET", path, lambda page: _page(page, seen), query=query)
            yield from items
            if last is None:
                return
            seen.add(last)
            query["after"] = last

    def _retrieve(self, response_id: str, deadline: Deadline) -> Message:
        return self._request(
            "GET", _path(response_id), lambda answer: _message(answer, response_id), deadline=deadline
        )


def _path(response_id: str) -> str:
    given: object = response_id  # whatever the annotation says
    if not isinstance(given, str):
        raise ConfigurationError(f"response_id must be a str, not {type(given).__name__}")
    # Dots are left as they are by quote(), and an address is cleared of them on the way.
    if not response_id or response_id in (".", "..") or not response_id.isprintable():
        raise ConfigurationError("response_id is empty, or no name of a response")
    return f"/{quote(response_id, safe='')}"


def _message(answer: Event, response_id: str) -> Message:
    """The message of a response that came as JSON."""
    event = as_event(answer)
    if answer.get("id") != response_id:
        raise ProtocolError("the server's answer is another response")
    accumulator = StreamAccumulator()
    accumulator.add(build_chunk(event))
    message = accumulator.to_message()
    message.transport = "http"
    return message


def _succeeded(message: Message) -> Message:
    """The message of a response that did not fail."""
    error = parse_error({"type": "response.completed", "response": message.raw})
    if error is not None:
        raise response_error(error, partial=message, response_id=message.response_id)
    return message


def _check_deleted(answer: Event, response_id: str) -> None:
    """An empty answer says it by its status."""
    if answer and (answer.get("deleted") is not True or answer.get("id", response_id) != response_id):
        raise ProtocolError("the server does not say that the response is deleted")


def _page(page: Event, seen: set[str]) -> tuple[list[dict[str, Any]], str | None]:
    """The items of a page and, if there are more, the id of the last, after which they are asked for."""
    if not isinstance(page.get("data"), list):
        raise ProtocolError("the server's answer is no list of items")
    items = mappings(page["data"])
    if not page.get("has_more"):
        return items, None
    last = text(page.get("last_id")) or (text(items[-1].get("id")) if items else None)
    if last is None or last in seen:
        raise ProtocolError("the server has more items and does not say after which")
    return items, last
