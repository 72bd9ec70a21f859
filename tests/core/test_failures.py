"""The service's failures: every shape of an error as one value, and the exception to raise."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responses_ws import errors
from responses_ws._core.events import (
    event_type,
    response_id,
    terminal_status,
)
from responses_ws._core.failures import NO_MESSAGE, ErrorEvent, http_error, parse_error, response_error
from responses_ws.errors import Delivery
from responses_ws.messages import Message

# -- every shape as one value

SHAPES = {
    "wrapped": (
        {
            "type": "error",
            "status": 400,
            "stream_id": "lane-1",
            "error": {
                "type": "invalid_request_error",
                "code": "previous_response_not_found",
                "message": "Previous response with id 'resp_0' not found.",
                "param": "previous_response_id",
            },
        },
        {
            "status": 400,
            "stream_id": "lane-1",
            "type": "invalid_request_error",
            "code": "previous_response_not_found",
            "message": "Previous response with id 'resp_0' not found.",
            "param": "previous_response_id",
        },
    ),
    "headers in the error": (
        {
            "type": "error",
            "sequence_number": 4,
            "error": {
                "type": "tokens",
                "code": "rate_limit_exceeded",
                "message": "Rate limit reached.",
                "headers": {"Retry-After": "7", "X-Request-ID": "req_1"},
                "misalignment": {"error_type": "other"},
            },
        },
        {
            "sequence_number": 4,
            "type": "tokens",
            "code": "rate_limit_exceeded",
            "message": "Rate limit reached.",
            "status": 429,
            "headers": {"retry-after": "7", "x-request-id": "req_1"},
            "retry_after": 7.0,
        },
    ),
    "headers at the top, of any type": (
        {
            "type": "error",
            "status_code": 429,
            "error": {"type": "usage_limit_reached", "message": "The usage limit has been reached"},
            "headers": {
                "X-Primary-Used-Percent": 100,
                "X-Credits": False,
                "X-Over": True,
                "X-Balance": 0.5,
                "X-List": ["a"],
                "X-Null": None,
            },
        },
        {
            "status": 429,
            "type": "usage_limit_reached",
            "message": "The usage limit has been reached",
            "headers": {
                "x-primary-used-percent": "100",
                "x-credits": "false",
                "x-over": "true",
                "x-balance": "0.5",
            },
        },
    ),
    "headers at both places": (
        {"type": "error", "headers": {"A": "1", "B": "1"}, "error": {"headers": {"b": "2"}}},
        {"headers": {"a": "1", "b": "2"}},
    ),
    "no status": (
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "code": "invalid_value", "message": "No."},
        },
        {"type": "invalid_request_error", "code": "invalid_value", "message": "No.", "status": 400},
    ),
    "no status, unknown code": (
        {"type": "error", "error": {"type": "novel_error", "code": "novel", "message": "No."}},
        {"type": "novel_error", "code": "novel", "message": "No."},
    ),
    "no code": (
        {"type": "error", "error": {"type": "rate_limit_exceeded", "message": "Slow down."}},
        {"type": "rate_limit_exceeded", "message": "Slow down.", "status": 429},
    ),
    "no code, null": (
        {
            "type": "error",
            "error": {"type": "server_error", "code": None, "message": "Sorry.", "param": None},
        },
        {"type": "server_error", "message": "Sorry.", "status": 500},
    ),
    "flat": (
        {
            "type": "error",
            "code": "server_is_overloaded",
            "message": "Overloaded.",
            "param": None,
            "sequence_number": 2,
        },
        {"code": "server_is_overloaded", "message": "Overloaded.", "sequence_number": 2, "status": 503},
    ),
    "flat beside a null": (
        {
            "type": "error",
            "error": None,
            "code": "invalid_api_key",
            "message": "Bad key.",
            "param": "api_key",
        },
        {"code": "invalid_api_key", "message": "Bad key.", "param": "api_key", "status": 401},
    ),
    "no type": (
        {"error": {"message": "Instructions cannot be combined.", "type": "api_error"}},
        {"type": "api_error", "message": "Instructions cannot be combined."},
    ),
    "detail for a message": (
        {"error": {"detail": "Unsupported parameter: generate"}, "status": 400, "type": "error"},
        {"message": "Unsupported parameter: generate", "status": 400},
    ),
    "a plain string": ({"type": "error", "error": "upstream died"}, {"message": "upstream died"}),
    "a plain string without type": ({"error": "upstream died"}, {"message": "upstream died"}),
    "a string, and what it means beside it": (
        {"type": "error", "error": "Too many.", "code": "rate_limit_exceeded", "param": "model"},
        {"message": "Too many.", "code": "rate_limit_exceeded", "param": "model", "status": 429},
    ),
    "a string for a title, and a message beside it": (
        {"type": "error", "error": "Bad Request", "message": "No such model.", "status_code": 400},
        {"message": "No such model.", "status": 400},
    ),
    "nothing": ({"type": "error"}, {}),
    "null": ({"type": "error", "error": None}, {}),
    "empty": ({"type": "error", "error": {}}, {}),
    "local": (
        {"type": "error", "error": {"code": "websocket_closed", "message": "closed"}},
        {"code": "websocket_closed", "message": "closed"},
    ),
    "a status for a code": (
        {"type": "error", "error": {"code": 429, "message": "Too many."}},
        {"code": "429", "message": "Too many.", "status": 429},
    ),
    "a status as text": (
        {"type": "error", "status": "503", "error": {"message": "Busy."}},
        {"message": "Busy.", "status": 503},
    ),
    "a status in the error": (
        {"type": "error", "error": {"message": "Busy.", "status": 503}},
        {"message": "Busy.", "status": 503},
    ),
    "every field of the wrong type": (
        {
            "type": "error",
            "status": True,
            "status_code": [],
            "sequence_number": "3",
            "stream_id": 3,
            "headers": "x",
            "error": {"type": {}, "code": [], "message": 5, "param": 7, "headers": [1], "detail": ["x"]},
        },
        {},
    ),
    "half a character": (
        {"type": "error", "error": {"message": "\ud83d no", "code": "x\udd0d"}},
        {"message": "\ufffd no", "code": "x\ufffd"},
    ),
    "response.error": (
        {
            "type": "response.error",
            "error": {"code": "server_error", "message": "Died."},
            "response_id": "resp_1",
        },
        {"code": "server_error", "message": "Died.", "status": 500, "response_id": "resp_1"},
    ),
    "response.failed": (
        {
            "type": "response.failed",
            "sequence_number": 9,
            "response": {
                "id": "resp_1",
                "status": "failed",
                "error": {
                    "code": "rate_limit_exceeded",
                    "message": "Rate limit.",
                    "type": "requests",
                    "param": "input",
                },
            },
        },
        {
            "sequence_number": 9,
            "response_id": "resp_1",
            "code": "rate_limit_exceeded",
            "message": "Rate limit.",
            "type": "requests",
            "param": "input",
            "status": 429,
        },
    ),
    "response.failed with an image code": (
        {
            "type": "response.failed",
            "response": {"error": {"code": "image_too_large", "message": "Too large."}},
        },
        {"code": "image_too_large", "message": "Too large.", "status": 400},
    ),
    "response.failed with a null": (
        {"type": "response.failed", "response": {"id": "resp_1", "status": "failed", "error": None}},
        {"response_id": "resp_1"},
    ),
    "response.failed, a stub": ({"type": "response.failed", "response": {}}, {}),
    "response.failed, less than a stub": ({"type": "response.failed"}, {}),
    "response.failed with the error beside it": (
        {"type": "response.failed", "response": {"id": "resp_1"}, "error": {"code": "server_error"}},
        {"response_id": "resp_1", "code": "server_error", "status": 500},
    ),
    "response.failed with two errors": (
        {"type": "response.failed", "response": {"error": {"code": "bio_policy"}}, "error": {"code": "x"}},
        {"code": "bio_policy", "status": 400},
    ),
    "response.completed that failed": (
        {"type": "response.completed", "response": {"status": "failed", "error": {"message": "Died."}}},
        {"message": "Died."},
    ),
    "response.done that failed": (
        {"type": "response.done", "response": {"status": "failed", "error": {"message": "Died."}}},
        {"message": "Died."},
    ),
}


@pytest.mark.parametrize(("event", "fields"), SHAPES.values(), ids=SHAPES)
def test_every_shape_of_an_error_is_one_value(event, fields):
    assert parse_error(event) == ErrorEvent(**{"message": NO_MESSAGE, **fields, "raw": event})


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.incomplete", "response": {"status": "incomplete", "error": None}},
        {"type": "response.completed", "response": {"status": "completed", "error": None}},
        {"type": "response.completed", "response": {"status": "incomplete"}},
        {"type": "response.cancelled", "response": {"status": "cancelled"}},
        {"type": "response.done"},
        {"type": "response.output_text.delta", "delta": "error"},
        {"type": "response.mcp_call.failed", "item_id": "mcp_1"},
        {"type": "response.steer.failed", "error": {"code": "invalid_input", "message": "m"}},
        {"type": "keepalive"},
        {},
    ],
)
def test_what_is_no_error_is_none(event):
    assert parse_error(event) is None


STATUSES = [
    ("invalid_request_error", 400),
    ("invalid_prompt", 400),
    ("previous_response_not_found", 400),
    ("invalid_stream_id", 400),
    ("websocket_stream_limit_reached", 400),
    ("websocket_connection_limit_reached", 400),
    ("invalid_json", 400),
    ("unsupported_event_type", 400),
    ("invalid_api_key", 401),
    ("invalid_api_key_error", 401),
    ("concurrent_request", 409),
    ("insufficient_quota", 429),
    ("insufficient_quota_error", 429),
    ("rate_limit_exceeded", 429),
    ("rate_limit_error", 429),
    ("usage_limit_reached", 429),
    ("websocket_queue_full", 429),
    ("server_error", 500),
    ("internal_error", 500),
    ("server_is_overloaded", 503),
    ("service_unavailable", 503),
    ("service_unavailable_error", 503),
    ("api_error", None),
    ("vector_store_timeout", None),
    ("misalignment_policy_violation", 400),
]


@pytest.mark.parametrize(("name", "status"), STATUSES)
@pytest.mark.parametrize("place", ["code", "type"])
def test_a_missing_status_follows_from_the_code_or_the_type(name, status, place):
    error = parse_error({"type": "error", "error": {place: name}})
    assert error is not None
    assert error.status == status


def test_the_code_says_more_than_the_type():
    error = parse_error(
        {"type": "error", "error": {"code": "invalid_api_key", "type": "invalid_request_error"}}
    )
    assert error is not None
    assert error.status == 401


DATE = "Fri, 20 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After-Ms": "1500", "Retry-After": "9"}, 1.5),
        ({"retry-after-ms": 250}, 0.25),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": 0}, 0.0),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:01:30 GMT", "date": DATE}, 90.0),
        ({"retry-after": "Friday, 20-Nov-26 10:00:05 GMT", "date": DATE}, 5.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:05 -0000", "date": DATE}, 5.0),
        ({"retry-after": DATE, "date": DATE}, 0.0),
        ({"retry-after": "Fri, 20 Nov 2026 09:59:59 GMT", "date": DATE}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:01:30 GMT"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:01:30 GMT", "date": "yesterday"}, None),
        ({"retry-after": f"Fri, 20 Nov {'9' * 30} 10:01:30 GMT", "date": DATE}, None),
        ({"retry-after": f"Fri, 20 Nov 2026 10:01:30 +{'9' * 20}", "date": DATE}, None),
        ({"retry-after": "-5", "date": DATE}, None),
        ({"retry-after": -5}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "1_0"}, None),
        ({"retry-after": True}, None),
        ({}, None),
    ],
)
def test_retry_after_in_each_form_of_the_header(headers, seconds):
    error = parse_error({"type": "error", "error": {"headers": headers}})
    assert error is not None
    assert error.retry_after == seconds


@given(st.text(), st.text())
def test_no_header_breaks_the_parser(retry_after, date):
    error = parse_error({"type": "error", "headers": {"retry-after": retry_after, "date": date}})
    assert error is not None
    assert error.retry_after is None or error.retry_after >= 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ERROR_FIELDS = ["type", "code", "message", "param", "status", "status_code", "headers", "detail", "error"]


@given(
    st.dictionaries(st.sampled_from([*ERROR_FIELDS, "response", "stream_id", "sequence_number"]), json_values)
)
def test_no_event_breaks_its_readers(event):
    kind, status, error = event_type(event), terminal_status(event), parse_error(event)
    assert isinstance(kind, str)
    assert (error is not None) == (status in ("error", "failed"))
    assert response_id(event) is None or event
    if error is not None:
        str(response_error(error)).encode()


def test_an_error_event_shows_neither_message_nor_headers():
    error = parse_error({"type": "error", "headers": {"a": "secret"}, "error": {"message": "secret"}})
    assert "secret" not in repr(error)


# -- exceptions


def failure(**details: object) -> errors.ResponseError:
    error = parse_error({"type": "error", "error": details})
    assert error is not None
    return response_error(error)


@pytest.mark.parametrize(
    ("details", "cls"),
    [
        ({"code": "previous_response_not_found"}, errors.PreviousResponseNotFound),
        ({"code": "previous_response_not_found", "status": 404}, errors.PreviousResponseNotFound),
        ({"code": "websocket_connection_limit_reached"}, errors.ConnectionLimitReached),
        ({"code": "websocket_stream_limit_reached"}, errors.StreamLimitReached),
        ({"status": 400}, errors.BadRequestError),
        ({"status": 401}, errors.AuthenticationError),
        ({"status": 403}, errors.PermissionDeniedError),
        ({"status": 404}, errors.NotFoundError),
        ({"status": 409}, errors.BadRequestError),
        ({"status": 422}, errors.BadRequestError),
        ({"status": 429}, errors.RateLimitError),
        ({"status": 500}, errors.ServerError),
        ({"status": 503}, errors.ServerError),
        ({"status": 302}, errors.ResponseError),
        ({"code": "insufficient_quota"}, errors.RateLimitError),
        ({"type": "server_error"}, errors.ServerError),
        ({"code": "novel"}, errors.ResponseError),
        ({}, errors.ResponseError),
    ],
)
def test_the_class_goes_by_the_code_then_by_the_status(details, cls):
    assert type(failure(**details)) is cls


@pytest.mark.parametrize("code", [None, "novel", "vector_store_timeout"])
def test_a_failed_response_without_a_status_is_the_servers_failure(code):
    error = parse_error({"type": "response.failed", "response": {"error": {"code": code}}})
    assert error is not None
    assert type(response_error(error)) is errors.ServerError


def test_the_exception_carries_all_that_the_event_says():
    event = {
        "type": "error",
        "status": 429,
        "response_id": "resp_1",
        "headers": {"X-Request-Id": "req_1", "Retry-After": "2"},
        "error": {
            "type": "requests",
            "code": "rate_limit_exceeded",
            "message": "Slow down.",
            "param": "model",
        },
    }
    error = parse_error(event)
    assert error is not None
    raised = response_error(error)
    assert (raised.status, raised.code, raised.type) == (429, "rate_limit_exceeded", "requests")
    assert (raised.message, raised.param, raised.retry_after) == ("Slow down.", "model", 2.0)
    assert (raised.response_id, raised.request_id) == ("resp_1", "req_1")
    assert raised.headers == {"x-request-id": "req_1", "retry-after": "2"}
    assert raised.raw == event
    assert raised.delivery is Delivery.STARTED
    assert str(raised) == "rate_limit_exceeded (429): Slow down."
    copy = pickle.loads(pickle.dumps(raised))  # noqa: S301
    assert vars(copy) == vars(raised)


def test_what_the_caller_knows_counts_more():
    partial = Message(content="half")
    error = parse_error({"type": "error", "response_id": "resp_1", "headers": {"x-request-id": "req_1"}})
    assert error is not None
    raised = response_error(
        error, delivery=Delivery.REJECTED, partial=partial, response_id="resp_2", request_id="req_2"
    )
    assert (raised.response_id, raised.request_id) == ("resp_2", "req_2")
    assert raised.partial is partial
    assert raised.delivery is Delivery.REJECTED


# -- refused by HTTP


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (
            b'{"error":{"message":"Bad key.","type":"invalid_request_error","code":"invalid_api_key"}}',
            {"message": "Bad key.", "type": "invalid_request_error", "code": "invalid_api_key"},
        ),
        (b'{"error":"Not for you."}', {"message": "Not for you."}),
        (b'{"error":"Not for you.","code":"denied","type":"auth"}', {"code": "denied", "type": "auth"}),
        (b'{"error":"Unauthorized","message":"Not for you."}', {"message": "Not for you."}),
        (b'{"error":null,"message":"Not for you."}', {"message": "Not for you."}),
        (b'{"message":"Not for you.","code":"denied","type":"auth"}', {"code": "denied", "type": "auth"}),
        (b'{"detail":"Not for you."}', {"message": "Not for you."}),
        (b"  <html>Not for you.</html>\r\n", {"message": "<html>Not for you.</html>", "raw": None}),
        (b"\xff\xfe", {"message": "\ufffd\ufffd", "raw": None}),
        (b"[1]", {"message": "[1]", "raw": None}),
        (b"", {"message": NO_MESSAGE, "raw": None}),
        (b"{}", {"message": NO_MESSAGE, "raw": {}}),
    ],
)
def test_a_refusal_over_http_is_read_whatever_its_body(body, fields):
    raised = http_error(401, {"X-Request-ID": "req_1", "Retry-After": "3"}, body)
    assert type(raised) is errors.AuthenticationError
    assert raised.status == 401
    assert raised.request_id == "req_1"
    assert raised.retry_after == 3.0
    assert {name: getattr(raised, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.BadRequestError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (426, errors.BadRequestError),
        (429, errors.RateLimitError),
        (502, errors.ServerError),
        (302, errors.ResponseError),
    ],
)
def test_the_http_status_decides_the_class(status, cls):
    assert type(http_error(status, {}, b'{"error":{"type":"invalid_request_error"}}')) is cls


def test_a_code_in_the_body_of_a_refusal_counts_first():
    body = b'{"error":{"code":"previous_response_not_found"}}'
    assert type(http_error(404, {}, body)) is errors.PreviousResponseNotFound


def test_a_refused_upgrade_was_not_sent_unless_the_caller_says_otherwise():
    assert http_error(429, {}, b"").delivery is Delivery.NOT_SENT
    assert http_error(429, {}, b"", delivery=Delivery.REJECTED).delivery is Delivery.REJECTED
