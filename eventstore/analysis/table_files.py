"""The files of one table: Parquet, CSV or JSON lines, each renamed into place when it is whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from eventstore.analysis.event_tables import Columns, Table
from eventstore.analysis.text_rows import CsvRows, JsonRows, TextRows
from eventstore.errors import ConfigError, StoreExistsError
from eventstore.os_errors import write_error

__all__ = ["Rows", "TableFile", "begun_file", "new_file", "rows_in"]


class Rows(Protocol):
    """Encodes rows of one table for a file. Earlier rows do not matter."""

    def encode(self, columns: Columns) -> Any:
        """Return the rows: a batch for Arrow and Parquet, and else lines of text."""


def rows_in(form: str, table: Table, decimals: str) -> Rows:
    """Return the encoding of a table for the form `arrow`, `parquet`, `csv` or `jsonl`.

    Raises `ConfigError` for Parquet without pyarrow.
    """
    if form in ("csv", "jsonl"):
        return (CsvRows if form == "csv" else JsonRows)(table, decimals)
    try:
        from eventstore.analysis.arrow_tables import ArrowRows
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"format = {form!r} needs {error.name}: pip install "
            "'asyncio-eventstore[analysis]', or choose csv or jsonl",
            key="format",
        ) from error

    return ArrowRows(table, decimals)


class TableFile(Protocol):
    """A file that takes the encoded rows of one table. `rows` counts them."""

    rows: int

    def write(self, encoded: Any, rows: int) -> None:
        """Write some more rows."""

    def close(self) -> None:
        """Write what is left, and make the file durable."""


@contextlib.contextmanager
def new_file(
    path: Path, form: str, table: Table, decimals: str, metadata: Mapping[str, str]
) -> Iterator[TableFile]:
    """Give a file that appears as `path` at the end of the block. An error removes the file.

    Raises `StoreExistsError` where `path` exists, and the errors of an opening that cannot write.
    """
    if os.path.lexists(path):
        raise StoreExistsError(
            f"{path} exists; choose another path, or move it away first", path=str(path)
        )
    unfinished = path.with_name(f".{path.name}.unfinished-{os.getpid()}")
    try:
        file = begun_file(unfinished, form, table, decimals, metadata)
        try:
            yield file
            file.close()
            unfinished.rename(path)
        except BaseException:
            with contextlib.suppress(OSError, ValueError):
                file.close()
            unfinished.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise write_error(error, str(path)) from error


def begun_file(
    path: Path, form: str, table: Table, decimals: str, metadata: Mapping[str, str]
) -> TableFile:
    """Create the file `path` for the rows of a table.

    Raises `ConfigError` for Parquet without pyarrow.
    """
    rows = rows_in(form, table, decimals)
    if isinstance(rows, TextRows):
        return _TextFile(path, rows.head)
    from eventstore.analysis.parquet_file import ParquetFile

    return ParquetFile(path, table, decimals, metadata)


class _TextFile:
    """A text file of rows."""

    def __init__(self, path: Path, head: bytes) -> None:
        self.rows = 0
        self._file: BinaryIO = path.open("xb")
        self._file.write(head)

    def write(self, encoded: bytes, rows: int) -> None:
        """Write some more rows."""
        self._file.write(encoded)
        self.rows += rows

    def close(self) -> None:
        """Write what is left, and make the file durable."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
