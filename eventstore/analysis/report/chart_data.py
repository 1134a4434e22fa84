"""The contents of a report: charts and tables as data, without HTML, colours or sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec

from eventstore.analysis.report.thinned_series import Curve
from eventstore.recovery_and_stats import printable

__all__ = [
    "KEPT",
    "MICROSECOND",
    "Chart",
    "Fact",
    "Figures",
    "Marker",
    "Moment",
    "Section",
    "Series",
    "Table",
    "label",
    "lines",
    "number_text",
    "series",
]

KEPT = "Each interval of time is drawn by its first, lowest, highest and last value."
"""The remark for a chart of a `Curve`."""
MICROSECOND = 1000
"""Nanoseconds of the unit of `Series.x`."""
_LONGEST = 80  # characters of a name


class Series(msgspec.Struct, frozen=True):
    """One line of a chart. `x` are steps from the point before, `y` the values."""

    name: str
    x: list[int]
    y: list[float]


class Marker(msgspec.Struct, frozen=True):
    """A mark on a curve, such as the fills of one side in one interval. `text` tells about it."""

    x: int
    y: float
    kind: Literal["buy", "sell"]
    text: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart of a report.

    Attributes:
        id: A short name, unique in the report.
        title: The heading.
        about: One sentence or more about the figures and the way they were made.
        unit: The unit of the values.
        kind: How the series are drawn.
        x: The meaning of `Series.x`: microseconds since the epoch, numbers of events, or the upper
            bounds of a histogram.
        series: The lines.
        markers: Marks on the first line.
        empty: The reason why there is nothing to draw, else empty.
        small: Whether the chart is one of many of its kind.
    """

    id: str
    title: str
    about: str
    unit: str
    kind: Literal["step", "area", "stacked", "points", "bars"] = "step"
    x: Literal["time", "event", "bound"] = "time"
    series: list[Series] = []
    markers: list[Marker] = []
    empty: str = ""
    small: bool = False


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of a report. The columns in `numbers` are aligned to the right."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numbers: list[str] = []
    about: str = ""
    empty: str = ""


class Fact(msgspec.Struct, frozen=True):
    """A figure at the top of a report. `tone` is the sign of a profit."""

    name: str
    value: str
    note: str = ""
    tone: Literal["", "good", "bad"] = ""


class Moment(msgspec.Struct, frozen=True):
    """A moment that every chart of time shows as a line, such as a repair."""

    x: int
    text: str


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a report, with a heading of its own."""

    id: str
    title: str
    charts: list[Chart] = []
    tables: list[Table] = []


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report.

    Attributes:
        name: The name of the store's directory.
        facts: The figures at the top.
        notes: Remarks that a reader should not miss.
        sections: The charts and tables.
        moments: Lines in every chart of time.
        about: Facts about the report itself: name and text.
    """

    name: str
    facts: list[Fact]
    notes: list[str]
    sections: list[Section]
    moments: list[Moment]
    about: list[tuple[str, str]]


def label(text: Any) -> str:
    """Return a name from a payload or a path for people: printable, and not too long.

    >>> label("BTC" + chr(0x202E) + "USD")
    'BTC\\\\u202eUSD'
    """
    shown = printable(str(text))
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def series(name: str, points: Iterable[tuple[int, float]], unit: int = 1) -> Series:
    """Make a series of points in ascending order. `unit` divides `x`: 1000 for nanoseconds.

    Points of one place are drawn one step apart, so that each can be seen.

    >>> series("one", [(5000, 1.0), (5000, 2.0), (9000, 3.0)], 1000).x
    [5, 1, 3]
    """
    x: list[int] = []
    y: list[float] = []
    before = 0
    for at, value in points:
        step = at // unit - before
        if x:
            step = max(step, 1)
        x.append(step)
        before += step
        y.append(float(f"{value:.9g}"))
    return Series(label(name), x, y)


def lines(curves: Mapping[str, Curve]) -> list[Series]:
    """Make a series of each curve."""
    return [series(name, curve.points(), MICROSECOND) for name, curve in curves.items()]


def number_text(value: Any, digits: int = 2) -> str:
    """Return a number for people, rounded only where it is long.

    >>> number_text(Decimal("1748670.58659")), number_text(4.0), number_text(Decimal("0.00012345"))
    ('1,748,670.59', '4', '0.00012345')
    """
    if isinstance(value, int):
        return f"{value:,}"
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        return str(number)
    places = digits if abs(number) >= 1000 else 8
    text = f"{number:,.{places}f}" if -number.as_tuple().exponent > places else f"{number:,f}"  # type: ignore[operator]  # finite, so no letter
    return text.rstrip("0").rstrip(".") if places == 8 and "." in text else text
