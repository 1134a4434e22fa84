"""`eventstore events`, which has the other name `dump`: the events of a store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec

from eventstore.command_line.command_declaration import command, path_argument
from eventstore.command_line.exits import FINDINGS, NOT_FOUND
from eventstore.command_line.moments import MOMENT, NamedMoment, parse_moment, settle_moment
from eventstore.command_line.output import Output, json_text, name_text, time_text, value_text
from eventstore.command_line.progress import progress_of_tasks
from eventstore.command_line.selecting import CONDITION, settle_range
from eventstore.cursor import Cursor
from eventstore.disk.base import Disk
from eventstore.disk.listing import list_snapshots
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import EventStoreError
from eventstore.following import follow_sync
from eventstore.model.codec import EventCodec
from eventstore.model.operation import OPERATION_FIELD, Event
from eventstore.os_errors import translating_read_errors
from eventstore.reading.replay import recorded_batches
from eventstore.recovery_and_stats import printable
from eventstore.tools.events_around_damage import Gap
from eventstore.tools.intents import open_events
from eventstore.tools.log_end import last_event_of
from eventstore.tools.selection import (
    Condition,
    Selection,
    number_of,
    select_events,
    selected_numbers,
)

__all__ = ["dump", "event_members", "events", "fields_text", "recorded_event"]

AROUND = 5
"""Events shown before and after the event of `--around`, by default."""
_MEASURED = 200  # events, from which the widths of columns are taken


@command(
    "events",
    examples=[
        "eventstore events engine-state --tail 20",
        "eventstore events engine-state --around 4372,1",
        "eventstore events engine-state --from 2026-03-02T19:00:00Z --to 2026-03-02T20:00:00Z",
        "eventstore events engine-state --from -15m --op record_trade",
        "eventstore events engine-state --where symbol=BTC-USDT --where 'price>64000'",
        "eventstore events engine-state --key binance:4371",
        "eventstore events engine-state --follow --json | jq .data",
        "eventstore events engine-state --skip-damage",
    ],
)
@path_argument
@click.option("--from", "--start", "start", type=MOMENT, help="First event.")
@click.option("--to", type=MOMENT, help="Last event.")
@click.option("--stop", type=MOMENT, help="The event to stop before.")
@click.option("--tail", type=click.IntRange(1), help="Only the last N of them.")
@click.option(
    "--around", metavar="MOMENT[,K]", help=f"K events before and after one.  [default K: {AROUND}]"
)
@click.option("--reverse", is_flag=True, help="The last event first.")
@click.option("--limit", type=click.IntRange(1), help="At most N events.")
@click.option("--op", "operations", multiple=True, metavar="NAME", help="Only this operation.")
@click.option("--key", help="Only events with this key.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    type=CONDITION,
    metavar="FIELD=VALUE",
    help="Only where a field of the payload is VALUE. Also != < <= > >= and ~ (a regular "
    "expression).",
)
@click.option("--open", "only_open", is_flag=True, help="Only intents that are open.")
@click.option("--follow", "following", is_flag=True, help="Then wait for new events.")
@click.option("--skip-damage", is_flag=True, help="Go on behind damage, and name each gap.")
def events(
    out: Output,
    path: Path,
    start: NamedMoment | None,
    to: NamedMoment | None,
    stop: NamedMoment | None,
    around: str | None,
    only_open: bool,
    following: bool,
    conditions: tuple[Condition, ...],
    **asked: Any,
) -> None:
    """Print the events of the store at PATH. Needs no handler and changes nothing.

    A MOMENT is a number (4371), a time with an offset (2026-03-02T19:21:20Z), a span back from the
    last event (-15m), or a cursor. A cursor stands behind the cursor's event.

    Fields that are null or empty text are left out, but for JSON, which has everything.

    Exits with status 1 if damage was met, and 4 for a key or a place without an event.
    """
    _check_together(start, to, stop, around, following, **asked)
    if only_open and (following or any((start, to, stop, around))):
        raise click.UsageError("--open lists every open intent: leave out --from, --to, --follow")
    disk = LocalDisk(path, read_only=True)
    try:
        first, end = settle_range(path, start, to, stop)
        if around is not None:
            first, end = _around(disk, path, around)
        wanted = Selection(
            start=first,
            stop=end,
            conditions=conditions,
            **asked,
        )
        begun_at = last_event_of(disk) if following else None
        with progress_of_tasks() as shown:
            one = wanted.key is not None or around is not None
            printer = _Printer(out, shown.hide, one=one)
            if only_open:
                printer.print(_open_intents(disk, wanted, shown))
            else:
                printer.print(select_events(disk, wanted, _counting(disk, wanted, shown)))
    finally:
        disk.close()
    if following:
        out.flush()
        after = printer.last_seq or (0 if begun_at is None else begun_at.seq)
        for event in follow_sync(path, after=after):
            if wanted.keeps(event):
                printer.print([event])
                out.flush()
    if printer.gaps:
        raise click.exceptions.Exit(FINDINGS)
    if (wanted.key is not None or around is not None) and not printer.count:
        named = f"around {around}" if wanted.key is None else f"with the key {wanted.key!r}"
        out.say(f"there is no event {named}")
        raise click.exceptions.Exit(NOT_FOUND)


def _check_together(
    start: Any, to: Any, stop: Any, around: Any, following: bool, **asked: Any
) -> None:
    if around is not None and (start is not None or to is not None or stop is not None):
        raise click.UsageError("--around says from where to where: leave out --from, --to, --stop")
    if following and (asked["reverse"] or to is not None or stop is not None or around is not None):
        raise click.UsageError("--follow goes on to the newest event: leave out --to and --reverse")


def _around(disk: Disk, path: Path, around: str) -> tuple[int, int]:
    text, comma, count = around.rpartition(",")
    if not comma:
        text, count = around, str(AROUND)
    try:
        if not count.isdecimal():
            raise ValueError(f"{printable(count)!r} is no number of events")
        middle = settle_moment(path, parse_moment(text))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--around'") from error
    seq = number_of(disk, middle) - isinstance(middle, Cursor)
    return max(seq - int(count), load_manifest(disk).history_start), seq + int(count) + 1


def _counting(
    disk: Disk, wanted: Selection, advance: Callable[[str, int, int | None], None]
) -> Callable[[int], None]:
    """Return a function to be told of more events that were looked at, of those asked for."""
    done, total = 0, None
    with contextlib.suppress(EventStoreError):  # the reading tells of it
        start, stop = selected_numbers(disk, wanted)
        last = last_event_of(disk)
        total = 0 if last is None else max(min(stop, last.seq + 1) - start, 0)

    def looked_at(count: int) -> None:
        nonlocal done
        done += count
        advance("reading", done, total)

    return looked_at


def _open_intents(
    disk: Disk, wanted: Selection, advance: Callable[[str, int, int | None], None]
) -> Iterator[Event[Any]]:
    with translating_read_errors(disk.path):
        snapshots = list_snapshots(disk)
        behind = msgspec.structs.replace(wanted, start=max(snapshots, default=0) + 1)
        told = _counting(disk, behind, advance)
        opened = open_events(disk, load_manifest(disk), snapshots, told)
    return (event for _, event in opened if wanted.keeps(event))


class _Printer:
    """Prints events one after the other: as JSON, as rows of a pipe, or aligned on a terminal.

    `one` says that a certain event is asked for. Where there is none, no header is printed either.
    `hide` takes the progress away before a line.
    """

    def __init__(self, out: Output, hide: Callable[[], None], *, one: bool = False) -> None:
        self._one = one
        self._hide = hide
        self.count = self.gaps = self.last_seq = 0
        self._out = out
        self._widths: tuple[int, ...] = ()

    def print(self, found: Iterable[Event[Any] | Gap]) -> None:
        parts: Iterator[Event[Any] | Gap] = iter(found)
        if not self._widths:
            begin = list(islice(parts, 1))
            if self._out.terminal:
                begin += islice(parts, _MEASURED)
            if not begin and self._one:
                return
            self._begin(begin)
            self._each(begin)
        self._each(parts)

    def _begin(self, begin: list[Event[Any] | Gap]) -> None:
        rows = [_columns(one) for one in begin if isinstance(one, Event)]
        headings = ("seq", "time (UTC)", "operation", "key")
        self._widths = tuple(
            max((len(row[place]) for row in rows), default=0) for place in range(4)
        )
        if self._out.terminal:
            widths = map(max, self._widths, map(len, headings))
            self._widths = tuple(widths)
            self._out.line(self._aligned(headings, ""), "bold")
        elif not self._out.json:
            self._out.write("seq\ttime\toperation\tkey\tdata")

    def _aligned(self, cells: tuple[str, ...], fields: str) -> str:
        seq, *rest = self._widths
        padded = (f"{cell:<{width}}" for cell, width in zip(cells[1:], rest, strict=True))
        return "  ".join([f"{cells[0]:>{seq}}", *padded, fields]).rstrip()

    def _each(self, parts: Iterable[Event[Any] | Gap]) -> None:
        out = self._out
        for part in parts:
            self._hide()
            if isinstance(part, Gap):
                self.gaps += 1
                self._gap(part)
                continue
            self.count += 1
            self.last_seq = part.seq
            if out.json:
                out.write(json_text({**event_members(part), "schema": "eventstore.events/1"}))
            elif out.terminal:
                out.line(self._aligned(_columns(part), fields_text(part)))
            else:
                fields = event_members(part)
                key = "" if part.key is None else part.key
                operation = fields["operation"] or ""  # a value of an EventLog has none
                row = (part.seq, time_text(part.time), operation, key, fields_text(part))
                out.write("\t".join(printable(str(cell)) for cell in row))

    def _gap(self, gap: Gap) -> None:
        out, last = self._out, "" if gap.last is None else gap.last
        if out.json:
            about = {"first": gap.first, "last": gap.last, "path": gap.path, "reason": gap.reason}
            out.write(json_text({"gap": about, "schema": "eventstore.events/1"}))
        elif out.terminal:
            shown = f"{gap.first:,} … {last:,}" if gap.last is not None else f"{gap.first:,} …"
            out.line(f"{shown} cannot be read: {gap.path}", "red")
        else:
            out.write(f"{gap.first}\t\tgap\t\tlast={last} path={printable(gap.path)}")
        out.say(f"events {gap.first} … {last} cannot be read: {gap.reason}")


def _columns(event: Event[Any]) -> tuple[str, str, str, str]:
    """Return the first four columns of a terminal's table."""
    key = "" if event.key is None else event.key
    time = time_text(event.time, " ").removesuffix("Z")
    cells = (f"{event.seq:,}", time, name_text(event_members(event)["operation"] or ""), key)
    return cells[0], cells[1], printable(cells[2]), printable(cells[3])


def recorded_event(path: Path, seq: int) -> Event[Any] | None:
    """Return an event as recorded, `None` for one that is not in the store any more."""
    disk = LocalDisk(path, read_only=True)
    try:
        return next(iter(next(iter(recorded_batches(disk, EventCodec(), seq, seq + 1)), ())), None)
    finally:
        disk.close()


def event_members(event: Event[Any]) -> dict[str, Any]:
    """Return the members of an event that was read without handlers."""
    data = dict(event.data) if isinstance(event.data, dict) else {"": event.data}
    operation = data.pop(OPERATION_FIELD, None)
    return {
        "seq": event.seq,
        "time": event.time,
        "operation": operation,
        "data": data,
        "key": event.key,
        "metadata": event.metadata,
    }


def fields_text(event: Event[Any]) -> str:
    """Return the payload's fields and any metadata for people. Empty fields are left out."""
    data = event_members(event)["data"]
    shown = {name: value for name, value in data.items() if value is not None and value != ""}
    parts = [f"{name_text(name)}={value_text(value)}" for name, value in shown.items()]
    if event.metadata:
        parts.append(f"metadata={event.metadata!r}")
    return " ".join(parts)


dump = click.Command(
    "dump",
    callback=events.callback,
    params=events.params,
    help="Another name of `events`.",
    epilog=events.epilog,
)
