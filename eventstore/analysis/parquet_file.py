"""A Parquet file of one table. It needs pyarrow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eventstore.analysis.arrow_tables import ArrowRows
from eventstore.analysis.event_tables import Table

__all__ = ["ParquetFile"]


_GROUP_ROWS = 131_072
"""Rows of a row group, which is in memory as Arrow until it is written."""


class ParquetFile:
    """Takes the batches of a table, and writes them gathered into row groups."""

    def __init__(
        self, path: Path, table: Table, decimals: str, metadata: Mapping[str, str]
    ) -> None:
        self.rows = 0
        schema = ArrowRows(table, decimals).schema.with_metadata(dict(metadata))
        self._file = path.open("xb")
        self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0

    def write(self, encoded: pa.RecordBatch, rows: int) -> None:
        """Write some more rows."""
        self._waiting.append(encoded)
        self._waiting_rows += rows
        self.rows += rows
        if self._waiting_rows >= _GROUP_ROWS:
            self._write_group()

    def _write_group(self) -> None:
        group = pa.Table.from_batches(self._waiting).unify_dictionaries()
        self._writer.write_table(group)
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
