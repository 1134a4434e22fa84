"""The rows of a table as text: CSV or JSON lines. They need no pyarrow.

In CSV a missing value is an empty cell and an empty text is `""`, times are RFC 3339 with nine
digits, and nested values are JSON. In JSON lines times are nanoseconds, as in the JSON of every
command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from eventstore.analysis.event_tables import Columns, Table
from eventstore.analysis.plain_values import json_text, number_text, tag_text
from eventstore.analysis.shapes import Shape
from eventstore.clock import to_datetime

__all__ = ["CsvRows", "JsonRows", "TextRows"]

_QUOTED = re.compile(r'[",\r\n]')


class TextRows:
    """Makes lines of one table's rows. `head` stands before the first line of a file."""

    def __init__(self, table: Table, decimals: str) -> None:
        self.head = b""
        self._table = table
        self._decimals = decimals

    def encode(self, columns: Columns) -> bytes:
        """Return the rows, one line for each."""
        shapes = self._table.columns.values()
        cells = map(self._cells, shapes, columns)
        return "".join(map(self._line, zip(*cells, strict=True))).encode()

    def _cells(self, shape: Shape, values: Sequence[Any]) -> Sequence[Any]:
        raise NotImplementedError  # each format has one

    def _line(self, row: tuple[Any, ...]) -> str:
        raise NotImplementedError  # each format has one

    def _number(self, value: Any) -> Any:
        """Return a decimal as asked for."""
        if value is None:
            return None
        return float(value) if self._decimals == "float" else number_text(value)


class JsonRows(TextRows):
    """JSON lines."""

    def __init__(self, table: Table, decimals: str) -> None:
        super().__init__(table, decimals)
        names = {f"column_{place}": name for place, name in enumerate(table.columns)}
        self._row = msgspec.defstruct("Row", list(names), rename=names)  # keeps the order

    def _cells(self, shape: Shape, values: Sequence[Any]) -> Sequence[Any]:
        return list(map(self._number, values)) if shape.kind == "decimal" else values

    def _line(self, row: tuple[Any, ...]) -> str:
        return json_text(self._row(*row)) + "\n"


class CsvRows(TextRows):
    """CSV, with the names of the columns as the first line."""

    def __init__(self, table: Table, decimals: str) -> None:
        super().__init__(table, decimals)
        self.head = (",".join(map(_quoted, table.columns)) + "\n").encode()

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
