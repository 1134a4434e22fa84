"""Statistics of the figures of several rounds: medians, spreads, ratios.

A figure's *spread* is the distance between the quartiles, relative to the median: half of the
rounds were in between. A *ratio* is taken within each round, between two measurements of the same
minute. The median is taken afterwards.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Figures", "Rounds", "Summary", "ratio", "summary"]

Figures = Mapping[str, float]
Rounds = Mapping[str, Sequence[Figures | None]]
"""Figures of each cell in each round, `None` where the cell failed or was not measured."""


class Summary(NamedTuple):
    """Several rounds of one figure."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """Between the quartiles, relative to the median."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0


def summary(values: Sequence[float]) -> Summary | None:
    """Return median and quartiles. Of fewer than four values, the least and the greatest."""
    if not values:
        return None
    if len(values) < 4:
        return Summary(statistics.median(values), min(values), max(values), len(values))
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Summary(median, low, high, len(values))


def ratio(
    rounds: Rounds, cell: str, other: str, figure: str, other_figure: str = ""
) -> Summary | None:
    """Return how `cell` compares with `other`, round by round.

    A cell measured once stands for every round.
    """
    mine, others = rounds.get(cell, ()), rounds.get(other, ())
    paired = []
    for number in range(max(len(mine), len(others))):
        one, two = _in_round(mine, number), _in_round(others, number)
        if one is None or two is None:
            continue
        below = two.get(other_figure or figure)
        above = one.get(figure)
        if above is not None and below:
            paired.append(above / below)
    return summary(paired)


def _in_round(found: Sequence[Figures | None], number: int) -> Figures | None:
    if len(found) == 1:
        return found[0]
    return found[number] if number < len(found) else None
