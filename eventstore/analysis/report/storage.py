"""Sizes, snapshots, timelines, repairs and recoveries of a store: charts and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from eventstore.analysis.report.chart_data import Chart, Section, Table, label, series
from eventstore.disk.manifest import Manifest
from eventstore.model.operation import Event
from eventstore.model.repair_notes import StoreRepaired
from eventstore.recovery_and_stats import printable
from eventstore.tools.file_survey import Overview
from eventstore.tools.store_figures import FileFigures
from eventstore.tools.store_info import Inspection
from eventstore.tools.texts import size_text, time_text

__all__ = ["history_section", "lost_ranges", "storage_section"]

_MOST_POINTS = 400
_MOST_ROWS = 50
_KINDS = {
    "log": "segments of the log",
    "archive": "archived segments and keyframes",
    "snapshots": "snapshots",
    "keys": "runs of identity keys",
    "cursors": "named cursors",
    "quarantine": "bytes set aside by recovery",
}


def storage_section(found: FileFigures, shown: Overview | None) -> Section:
    """Return the sizes of the store."""
    rows = [
        [_KINDS[name], f"{count:,}", size_text(size), f"{size:,}"]
        for name, (count, size) in found.files.items()
    ]
    history = [] if shown is None else list(_history(shown))
    drawn = {
        "Snapshot": [(one.seq, float(one.size)) for one in found.snapshots],
        "Keyframe": []
        if shown is None
        else [(one.seq or 0, float(one.size)) for one in shown.keyframes],
    }
    return Section(
        id="storage",
        title="Storage",
        charts=[
            Chart(
                id="history",
                title="Bytes of the history, by event",
                about="All archives and segments up to each event. Segments are zero-filled ahead, "
                "so the last one counts in full.",
                unit="bytes",
                kind="area",
                x="event",
                series=[series("History", _thinned(history))] if history else [],
                empty="" if history else "The store has no log.",
            ),
            Chart(
                id="snapshots",
                title="Snapshots kept, by event",
                about="The size of each snapshot that is still there. Older ones were removed, or "
                "moved to the archive as keyframes.",
                unit="bytes",
                kind="points",
                x="event",
                series=[
                    series(name, points[-_MOST_POINTS:]) for name, points in drawn.items() if points
                ],
                empty="" if any(drawn.values()) else "No snapshot was taken yet.",
            ),
        ],
        tables=[
            Table(
                title="Files",
                columns=["Kind", "Files", "Size", "Bytes"],
                rows=rows,
                numbers=["Files", "Size", "Bytes"],
            ),
            _snapshots_table(found),
        ],
    )


def _snapshots_table(found: FileFigures) -> Table:
    taken = found.snapshots[-_MOST_ROWS:]
    return Table(
        title="Snapshots",
        columns=["Event", "Written", "Size"],
        rows=[[f"{one.seq:,}", time_text(one.created, " "), size_text(one.size)] for one in taken],
        numbers=["Event", "Size"],
        empty="No snapshot was taken yet.",
        about=_cut(len(found.snapshots), "snapshots"),
    )


def _history(shown: Overview) -> Iterator[tuple[int, float]]:
    """Yield events, and the bytes of all files with the events up to there."""
    lasts = {first: last for first, last, _ in shown.manifest.archived}
    files = [(one.seq, lasts[one.seq], one.size) for one in shown.archives if one.seq in lasts]
    files += [(one.first_seq, one.last_seq, one.size) for one in shown.segments]
    total = 0
    for first, last, size in sorted(files):
        yield first, float(total)
        total += size
        yield max(last, first), float(total)


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return some of the points of a sum, which cannot have extremes between two points."""
    step = -(-len(points) // _MOST_POINTS)
    return points[::step] + ([] if (len(points) - 1) % step == 0 else points[-1:])


def history_section(
    found: Inspection, manifest: Manifest, times: Mapping[int, int], repairs: list[Event[Any]]
) -> Section:
    """Return timelines, repairs and recoveries. `times` are the times of some events."""
    timelines = [
        [
            str(one.number),
            one.id,
            f"{one.left_at:,}" if one.number > 1 else "",
            time_text(times[one.left_at + 1], " ") if one.left_at + 1 in times else "",
        ]
        for one in manifest.timelines
    ]
    quarantined = () if found.overview is None else found.overview.quarantine
    return Section(
        id="history",
        title="Timelines, repairs and recoveries",
        tables=[
            Table(
                title="Timelines",
                columns=["Timeline", "Identity", "Left the one before behind event", "First event"],
                rows=timelines[-_MOST_ROWS:],
                numbers=["Timeline", "Left the one before behind event"],
                about="A timeline is an unbroken history of appends. A restore, a repair, a branch "
                "or a copy begins another one." + _cut(len(timelines), "timelines"),
            ),
            Table(
                title="Repairs",
                columns=["Event", "Time", "What was done", "Reason", "Events lost"],
                rows=[_repair_row(event) for event in repairs[-_MOST_ROWS:]],
                numbers=["Event"],
                empty="No repair is recorded in this history.",
            ),
            Table(
                title="Recoveries",
                columns=["Fact", "Finding"],
                rows=list(_recovery_rows(found)),
                about="The log does not record its openings. These traces are on disk.",
            ),
            Table(
                title="Bytes set aside by recoveries",
                columns=["File", "Bytes"],
                rows=[[label(one.name), f"{one.size:,}"] for one in quarantined[:_MOST_ROWS]],
                numbers=["Bytes"],
                empty="No recovery found an unfinished commit, or its file was removed.",
                about=_cut(len(quarantined), "files"),
            ),
        ],
    )


def lost_ranges(repairs: list[Event[Any]]) -> list[str]:
    """Return the lost events that the notes of repairs name."""
    found = [one for event in repairs for one in _repair_of(event).lost]
    return [f"{first:,}" if first == last else f"{first:,} to {last:,}" for first, last in found]


def _repair_of(event: Event[Any]) -> StoreRepaired:
    return msgspec.convert(event.data, StoreRepaired, from_attributes=True)  # perhaps plain data


def _repair_row(event: Event[Any]) -> list[str]:
    data = _repair_of(event)
    lost = ", ".join(lost_ranges([event]))
    did = "; ".join(map(printable, data.did))
    return [
        f"{event.seq:,}",
        time_text(event.time, " "),
        did,
        printable(data.reason),
        lost or "none",
    ]


def _recovery_rows(found: Inspection) -> Iterator[list[str]]:
    opening = found.opening
    if found.in_use:
        yield ["Now", "the store is in use"]
    elif opening.clean is not None:
        ended = "closed in order" if opening.clean else "not closed: the next opening recovers"
        yield ["The last writer", ended]
    yield ["Would open", printable(opening.text)]
    yield ["It begins with", f"the snapshot of event {opening.snapshot:,}"
           if opening.snapshot else "the first state"]  # fmt: skip
    yield ["Events to be folded then", f"{opening.folds:,}"]
    yield ["Bytes of an unfinished commit", f"{opening.torn_bytes:,}"]
    intents = None if found.overview is None else found.overview.intents
    yield ["Open intents", "not known" if intents is None else f"{len(intents):,}"]


def _cut(count: int, what: str) -> str:
    return f" The last {_MOST_ROWS} of {count:,} {what}." if count > _MOST_ROWS else ""
