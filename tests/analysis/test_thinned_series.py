"""Few points of a long series: no extreme is lost, memory is flat, and clocks may go backwards."""

from __future__ import annotations

import itertools
import random

import pytest

from eventstore.analysis.report.thinned_series import EVEN_WIDTHS, Curve, OperationCounts

SECOND = 10**9


def walk(count: int, seed: int, gaps: float) -> list[tuple[int, float]]:
    rnd = random.Random(seed)
    time, value, found = 1_772_000_000 * SECOND, 0.0, []
    for _ in range(count):
        time += rnd.randrange(1, 10**7)
        if rnd.random() < gaps:
            time += rnd.randrange(86_400 * SECOND)
        value += rnd.gauss(0, 1)
        found.append((time, value))
    return found


@pytest.mark.parametrize(("seed", "gaps"), [(1, 0.0), (2, 0.01), (3, 0.5)])
def test_first_last_and_all_extremes_stay(seed: int, gaps: float) -> None:
    values = walk(20_000, seed, gaps)
    curve = Curve(most=100)
    for time, value in values:
        curve.add(time, value)
    points = curve.points()
    assert len(points) <= 400
    assert curve.count == 20_000
    assert points[0] == values[0]
    assert points[-1] == values[-1]
    assert set(points) <= set(values), "no value is made up"
    for interval, group in itertools.groupby(values, key=lambda one: one[0] // curve.width):
        whole = [value for _, value in group]
        kept = [value for time, value in points if time // curve.width == interval]
        assert (min(kept), max(kept)) == (min(whole), max(whole))
        assert (kept[0], kept[-1]) == (whole[0], whole[-1])
    assert len(curve.items()) > 100 / 4, "no coarser than it must be"


def test_a_clock_that_goes_backwards() -> None:
    values = walk(3000, 4, 0.0)
    random.Random(5).shuffle(values)
    curve = Curve(most=50)
    for time, value in values:
        curve.add(time, value)
    points = curve.points()
    assert points == sorted(points, key=lambda one: one[0])
    assert {min(values, key=lambda one: one[1]), max(values, key=lambda one: one[1])} <= set(points)


def test_values_that_cannot_be_drawn_are_left_out() -> None:
    curve = Curve()
    for time, value in enumerate([1.0, float("nan"), float("inf"), 2.0]):
        curve.add(time, value)
    assert curve.points() == [(0, 1.0), (3, 2.0)]


def test_counts_add_up_in_intervals_that_people_read() -> None:
    counts = OperationCounts(most=60)
    times = [time for time, _ in walk(5000, 6, 0.01)]
    for index, time in enumerate(times):
        counts.add(time, "trade" if index % 3 else "mark")
    assert counts.width in EVEN_WIDTHS
    begins = [begin for begin, _ in counts.items()]
    assert 5 < (begins[-1] - begins[0]) // counts.width < 60
    totals = [sum(one.get(name, 0) for _, one in counts.items()) for name in ("trade", "mark")]
    assert totals == [3333, 1667]
    for begin, one in counts.items():
        inside = [time for time in times if begin <= time < begin + counts.width]
        assert sum(one.values()) == len(inside)


def test_one_time_for_all_events() -> None:
    curve, counts = Curve(2), OperationCounts(2)
    for value in (3.0, 1.0, 2.0):
        curve.add(7, value)
        counts.add(7, "mark")
    assert [value for _, value in curve.points()] == [3.0, 1.0, 3.0, 2.0]
    assert counts.items() == [(0, {"mark": 3})]
