"""Nothing is sent twice unless it is known that the first never ran, or the caller asked for it."""

from __future__ import annotations

import pytest
from delivery_table import COLUMNS, ROWS, Row, count

CASES = [
    pytest.param(row, transport, store, id=f"{row.fault}-{transport}-{'store' if store else 'no store'}")
    for row in ROWS
    for transport, store in COLUMNS
    if transport in row.where
]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 0.0)


@pytest.mark.parametrize(("row", "transport", "store"), CASES)
def test_exactly_the_requests_that_the_table_allows(row: Row, transport: str, store: bool) -> None:
    """Counted by the server, for a step that continues another."""
    assert count(row, transport, store) == (row.allowed(transport, store), row.outcome)
