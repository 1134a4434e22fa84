"""Chance of one run: every draw has a name, and follows from the seed and the name alone.

Theory of operation
-------------------
A stream of random numbers was rejected. One more draw, or two draws in another order, would change
every later one. So neither could a fault be left out with the others staying as they were, nor
would a run be the same where another Python wakes two tasks in another order. A draw is therefore a
hash of the seed and a name, such as `place 3: the request is lost`.

The name of a fault is also its description. `kept` limits a run to the faults of these names, and
shrinking tries such limits. `applied` lists the faults that took place.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

__all__ = ["Chance"]

_BITS = 48


class Chance:
    """The draws of one run.

    Attributes:
        applied: The names of the faults that took place, in order.
        calm: Whether no further fault takes place, for the end of a scenario.
    """

    __slots__ = ("_kept", "_prefix", "applied", "calm")

    def __init__(self, seed: int | str, kept: Collection[str] | None = None) -> None:
        self._prefix = f"{seed}/"
        self._kept = kept
        self.applied: list[str] = []
        self.calm: bool = False

    def __repr__(self) -> str:
        return f"<Chance of {self._prefix[:-1]}: {len(self.applied)} faults>"

    def fraction(self, name: str) -> float:
        """Draw a number from 0 to below 1."""
        drawn = blake2b((self._prefix + name).encode(), digest_size=_BITS // 8).digest()
        return int.from_bytes(drawn, "big") / (1 << _BITS)

    def between(self, low: float, high: float, name: str) -> float:
        """Draw a number of seconds, in whole microseconds."""
        return round(low + (high - low) * self.fraction(name), 6)

    def below(self, count: int, name: str) -> int:
        """Draw a whole number from 0 to below `count`."""
        return int(self.fraction(name) * count)

    def strikes(self, fault: str, rate: float) -> bool:
        """Return whether the fault with this name takes place, and list the fault if so."""
        if not rate or self.calm or self.fraction(fault) >= rate:
            return False
        if not self.keeps(fault):
            return False
        self.applied.append(fault)
        return True

    def keeps(self, fault: str) -> bool:
        """Return whether a fault with this name may take place in this run."""
        return self._kept is None or fault in self._kept
