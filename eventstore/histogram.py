"""Histograms of durations and sizes: counts by powers of two, cheap to keep and to add up.

Whoever counts keeps a list of `BUCKETS` integers, and counts a value at its bit length. One
addition to a list costs about fifty nanoseconds, and any thread may read the list meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from eventstore.arguments import argument_error, checked_number

__all__ = ["BUCKETS", "Histogram"]

BUCKETS = 65
"""Bit lengths of the integers that are counted: 0 to 64."""


class Histogram(msgspec.Struct, frozen=True):
    """Counts of values by upper bounds, which are powers of two of the unit.

    Attributes:
        bounds: The upper bound of each bucket, ascending. A bucket holds the values up to its
            bound and above the bound before.
        counts: The number of values in each bucket.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, buckets: Sequence[int], unit: float) -> Histogram:
        """Make a histogram of counts by bit length. `unit` is the value of the integer 1.

        Empty buckets below the first count and above the last one are left out.

        >>> histogram = Histogram.of([0, 0, 3, 0, 1], unit=1.0)
        >>> histogram.bounds, histogram.counts
        ((3.0, 7.0, 15.0), (3, 0, 1))
        """
        given: Any = buckets
        if not isinstance(given, Sequence) or not all(type(count) is int for count in given):
            raise argument_error("buckets", given, "expected a whole number for each bit length")
        checked_number("unit", unit, "expected a number")
        counts = tuple(buckets)
        used = [length for length, count in enumerate(counts) if count]
        if not used:
            return cls()
        shown = range(used[0], used[-1] + 1)
        return cls(
            tuple(((1 << length) - 1) * unit for length in shown),
            counts[used[0] : used[-1] + 1],
        )

    def __repr__(self) -> str:
        half, most = self.quantile(0.5), self.quantile(1.0)
        return f"<Histogram of {self.total}: half up to {half:g}, all up to {most:g}>"

    @property
    def total(self) -> int:
        """The number of values."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """Return an upper bound of the value that `share` of all values do not exceed, or 0.0.

        The bound is less than twice the value, because buckets are powers of two. Raises
        `ConfigError` for a share that is no number from 0 to 1.

        >>> Histogram((1.0, 2.0, 4.0), (5, 4, 1)).quantile(0.5)
        1.0
        """
        checked_number("share", share, "expected a number from 0 to 1, such as 0.99", most=1)
        left = share * self.total
        for bound, count in zip(self.bounds, self.counts, strict=True):
            left -= count
            if left <= 0:
                return bound
        return 0.0
