"""The pages of the Django project of the tests."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path

from responses_ws.contrib.django import conversation, stream_response


def ask(request: HttpRequest, key: str) -> StreamingHttpResponse:
    """Go on with a conversation."""
    return stream_response(conversation(key), request.GET["question"])


urlpatterns = [path("admin/", admin.site.urls), path("ask/<str:key>", ask)]
