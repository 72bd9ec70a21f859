"""The app, as ``INSTALLED_APPS`` names it."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import setting_changed

__all__ = ["ResponsesWSConfig"]


class ResponsesWSConfig(AppConfig):
    """Conversations in the database, and a look at the settings before anything runs."""

    name = "responses_ws.contrib.django"
    label = "responses_ws"
    verbose_name = "Responses"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks."""
        from responses_ws.contrib.django.checks import check_settings
        from responses_ws.contrib.django.service import reset

        register(check_settings)
        setting_changed.connect(reset)
