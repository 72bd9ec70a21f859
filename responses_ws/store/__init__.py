"""Where conversations live between requests: one SQLite file, or a Redis for several machines.

::

    from responses_ws import Chat
    from responses_ws.store import SQLiteStore

    store = SQLiteStore("chats.db")
    with Chat.load(store, "ada") as chat:
        chat.ask("And now?")
        chat.save(store, "ada")

A class is loaded with what it needs when it is first named. Every :class:`Store` can be used so, also one of
your own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from responses_ws.store.base import Store, Stored

if TYPE_CHECKING:
    from responses_ws.store.redis import RedisStore
    from responses_ws.store.sqlite import SQLiteStore

__all__ = ["RedisStore", "SQLiteStore", "Store", "Stored"]

_LATER = {"RedisStore": "redis", "SQLiteStore": "sqlite"}
"""Where the names live that are loaded on first use."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value
