"""Series of any length kept in few points: extremes by interval of time, and counts by interval.

Theory of operation
-------------------
Time is divided into intervals of equal width, and only intervals with events take memory. Too many
intervals are merged into wider ones. So memory is flat, no end of the history need be known before,
and clocks may go backwards.

A `Curve` keeps the first, lowest, highest and last value of each interval (the aggregation M4 of
Jugel and others, 2014). A line through these four points of each pixel column is the line through
all points. Picking every n-th point would lose extremes, and LTTB (Steinarsson, 2013) can.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Generic, TypeVar

__all__ = ["EVEN_WIDTHS", "Curve", "Intervals", "OperationCounts"]

T = TypeVar("T")

_SECOND = 10**9
_DOUBLING = tuple(1 << power for power in range(64))
EVEN_WIDTHS = tuple(
    width * _SECOND for width in (1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 86_400, 7 * 86_400)
) + tuple(7 * 86_400 * _SECOND << power for power in range(1, 16))
"""Widths in nanoseconds that people read at a glance. Each is a multiple of the one before."""

assert all(wide % narrow == 0 for narrow, wide in pairwise(EVEN_WIDTHS))


class Intervals(Generic[T]):
    """Values by interval of time, in nanoseconds. Subclasses say how two values become one.

    `most` is the largest number of intervals. `widths` are the possible widths, each a multiple of
    the one before.
    """

    def __init__(self, most: int, widths: Sequence[int] = _DOUBLING) -> None:
        self._most = most
        self._widths = widths
        self._level = 0
        self._found: dict[int, T] = {}

    @property
    def width(self) -> int:
        """The width of an interval in nanoseconds."""
        return self._widths[self._level]

    def items(self) -> list[tuple[int, T]]:
        """Return the begin of each interval that has a value, and the value, in order of time."""
        return [(index * self.width, self._found[index]) for index in sorted(self._found)]

    def _merged(self, early: T, late: T) -> T:
        """Return one value for two neighbours."""
        raise NotImplementedError  # each kind of curve has one

    def _too_many(self) -> bool:
        return len(self._found) > self._most

    def _begin(self, index: int, value: T) -> None:
        self._found[index] = value
        while self._too_many() and self._level + 1 < len(self._widths):
            self._widen()

    def _widen(self) -> None:
        factor = self._widths[self._level + 1] // self.width
        self._level += 1
        merged: dict[int, T] = {}
        for index in sorted(self._found):
            value, wide = self._found[index], index // factor
            merged[wide] = self._merged(merged[wide], value) if wide in merged else value
        self._found = merged


_Four = list[float]
"""Four pairs of time and value: the first, the lowest, the highest, the last."""


class Curve(Intervals[_Four]):
    """A quantity over time: the first, lowest, highest and last value of each interval.

    >>> curve = Curve(most=2)
    >>> for time, value in enumerate([5, 1, 9, 4, 7, 7]):
    ...     curve.add(time, value)
    >>> curve.points(), curve.count
    ([(0, 5), (1, 1), (2, 9), (3, 4), (4, 7), (5, 7)], 6)
    """

    def __init__(self, most: int = 600) -> None:
        super().__init__(most)
        self.count = 0

    def add(self, time: int, value: float) -> None:
        """Add a value at a time, in nanoseconds. A value that is not finite is left out."""
        if not math.isfinite(value):
            return
        self.count += 1
        four = self._found.get(time // self.width)
        if four is None:
            self._begin(time // self.width, [time, value, time, value, time, value, time, value])
            return
        if value < four[3]:
            four[2:4] = time, value
        elif value > four[5]:
            four[4:6] = time, value
        four[6:8] = time, value

    def points(self) -> list[tuple[int, float]]:
        """Return the kept points as time and value, in order of time."""
        found: list[tuple[int, float]] = []
        for _, four in self.items():
            pairs = [(int(four[at]), four[at + 1]) for at in (0, 2, 4, 6)]
            pairs.sort(key=lambda pair: pair[0])  # of equal times the first stays the first
            for time, value in pairs:
                if not found or found[-1] != (time, value):
                    found.append((time, value))
        return found

    def _merged(self, early: _Four, late: _Four) -> _Four:
        low = early[2:4] if early[3] <= late[3] else late[2:4]
        high = early[4:6] if early[5] >= late[5] else late[4:6]
        return [*early[:2], *low, *high, *late[6:]]


class OperationCounts(Intervals[dict[str, int]]):
    """Events by operation in each interval of an even width.

    Intervals without events count too, so that `most` bars beside each other cover all times.
    """

    def __init__(self, most: int = 240) -> None:
        super().__init__(most, EVEN_WIDTHS)

    def add(self, time: int, operation: str) -> None:
        """Count one event."""
        counts = self._found.get(time // self.width)
        if counts is None:
            self._begin(time // self.width, {operation: 1})
        else:
            counts[operation] = counts.get(operation, 0) + 1

    def _too_many(self) -> bool:
        return max(self._found) - min(self._found) >= self._most

    def _merged(self, early: dict[str, int], late: dict[str, int]) -> dict[str, int]:
        return {name: early.get(name, 0) + late.get(name, 0) for name in {**early, **late}}
