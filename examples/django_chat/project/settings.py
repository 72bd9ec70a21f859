"""The settings, as the environment describes them; see the README."""

from __future__ import annotations

import os
import secrets

SECRET_KEY = os.environ.get("CHAT_SECRET") or secrets.token_hex()
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
TIME_ZONE = "UTC"
USE_TZ = True
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
INSTALLED_APPS = ["responses_ws.contrib.django"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("CHAT_DATABASE", "chat.sqlite3"),
        # Writers of other processes are waited for, and do not hold up those who read.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL",
        },
    }
}
RESPONSES_WS = {
    "MODEL": os.environ.get("CHAT_MODEL", "gpt-5.5"),
    "MAX_CONNECTIONS": int(os.environ.get("CHAT_CONNECTIONS", "8")),
    "HEARTBEAT": float(os.environ.get("CHAT_HEARTBEAT", "5")),
}
