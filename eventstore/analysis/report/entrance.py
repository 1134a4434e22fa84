"""The entrance to reports: `write_report`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from eventstore.analysis.report.gather import gather
from eventstore.analysis.report.page import render
from eventstore.analysis.report.report_contents import report_contents
from eventstore.analysis.report.state_curves import ColumnCurve
from eventstore.analysis.state_columns import Column, named_columns
from eventstore.arguments import (
    argument_error,
    checked_flag,
    checked_function,
    checked_path,
    checked_text,
)
from eventstore.clock import SystemClock
from eventstore.model.registry import HandlerRegistry
from eventstore.model.user_code import in_fold_context
from eventstore.os_errors import write_error
from eventstore.reading.arguments import checked_registry
from eventstore.recovery_and_stats import StoreStats
from eventstore.tools.staging import is_within

_NO_COLUMNS: dict[str, Column] = {}

__all__ = ["WrittenReport", "make_report", "write_report"]


class WrittenReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that was made.

    Attributes:
        path: The store's directory.
        output: The file of the page.
        size: Bytes of the page.
        events: Events that were read.
        last: The last event that was read, 0 without any.
        folded: The last event whose state is in the curves, 0 without any.
        charts: Charts with something to draw, by identity, each with the number of its points.
        unfolded: The reason why the states were not seen to the end, empty without one.
        damage: The damage that ended the reading, empty without one.
    """

    path: str
    output: str
    size: int
    events: int
    last: int
    folded: int
    charts: dict[str, int]
    unfolded: str
    damage: str

    def __repr__(self) -> str:
        page = os.path.basename(self.output)
        return f"<WrittenReport {page} bytes={self.size} events={self.events} last={self.last}>"


def write_report(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    *,
    columns: Mapping[str, Column] | Sequence[str] = (),
    currency: str | None = None,
    rates: Mapping[str, Decimal] | None = None,
    stats: StoreStats | None = None,
    strict: bool = True,
    advance: Callable[[int, int | None], None] = lambda done, total: None,
) -> WrittenReport:
    """Write one HTML page about the store at `path`: curves, fills, events, commits, files.

    The page needs nothing else, works without a network, and stays below 2 MB however long the
    history is. One pass over the history is made, in flat memory, without a lock, also beside a
    live engine. The store is not changed. The page appears under its name as a whole, and replaces
    an older one.

    Args:
        path: The store's directory.
        output: The file to write, outside the store's directory.
        registry: The handlers. Without them the page has no curves of the state.
        columns: Values of a state of any type to be drawn, as for `sample`: places, such as
            `positions['AAPL'].shares`, or functions of the state, by name.
        currency: The currency of the equity of a trading state, by default the base currency.
        rates: What one unit of other currencies is worth in `currency`.
        stats: Counters of the running store, for commit latencies: `EventStore.stats()`.
        strict: Whether handlers that do not fold the store are an error. Otherwise the page says
            so, and has the figures that need no state.
        advance: Called with the number of events read so far, and of all events where known.

    Raises:
        ConfigError: A column names no place, or `output` is inside the store.
        StoreNotFoundError: There is no store at `path`.
        CorruptStoreError: `store.json` is damaged. Damage behind is told in the page, and in
            `WrittenReport.damage`.
        StoreAccessError, StoreFullError, StoreFailedError: The page cannot be written.
    """
    target = Path(checked_path(output, "output"))
    path = checked_path(path)
    _refuse_inside(Path(path), target)
    page, written = make_report(
        path,
        registry,
        columns=columns,
        currency=currency,
        rates=rates,
        stats=stats,
        strict=strict,
        advance=advance,
    )
    try:
        _replace(target, page)
    except OSError as error:
        raise write_error(error, str(target)) from error
    return msgspec.structs.replace(written, output=str(target))


@in_fold_context
def make_report(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None,
    *,
    columns: Mapping[str, Column] | Sequence[str],
    currency: str | None,
    rates: Mapping[str, Decimal] | None,
    stats: StoreStats | None,
    strict: bool,
    advance: Callable[[int, int | None], None],
) -> tuple[bytes, WrittenReport]:
    """Return the page, and the facts about the report without its file. See `write_report`."""
    checked_flag("strict", strict)
    if currency is not None:
        checked_text("currency", currency)
    _check_rates(rates)
    nothing = isinstance(columns, tuple | list | Mapping) and not columns
    checked_function("advance", advance)
    if stats is not None and not isinstance(stats, StoreStats):
        raise argument_error("stats", stats, "expected the result of store.stats()")
    found = gather(
        path,
        None if registry is None else checked_registry(registry),
        strict=strict,
        columns=[
            ColumnCurve(name, column)
            for name, column in (_NO_COLUMNS if nothing else named_columns(columns)).items()
        ],
        currency=currency,
        rates=rates,
        advance=advance,
    )
    figures = report_contents(found, SystemClock().time_ns(), stats)
    page = render(figures).encode()
    charts = {
        chart.id: sum(len(one.x) for one in chart.series)
        for section in figures.sections
        for chart in section.charts
        if chart.series
    }
    return page, WrittenReport(
        path=found.path,
        output="",
        size=len(page),
        events=found.watch.events,
        last=found.watch.last,
        folded=found.watch.folded,
        charts=charts,
        unfolded=found.unfolded,
        damage=found.damage,
    )


def _check_rates(rates: Any) -> None:
    """Raise `ConfigError` unless each currency has a finite number above zero."""
    if rates is not None and not isinstance(rates, Mapping):
        raise argument_error("rates", rates, "expected a number for each currency")
    for currency, rate in (rates or {}).items():
        checked_text("rates", currency)
        number = isinstance(rate, Decimal | int | float) and not isinstance(rate, bool)
        if not number or not Decimal(rate).is_finite() or rate <= 0:
            raise argument_error(f"rates[{currency!r}]", rate, "expected a number above zero")


def _refuse_inside(path: Path, output: Path) -> None:
    """Refuse an output in the store's directory, whose files are the store's alone."""
    if not output.name or is_within(output, path):
        raise argument_error("output", str(output), "expected a file outside the store's directory")


def _replace(target: Path, page: bytes) -> None:
    """Write the page beside its place, and rename the file when it is whole.

    A device or a pipe is written to. A rename would put a file in the place of `/dev/null`.
    """
    if target.exists() and not target.is_file():
        target.write_bytes(page)
        return
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_bytes(page)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
