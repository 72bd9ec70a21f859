"""Events: what each means for its turn."""

from __future__ import annotations

import pytest

from responses_ws._core.events import (
    ONGOING,
    TERMINAL,
    event_type,
    response_id,
    starts_response,
    terminal_status,
)


def ended(event_type: str, status: object = None, **fields: object) -> dict[str, object]:
    return {"type": event_type, "response": {"id": "resp_1", "status": status}, **fields}


def failing(event_type: str, status: object) -> dict[str, object]:
    return {"type": event_type, "response": {"status": status, "error": {"code": "server_error"}}}


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (ended("response.completed", "completed"), "completed"),
        (ended("response.completed"), "completed"),
        (ended("response.unknown", ""), None),
        (ended("response.completed", ""), "completed"),
        (ended("response.completed", 7), "completed"),
        ({"type": "response.completed"}, "completed"),
        ({"type": "response.completed", "response": None}, "completed"),
        (ended("response.completed", "incomplete"), "incomplete"),
        (ended("response.completed", "failed"), "failed"),
        (ended("response.completed", "queued"), "queued"),
        (ended("response.completed", "cancelled"), "cancelled"),
        (ended("response.completed", "in_progress"), "in_progress"),
        (ended("response.incomplete", "completed"), "incomplete"),
        (ended("response.incomplete", "queued"), "incomplete"),
        (ended("response.incomplete", "failed"), "failed"),
        (ended("response.incomplete"), "incomplete"),
        (ended("response.failed", "completed"), "failed"),
        (ended("response.failed", "incomplete"), "failed"),
        ({"type": "response.failed"}, "failed"),
        ({"type": "response.done"}, "completed"),
        (ended("response.done", "failed"), "failed"),
        (ended("response.done", "incomplete"), "incomplete"),
        (ended("response.done", "cancelled"), "cancelled"),
        ({"type": "response.cancelled"}, "cancelled"),
        (ended("response.expired", "cancelled"), "cancelled"),
        (ended("response.expired", "failed"), "failed"),
        (ended("response.expired", "in_progress"), None),
        (ended("response.expired", "queued"), None),
        ({"type": "response.expired"}, None),
        (failing("response.completed", "completed"), "failed"),
        (failing("response.completed", None), "failed"),
        (failing("response.expired", "completed"), "failed"),
        (failing("response.incomplete", "incomplete"), "incomplete"),
        (failing("response.cancelled", "cancelled"), "cancelled"),
        (failing("response.in_progress", "in_progress"), None),
        (ended("codex.rate_limits", "completed"), None),
        (ended("keepalive", "completed"), None),
        ({"type": "error"}, "error"),
        (ended("error", "completed"), "error"),
        (ended("response.error", "failed"), "error"),
        ({"error": {"message": "m"}}, "error"),
        ({"type": None, "error": {"message": "m"}}, "error"),
        ({"type": ["x"], "error": {"message": "m"}}, "error"),
        ({"type": {"x": 1}}, None),
        ({"error": None}, None),
        ({}, None),
    ],
)
def test_the_stricter_of_type_and_status_ends_the_turn(event, status):
    assert terminal_status(event) == status


@pytest.mark.parametrize("kind", sorted(ONGOING))
@pytest.mark.parametrize("status", ["completed", "failed", "in_progress"])
def test_a_known_ongoing_type_never_ends_the_turn(kind, status):
    assert terminal_status(ended(kind, status)) is None


def test_no_type_is_both_ongoing_and_terminal():
    assert not ONGOING & set(TERMINAL)
    assert len(ONGOING - {"response.inject.created", "response.inject.failed"}) == 62 - 4


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"type": "response.created"}, "response.created"),
        ({"type": "error", "error": {}}, "error"),
        ({"type": "x", "error": {"message": "m"}}, "x"),
        ({"error": {"message": "m", "type": "api_error"}}, "error"),
        ({"error": "overloaded"}, "error"),
        ({"error": None}, ""),
        ({"type": 3}, ""),
        ({}, ""),
    ],
)
def test_event_type(event, kind):
    assert event_type(event) == kind


@pytest.mark.parametrize(
    ("kind", "starts"),
    [
        ("response.created", True),
        ("response.output_text.delta", True),
        ("response.completed", True),
        ("response.done", True),
        ("response.error", True),
        ("response.unknown", True),
        ("response.steer.accepted", False),
        ("response.steer.pending", False),
        ("response.inject.created", False),
        ("error", False),
        ("keepalive", False),
        ("codex.rate_limits", False),
        ("responses.x", False),
        ("", False),
    ],
)
def test_only_events_of_a_response_start_it(kind, starts):
    assert starts_response(kind) is starts


@pytest.mark.parametrize(
    ("event", "found"),
    [
        ({"response": {"id": "resp-1"}}, "resp-1"),
        ({"response_id": "resp_2"}, "resp_2"),
        ({"response": {"id": "resp_1"}, "response_id": "resp_2"}, "resp_1"),
        ({"response": {"id": None}, "response_id": "resp_2"}, "resp_2"),
        ({"response": "resp_1"}, None),
        ({"response": {"id": 7}, "response_id": ["x"]}, None),
        ({"response": {"id": ""}}, None),
        ({"item_id": "msg_1"}, None),
        ({}, None),
    ],
)
def test_response_id_is_text_or_nothing(event, found):
    assert response_id(event) == found
