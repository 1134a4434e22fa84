"""`eventstore backup`: copies of a store, beside a running engine."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from eventstore.command_line.command_declaration import command, registry_option
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.output import Output, time_text
from eventstore.command_line.progress import progress_of_tasks
from eventstore.command_line.registries import registry_or_none
from eventstore.errors import CorruptStoreError, StoreNotFoundError
from eventstore.tools.backup.catalog import Catalog, catalog_facts
from eventstore.tools.backup.copying import Copy
from eventstore.tools.backup.entrance import follow_store, list_copies, make_backup, open_place

__all__ = ["backup", "ended_by_signal"]

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:
    found = _SPAN.fullmatch(value)
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{value!r} is no span of time, such as 10s or 5m")
    return float(found[1]) * _UNITS[found[2]]


@command(
    "backup",
    examples=[
        "eventstore backup engine-state /mnt/backup/day          # again later: only what is new",
        "eventstore backup engine-state day.tar.zst              # one file",
        "eventstore backup engine-state s3://bucket/day --follow --every 10s --keep 100",
        "eventstore backup --list /mnt/backup/day",
    ],
)
@click.argument("paths", nargs=-1, metavar="[PATH] DEST")
@click.option("--list", "listed", is_flag=True, help="List the copies at DEST.")
@click.option("--keep", type=click.IntRange(1), help="Copies that stay.  [default: all]")
@click.option("--follow", is_flag=True, help="Go on until SIGTERM or SIGINT.")
@click.option(
    "--every",
    default="10s",
    show_default=True,
    callback=_seconds,
    help="Span from copy to copy: 10s, 5m. At most its events, and those since the copy under way "
    "began, are lost.",
)
@click.option("--no-fold", is_flag=True, help="Do not fold and compare the state.")
@registry_option
def backup(
    out: Output,
    paths: tuple[str, ...],
    listed: bool,
    keep: int | None,
    follow: bool,
    every: float,
    no_fold: bool,
    registry_name: str | None,
) -> None:
    """Copy the store at PATH to DEST, beside a running engine. Changes nothing in the store.

    DEST is a directory, a file NAME.tar.zst, or the URL of an object store (s3://, gs://, az://,
    with the extra `backup`). Only what is new is written, each object is read back, and the state
    is folded from the copy and compared. A store that does not go on from the newest copy is
    refused.
    """
    if len(paths) != (1 if listed else 2):
        raise click.UsageError("--list takes DEST alone" if listed else "give PATH and DEST")
    if listed:
        _list(out, paths[0])
        return
    path, to = paths
    registry = None if no_fold else registry_or_none(registry_name, "states are not compared")
    if not follow:
        begun = time.perf_counter()
        with progress_of_tasks({"copying": "kB", "packing": "kB"}, "copying") as advance:
            copy = make_backup(path, to, registry, keep=keep, advance=advance)
        _tell(out, to, copy, time.perf_counter() - begun)
        return
    with ended_by_signal() as wait_for_end:
        copies = follow_store(
            Path(path),
            to,
            registry,
            wait_for_end,
            every=every,
            keep=keep,
            tell=lambda error: Output.say(f"Error: {error}. Trying again, every {every:g} s"),
        )
        for copy, seconds in copies:
            _tell(out, to, copy, seconds)
            out.flush()


@contextlib.contextmanager
def ended_by_signal() -> Iterator[Callable[[float], bool]]:
    """Give a function that waits some seconds and returns whether SIGTERM or SIGINT has come.

    The copy under way is finished. A `threading.Event` would not do: the handler runs on the thread
    that waits, also while this thread holds the event's lock.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def take(*_: object) -> None:
        with contextlib.suppress(BlockingIOError):  # full of signals that nobody has read
            os.write(writing, b"\0")

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, take) for number in numbers]
    try:
        yield lambda seconds: bool(select.select([reading], [], [], seconds)[0])
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def _tell(out: Output, to: str, copy: Copy, seconds: float) -> None:
    catalog = copy.catalog
    if out.json:
        out.object(
            {
                "path": to,
                **catalog_facts(catalog),
                "new": copy.new,
                "new_files": copy.written,
                "new_bytes": copy.written_bytes,
                "not_folded": copy.not_folded,
                "not_durable": copy.not_durable,
                "removed": copy.removed,
            }
        )
        return
    removed = f"; {_counted(copy.removed, 'older copy')} removed" if copy.removed else ""
    if not copy.new:
        out.line(f"{to}: nothing new since copy {catalog.number}: {_range(catalog)}{removed}")
    else:
        digest = "no digest" if catalog.digest is None else f"digest {catalog.digest[:16]}…"
        verified = "restoring the state" if copy.not_folded is None else "reading back"
        out.line(
            f"{to}: {_range(catalog)}, {digest}, {_counted(copy.written, 'new file')}, "
            f"{_size(copy.written_bytes)}, verified by {verified}; {max(seconds, 0.0):.1f} s"
            f"{removed}"
        )
    if copy.not_folded is not None:
        Output.say(f"the state was not folded and compared: {copy.not_folded}")
    if copy.not_durable:
        Output.say(
            "not on stable storage yet, and left for the next copy: "
            f"{_counted(copy.not_durable, 'event')}"
        )


def _counted(count: int, noun: str) -> str:
    """Return a number with its noun.

    >>> _counted(1, "new file"), _counted(2, "older copy")
    ('1 new file', '2 older copies')
    """
    if count != 1:
        noun = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun}"


def _list(out: Output, to: str) -> None:
    damaged: dict[int, CorruptStoreError] = {}
    copies = list_copies(open_place(to), damaged.__setitem__)
    if not copies and not damaged:
        raise StoreNotFoundError(f"there is no backup at {to}", path=to, what="backup")
    if out.json:
        told = [{"number": number, "reason": str(error)} for number, error in damaged.items()]
        out.object({"path": to, "copies": [*map(catalog_facts, copies)], "damaged": told})
    else:
        columns = ("copy", "made", "first", "last", "time", "bytes", "digest", "timeline")
        out.rows(columns, map(_cells, copies), ("copy", "first", "last", "bytes", "timeline"))
        for error in damaged.values():
            out.say(f"DAMAGED: {error}")
    if damaged:
        raise click.exceptions.Exit(FINDINGS)


def _cells(one: Catalog) -> tuple[Any, ...]:
    made, last = time_text(one.made // 10**9 * 10**9), one.last_time
    digest = "-" if one.digest is None else one.digest[:16]
    when = "-" if last is None else time_text(last)
    return one.number, made, one.first, one.last, when, one.size, digest, one.timeline


def _range(catalog: Catalog) -> str:
    if catalog.last < catalog.first:
        return f"no events (up to {catalog.last:,})" if catalog.last else "no events"
    return f"events {catalog.first:,} … {catalog.last:,}"


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,} bytes"
