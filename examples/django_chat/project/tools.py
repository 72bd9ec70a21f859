"""What the model may call."""

from __future__ import annotations

import random
import threading

from responses_ws.tools import tool


@tool
def roll_dice(count: int, sides: int) -> list[int]:
    """Roll dice.

    :param count: how many, up to 100.
    :param sides: of each of them.
    """
    return [random.randint(1, sides) for _ in range(min(count, 100))]  # noqa: S311


@tool(timeout=60)
def set_timer(seconds: float) -> str:
    """Wait, and then tell that the time is over.

    :param seconds: up to 50.
    """
    threading.Event().wait(min(seconds, 50))
    return "the time is over"


TOOLS = [roll_dice, set_timer]
