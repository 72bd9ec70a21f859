"""When a ping is due and when a peer is dead, second by second."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from responses_ws._core.keepalive import Keepalive, Verdict

ALIVE, PING, DEAD = Verdict.ALIVE, Verdict.PING, Verdict.DEAD
Said = Verdict | str

HEARD = "a byte came"
UPLOAD = "looked at while a request is being written"

COURSES: dict[str, tuple[float | None, float | None, list[tuple[float, Said]]]] = {
    "silence": (20, 10, [(0, ALIVE), (19.9, ALIVE), (20, PING), (29.9, ALIVE), (30, DEAD)]),
    "seen late": (20, 10, [(300, PING), (309, ALIVE), (310, DEAD)]),
    "dead stays dead": (20, 10, [(20, PING), (30, DEAD), (31, DEAD), (300, DEAD)]),
    "a byte before the ping": (20, 10, [(19, HEARD), (38, ALIVE), (39, PING), (49, DEAD)]),
    "a byte with the ping": (20, 10, [(20, HEARD), (39, ALIVE), (40, PING)]),
    "a byte after the ping": (20, 10, [(20, PING), (25, HEARD), (44, ALIVE), (45, PING), (55, DEAD)]),
    "a byte at the last moment": (20, 10, [(20, PING), (30, HEARD), (30, ALIVE), (49, ALIVE), (50, PING)]),
    "bytes all the time": (
        20,
        10,
        [*((float(now), HEARD) for now in range(0, 900, 10)), (909, ALIVE), (910, PING)],
    ),
    "a timeout longer than the interval": (5, 60, [(5, PING), (10, ALIVE), (64, ALIVE), (65, DEAD)]),
    "an upload before the ping": (20, 10, [(10, UPLOAD), (19, ALIVE), (20, PING), (29, ALIVE), (30, DEAD)]),
    "an upload over the ping": (20, 10, [(20, UPLOAD), (30, UPLOAD), (40, ALIVE), (49, ALIVE), (50, DEAD)]),
    "an upload after the ping": (20, 10, [(20, PING), (30, UPLOAD), (40, ALIVE), (49, ALIVE), (50, DEAD)]),
    "an upload of a minute": (
        20,
        10,
        [(20, PING), *((float(now), UPLOAD) for now in range(30, 90, 10)), (90, ALIVE), (100, DEAD)],
    ),
    "an upload that ends with an answer": (
        20,
        10,
        [(20, UPLOAD), (30, UPLOAD), (35, HEARD), (54, ALIVE), (55, PING), (65, DEAD)],
    ),
    "no timeout": (
        20,
        None,
        [(20, PING), (39, ALIVE), (40, PING), (60, PING), (61, HEARD), (80, ALIVE), (81, PING)],
    ),
    "no timeout, an upload": (20, None, [(20, PING), (30, UPLOAD), (50, ALIVE), (70, PING)]),
    "no interval": (
        None,
        10,
        [(0, ALIVE), (10_000, ALIVE), (10_001, HEARD), (20_000, UPLOAD), (30_000, ALIVE)],
    ),
    "neither": (None, None, [(0, ALIVE), (10_000, ALIVE), (20_000, UPLOAD)]),
}


@pytest.mark.parametrize(("interval", "timeout", "course"), COURSES.values(), ids=COURSES)
@pytest.mark.parametrize("start", [0.0, 1_000_000.0])
def test_course(
    interval: float | None, timeout: float | None, course: list[tuple[float, Said]], start: float
) -> None:
    """An upload suspends the deadline of a pong, which begins anew when the upload is over."""
    keepalive = Keepalive(interval, timeout, start)
    for now, said in course:
        if said == HEARD:
            keepalive.heard(start + now)
        elif said == UPLOAD:
            assert keepalive.check(start + now, sending=True) is not DEAD
        else:
            assert keepalive.check(start + now, sending=False) is said, now


def test_how_long_there_is_nothing_to_do() -> None:
    """The reader sleeps until the next of the two moments, and never for less than nothing."""
    keepalive = Keepalive(20, 10, 100.0)
    assert keepalive.wait(100.0) == 20
    assert keepalive.wait(115.0) == 5
    assert keepalive.wait(130.0) == 0
    keepalive.check(120.0, sending=False)
    assert keepalive.wait(120.0) == 10
    keepalive.check(130.0, sending=True)
    assert keepalive.wait(131.0) == 9
    keepalive.heard(135.0)
    assert keepalive.wait(135.0) == 20


@pytest.mark.parametrize("timeout", [10, None])
def test_without_an_interval_there_is_nothing_to_wait_for(timeout: float | None) -> None:
    keepalive = Keepalive(None, timeout, 0.0)
    keepalive.heard(5.0)
    assert keepalive.wait(1000.0) is None


TIMES = st.integers(0, 40)
INTERVAL, TIMEOUT = 20, 10


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(TIMES, st.sampled_from([HEARD, UPLOAD, "looked at"])), max_size=30))
def test_only_a_peer_that_is_silent_after_a_ping_is_dead(course: list[tuple[int, str]]) -> None:
    """Dead means: a ping, then for the whole timeout no byte and no upload. ``wait`` tells when to look."""
    keepalive = Keepalive(INTERVAL, TIMEOUT, 0)
    now = heard = upload = 0
    pinged: int | None = None
    for passed, said in course:
        now += passed
        if said == HEARD:
            keepalive.heard(now)
            heard, pinged = now, None
            continue
        due = keepalive.wait(now)
        verdict = keepalive.check(now, sending=said == UPLOAD)
        assert verdict is ALIVE or due == 0
        if verdict is PING:
            assert pinged is None
            assert now - heard >= INTERVAL
            pinged = now
        elif verdict is DEAD:
            assert pinged is not None
            assert now - max(pinged, upload) >= TIMEOUT
        if said == UPLOAD:
            upload = now


@settings(deadline=None, derandomize=True)
@given(
    st.floats(0.1, 1000),
    st.floats(0.1, 1000),
    st.floats(0, 1e6),
    st.lists(st.floats(0, 5000), max_size=5),
)
def test_a_black_hole_is_noticed_in_time(
    interval: float, timeout: float, start: float, heard: list[float]
) -> None:
    """Whoever looks when ``wait`` says so pings after the interval and gives up after the timeout."""
    now = start + max(heard, default=0.0)
    keepalive = Keepalive(interval, timeout, start)
    for moment in sorted(heard):
        keepalive.heard(start + moment)
    verdicts: list[Verdict] = []
    silent_since = now
    while DEAD not in verdicts and len(verdicts) < 10:
        # A little more, for the sum may fall short of the moment by a rounding.
        waited = keepalive.wait(now)
        assert waited is not None
        now = now + waited + 1e-6
        verdicts.append(keepalive.check(now, sending=False))
    assert verdicts == [PING, DEAD]
    assert now - silent_since == pytest.approx(interval + timeout, abs=1e-4)
