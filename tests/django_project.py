"""A Django project for the tests: importing this sets it up."""

from __future__ import annotations

import os

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "django_settings"
django.setup()
