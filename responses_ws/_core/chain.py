"""What the conversations on one connection continue."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Chain", "Chains"]


class Chain(NamedTuple):
    """The response that the next one continues.

    :param stored: whether it outlives its connection.
    :param number: of its call; the later call counts, whichever answer is read last.
    """

    response_id: str
    stored: bool
    number: int


class Chains:
    """The chain of each lane; the default lane is None."""

    def __init__(self) -> None:
        self._chains: dict[str | None, Chain] = {}
        self._begun: dict[str | None, int] = {}

    def get(self, lane: str | None) -> Chain | None:
        """What the lane's next response continues."""
        return self._chains.get(lane)

    def advance(self, lane: str | None, chain: Chain) -> None:
        """A response was completed, unless a later one was before it, or a new chain has begun since."""
        known = self._chains.get(lane)
        latest = self._begun.get(lane, 0) if known is None else known.number
        if chain.number >= latest:
            self._chains[lane] = chain

    def begin(self, lane: str | None, number: int) -> None:
        """What is asked next on the lane continues nothing.

        :param number: of the next call.
        """
        self._chains.pop(lane, None)
        self._begun[lane] = number

    def lose(self) -> list[Chain]:
        """The connection is gone: the chains that end with it, which are forgotten."""
        lost = {lane: chain for lane, chain in self._chains.items() if not chain.stored}
        for lane in lost:
            del self._chains[lane]
        return list(lost.values())

    @property
    def stored(self) -> bool:
        """Whether none would be lost with the connection."""
        return all(chain.stored for chain in self._chains.values())
