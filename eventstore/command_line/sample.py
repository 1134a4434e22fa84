"""`eventstore sample`: values of the state at regular steps, for curves."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from eventstore.analysis.samples import Samples
from eventstore.analysis.sampling import sample as sample_states
from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.folding import analysing
from eventstore.command_line.moments import MOMENT, NamedMoment, moment_for
from eventstore.command_line.output import Output, cell_text, time_text
from eventstore.command_line.registries import load_registry
from eventstore.command_line.state_columns import COLUMNS, NamedColumns
from eventstore.os_errors import write_error
from eventstore.tools.plain_state import plain_state

__all__ = ["sample"]


@command(
    "sample",
    examples=[
        "eventstore sample engine-state --every 1h --columns cash",
        "eventstore sample engine-state --every 1000 --columns \"cash,btc=marks['BTC'].price\"",
        "eventstore sample engine-state --every 1m --columns cash --format csv > curve.csv",
        "eventstore sample engine-state --every 1m --columns cash --out curve.parquet",
        "eventstore sample engine-state --every 1h --columns cash --compare bot:next_registry",
    ],
)
@path_argument
@click.option("--every", required=True, metavar="SPAN|N", help="1h, 15m, 500ms, or N events.")
@click.option(
    "--columns",
    "columns",
    required=True,
    multiple=True,
    type=COLUMNS,
    metavar="[NAME=]PLACE,...",
    help="Places in the state, as `state` shows them.",
)
@click.option("--from", "start", type=MOMENT, help="The first event or time.")
@click.option("--stop", type=MOMENT, help="The event or time to stop before.")
@click.option("--compare", metavar="MODULE:NAME", help="Other handlers, side by side.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "parquet"]), help="In place of a table."
)
@click.option(
    "--out",
    "file",
    type=click.Path(readable=False, path_type=Path, dir_okay=False),
    help="A new file.",
)
@registry_option
def sample(
    out: Output,
    path: Path,
    every: str,
    columns: tuple[NamedColumns, ...],
    start: NamedMoment | None,
    stop: NamedMoment | None,
    compare: str | None,
    form: str | None,
    file: Path | None,
    registry_name: str | None,
) -> None:
    """Sample the state at regular steps: the state at or before each step. Changes nothing.

    Steps of a time are whole multiples in UTC, and the last row is the last event. A value that is
    not there yet is empty. With --compare, each column comes twice, and the first event after which
    the two differ is told.
    """
    if form is None and file is not None:
        form = "parquet" if file.suffix == ".parquet" else "csv"
    _check(out, form, file)
    named = dict(pair for some in columns for pair in some)
    with analysing(path, registry_name) as (registry, advance):
        found = sample_states(
            path,
            registry,
            every,
            named,
            start=moment_for(path, start) or 1,
            stop=moment_for(path, stop),
            compare=None if compare is None else load_registry(compare),
            advance=advance,
        )
    if file is not None:
        _write(found, str(form), file)
        out.say(f"{len(found.rows):,} rows in {file}")
    elif out.json:
        out.object(_object(path, every, found))
    elif form == "csv":
        _write_csv(found, sys.stdout)
    else:
        out.rows(found.columns, _shown(found, " " if out.terminal else "T"), found.columns[1:])
    if compare is not None and not out.json:
        parted = "in no event" if found.parted is None else f"from event {found.parted:,} on"
        out.say(f"the columns differ {parted}")


def _check(out: Output, form: str | None, file: Path | None) -> None:
    if form is not None and out.json:
        raise click.UsageError("--json and --format exclude each other")
    if form == "parquet" and file is None:
        raise click.UsageError("--format parquet needs --out FILE")
    if file is not None and file.exists():
        raise click.UsageError(f"{file} is there already: give another --out")


def _shown(found: Samples, separator: str) -> Iterator[list[Any]]:
    for time, seq, *values in found.rows:
        cells = ["" if value is None else cell_text(plain_state(value)) for value in values]
        yield [time_text(time, separator), "" if seq is None else seq, *cells]


def _write_csv(found: Samples, stream: IO[str]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(found.columns)
    writer.writerows(_shown(found, "T"))


def _write(found: Samples, form: str, file: Path) -> None:
    """Write a file under another name first, so that the name stands for a whole file."""
    part = file.with_name(f".{file.name}.{os.getpid()}.unfinished")
    try:
        if form == "csv":
            with part.open("w", encoding="utf-8", newline="") as stream:
                _write_csv(found, stream)
        else:
            _write_parquet(found, part)
        os.replace(part, file)
    except OSError as error:
        raise write_error(error, str(file)) from error
    finally:
        part.unlink(missing_ok=True)


def _write_parquet(found: Samples, file: Path) -> None:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        message = f"Parquet needs {error.name}: pip install 'asyncio-eventstore[analysis]'"
        raise click.UsageError(message) from error
    parquet.write_table(found.to_arrow(), file)


def _object(path: Path, every: str, found: Samples) -> dict[str, Any]:
    return {
        "path": str(path),
        "every": every,
        "columns": found.columns,
        "rows": [[time, seq, *map(plain_state, values)] for time, seq, *values in found.rows],
        "parted": found.parted,
    }
