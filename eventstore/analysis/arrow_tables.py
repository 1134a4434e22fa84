"""Record batches of a table: schema, columns, and the error for a value that does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import DecimalException
from typing import Any

import pyarrow as pa

from eventstore.analysis.arrow_arrays import UNFIT, ArrowColumns, arrow_type
from eventstore.analysis.event_tables import Columns, Table
from eventstore.errors import InexactValueError

__all__ = ["ArrowRows", "joined_batches"]


class ArrowRows:
    """Makes record batches of one table's rows.

    Attributes:
        schema: The schema of every batch.
    """

    def __init__(self, table: Table, decimals: str) -> None:
        self._table = table
        self._columns = ArrowColumns(decimals)
        self.schema: pa.Schema = pa.schema(
            [
                pa.field(name, arrow_type(shape, decimals), nullable=shape.nullable)
                for name, shape in table.columns.items()
            ]
        )

    def encode(self, columns: Columns) -> pa.RecordBatch:
        """Return the rows. Raises `InexactValueError` for a value that does not fit."""
        arrays: list[pa.Array] = []
        for (name, shape), values in zip(self._table.columns.items(), columns, strict=True):
            try:
                arrays.append(self._columns.array(shape, values))
            except UNFIT as error:
                raise self._unfit_error(name, values, columns[0], error) from error
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _unfit_error(
        self, name: str, values: Sequence[Any], numbers: Sequence[int], error: Exception
    ) -> Exception:
        shape = self._table.columns[name]
        for seq, value in zip(numbers, values, strict=True):
            try:
                self._columns.array(shape, [value])
            except UNFIT as reason:
                cure = (
                    'keep decimals as "string", which is exact, or as "float", which rounds'
                    if "decimal128" in str(self.schema.field(name).type)
                    else "leave the operation out, or export it as JSON lines"
                )
                why = "" if isinstance(reason, DecimalException) else f" ({reason})"
                return InexactValueError(
                    f"{self._table.name}, event {seq}, field `{name}`: {value!r:.200} does not fit "
                    f"{self.schema.field(name).type} exactly{why}; {cure}",
                    seq=seq,
                    operation=self._table.name,
                    field=name,
                )
        return error


def joined_batches(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int
) -> Iterator[pa.RecordBatch]:
    """Join batches until they have as many rows, and give every batch the same dictionaries.

    A dictionary grows from batch to batch: a later one begins with the texts of the one before.
    `schema` has the metadata of the result.
    """
    known: list[pa.RecordBatch] = []
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        if count >= rows:
            known = [_joined(schema, [*known, *waiting])]
            yield known[0]
            known, waiting, count = [known[0].slice(0, 0)], [], 0
    if waiting:
        yield _joined(schema, [*known, *waiting])


def _joined(schema: pa.Schema, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Join batches to one, with the texts of all of them in each dictionary."""
    table = pa.Table.from_batches(batches).unify_dictionaries()
    chunks = [_one_chunk(column) for column in table.columns]
    return pa.RecordBatch.from_arrays(chunks, schema=schema)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    filled = [chunk for chunk in column.chunks if len(chunk)] or column.chunks
    return filled[0] if len(filled) == 1 else pa.concat_arrays(filled)
