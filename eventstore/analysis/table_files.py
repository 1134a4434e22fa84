"""The files of one table: Parquet, CSV or JSON lines, each renamed into place when it is whole.

Text formats need no pyarrow. In CSV a missing value is an empty cell and an empty text is `""`,
times are RFC 3339 with nine digits, and nested values are JSON. In JSON lines times are
nanoseconds, as in the JSON of every command.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from eventstore.analysis.event_tables import Columns, Table
from eventstore.analysis.plain_values import json_text, number_text, tag_text
from eventstore.analysis.shapes import Shape
from eventstore.clock import to_datetime
from eventstore.errors import ConfigError, StoreExistsError
from eventstore.os_errors import write_error

__all__ = ["TableFile", "new_file"]

_QUOTED = re.compile(r'[",\r\n]')


class TableFile(Protocol):
    """A file that takes the rows of one table. `rows` counts them."""

    rows: int

    def write(self, columns: Columns) -> None:
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
    if form == "parquet":
        try:
            from eventstore.analysis.parquet_file import ParquetRows
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"format = 'parquet' needs {error.name}: pip install "
                "'asyncio-eventstore[analysis]', or choose csv or jsonl",
                key="format",
            ) from error

        return ParquetRows(path, table, decimals, metadata)
    return (_CsvRows if form == "csv" else _JsonRows)(path, table, decimals)


class _TextRows:
    """A text file of rows."""

    def __init__(self, path: Path, table: Table, decimals: str) -> None:
        self.rows = 0
        self._table = table
        self._decimals = decimals
        self._file: BinaryIO = path.open("xb")
        self._begin()

    def _begin(self) -> None:
        """Write what stands before the rows."""

    def write(self, columns: Columns) -> None:
        """Write some more rows."""
        shapes = self._table.columns.values()
        cells = map(self._cells, shapes, columns)
        self._file.write("".join(map(self._line, zip(*cells, strict=True))).encode())
        self.rows += len(columns[0])

    def _cells(self, shape: Shape, values: Sequence[Any]) -> Sequence[Any]:
        raise NotImplementedError  # each format has one

    def _line(self, row: tuple[Any, ...]) -> str:
        raise NotImplementedError  # each format has one

    def close(self) -> None:
        """Write what is left, and make the file durable."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _number(self, value: Any) -> Any:
        """Return a decimal as asked for."""
        if value is None:
            return None
        return float(value) if self._decimals == "float" else number_text(value)


class _JsonRows(_TextRows):
    def _begin(self) -> None:
        names = {f"column_{place}": name for place, name in enumerate(self._table.columns)}
        self._row = msgspec.defstruct("Row", list(names), rename=names)  # keeps the order

    def _cells(self, shape: Shape, values: Sequence[Any]) -> Sequence[Any]:
        return list(map(self._number, values)) if shape.kind == "decimal" else values

    def _line(self, row: tuple[Any, ...]) -> str:
        return json_text(self._row(*row)) + "\n"


class _CsvRows(_TextRows):
    def _begin(self) -> None:
        self._file.write((",".join(map(_quoted, self._table.columns)) + "\n").encode())

    def _cells(self, shape: Shape, values: Sequence[Any]) -> Sequence[Any]:
        kind = shape.kind
        if kind in ("int", "unsigned", "float"):
            cell: Any = repr
        elif kind == "decimal":
            cell = self._number_text
        elif kind == "nanoseconds":
            cell = _time_text
        elif kind in ("text", "tag"):
            cell = _quoted_text
        else:
            cell = _json_cell
        return ["" if value is None else cell(value) for value in values]

    def _number_text(self, value: Any) -> str:
        return number_text(self._number(value))

    def _line(self, row: tuple[Any, ...]) -> str:
        return ",".join(row) + "\n"


def _quoted(text: str) -> str:
    if text and _QUOTED.search(text) is None:
        return text
    return '"' + text.replace('"', '""') + '"'


def _quoted_text(value: Any) -> str:
    return _quoted(value if value.__class__ is str else tag_text(value))


def _json_cell(value: Any) -> str:
    """Return JSON. Text in JSON, such as a date, stands without the quotes of JSON."""
    text = json_text(value)
    return _quoted(msgspec.json.decode(text, type=str) if text.startswith('"') else text)


def _time_text(time: int) -> str:
    seconds, rest = divmod(time, 10**9)
    return f"{to_datetime(seconds * 10**9).isoformat()[:19]}.{rest:09}Z"
