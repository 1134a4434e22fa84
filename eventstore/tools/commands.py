"""The commands behind `eventstore`. The commands need click and rich (the `cli` extra).

Reading commands never change a store: they take no lock and repair nothing. A typed error is one
message on standard error and exit status 1. So is an output that cannot be written. Wrong usage is
exit status 2, as click has it.

Text from files (names, keys, operations, messages with any of them) passes `printable`: a control
character is shown, and no terminal executes it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eventstore.clock import to_datetime
from eventstore.cursor import Cursor
from eventstore.demo.report import Screen, show_result
from eventstore.demo.run import DemoOptions
from eventstore.demo.run import run as run_demo
from eventstore.errors import ConfigError, EventStoreError
from eventstore.history import read_events
from eventstore.model.conversion import encode_hook
from eventstore.model.operation import OPERATION_FIELD
from eventstore.model.registry import HandlerRegistry
from eventstore.report import printable
from eventstore.tools.intents import OpenIntent
from eventstore.tools.overview import Damage, Overview, SegmentFacts, overview
from eventstore.tools.verify import Divergence, Verification
from eventstore.tools.verify import verify as verify_store

__all__ = ["commands"]

MOST_INTENTS = 5
"""The limit of open intents that `info` names."""

MOST_DIFFERENCES = 10
"""The limit of differences that are shown for a state folded again."""

P = ParamSpec("P")
R = TypeVar("R")


def _told_plainly(function: Callable[P, R]) -> Callable[P, R]:
    """Turn a typed error into one message and exit status 1."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except EventStoreError as error:
            raise click.ClickException(printable(str(error))) from error

    return wrapper


def _console() -> Console:
    """Return standard output. Output to a file or pipe is wide and without control codes."""
    if sys.stdout.isatty():
        return Console()
    return Console(file=sys.stdout, force_terminal=False, no_color=True, width=120)


@click.group()
@click.version_option(version("asyncio-eventstore"), prog_name="eventstore")
def commands() -> None:
    """An embedded event store for a trading engine's state."""


@commands.command()
@click.option(
    "--tape",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Another tape: CSV or CSV in gzip.  [default: the one shipped]",
)
@click.option("--kills", type=click.IntRange(0, 1000), default=5, show_default=True)
@click.option("--seed", type=int, help="What the moments of the kills are drawn from.")
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    help="The store's directory, which is kept.  [default: a temporary one]",
)
@click.option("--keep", is_flag=True, help="Keep a temporary store.")
@_told_plainly
def demo(tape: Path | None, kills: int, seed: int | None, store: Path | None, keep: bool) -> None:
    """Kill a trading loop on real trades, again and again, and see that nothing is lost.

    Exits with status 1 if anything differs from an independent ledger.
    """
    console = _console()
    given = {"tape": tape, "seed": seed, "store": store}
    chosen = {name: value for name, value in given.items() if value is not None}
    options = DemoOptions(kills=kills, keep=keep, **chosen)  # type: ignore[arg-type]  # mixed types
    with Screen(console) as screen:
        result = run_demo(options, screen)
    show_result(console, result)
    if not result.verification.passed:
        raise click.exceptions.Exit(1)


@commands.command()
@click.argument("path", type=click.Path(path_type=Path))
@_told_plainly
def info(path: Path) -> None:
    """Show what is in the store at PATH: segments, snapshots, archive. Changes nothing.

    Exits with status 1 if a segment or an archive is damaged, missing or a stray copy.
    """
    found = overview(path)
    console = _console()
    for line in _facts(found):
        console.print(escape(printable(line)), highlight=False, soft_wrap=True)
    if found.segments:
        console.print(_segments(found.segments))
    for title, files in (
        ("snapshots", found.snapshots),
        ("archive", found.archives),
        ("quarantine", found.quarantine),
    ):
        for file in files:
            where = "" if file.seq is None else f"  event {file.seq:,}"
            name = printable(file.name.partition("/")[2])
            console.print(
                escape(f"{title}: {name}  {file.size:,} bytes{where}"),
                highlight=False,
                soft_wrap=True,
            )
    for name in found.unknown:
        line = f"unknown: {printable(name)}  none of the store's files, and left alone"
        console.print(escape(line), highlight=False, soft_wrap=True)
    _tell_damage(found.faults, path, found.manifest.history_start, found.intact_up_to)
    if found.faults:
        raise click.exceptions.Exit(1)


def _tell_damage(
    faults: Sequence[Damage], path: Path, first: int, intact_up_to: int | None
) -> None:
    """Name every fault, and say what can be read in spite of it, on standard error."""
    for damage in faults:
        click.echo(printable(f"DAMAGED: {damage.name}: {damage.reason}"), err=True)
    if intact_up_to is not None and intact_up_to > first:
        begin = f" --start {first}" if first > 1 else ""
        command = f"eventstore dump {shlex.quote(str(path))}{begin} --stop {intact_up_to}"
        line = f"Every event before {intact_up_to} can be read: {command}"
        click.echo(printable(line), err=True)


@commands.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--no-refold", is_flag=True, help="Check the bytes only; needs no handler.")
@_told_plainly
def verify(path: Path, no_refold: bool) -> None:
    """Check every byte of the store at PATH, and fold its history again. Changes nothing.

    The state's digest is compared at every snapshot, with the handlers installed here. Exits with
    status 1 if anything is damaged or differs.
    """
    found = verify_store(path, None if no_refold else HandlerRegistry.discover())
    for line in _verified(found):
        click.echo(printable(line))
    _tell_damage(found.damage, path, found.first_seq, found.intact_up_to)
    if found.refolded is not None and found.refolded.refusal is not None:
        click.echo(printable(f"NOT FOLDED: {found.refolded.refusal}"), err=True)
    if found.divergence is not None:
        for line in _divergence(found.divergence):
            click.echo(printable(line), err=True)
    if not found.passed:
        raise click.exceptions.Exit(1)


def _verified(found: Verification) -> Iterator[str]:
    """Yield the checked parts of a store, one fact a line."""
    events = f"events {found.first_seq:,} to {found.last_seq:,}"
    yield (
        f"{found.path}: {events if found.last_seq >= found.first_seq else 'no events'} checked in "
        f"{found.segments} segments, {found.archives} archives, {found.snapshots} snapshots"
    )
    folded = found.refolded
    if folded is None:
        yield "not folded again"
        return
    begun = f"event {folded.begun_at:,}" if folded.begun_at else "the beginning"
    yield f"folded again from {begun}: {len(folded.agreeing)} snapshots agree"
    for reason in folded.passed_over:
        yield f"not compared: {reason}"


def _divergence(divergence: Divergence) -> Iterator[str]:
    """Yield a difference and the responsible event, line by line."""
    yield (
        f"DIFFERS: the snapshot of event {divergence.differs_at:,} is not the state folded again; "
        f"up to event {divergence.agrees_at:,} they agree"
    )
    if divergence.seq is not None:
        sure = "they part at" if divergence.exact else "they part, as far as can be inferred, at"
        yield f"{sure} event {divergence.seq:,}, {divergence.operation}, by {divergence.handler}"
    yield divergence.explanation
    for difference in divergence.differences[:MOST_DIFFERENCES]:
        yield f"  {difference.path}: {difference.one!r} then, {difference.other!r} now"
    left = len(divergence.differences) - MOST_DIFFERENCES
    if left > 0:
        yield f"  and {left:,} more"


def _facts(found: Overview) -> list[str]:
    manifest = found.manifest
    lines = [
        f"{found.path}: store {manifest.store}, format {manifest.format}, "
        f"timeline {manifest.timelines[-1].number}",
        f"created {found.created}, {found.size:,} bytes",
        f"events {manifest.history_start:,} to {found.last_seq:,}"
        if found.last_seq >= manifest.history_start
        else "no events"
        if manifest.logged
        else "no log (use_wal=False): snapshots of the state, and no events",
    ]
    if found.writer is not None:
        lines.append(f"a writer is, or was when it ended, process {found.writer}")
    lines += _open_intents(found.intents)
    torn = sum(segment.torn_bytes for segment in found.segments)
    if torn:
        unless = "" if found.writer is None else ", unless a writer is writing them now"
        lines.append(f"{torn:,} torn bytes wait to be set aside by the next writer{unless}")
    return lines


def _open_intents(intents: tuple[OpenIntent, ...] | None) -> Iterator[str]:
    """Yield a line about the open intents, where there are any or nobody knows."""
    if intents is None:
        yield "open intents: not known, because events cannot be read"
    elif intents:
        shown = [f"{one.operation} {one.id}, event {one.seq:,}" for one in intents[:MOST_INTENTS]]
        if len(intents) > MOST_INTENTS:
            shown.append(f"and {len(intents) - MOST_INTENTS:,} more")
        yield f"open intents: {len(intents):,}: {'; '.join(shown)}"


def _segments(segments: tuple[SegmentFacts, ...]) -> Table:
    table = Table(title="Segments of the log", title_justify="left")
    table.add_column("segment", no_wrap=True)
    for heading in ("events", "records", "used", "bytes", "torn"):
        table.add_column(heading, justify="right")
    table.add_column("sealed")
    for one in segments:
        table.add_row(
            one.name.partition("/")[2],
            f"{one.first_seq:,} to {one.last_seq:,}" if one.last_seq >= one.first_seq else "none",
            f"{one.records:,}",
            f"{one.used:,}",
            f"{one.size:,}",
            f"{one.torn_bytes:,}" if one.torn_bytes else "-",
            "DAMAGED" if one.damage else one.sealed or "no",
        )
    return table


@commands.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--start", default="1", show_default=True, help="First event, or a cursor.")
@click.option("--stop", help="The event to stop before, or a cursor.  [default: none]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_told_plainly
def dump(path: Path, start: str, stop: str | None, as_json: bool) -> None:
    """Print the events of the store at PATH. Needs no handler and changes nothing.

    A cursor stands behind the cursor's event: as a start, the next event is the first, and as a
    stop, the cursor's event is the last.
    """
    first, end = _place(start, "start"), None if stop is None else _place(stop, "stop")
    for event in read_events(path, start=first, stop=end):
        data = dict(event.data) if isinstance(event.data, dict) else {"": event.data}
        operation = data.pop(OPERATION_FIELD, None)
        fields: dict[str, Any] = {
            "seq": event.seq,
            "time": event.time,
            "operation": operation,
            "data": data,
            "key": event.key,
            "metadata": event.metadata,
        }
        if as_json:
            click.echo(_json(fields))
        else:
            click.echo(_line(fields))


def _place(text: str, option: str) -> int | Cursor:
    """Read the number of an event, or a cursor. Any other text is wrong usage."""
    if "." in text:
        with contextlib.suppress(ConfigError):
            return Cursor.parse(text)
    elif text.isascii() and text.isdecimal() and int(text):
        return int(text)
    raise click.BadParameter(
        f"{printable(text)!r} is neither the number of an event nor a cursor",
        param_hint=f"'--{option}'",
    )


def _line(fields: dict[str, Any]) -> str:
    """Return one event for people: number, time, operation, fields, and any key and metadata."""
    parts = [
        f"{fields['seq']:>8}",
        _time(fields["time"]),
        _name(fields["operation"]),
        *(f"{_name(name)}={value!r}" for name, value in fields["data"].items()),
    ]
    if fields["key"] is not None:
        parts.append(f"key={fields['key']!r}")
    if fields["metadata"]:
        parts.append(f"metadata={fields['metadata']!r}")
    return printable("  ".join(parts[:3]) + "  " + " ".join(parts[3:]))


def _time(nanoseconds: int) -> str:
    try:
        return to_datetime(nanoseconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (OverflowError, ValueError):  # no year of a calendar
        return f"{nanoseconds} ns"


def _name(name: Any) -> str:
    """A name as it is, quoted where it could be taken for something else in the line."""
    text = str(name)
    return repr(text) if any(char.isspace() or char in "='\"" for char in text) else text


def _json(fields: dict[str, Any]) -> str:
    """One event as JSON. A character that a terminal acts on is escaped, as JSON permits."""
    text = msgspec.json.encode(fields, enc_hook=_plain).decode()
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: the `repr` for a type unknown to JSON."""
    try:
        return encode_hook(value)
    except NotImplementedError:
        return repr(value)
