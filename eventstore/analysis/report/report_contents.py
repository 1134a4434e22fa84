"""The contents of a report, from the gathered figures: which charts and tables, in which words."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from eventstore.analysis.report.chart_data import (
    KEPT,
    MICROSECOND,
    Chart,
    Fact,
    Figures,
    Moment,
    Section,
    Table,
    label,
    lines,
    series,
)
from eventstore.analysis.report.commits import commits_section
from eventstore.analysis.report.gather import Gathered, Watch
from eventstore.analysis.report.state_curves import ColumnCurve
from eventstore.analysis.report.storage import history_section, lost_ranges, storage_section
from eventstore.analysis.report.trading import profit_facts, trading_sections
from eventstore.recovery_and_stats import StoreStats, printable
from eventstore.tools.texts import size_text, time_text

__all__ = ["report_contents"]

_SHOWN_OPERATIONS = 9


def report_contents(found: Gathered, made: int, stats: StoreStats | None) -> Figures:
    """Return the contents of the report. `made` is the present time, in nanoseconds."""
    watch, books = found.watch, found.watch.books
    sections = []
    if books is not None:
        sections += trading_sections(books)
    if watch.columns:
        sections.append(_columns(watch.columns))
    sections += [
        _operations(watch),
        commits_section(found.commits, stats),
        storage_section(found.files, found.inspection.overview),
        history_section(found.inspection, found.manifest, watch.times, watch.repairs),
    ]
    path = printable(found.path)
    return Figures(
        name=label(path.rstrip("/").rpartition("/")[2] or path),
        facts=[*([] if books is None else profit_facts(books)), *_facts(found)],
        notes=list(_notes(found)),
        sections=sections,
        moments=list(_moments(found)),
        about=[
            ("Store", path),
            ("Identity", str(found.manifest.store)),
            ("Made", time_text(made // 10**9 * 10**9, " ")),
            ("By", f"eventstore {version('asyncio-eventstore')}"),
        ],
    )


def _facts(found: Gathered) -> Iterator[Fact]:
    watch = found.watch
    kinds = len(watch.operations)
    yield Fact("Events", f"{watch.events:,}", f"{kinds:,} operation{'s' * (kinds != 1)}")
    if watch.first_time is not None and watch.last_time is not None:
        span = _duration((watch.last_time - watch.first_time) / 1e9)
        day, _, clock = time_text(watch.last_time // 10**9 * 10**9, " ").partition(" ")
        yield Fact("Last event", clock.rstrip("Z"), f"{day} UTC, {span} after the first")
    total = sum(size for _, size in found.files.files.values())
    count = sum(count for count, _ in found.files.files.values())
    yield Fact("On disk", size_text(total), f"{count:,} files")


def _duration(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.0f} seconds"


def _notes(found: Gathered) -> Iterator[str]:
    watch, books = found.watch, found.watch.books
    if found.damage:
        seen = f"The report ends with event {watch.last:,}" if watch.last else "No event was read"
        yield f"{seen}: {printable(found.damage)}"
    if not found.manifest.logged:
        yield "This store has no log (use_wal=False). There are no events to report."
    if found.unfolded:
        after = f"after event {watch.folded:,}" if watch.folded else "at all"
        yield f"States could not be folded {after}, so curves of the state end there. Give the "\
              f"handlers with --registry module:name. {printable(found.unfolded)}"  # fmt: skip
    elif watch.events and not watch.folded and found.manifest.kind != "log":
        yield "Without handlers there are no curves of the state. Give them with --registry."
    first = found.manifest.history_start
    if first > 1:
        yield f"Events before {first:,} are not in this store, so the curves begin later."
    lost = lost_ranges(watch.repairs)
    if lost:
        more = f" and {len(lost) - 8:,} more ranges" * (len(lost) > 8)
        yield f"Events {', '.join(lost[:8])}{more} are lost, and a repair left them out. States "\
              "behind are those without these events."  # fmt: skip
    if watch.backwards:
        yield f"The clock went back {watch.backwards:,} times. Curves are in the order of time."
    if books is None:
        return
    if books.unpriced:
        yield f"The equity is not known after {books.unpriced:,} of {watch.events:,} events. The "\
              f"last reason: {printable(books.unpriced_reason)}"  # fmt: skip
    if books.valued_at_fills:
        named = ", ".join(map(label, books.valued_at_fills[:8]))
        more = f" and {len(books.valued_at_fills) - 8:,} more" * (len(books.valued_at_fills) > 8)
        yield f"No price was marked for {named}{more}: the equity takes the price of the last fill."


def _moments(found: Gathered) -> Iterator[Moment]:
    times = found.watch.times
    for one in found.manifest.timelines:
        if one.number > 1 and one.left_at + 1 in times:
            yield Moment(times[one.left_at + 1] // MICROSECOND, f"timeline {one.number} begins")
    for event in found.watch.repairs:
        yield Moment(event.time // MICROSECOND, f"repair, event {event.seq:,}")


def _columns(columns: Any) -> Section:
    charts = [_column(number, one) for number, one in enumerate(columns, 1)]
    return Section(id="columns", title="Values of the state", charts=charts)


def _column(number: int, column: ColumnCurve) -> Chart:
    empty = ""
    if not column.curve.count:
        empty = f"No state has a number at {label(column.place)}."
        if column.other is not None:
            empty += f" A value there is of type {type(column.other).__name__}."
    return Chart(
        id=f"column-{number}",
        title=label(column.name),
        about=f"The value of {label(column.place)} after each event. {KEPT}",
        unit="",
        series=lines({column.name: column.curve}) if column.curve.count else [],
        empty=empty,
    )


def _operations(watch: Watch) -> Section:
    totals = sorted(watch.operations.items(), key=lambda item: (-item[1].events, item[0]))
    names = [name for name, _ in totals[:_SHOWN_OPERATIONS]]
    rest = {name for name, _ in totals[_SHOWN_OPERATIONS:]}
    items = watch.counts.items()
    stacks = [
        series(name, ((at, counts.get(name, 0)) for at, counts in items), MICROSECOND)
        for name in names
    ]
    if rest:
        others = ((at, sum(counts.get(name, 0) for name in rest)) for at, counts in items)
        stacks.append(series("others", others, MICROSECOND))
    rows = [
        [
            label(name),
            f"{one.events:,}",
            f"{100 * one.events / watch.events:.1f} %",
            f"{one.first:,}",
            f"{one.last:,}",
        ]
        for name, one in totals
    ]
    columns = ["Operation", "Events", "Share", "First event", "Last event"]
    width = watch.counts.width // 10**9
    return Section(
        id="operations",
        title="Events",
        charts=[
            Chart(
                id="operations",
                title="Events by operation",
                about=f"Events in each {_span(width)}, one operation on top of the other.",
                unit="events",
                kind="stacked",
                series=stacks,
                empty="" if watch.events else "The store has no event yet.",
            )
        ],
        tables=[
            Table(
                title="Operations",
                columns=columns,
                rows=rows,
                numbers=columns[1:],
                empty="The store has no event yet.",
            )
        ],
    )


def _span(seconds: int) -> str:
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % size == 0:
            count = seconds // size
            return name if count == 1 else f"{count:,} {name}s"
    raise AssertionError  # every width is whole seconds
