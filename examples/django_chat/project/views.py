"""The page, what was said so far, and the next question."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from project.tools import TOOLS
from responses_ws.contrib.django import conversation, history, stream_response

PAGE = Path(__file__).resolve().parent.parent.parent / "chat.html"
LONGEST_QUESTION = 20_000


@require_GET
@ensure_csrf_cookie
def page(request: HttpRequest) -> FileResponse:
    """The page, and a conversation for who has none yet."""
    request.session.setdefault("conversation", uuid.uuid4().hex)
    return FileResponse(PAGE.open("rb"))


@require_GET
def messages(request: HttpRequest) -> JsonResponse:
    """What was said so far."""
    key = request.session.get("conversation")
    found = [] if key is None else history(key)
    return JsonResponse({"messages": [as_data(message) for message in found if message.role != "tool"]})


@require_POST
def ask(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Go on with the conversation; the answer as server-sent events."""
    key, question = request.session.get("conversation"), question_of(request)
    if key is None or question is None:
        return HttpResponse(status=400)
    if len(question) > LONGEST_QUESTION:
        return HttpResponse(status=413)
    return stream_response(conversation(key, tools=TOOLS), question)


@require_POST
def new(request: HttpRequest) -> JsonResponse:
    """Begin another conversation."""
    request.session["conversation"] = uuid.uuid4().hex
    return JsonResponse({})


def question_of(request: HttpRequest) -> str | None:
    """What is asked; None when it is nothing that could be."""
    try:
        given = json.loads(request.body)
    except ValueError:
        return None
    question = given.get("question") if isinstance(given, dict) else None
    return question if isinstance(question, str) else None


def as_data(message: Any) -> dict[str, Any]:
    """A message for the page."""
    calls = (message.tool_calls or {}).values()
    tools = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return {"role": message.role, "text": message.content or message.refusal or "", "tools": tools}
