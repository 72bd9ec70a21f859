"""Chats in Django: one pool in each process, answers that stream, and conversations in the database.

::

    # settings.py
    INSTALLED_APPS = [..., "responses_ws.contrib.django"]
    RESPONSES_WS = {"MODEL": "gpt-5.5"}

    # views.py
    from responses_ws.contrib.django import conversation, stream_response

    def ask(request):
        talk = conversation(request.session["conversation"], tools=[get_weather])
        return stream_response(talk, request.POST["question"])

It takes the extra ``django``, ``manage.py migrate``, and any WSGI server with threads or greenlets. Under
ASGI Django itself holds the pieces of an answer back until it is whole.

``RESPONSES_WS`` may have ``MODEL``, ``HEARTBEAT`` (seconds of silence after which the browser gets a sign of
life, 15) and any option of :class:`ConnectionPool` in capitals, such as ``MAX_CONNECTIONS``. Without
``API_KEY`` the key comes from ``OPENAI_API_KEY``.

Tools run in threads of their own, and so have connections of their own to the database: a tool that
uses it does well to end with ``django.db.connections.close_all()``.
"""

from __future__ import annotations

from responses_ws.contrib.django.service import chat, conversation, get_pool, history, stream_response
from responses_ws.contrib.django.store import DjangoStore

__all__ = ["DjangoStore", "chat", "conversation", "get_pool", "history", "stream_response"]
