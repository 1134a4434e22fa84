"""Commits: the traces of commits in the log, and the counters of a running store.

Theory of operation
-------------------
No file of a store has the duration of a commit, because writing the duration would cost every
commit something. The log has one trace of waiting. Events that were submitted during the commit
before share a record. So the first event of a record waited at least for the time from the first
to the last event. The time is by the store's clock.

Archives were repacked, and records of archives are no commits. So only segments of the log are
read, the newest first, up to `_READ_AT_MOST` bytes.

A running store counts the durations (`StoreStats.commit_seconds`). A caller with these counters
passes them on.
"""

from __future__ import annotations

import contextlib

import msgspec

from eventstore.analysis.report.chart_data import Chart, Section, Series, Table, series
from eventstore.analysis.report.thinned_series import Curve
from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import segment_name
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest
from eventstore.errors import EventStoreError
from eventstore.histogram import Histogram
from eventstore.log.format import InvalidBytesError, SegmentHeader
from eventstore.log.tail_verdict import Corrupt, classify_tail
from eventstore.model.codec import array_header
from eventstore.recovery_and_stats import StoreStats

__all__ = ["Commits", "commits_section", "read_commits"]

_READ_AT_MOST = 32 << 20
_EARLIER = "Archives are repacked, and older segments are not read for this. "
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


class _Timed(msgspec.Struct, array_like=True, gc=False):
    """The beginning of an encoded event."""

    seq: int
    time: int


_decode = msgspec.msgpack.Decoder(list[_Timed]).decode


class Commits:
    """Figures of the records in the newest segments of the log.

    Attributes:
        records: Number of records.
        events: Number of events in the records.
        first: The first event of the records, 0 without a record.
        sizes: Events of each record, over time.
        waits: Seconds from the first to the last event of each record with several times.
        most_events: Events of the largest record.
    """

    def __init__(self) -> None:
        self.records = self.events = self.first = self.most_events = 0
        self.sizes, self.waits = Curve(300), Curve(300)
        self._waits: list[float] = []

    def add(self, seq: int, times: list[int]) -> None:
        """Add a record by the number of the first event, and the times of all events."""
        self.records += 1
        self.events += len(times)
        self.first = min(self.first or seq, seq)
        self.most_events = max(self.most_events, len(times))
        self.sizes.add(times[0], len(times))
        wait = (times[-1] - times[0]) / 1e9
        if wait > 0:
            self._waits.append(wait)
            self.waits.add(times[0], wait)

    def wait(self, share: float) -> float | None:
        """Return a quantile of the waits: `share` of the waits are up to the result, or `None`."""
        waits = sorted(self._waits)
        return waits[min(int(share * len(waits)), len(waits) - 1)] if waits else None


def read_commits(disk: Disk, manifest: Manifest) -> Commits:
    """Read the records of the newest segments. An unreadable segment is left out."""
    found, left = Commits(), _READ_AT_MOST
    firsts = [first for first in Listing.read(disk).segments if first >= manifest.log_start]
    for first in reversed(firsts):
        with contextlib.suppress(FileNotFoundError, EventStoreError, InvalidBytesError):
            data = read_whole(disk, segment_name(first))
            left -= len(data)
            tail = classify_tail(data, SegmentHeader.decode(data))
            for record in () if isinstance(tail, Corrupt) else tail.records:
                times = _decode(array_header(record.events) + data[record.body])
                found.add(record.first_seq, [one.time for one in times])
        if left < 0:
            break
    return found


def commits_section(found: Commits, stats: StoreStats | None) -> Section:
    """Return the charts and tables of the commits."""
    charts, tables = [], []
    if stats is not None and stats.commits:
        charts.append(_latency_chart(stats))
        tables.append(_latency_table(stats))
    where = f"{found.records:,} records of the log, from event {found.first:,} on"
    longest = found.waits.points()
    half, most = found.wait(0.5), found.wait(0.99)
    figures = "" if half is None or most is None else (
        f"Half of {found.waits.count:,} waits are up to {seconds_text(half)}, "
        f"99 % up to {seconds_text(most)}. "
    )  # fmt: skip
    charts.append(
        Chart(
            id="waits",
            title="Commit latency, a lower bound from the log",
            about=f"{figures}Events that share a record were committed together. The first one "
            "waited at least until the last one was appended. Times are by the store's clock. "
            "The log has no duration of a commit itself.",
            unit="s",
            kind="points",
            series=[series("Wait", longest, 1000)] if longest else [],
            empty=""
            if longest
            else f"Nothing waited, as far as the log tells: in the {where}, no record has events "
            "of different times. A running store counts the latency itself: give --stats.",
        )
    )
    sizes = found.sizes.points()
    charts.append(
        Chart(
            id="records",
            title="Events of a commit",
            about=f"From the {where}. {_EARLIER if found.first > 1 else ''}"
            f"The largest commit has {found.most_events:,} events.",
            unit="events",
            kind="points",
            series=[series("Events", sizes, 1000)] if sizes else [],
            empty="" if sizes else "The log has no record: all events are archived, or none is.",
        )
    )
    return Section(id="commits", title="Commits", charts=charts, tables=tables)


def _latency_chart(stats: StoreStats) -> Chart:
    counted = stats.commit_seconds
    return Chart(
        id="latency",
        title="Commit latency, counted by the running store",
        about=f"Write and sync of {stats.commits:,} commits since the store was opened. Each bar "
        "counts the commits up to its bound, and above half of it.",
        unit="commits",
        kind="bars",
        x="bound",
        series=[_bars(counted)],
        empty="" if counted.counts else "The store made no commit yet.",
    )


def _bars(counted: Histogram) -> Series:
    bounds = [round(bound * 1e9) for bound in counted.bounds]
    return Series("Commits", bounds, [float(count) for count in counted.counts])


def _latency_table(stats: StoreStats) -> Table:
    rows = [
        [name, *(f"≤ {seconds_text(one.quantile(share))}" for share in (0.5, 0.99, 1.0))]
        for name, one in (("commit, write and sync", stats.commit_seconds),
                          ("event loop took notice", stats.loop_delay))
        if one.total
    ]  # fmt: skip
    if stats.syncs:
        last = (stats.sync_p50, stats.sync_p99, stats.sync_max)
        rows.append(["fdatasync, half and 99 % of the last 4,096", *map(seconds_text, last)])
    columns = ["Duration", "half", "99 %", "longest"]
    return Table(
        title="Latency of the running store", columns=columns, rows=rows, numbers=columns[1:]
    )


def seconds_text(seconds: float) -> str:
    """Return a duration for people.

    >>> seconds_text(0.00123), seconds_text(12.3456), seconds_text(5e-06)
    ('1.23 ms', '12.3 s', '5 µs')
    """
    for unit, name in _UNITS:
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e9:.0f} ns"
