"""What the service refuses before it begins a response."""

from __future__ import annotations

import re
from typing import Any

from responses_ws.testing.model_input import check_input
from responses_ws.testing.model_refusals import invalid, missing, wrong_type
from responses_ws.testing.model_reply import Item

__all__ = ["check_compaction", "check_request"]

LANE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")
TYPES: dict[str, tuple[type, ...]] = {
    "generate": (bool,),
    "include": (list,),
    "instructions": (str,),
    "max_output_tokens": (int,),
    "max_tool_calls": (int,),
    "metadata": (dict,),
    "parallel_tool_calls": (bool,),
    "previous_response_id": (str,),
    "reasoning": (dict,),
    "store": (bool,),
    "temperature": (int, float),
    "text": (dict,),
    "tools": (list,),
    "top_p": (int, float),
}
"""What a field must be, if it is not null."""

EXCLUSIVE = "Mutually exclusive parameters: give only one of 'previous_response_id' and 'conversation'."


def check_request(request: Item, *, lanes: bool) -> None:
    """Refuse what is no proper ``response.create``.

    :param lanes: whether ``stream_id`` is known.
    """
    _check_lane(request, lanes=lanes)
    kind = request.get("type")
    if kind != "response.create":
        raise invalid("unsupported_event_type", f"Unsupported event type: {kind!r}.", "type")
    if "response" in request:
        raise invalid("unknown_parameter", "Unknown parameter: 'response'.", "response")
    if request.get("background"):
        raise invalid("unsupported_parameter", "Unsupported parameter: 'background'.", "background")
    if request.get("prompt") is None:
        _check_model(request)
    _check_types(request)
    if request.get("previous_response_id") is not None and request.get("conversation") is not None:
        raise invalid("mutually_exclusive_parameters", EXCLUSIVE)
    _check_given(request, ("previous_response_id", "prompt", "conversation"))
    _check_tools(request.get("tools") or [])


def check_compaction(request: Item) -> None:
    """Refuse what is no proper request for a compaction."""
    _check_model(request)
    _check_types(request)
    _check_given(request, ("previous_response_id",))


def _check_lane(request: Item, *, lanes: bool) -> None:
    if "stream_id" not in request:
        return
    if not lanes:
        raise invalid("unknown_parameter", "Unknown parameter: 'stream_id'.", "stream_id")
    name = request["stream_id"]
    if not isinstance(name, str) or not LANE_NAME.fullmatch(name):
        raise invalid("invalid_stream_id", "Invalid 'stream_id'.", "stream_id", of_connection=True)


def _check_model(request: Item) -> None:
    if not isinstance(request.get("model"), str) or not request["model"]:
        raise missing("model")


def _check_types(request: Item) -> None:
    for name, kinds in TYPES.items():
        value = request.get(name)
        if value is None:
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise wrong_type(name)


def _check_given(request: Item, instead: tuple[str, ...]) -> None:
    """There must be an ``input``, or something that stands for it."""
    if request.get("input") is not None:
        check_input(request["input"])
    elif request.get("generate") is not False and all(request.get(name) is None for name in instead):
        raise missing("input")


def _check_tools(tools: list[Any]) -> None:
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise wrong_type(f"tools[{index}]")
        needed = ("type", "name") if tool.get("type") in ("function", "custom") else ("type",)
        for name in needed:
            if not isinstance(tool.get(name), str):
                raise missing(f"tools[{index}].{name}")
