"""What the tests of HTTP share: a transport to the scripted server, and a turn that fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
from shell import KEY, SECONDS, created, delta

from responses_ws.errors import ResponsesWSError
from responses_ws.http_transport import HTTPTransport
from responses_ws.testing import ScriptedServer

ASK = {"model": "m", "input": "hi"}
BEGUN = [created("resp_1"), delta("one")]


def transport(server: ScriptedServer, **options: Any) -> HTTPTransport:
    """A transport to the server."""
    given = {"response_timeout": SECONDS, **options}
    return HTTPTransport(KEY, api_base=server.url, ssl_context=server.ssl_context, **given)


def event_stream(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)


def failure(http_transport: HTTPTransport, **fields: Any) -> ResponsesWSError:
    """What one turn failed with."""
    with pytest.raises(ResponsesWSError) as caught:
        http_transport.create_response(**(ASK | fields))
    return caught.value
