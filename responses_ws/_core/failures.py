"""The service's failures: errors of every shape as one value, and as the exception to raise.

A field of an unexpected type counts as one that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from responses_ws._core.events import response_id, terminal_status
from responses_ws._core.fields import mapping, printable, text
from responses_ws._core.parser import Event, parse
from responses_ws.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionLimitReached,
    Delivery,
    NotFoundError,
    PermissionDeniedError,
    PreviousResponseNotFound,
    ProtocolError,
    RateLimitError,
    ResponseError,
    ServerError,
    StreamLimitReached,
)

if TYPE_CHECKING:
    from datetime import datetime

    from responses_ws.messages import Message

__all__ = ["ErrorEvent", "http_error", "parse_error", "response_error"]

_CODES: dict[int, str] = {
    400: """
        invalid_request_error invalid_request invalid_prompt invalid_value missing_required_parameter
        unsupported_parameter unsupported_value context_length_exceeded invalid_json unsupported_event_type
        invalid_stream_id websocket_stream_limit_reached websocket_connection_limit_reached
        previous_response_not_found data_residency_mismatch bio_policy misalignment_policy_violation
        invalid_image invalid_image_format invalid_base64_image invalid_image_url image_too_large
        image_too_small image_parse_error image_content_policy_violation invalid_image_mode
        image_file_too_large unsupported_image_media_type empty_image_file failed_to_download_image
        image_file_not_found
    """,
    401: "invalid_api_key invalid_api_key_error authentication_error",
    403: "permission_error permission_denied insufficient_permissions",
    404: "not_found_error model_not_found response_not_found",
    409: "concurrent_request",
    429: """
        rate_limit_exceeded rate_limit_error usage_limit_reached insufficient_quota insufficient_quota_error
        websocket_queue_full
    """,
    500: "server_error internal_error internal_server_error",
    503: "server_is_overloaded overloaded_error service_unavailable service_unavailable_error",
}
STATUS_OF: dict[str | None, int] = {
    code: status for status, codes in _CODES.items() for code in codes.split()
}
"""The HTTP status that stands for a code or a type of error, for errors that come without one."""

CLASS_OF_CODE: dict[str | None, type[ResponseError]] = {
    "previous_response_not_found": PreviousResponseNotFound,
    "websocket_connection_limit_reached": ConnectionLimitReached,
    "websocket_stream_limit_reached": StreamLimitReached,
}
CLASS_OF_STATUS: dict[int, type[ResponseError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
}

NO_MESSAGE = "the service gave no message"
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]*)?")


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """What an event says about a failure, whatever its shape. None is what it does not say.

    :ivar status: the HTTP status, given or derived from the code or the type.
    :ivar headers: names in lower case, values as text.
    :ivar retry_after: seconds.
    :ivar raw: the event as received.
    """

    code: str | None = None
    type: str | None = None
    message: str = field(default=NO_MESSAGE, repr=False)
    param: str | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    retry_after: float | None = None
    stream_id: str | None = None
    sequence_number: int | None = None
    response_id: str | None = None
    raw: Event = field(default_factory=dict, repr=False)


def parse_error(event: Event) -> ErrorEvent | None:
    """The failure that an event reports: an error of any shape, or a response that failed.

    None for any other event; ``response.incomplete`` is no failure.
    """
    return _read_error(event) if terminal_status(event) in ("error", "failed") else None


def _read_error(event: Event) -> ErrorEvent:
    details = _details(event)
    code, kind = _code(details.get("code")), _text(details.get("type"))
    headers = {**_headers(event.get("headers")), **_headers(details.get("headers"))}
    sequence_number = event.get("sequence_number")
    return ErrorEvent(
        code=code,
        type=kind,
        message=_text(details.get("message")) or _text(details.get("detail")) or NO_MESSAGE,
        param=_text(details.get("param")),
        status=_given_status(event, details) or STATUS_OF.get(code) or STATUS_OF.get(kind),
        headers=headers,
        retry_after=_retry_after(headers),
        stream_id=text(event.get("stream_id")),
        sequence_number=sequence_number if type(sequence_number) is int else None,
        response_id=response_id(event),
        raw=event,
    )


def _details(event: Event) -> dict[str, Any]:
    """The object that holds code and message. In the flat shape that is the event, whose type is its own."""
    for holder in (mapping(event.get("response")), event):
        error = holder.get("error")
        if error and isinstance(error, dict):
            return error
        if text(error):
            return {**_named(holder), "type": None}
    return {**event, "type": None}


def _named(fields: Event) -> dict[str, Any]:
    """Where the ``error`` is a text, which may be no more than a title."""
    return {**fields, "message": text(fields.get("message")) or fields["error"]}


def _text(value: object) -> str | None:
    found = text(value)
    return printable(found) if found else None


def _code(value: object) -> str | None:
    return str(value) if type(value) is int else _text(value)


def _given_status(event: Event, details: dict[str, Any]) -> int | None:
    places = (event, details)
    values = [place.get(name) for place in places for name in ("status", "status_code")]
    return next(filter(None, map(_http_status, [*values, details.get("code")])), None)


def _http_status(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch("[1-5][0-9][0-9]", value):
        return int(value)
    return value if type(value) is int and 100 <= value <= 599 else None


def _headers(value: object) -> dict[str, str]:
    """Some servers send numbers and booleans as values."""
    found = {}
    for name, content in mapping(value).items():
        if isinstance(content, bool):
            found[name.lower()] = "true" if content else "false"
        elif isinstance(content, (str, int, float)):
            found[name.lower()] = str(content)
    return found


def _retry_after(headers: Mapping[str, str]) -> float | None:
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after")
    if given is None:
        return None
    seconds = _seconds(given)
    return _seconds_until(given, headers.get("date", "")) if seconds is None else seconds


def _seconds(value: str) -> float | None:
    value = value.strip()
    return float(value) if SECONDS.fullmatch(value) else None


def _seconds_until(moment: str, now: str) -> float | None:
    """RFC 9110, 10.2.3: a date, which counts from the server's own ``date``."""
    then, start = _http_date(moment), _http_date(now)
    if then is None or start is None or then < start:
        return None
    return (then - start).total_seconds()


def _http_date(value: str) -> datetime | None:
    import email.utils
    from datetime import timezone

    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def response_error(
    error: ErrorEvent,
    *,
    delivery: Delivery = Delivery.STARTED,
    partial: Message | None = None,
    response_id: str | None = None,
    request_id: str | None = None,
) -> ResponseError:
    """The exception for an error event: its class by the code, otherwise by the status.

    :param delivery: STARTED unless the caller knows better, as that is never sent again.
    :param partial: what was received of the answer.
    :param response_id: defaults to the id that the event names.
    :param request_id: defaults to the header ``x-request-id`` of the event.
    """
    return _class(error)(
        error.message,
        status=error.status,
        code=error.code,
        type=error.type,
        param=error.param,
        headers=error.headers,
        retry_after=error.retry_after,
        raw=error.raw,
        delivery=delivery,
        partial=partial,
        response_id=response_id or error.response_id,
        request_id=request_id or error.headers.get("x-request-id"),
    )


def http_error(status: int, headers: Mapping[str, str], body: bytes, **context: Any) -> ResponseError:
    """The exception for an HTTP answer that refuses the request, an upgrade or a POST.

    The body may be JSON with an ``error``, JSON with the fields at the top, or any text.

    :param context: as for :func:`response_error`, but ``delivery`` defaults to that of a refused upgrade,
        NOT_SENT.
    """
    try:
        fields: Event | None = parse(body)
    except ProtocolError:
        fields = None
    if fields is None:
        details: object = body.decode("utf-8", "replace").strip()
    else:
        error = fields.get("error")
        details = _named(fields) if text(error) else error or fields
    read = _read_error({"type": "error", "status": status, "headers": dict(headers), "error": details})
    failure = response_error(read, **{"delivery": Delivery.NOT_SENT, **context})
    failure.raw = fields
    return failure


def _class(error: ErrorEvent) -> type[ResponseError]:
    if error.code in CLASS_OF_CODE:
        return CLASS_OF_CODE[error.code]
    status = error.status
    if status is None:
        return ServerError if terminal_status(error.raw) == "failed" else ResponseError
    if status >= 500:
        return ServerError
    return CLASS_OF_STATUS.get(status, BadRequestError if status >= 400 else ResponseError)
