"""The model behind HTTP: answers to ``POST /responses``, and to requests about a response."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from responses_ws._core.events import TERMINAL
from responses_ws.testing.model_events import Event, flat_error, new_id
from responses_ws.testing.model_refusals import Refusal, invalid, json_object
from responses_ws.testing.model_reply import Item

if TYPE_CHECKING:
    from responses_ws.testing.http import HttpRequest, HttpSide
    from responses_ws.testing.model import Model

__all__ = ["serve_request"]

ROUTES = (
    ("POST", r"/responses$", "create"),
    ("POST", r"/responses/compact$", "compact"),
    ("GET", r"/responses/([^/]+)$", "retrieve"),
    ("DELETE", r"/responses/([^/]+)$", "delete"),
    ("POST", r"/responses/([^/]+)/cancel$", "cancel"),
    ("GET", r"/responses/([^/]+)/input_items$", "input_items"),
)
SOCKET_ONLY = ("stream_id", "generate")
PAGE = 20
"""Items of a list that come at once, unless asked for more."""
LIMIT = re.compile(r"[1-9][0-9]?|100")


def serve_request(model: Model, side: HttpSide, request: HttpRequest) -> None:
    """Answer one HTTP request."""
    headers = {"x-request-id": new_id("req")}
    try:
        action, response_id = _route(request)
        if action == "create":
            _create(model, side, _body(request), headers)
        elif action == "compact":
            side.respond(200, headers, model.compact(_body(request)))
        else:
            side.respond(200, headers, _about(model, action, response_id, request.query))
    except Refusal as refusal:
        error = dict(refusal.error)
        headers.update(error.pop("headers", {}))
        side.respond(refusal.status, headers, {"error": error})


def _route(request: HttpRequest) -> tuple[str, str]:
    """What to do, and with which response."""
    for method, path, action in ROUTES:
        match = re.search(path, request.path)
        if match and method == request.method:
            return action, "".join(match.groups())
    raise Refusal({"message": f"Invalid URL ({request.method} {request.path})", "code": None}, 404)


def _body(request: HttpRequest) -> Item:
    body = json_object(request.body)
    if body is None:
        raise invalid(None, "We could not parse the JSON body of your request.")
    for name in SOCKET_ONLY:
        if name in body:
            raise invalid("unknown_parameter", f"Unknown parameter: '{name}'.", name)
    return body


# Creating


def _create(model: Model, side: HttpSide, body: Item, headers: Mapping[str, str]) -> None:
    fields = {name: value for name, value in body.items() if name not in ("stream", "background")}
    request = {**fields, "type": "response.create"}
    if body.get("background") and not body.get("stream"):
        side.respond(200, headers, model.start(request))
        return
    events = _begun(model.respond(request, model.connect(), errors="wrapped"))
    if not body.get("stream"):
        side.respond(200, headers, _final(list(events)))
        return
    side.begin_stream(headers)
    for event in events:
        side.send_event(flat_error(event) if event["type"] == "error" else event)
    side.end_stream()


def _begun(events: Iterator[Event]) -> Iterator[Event]:
    """The events, unless the first of them refuses the request: that is an HTTP status."""
    first = next(events)
    if first["type"] == "error":
        raise _refusal(first)
    return chain([first], events)


def _final(events: list[Event]) -> Item:
    for event in events:
        if event["type"] == "error":
            raise _refusal(event)
    return next(dict(event["response"]) for event in events if event["type"] in TERMINAL)


def _refusal(event: Event) -> Refusal:
    return Refusal(event["error"], event["status"])


# Asking about what was created


def _about(model: Model, action: str, response_id: str, query: Mapping[str, list[str]]) -> Item:
    if action == "retrieve":
        return model.retrieve(response_id)
    if action == "cancel":
        return model.cancel(response_id)
    if action == "input_items":
        return _page(model.input_items(response_id), query)
    model.delete(response_id)
    return {"id": response_id, "object": "response", "deleted": True}


def _page(given: list[Item], query: Mapping[str, list[str]]) -> Item:
    """A page of the list, the newest first unless asked otherwise."""
    items = [{"id": f"in_{place}", **item} for place, item in enumerate(given)]
    if query.get("order") != ["asc"]:
        items.reverse()
    after = query.get("after", [""])[0]
    start = next((place for place, item in enumerate(items, 1) if item["id"] == after), 0)
    page = items[start : start + _limit(query)]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > start + len(page),
    }


def _limit(query: Mapping[str, list[str]]) -> int:
    given = query.get("limit", [str(PAGE)])[0]
    if not LIMIT.fullmatch(given):
        raise invalid("invalid_value", "Invalid 'limit': a number from 1 to 100 is expected.", "limit")
    return int(given)
