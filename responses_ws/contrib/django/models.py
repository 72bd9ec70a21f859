"""The tables: what is kept of conversations, and who has one at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from django.db import models

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models.expressions import Combinable

__all__ = ["Conversation", "Lease"]

DateTime: TypeAlias = "models.DateTimeField[datetime | Combinable, datetime]"


class Conversation(models.Model):
    """A conversation as :meth:`Chat.to_dict` gives it.

    It is found by the SHA-256 of its key, which may so be of any length, and is never what a database takes
    for equal (case, spaces). The data is text and no JSON field: PostgreSQL's ``jsonb`` refuses a NUL, which
    a tool may well return.
    """

    digest: models.CharField[str, str] = models.CharField(max_length=64, primary_key=True, editable=False)
    key: models.TextField[str, str] = models.TextField()
    version: models.PositiveBigIntegerField[int, int] = models.PositiveBigIntegerField(
        help_text="Another one after each save."
    )
    data: models.TextField[str, str] = models.TextField(help_text="JSON, as Chat.to_dict() gives it.")
    updated: DateTime = models.DateTimeField()

    class Meta:
        ordering = ("-updated",)

    def __str__(self) -> str:
        return f"{self.key} ({self.version})"


class Lease(models.Model):
    """Somebody has the conversation of a key, until they are done or the time is over."""

    digest: models.CharField[str, str] = models.CharField(max_length=64, primary_key=True, editable=False)
    token: models.CharField[str, str] = models.CharField(max_length=32)
    until: DateTime = models.DateTimeField()

    def __str__(self) -> str:
        return self.digest
