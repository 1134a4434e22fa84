"""Record batches of a table: schema, columns, and the error for a value that does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import DecimalException
from typing import Any

import pyarrow as pa

from eventstore.analysis.arrow_arrays import UNFIT, ArrowColumns, arrow_type
from eventstore.analysis.event_tables import Columns, Table
from eventstore.errors import InexactValueError

__all__ = ["ArrowBatches"]


class ArrowBatches:
    """Makes record batches of one table's rows.

    Attributes:
        schema: The schema of every batch, with the facts of `metadata`.
    """

    def __init__(self, table: Table, decimals: str, metadata: Mapping[str, str]) -> None:
        self._table = table
        self._decimals = decimals
        self._columns = ArrowColumns(decimals)
        self.schema: pa.Schema = pa.schema(
            [
                pa.field(name, arrow_type(shape, decimals), nullable=shape.nullable)
                for name, shape in table.columns.items()
            ],
            metadata=dict(metadata),
        )

    def batch(self, columns: Columns) -> pa.RecordBatch:
        """Return the rows. Raises `InexactValueError` for a value that does not fit."""
        arrays: list[pa.Array] = []
        for (name, shape), values in zip(self._table.columns.items(), columns, strict=True):
            try:
                arrays.append(self._columns.array(shape, values, (name,)))
            except UNFIT as error:
                raise self._unfit_error(name, values, columns[0], error) from error
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _unfit_error(
        self, name: str, values: Sequence[Any], numbers: Sequence[int], error: Exception
    ) -> Exception:
        shape = self._table.columns[name]
        for seq, value in zip(numbers, values, strict=True):
            try:
                ArrowColumns(self._decimals).array(shape, [value], (name,))
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
