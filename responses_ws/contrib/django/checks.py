"""What ``manage.py check`` says of the settings."""

from __future__ import annotations

import os
from typing import Any

from django.core.checks import CheckMessage, Error, Warning

from responses_ws.contrib.django.service import SETTING, given, read_settings
from responses_ws.errors import ConfigurationError

__all__ = ["check_settings"]


def check_settings(**_: Any) -> list[CheckMessage]:
    """Settings that cannot work are errors; what a request would miss is a warning."""
    try:
        read_settings()
    except ConfigurationError as error:
        return [Error(str(error), id="responses_ws.E001")]
    found: list[CheckMessage] = []
    if given().get("API_KEY") is None and not os.environ.get("OPENAI_API_KEY"):
        hint = f"Set OPENAI_API_KEY in the environment, or API_KEY in {SETTING}."
        found.append(Warning("There is no key for the service.", hint=hint, id="responses_ws.W001"))
    if given().get("MODEL") is None:
        hint = f"Set MODEL in {SETTING}, or give a model to each new chat."
        found.append(Warning("No model is set.", hint=hint, id="responses_ws.W002"))
    return found
