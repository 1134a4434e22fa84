"""Blocks of rows: what a file takes, made of a piece of the history by any process.

Events are taken apart into columns as soon as they are decoded, while the processor's cache holds
them. The values wait until a batch of the table is full, or until the piece ends. Then the batch is
encoded: to an Arrow batch, or to lines of text. A table outside the request costs no more than the
decoding.

A block depends on no other block. Whatever does is left to the process that takes the blocks: the
dictionaries of Arrow, the files, and the order.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from eventstore.analysis.event_tables import AllEvents, Catalog, Columns, Table
from eventstore.analysis.pieces import Piece
from eventstore.analysis.selected_history import read_selected
from eventstore.analysis.survey import Survey
from eventstore.analysis.table_files import Rows, rows_in
from eventstore.clock import to_datetime
from eventstore.disk.base import Disk
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.fold_crew import Advance
from eventstore.tools.events_around_damage import Gap

__all__ = ["Block", "TablePlan", "blocks_of_piece"]

_DAY = 86_400 * 10**9


class Block(NamedTuple):
    """Some rows of a table, encoded. `day` is empty where days are not parted."""

    table: str
    day: str
    rows: int
    encoded: Any


class TablePlan(NamedTuple):
    """What is asked of the tables, for any process.

    Attributes:
        operations: The operations to keep, all if empty, `None` for the one table of all events.
        survey: The shapes of operations without a handler.
        form: The form of a block: `arrow`, `parquet`, `csv` or `jsonl`.
        decimals: `decimal128`, `string` or `float`.
        by_day: Whether a block has the rows of one day (UTC).
        batch_rows: The rows of a block, from which on it is full.
    """

    operations: Collection[str] | None
    survey: Survey
    form: str
    decimals: str
    by_day: bool
    batch_rows: int

    def tables(self, registry: HandlerRegistry[Any]) -> Catalog | AllEvents:
        """Return the tables."""
        if self.operations is None:
            return AllEvents()
        return Catalog(registry, self.survey.found, self.survey.large, self.operations)


def blocks_of_piece(
    disk: Disk, registry: HandlerRegistry[Any], piece: Piece[TablePlan], advance: Advance
) -> Iterator[Block | Gap]:
    """Yield the rows of a piece in blocks, and the gaps between. Work for a crew."""
    plan = piece.plan
    catalog = plan.tables(registry)
    rows: dict[Table, Rows] = {}
    found = read_selected(disk, piece.wanted, catalog.codec, advance)
    for part in _batches(catalog, found, plan.batch_rows):
        if isinstance(part, Gap):
            yield part
            continue
        table, columns = part
        if table not in rows:
            rows[table] = rows_in(plan.form, table, plan.decimals)
        for day, of_day in _days(table, columns) if plan.by_day else [("", columns)]:
            yield Block(table.name, day, len(of_day[0]), rows[table].encode(of_day))


def _batches(
    catalog: Catalog | AllEvents, parts: Iterator[Sequence[Event[Any]] | Gap], rows: int
) -> Iterator[tuple[Table, Columns] | Gap]:
    """Gather the values of events into batches of rows, each with the table."""
    waiting: dict[Table, Columns] = {}
    for part in parts:
        if isinstance(part, Gap):
            yield part
            continue
        for table, events in catalog.sorted(part):
            columns = waiting.get(table)
            if columns is None:
                columns = waiting[table] = table.no_rows()
            for column, values in zip(columns, table.values(events), strict=True):
                column.extend(values)
            if len(columns[0]) >= rows:
                yield table, waiting.pop(table)
    yield from waiting.items()


def _days(table: Table, columns: Columns) -> Iterator[tuple[str, Columns]]:
    """Yield the rows of each day, in the order of the rows."""
    times = columns[list(table.columns).index("time")]
    begin = 0
    for day, of_day in itertools.groupby(times, key=lambda time: time // _DAY):
        end = begin + sum(1 for _ in of_day)
        yield f"{to_datetime(day * _DAY):%Y-%m-%d}", [column[begin:end] for column in columns]
        begin = end
