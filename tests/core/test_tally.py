"""Usage added up: unknown stays unknown, count by count."""

from __future__ import annotations

import pytest

from responses_ws import Usage
from responses_ws._core.tally import total


@pytest.mark.parametrize(
    ("usages", "together"),
    [
        ([], Usage(0, 0, 0, 0, 0)),
        ([Usage(1, 2, 3, 4, 5)], Usage(1, 2, 3, 4, 5)),
        ([Usage(1, 2, 0, 0, 5), Usage(10, 20, 0, 3, 50)], Usage(11, 22, 0, 3, 55)),
        ([Usage(1, 2, 3, 4, 5), Usage(1, 2, None, 4, 5)], Usage(2, 4, None, 8, 10)),
        ([Usage(), Usage(1, 1, 1, 1, 1)], Usage()),
    ],
)
def test_counts_are_added_up(usages, together):
    """A count that one response did not tell is not taken for 0."""
    assert total(usages) == together
