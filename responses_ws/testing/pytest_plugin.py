"""Fixtures for pytest, found by it without being asked for: a server for each test that wants one.

::

    def test_greeting(responses_model):
        with WebSocket("any-key", api_base=responses_model.url) as ws:
            assert ws.create_response(model="any", input="hi").content == "You said: hi."
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from responses_ws.testing import ScriptedServer

__all__ = ["responses_model", "responses_server", "responses_tls_server"]


@pytest.fixture
def responses_server() -> Iterator[ScriptedServer]:
    """A running :class:`ScriptedServer`; after the test it is closed and checked."""
    from responses_ws.testing import ScriptedServer

    with ScriptedServer() as server:
        yield server


@pytest.fixture
def responses_tls_server() -> Iterator[ScriptedServer]:
    """The same over TLS: connect with ``ssl_context=responses_tls_server.ssl_context``."""
    from responses_ws.testing import ScriptedServer

    with ScriptedServer(tls=True) as server:
        yield server


@pytest.fixture
def responses_model() -> Iterator[ScriptedServer]:
    """A running server whose connections are answered by a :class:`Model`, ``responses_model.model``."""
    from responses_ws.testing import Model, ScriptedServer

    with ScriptedServer(model=Model()) as server:
        yield server
