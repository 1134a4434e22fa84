"""The events of a store as tables: Arrow, polars, pandas and Parquet.

The module needs pyarrow, from the extra `analysis`. `to_polars` and `to_pandas` need their library
too. All functions read beside a live engine, take no lock and change nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from eventstore.analysis.arrow_tables import ArrowRows, joined_batches
from eventstore.analysis.event_tables import ALL
from eventstore.analysis.export_settings import checked_decimals
from eventstore.analysis.selected_history import SelectedHistory, installed_handlers
from eventstore.analysis.table_files import new_file
from eventstore.analysis.table_stream import BATCH_ROWS, TableStream
from eventstore.arguments import (
    argument_error,
    checked_count,
    checked_function,
    checked_path,
)
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import Moment, place_of
from eventstore.reading.arguments import checked_registry
from eventstore.tools.selection import Selection

if TYPE_CHECKING:
    import pandas
    import polars

__all__ = ["to_arrow", "to_pandas", "to_polars", "write_parquet"]


def to_arrow(
    path: str | os.PathLike[str],
    operation: str = ALL,
    registry: HandlerRegistry[Any] | None = None,
    *,
    start: Moment | str = 1,
    stop: Moment | str | None = None,
    decimals: str = "decimal128",
    batch_rows: int = BATCH_ROWS,
    jobs: int | None = None,
) -> pa.RecordBatchReader:
    """Return the events of one operation as a `pyarrow.RecordBatchReader`, which streams.

    The columns are `seq`, `time` (UTC, nanoseconds), `key`, and the fields of the newest payload.
    The reader ends with the event that is the last one now. Memory does not grow with the history:
    it holds a batch, and 17,000 to 65,000 events for each of several processes.

    Args:
        path: The store's directory.
        operation: The name of the operation, or `all` for one table of all events with the columns
            `seq`, `time`, `operation`, `key` and `payload` (JSON, as recorded).
        registry: The handlers whose payload classes give the columns, by default the installed
            plugins. Where they do not have the operation, the columns are found by a first pass
            over the data. `HandlerRegistry()` stands for no handlers.
        start: The first event: a number, a time, or a cursor, as of `read_events`. A time may be
            text with an offset, such as `2026-03-02T14:30:00Z`.
        stop: The event to stop before.
        decimals: `decimal128`, exact with the digits that `Meta(multiple_of=...)` says or 18;
            `string`, exact; or `float`, rounded.
        batch_rows: The rows of a batch.
        jobs: The number of processes. By default there is one for each 250,000 events, at most one
            for each processor. The rows, and the batches, are the same for any number.

    Raises:
        UnknownOperationError: Neither a handler nor an event has the operation.
        InexactValueError: While reading: a value does not fit the type of the column exactly.
        RegistrationError: The installed plugins make no registry together.
        ConfigError: An argument is of the wrong type. Or `jobs` is more than 1, and another process
            cannot find a handler.

    Raises the errors of `read_events` as well.
    """
    wanted, kept = [_checked_operation(operation)], checked_decimals(decimals)
    checked_count("batch_rows", batch_rows, "a number of rows")
    stream = TableStream(
        _history(path, registry, start, stop),
        _handlers(registry),
        wanted,
        form="arrow",
        decimals=kept,
        batch_rows=batch_rows,
        jobs=jobs,
    )
    table = stream.table()
    schema = ArrowRows(table, kept).schema.with_metadata(dict(stream.metadata(table)))
    return pa.RecordBatchReader.from_batches(schema, _read(stream, schema, batch_rows))


def _read(stream: TableStream, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    with contextlib.closing(stream.history), contextlib.closing(stream.blocks()) as blocks:
        yield from joined_batches((block.encoded for block in blocks), schema, rows)


def to_polars(
    path: str | os.PathLike[str],
    operation: str = ALL,
    registry: HandlerRegistry[Any] | None = None,
    **options: Any,
) -> polars.DataFrame:
    """Return the events of one operation as a `polars.DataFrame`.

    Arguments, columns and errors are those of `to_arrow`. The whole table is in memory. Raises
    `ModuleNotFoundError` without polars.
    """
    import polars

    frame = polars.from_arrow(_table(path, operation, registry, **options))
    return cast("polars.DataFrame", frame)


def to_pandas(
    path: str | os.PathLike[str],
    operation: str = ALL,
    registry: HandlerRegistry[Any] | None = None,
    **options: Any,
) -> pandas.DataFrame:
    """Return the events of one operation as a `pandas.DataFrame`.

    Arguments, columns and errors are those of `to_arrow`. Decimals are `decimal.Decimal`. The whole
    table is in memory. Raises `ModuleNotFoundError` without pandas.
    """
    return _table(path, operation, registry, **options).to_pandas()


def _table(path: Any, operation: str, registry: Any, **options: Any) -> pa.Table:
    """Return a whole table, every column with one dictionary."""
    return to_arrow(path, operation, registry, **options).read_all().unify_dictionaries()


def write_parquet(
    path: str | os.PathLike[str],
    to: str | os.PathLike[str],
    operation: str = ALL,
    registry: HandlerRegistry[Any] | None = None,
    *,
    start: Moment | str = 1,
    stop: Moment | str | None = None,
    decimals: str = "decimal128",
    jobs: int | None = None,
    advance: Callable[[int, int | None], None] | None = None,
) -> int:
    """Write the events of one operation to the Parquet file `to`. Returns the number of rows.

    The file appears under its name when it is whole. A file of the name is refused. Arguments,
    columns and errors are those of `to_arrow`. `advance` is called with the events read so far and
    their number, by one thread at a time. Raises `StoreExistsError` for a path that exists, and the
    errors of an opening that cannot write.
    """
    target, kept = Path(checked_path(to, "to")), checked_decimals(decimals)
    wanted = [_checked_operation(operation)]
    if advance is not None:
        checked_function("advance", advance)
    with contextlib.closing(_history(path, registry, start, stop)) as history:
        stream = TableStream(
            history,
            _handlers(registry),
            wanted,
            form="parquet",
            decimals=kept,
            jobs=jobs,
            advance=advance,
        )
        table = stream.table()
        with (
            new_file(target, "parquet", table, kept, stream.metadata(table)) as file,
            contextlib.closing(stream.blocks()) as blocks,
        ):
            for block in blocks:
                file.write(block.encoded, block.rows)
        return file.rows


def _history(
    path: Any, registry: Any, start: Moment | str, stop: Moment | str | None
) -> SelectedHistory:
    if registry is not None:
        checked_registry(registry)
    wanted = Selection(
        start=place_of(start, "start"), stop=None if stop is None else place_of(stop, "stop")
    )
    return SelectedHistory(path, wanted)


def _handlers(registry: HandlerRegistry[Any] | None) -> HandlerRegistry[Any]:
    return installed_handlers() if registry is None else registry


def _checked_operation(operation: Any) -> str:
    if not isinstance(operation, str) or not operation:
        expected = f"expected the name of an operation, or {ALL!r}"
        raise argument_error("operation", operation, expected)
    return operation
