"""`eventstore export`: the events as files for analysts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from eventstore.analysis.export_settings import DECIMALS, FORMATS, ExportSettings
from eventstore.analysis.exporting import SUMMARY, Exported, export_store
from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.exits import FINDINGS, NOT_FOUND
from eventstore.command_line.moments import MOMENT, NamedMoment
from eventstore.command_line.output import Output, error_object, size_text
from eventstore.command_line.progress import progress
from eventstore.command_line.registries import load_registry
from eventstore.command_line.selecting import CONDITION, settle_range
from eventstore.errors import RegistrationError, UnknownOperationError
from eventstore.model.registry import HandlerRegistry
from eventstore.tools.selection import Condition

__all__ = ["export"]


@command(
    "export",
    examples=[
        "eventstore export engine-state out",
        "eventstore export engine-state trades.parquet --op record_trade",
        "eventstore export engine-state out --format csv --from 2026-03-02T00:00:00Z",
        "eventstore export engine-state events.jsonl --op all --format jsonl",
        "eventstore export engine-state out --append           # again later: only what is new",
        "eventstore export engine-state out --partition day --where symbol=BTC-USDT",
    ],
)
@path_argument
@click.argument("to", type=click.Path(readable=False, path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="Of the files.  [default: parquet]"
)
@click.option("--from", "--start", "start", type=MOMENT, help="First event.")
@click.option("--to", "last", type=MOMENT, help="Last event.")
@click.option("--stop", type=MOMENT, help="The event to stop before.")
@click.option(
    "--op",
    "operations",
    multiple=True,
    metavar="NAME",
    help="Only this operation. `all` is one table of all events, with JSON payloads.",
)
@click.option("--key", help="Only events with this key.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    type=CONDITION,
    metavar="FIELD=VALUE",
    help="Only where a field of the payload is VALUE. Also != < <= > >= and ~.",
)
@click.option(
    "--decimals",
    type=click.Choice(DECIMALS),
    help="How decimals are kept. `float` rounds.  [default: decimal128]",
)
@click.option("--partition", type=click.Choice(["day"]), help="A folder for each day (UTC).")
@click.option("--append", is_flag=True, help="Go on behind the last event of the export.")
@click.option("--skip-damage", is_flag=True, help="Go on behind damage, and name each gap.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    help="Processes. The files are the same for any number.  [default: as many as are worth it]",
)
@registry_option
def export(
    out: Output,
    path: Path,
    to: Path,
    form: str | None,
    start: NamedMoment | None,
    last: NamedMoment | None,
    stop: NamedMoment | None,
    operations: tuple[str, ...],
    key: str | None,
    conditions: tuple[Condition, ...],
    decimals: str | None,
    partition: str | None,
    append: bool,
    skip_damage: bool,
    jobs: int | None,
    registry_name: str | None,
) -> None:
    """Export the store at PATH to TO, beside a running engine. Changes nothing in the store.

    TO becomes a directory with a file for each operation, and `_export.json`, which says what they
    hold. With one --op, TO becomes that file. The columns are seq, time, key, and the fields of the
    newest payload. Without the handlers' plugin the columns are found from the data.

    --append makes files of the new events in the directory, and begins the directory the first
    time. Files appear under their names when they are whole.

    Exits with status 1 if damage was met, and 4 for an operation that does not exist.
    """
    first, end = settle_range(path, start, last, stop)
    given = {"format": form, "decimals": decimals, "partition": partition}
    settings = ExportSettings(
        operations=operations,
        key=key,
        where=tuple(f"{one.field}{one.operator}{one.value}" for one in conditions),
        **{name: value for name, value in given.items() if value is not None},
    )
    if append and start is not None:
        raise click.UsageError("--append goes on behind the last event: leave out --from")
    try:
        with progress("exporting") as advance:
            found = export_store(
                path,
                to,
                _handlers(registry_name),
                settings=settings,
                start=first,
                stop=end,
                skip_damage=skip_damage,
                append=append,
                jobs=jobs,
                advance=advance,
            )
    except UnknownOperationError as error:
        if error.seq is not None:  # of the log: not the one that was asked for
            raise
        out.object(error_object(error)) if out.json else out.say(f"Error: {error}")
        raise click.exceptions.Exit(NOT_FOUND) from error
    _tell(out, path, to, found)
    for gap in found.gaps:
        out.say(f"events {gap.first} … {gap.last or ''} cannot be read: {gap.reason}")
    if found.gaps:
        raise click.exceptions.Exit(FINDINGS)


def _handlers(name: str | None) -> HandlerRegistry[Any]:
    """Return the handlers. Plugins that make no registry together are left out, with a word."""
    if name is not None:
        return load_registry(name)
    try:
        return load_registry(None)
    except RegistrationError as error:
        Output.say(f"columns are found from the data: {error}")
        return HandlerRegistry()


def _tell(out: Output, path: Path, to: Path, found: Exported) -> None:
    folder = to if to.is_dir() else to.parent
    sizes = {
        name: (folder / name).stat().st_size
        for table in found.tables.values()
        for name in table.files
    }
    if out.json:
        facts = msgspec.to_builtins(found)
        facts["tables"] = [
            {
                "name": name,
                **facts["tables"][name],
                "files": [{"name": one, "bytes": sizes[one]} for one in table.files],
            }
            for name, table in found.tables.items()
        ]
        out.object({**facts, "schema": "eventstore.export/1", "path": str(path), "to": str(to)})
        return
    out.rows(
        ("file", "rows", "size", "columns"),
        [
            (
                ", ".join(table.files) if len(table.files) < 3 else f"{len(table.files)} files",
                f"{table.rows:,}" if out.terminal else table.rows,
                size_text(sum(sizes[one] for one in table.files))
                if out.terminal
                else sum(sizes[one] for one in table.files),
                " ".join(table.columns),
            )
            for table in found.tables.values()
        ],
        right=("rows", "size"),
    )
    place = SUMMARY if to.is_dir() else to.name
    events = (
        f"events {found.first:,} … {found.last:,}" if found.last >= found.first else "no events"
    )
    Output.say(f"{place}: {events} of {found.store}, timeline {found.timeline_number}")
