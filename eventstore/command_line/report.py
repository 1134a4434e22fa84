"""`eventstore report`: one HTML page about a store."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click
import msgspec

from eventstore.analysis.report.entrance import WrittenReport, write_report
from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.output import Output, size_text
from eventstore.command_line.progress import progress
from eventstore.command_line.registries import REGISTRY_HINT, load_registry
from eventstore.command_line.state_columns import COLUMNS, NamedColumns
from eventstore.errors import RegistrationError
from eventstore.model.registry import HandlerRegistry
from eventstore.recovery_and_stats import StoreStats

__all__ = ["report"]


class RateType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """The type of an option that takes the rate of a currency: `EUR=1.08`."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Decimal]:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # converted before
        currency, _, number = value.partition("=")
        try:
            rate = Decimal(number)
        except InvalidOperation:
            rate = Decimal("NaN")
        if not currency or not rate.is_finite() or rate <= 0:
            self.fail(f"{value!r} is no rate: give CURRENCY=NUMBER, such as EUR=1.08", param, ctx)
        return currency, rate


@command(
    "report",
    examples=[
        "eventstore report engine-state",
        "eventstore report engine-state monday.html --currency USD --rate EUR=1.08",
        "eventstore report bot-state --registry bot:registry --columns lag=feed.lag,cash",
        "eventstore report engine-state --stats stats.json",
    ],
)
@path_argument
@click.argument(
    "page", required=False, type=click.Path(readable=False, path_type=Path, dir_okay=False)
)
@click.option(
    "-o",
    "--output",
    type=click.Path(readable=False, path_type=Path, dir_okay=False),
    help="The same as PAGE.",
)
@click.option(
    "--columns",
    type=COLUMNS,
    metavar="[NAME=]PLACE,...",
    multiple=True,
    help="Places in the state to draw, as `state` shows them. Repeatable.",
)
@click.option("--currency", help="The currency of the equity.  [default: the base currency]")
@click.option(
    "--rate",
    "rates",
    type=RateType(),
    metavar="CURRENCY=NUMBER",
    multiple=True,
    help="What one unit of another currency is worth. Repeatable.",
)
@click.option(
    "--stats",
    "stats_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Counters of the running store, for commit latencies: store.stats() as JSON.",
)
@registry_option
def report(
    out: Output,
    path: Path,
    page: Path | None,
    output: Path | None,
    columns: tuple[NamedColumns, ...],
    currency: str | None,
    rates: tuple[tuple[str, Decimal], ...],
    stats_file: Path | None,
    registry_name: str | None,
) -> None:
    """Write one HTML page about the store at PATH: equity, positions, profit, fills, events, files.

    PAGE is report.html by default, and replaces an older one. It needs no network and no other
    file, and stays below 2 MB. Every event is read once, without a lock, also beside a live engine.
    Without handlers, the page has all that needs no state. Changes nothing in the store.

    Exits with status 1 if damage ended the reading. The page then tells where.
    """
    if page is not None and output is not None:
        raise click.UsageError("--output is the same as PAGE: give one of both")
    registry, strict = _handlers(registry_name), registry_name is not None
    stats = None if stats_file is None else _stats(stats_file)
    with progress("reading") as advance:
        written = write_report(
            path,
            page or output or Path("report.html"),
            registry,
            columns=dict(pair for some in columns for pair in some),
            currency=currency,
            rates=dict(rates),
            stats=stats,
            strict=strict,
            advance=advance,
        )
    if out.json:
        out.object(msgspec.structs.asdict(written))
    else:
        _tell(out, written)
    if written.unfolded and not out.json:
        out.say(f"The page has no curves of the state behind event {written.folded:,}: "
                f"{written.unfolded}. Perhaps {REGISTRY_HINT}")  # fmt: skip
    if written.damage:
        if not out.json:
            out.say(f"Damage behind event {written.last:,}: {written.damage}")
        raise click.exceptions.Exit(FINDINGS)


def _handlers(name: str | None) -> HandlerRegistry[Any] | None:
    """Return the registry. Installed plugins that make no registry are left out."""
    if name is not None:
        return load_registry(name)
    try:
        return load_registry(None)
    except RegistrationError as error:
        Output.say(f"The page has no curves of the state: {error}")
        return None


def _stats(file: Path) -> StoreStats:
    try:
        return msgspec.json.decode(file.read_bytes(), type=StoreStats)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(
            f"{file} is not the JSON of store.stats(): {error}; write it with "
            "msgspec.json.encode(store.stats())",
            param_hint="'--stats'",
        ) from error


def _tell(out: Output, written: WrittenReport) -> None:
    if out.terminal:
        out.line(f"{written.output}: {size_text(written.size)}, {written.events:,} events", "bold")
    else:
        out.facts([("output", written.output), ("bytes", written.size), ("events", written.events)])
    out.facts([("charts", ", ".join(written.charts))])
