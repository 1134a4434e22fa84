"""A Parquet file of one table. It needs pyarrow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eventstore.analysis.arrow_tables import ArrowBatches
from eventstore.analysis.event_tables import Columns, Table

__all__ = ["ParquetRows"]


_GROUP_ROWS = 131_072
"""Rows of a row group, which is in memory as Arrow until it is written."""


class ParquetRows:
    """Writes the rows of a table, gathered into row groups."""

    def __init__(
        self, path: Path, table: Table, decimals: str, metadata: Mapping[str, str]
    ) -> None:
        self.rows = 0
        self._batches = ArrowBatches(table, decimals, metadata)
        self._file = path.open("xb")
        self._writer = pq.ParquetWriter(self._file, self._batches.schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0

    def write(self, columns: Columns) -> None:
        """Write some more rows. Raises `InexactValueError` for an unfit value."""
        self._waiting.append(self._batches.batch(columns))
        self._waiting_rows += len(columns[0])
        self.rows += len(columns[0])
        if self._waiting_rows >= _GROUP_ROWS:
            self._write_group()

    def _write_group(self) -> None:
        group = pa.Table.from_batches(self._waiting, self._batches.schema)
        self._writer.write_table(group.unify_dictionaries())
        self._waiting, self._waiting_rows = [], 0

    def close(self) -> None:
        """Write the end of the file, and make the file durable."""
        if not self._file.closed:
            if self._waiting:
                self._write_group()
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
