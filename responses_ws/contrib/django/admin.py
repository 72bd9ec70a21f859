"""Conversations in the admin, to look at: what the service and the chat agreed on is not for editing."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from responses_ws.contrib.django.models import Conversation

__all__ = ["ConversationAdmin"]


@admin.register(Conversation)
class ConversationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # it cannot be subscripted at run time
    """A list with the latest first; each can be seen and deleted."""

    list_display = ("key", "version", "updated")
    search_fields = ("key",)
    readonly_fields = ("key", "version", "updated", "data")

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Only a chat makes one."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Conversation | None = None) -> bool:  # noqa: ARG002
        """Only a chat goes on with one."""
        return False
