"""The memory of this process."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

__all__ = ["resident"]


def resident() -> int:
    """Bytes in the resident set now; where the system does not tell, the most that there were."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
