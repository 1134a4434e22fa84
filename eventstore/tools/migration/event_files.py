"""Files of events, JSON lines or CSV, made a store by way of a mapping.

A mapping is a TOML file::

    operation = "record_trade"      # one operation for every line, or
    operation_from = "type"         # the column with the operation
    time = "executed_at"            # the column with the time
    time_unit = "iso"               # iso (with an offset), s, ms, us or ns
    key = "id"                      # the column with the events' key, if there is one

    [operations]                    # names in the file, and the operations that they mean
    FILL = "record_trade"

    [fields.record_trade]           # fields of the payload, and where each comes from
    trade_id = "id"
    shares = { from = "qty", type = "decimal" }
    venue = { value = "binance" }

A column of nested JSON is named with dots. `type` is `text`, `int`, `float`, `decimal` or `bool`.
Without a `type`, a value is taken as the file has it, so a value of a CSV file is text. An empty
cell counts as absent. An operation without a table of fields gets every other column.

JSON lines as `eventstore events --json` prints them need no mapping.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

import msgspec

from eventstore.arguments import argument_error, checked_function, checked_path
from eventstore.clock import to_ns
from eventstore.config_file import read_regular_file
from eventstore.errors import ConfigError, StoreNotFoundError
from eventstore.model.registry import HandlerRegistry
from eventstore.os_errors import read_error
from eventstore.recovery_and_stats import printable
from eventstore.tools.backup.places import Advance, no_advance
from eventstore.tools.migration.new_store import ForeignEvent, WrittenStore, write_new_store
from eventstore.tools.migration.plan0d_files import SetAside

__all__ = ["EventMapping", "FileMigration", "load_mapping", "migrate_events"]

Row = Mapping[str, Any]


class FieldSource(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from"}
):
    """Where a field of a payload comes from: a column, or a constant."""

    source: str | None = None
    value: Any = None
    type: Literal["text", "int", "float", "decimal", "bool"] | None = None


class EventMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping, as the TOML file has it."""

    time: str
    time_unit: Literal["iso", "s", "ms", "us", "ns"] = "iso"
    operation: str | None = None
    operation_from: str | None = None
    key: str | None = None
    operations: dict[str, str] = {}
    fields: dict[str, dict[str, str | FieldSource]] = {}


OWN_FORM = EventMapping(time="time", time_unit="ns", operation_from="operation", key="key")
"""The form of `eventstore events --json`, whose payload stands under `data`."""

_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class FileMigration(msgspec.Struct, frozen=True, kw_only=True):
    """The result: lines read, lines that are no events, and the store that was written."""

    file: Path
    lines: int
    bad: tuple[SetAside, ...]
    written: WrittenStore

    @property
    def whole(self) -> bool:
        """Whether every line became an event."""
        return not self.bad and not self.written.refused


def load_mapping(path: str | os.PathLike[str]) -> EventMapping:
    """Read a mapping. Raises `ConfigError` with the key of a mistake, and `StoreNotFoundError`."""
    path = checked_path(path)
    try:
        text = read_regular_file(Path(path)).decode()
        mapping = msgspec.convert(tomllib.loads(text), EventMapping)
    except FileNotFoundError:
        raise StoreNotFoundError(
            f"there is no mapping at {path}", path=str(path), what="mapping"
        ) from None
    except OSError as error:
        raise read_error(error, str(path)) from error
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {printable(str(error))}", key="map") from error
    if (mapping.operation is None) == (mapping.operation_from is None):
        raise ConfigError(
            f"{path}: a mapping has either operation, for all lines, or operation_from, a column",
            key="operation",
        )
    return mapping


async def migrate_events(
    file: str | os.PathLike[str],
    new: str | os.PathLike[str],
    registry: HandlerRegistry[Any],
    mapping: EventMapping | None = None,
    advance: Advance = no_advance,
) -> FileMigration:
    """Make a store at `new` of the events in `file`, JSON lines or (`.csv`) CSV with a header line.

    A line that is no event, and one that a handler refuses, is set aside with its number.
    `advance` is told of the events so far, and of the number of lines.

    Raises `StoreNotFoundError` where there is no file, `StoreAccessError` or `ReadFailedError`
    where the file cannot be read, `ConfigError` for a CSV file without a mapping, and the errors of
    `write_new_store`. Then no store is there.
    """
    if mapping is not None and not isinstance(mapping, EventMapping):
        raise argument_error("mapping", mapping, "expected the result of load_mapping(path)")
    checked_function("advance", advance)
    path = Path(checked_path(file, "file"))
    lines = _Lines(path, mapping)
    total = _count_lines(path)
    written = await write_new_store(
        Path(checked_path(new, "new")),
        registry,
        lines,
        lines.bad,
        lambda count: advance(count, total),
    )
    return FileMigration(file=path, lines=lines.count, bad=tuple(lines.bad), written=written)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise read_error(error, str(path)) from error


def _count_lines(path: Path) -> int:
    with _reading(path), path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


class _Lines:
    """The events in a file, one at a time. `count` and `bad` are filled on the way."""

    def __init__(self, path: Path, mapping: EventMapping | None) -> None:
        if not path.is_file():
            raise StoreNotFoundError(f"there is no file {path}", path=str(path), what="file")
        self.count = 0
        self.bad: list[SetAside] = []
        self._path = path
        self._is_csv = path.suffix.lower() in (".csv", ".tsv")
        if mapping is None and self._is_csv:
            raise ConfigError(
                f"{path}: a CSV file needs a mapping (--map FILE.toml), which names the columns of "
                "time and operation",
                key="map",
            )
        self._mapping = OWN_FORM if mapping is None else mapping
        self._own_form = mapping is None

    def __iter__(self) -> Iterator[ForeignEvent]:
        # Spreadsheets begin a file with a byte order mark, which is no part of the first name.
        with (
            _reading(self._path),
            self._path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file,
        ):
            for number, read in self._rows(file):
                self.count += 1
                place = f"{self._path.name}, line {number}"
                try:
                    event = self._event(place, read())
                except (ValueError, ConfigError, RecursionError) as error:
                    self.bad.append(SetAside(place, printable(str(error))))
                else:
                    yield event

    def _rows(self, file: Iterable[str]) -> Iterator[tuple[int, Callable[[], Row]]]:
        if self._is_csv:
            delimiter = "\t" if self._path.suffix.lower() == ".tsv" else ","
            reader = csv.DictReader(file, delimiter=delimiter, restkey="", strict=False)
            _check_columns(self._path, self._mapping, reader.fieldnames or ())
            while (row := _next_row(reader)) is not None:
                yield reader.line_num, lambda row=row: _checked_cells(row)  # type: ignore[misc]  # bound now
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, lambda line=line: _object(line)  # type: ignore[misc]  # bound now

    def _event(self, place: str, row: Row) -> ForeignEvent:
        mapping = self._mapping
        name = mapping.operation or str(_needed(row, mapping.operation_from or ""))
        operation = mapping.operations.get(name, name)
        key = None if mapping.key is None else _column(row, mapping.key)
        metadata = row.get("metadata") if self._own_form else None
        return ForeignEvent(
            place=place,
            operation=operation.partition("@")[0],
            time=_time(_needed(row, mapping.time), mapping.time_unit),
            data=self._payload(operation, row),
            key=None if key is None else str(key),
            metadata=metadata if isinstance(metadata, dict) else None,
        )

    def _payload(self, operation: str, row: Row) -> dict[str, Any]:
        if self._own_form:
            data = _needed(row, "data")
            if not isinstance(data, dict):
                raise ValueError("data is no object")
            return data
        fields = self._mapping.fields.get(operation)
        if fields is None:
            mapping = self._mapping
            others = (mapping.time, mapping.operation_from, mapping.key)
            return {name: value for name, value in row.items() if name not in others}
        payload = {}
        for field, source in fields.items():
            value = _value(row, source)
            if value is not None:
                payload[field] = value
        return payload


def _check_columns(path: Path, mapping: EventMapping, names: Sequence[str]) -> None:
    """Raise `ConfigError` for a column of the mapping that the first line does not name."""
    wanted = [mapping.time, mapping.operation_from, mapping.key]
    for fields in mapping.fields.values():
        wanted += [one if isinstance(one, str) else one.source for one in fields.values()]
    for name in wanted:
        if name is not None and name not in names:
            has = f"the columns {printable(', '.join(names))}" if names else "no first line"
            if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
                has += ", which no comma divides (.tsv is for tabs)"
            raise ConfigError(
                f"the mapping names the column {name!r}, and {path} has {has}. Nothing was written",
                key="map",
            )


def _next_row(reader: csv.DictReader[str]) -> dict[str, Any] | None:
    """Return the next row, one with a surplus cell for a line that is no CSV."""
    try:
        return next(reader, None)
    except csv.Error as error:
        return {"": str(error)}


def _object(line: str) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError("no JSON object")
    return row


def _checked_cells(row: dict[str, Any]) -> dict[str, Any]:
    if "" in row:
        raise ValueError("there are more cells than names in the first line")
    if None in row.values():
        raise ValueError("there are fewer cells than names in the first line")
    return {name: value for name, value in row.items() if value != ""}


def _column(row: Row, name: str) -> Any:
    """Return a column's value. A name with dots leads into nested objects."""
    if name in row:
        return row[name]
    found: Any = row
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _needed(row: Row, name: str) -> Any:
    value = _column(row, name)
    if value is None:
        raise ValueError(f"there is no {name!r}")
    return value


def _value(row: Row, source: str | FieldSource) -> Any:
    if isinstance(source, str):
        return _column(row, source)
    value = source.value if source.source is None else _column(row, source.source)
    if value is None or source.type is None:
        return value
    try:
        return _CONVERSIONS[source.type](value)
    except (ValueError, KeyError, InvalidOperation, TypeError):
        raise ValueError(f"{source.source or 'value'}: {value!r} is no {source.type}") from None


def _truth(value: Any) -> bool:
    return value if isinstance(value, bool) else _TRUTHS[str(value).lower()]


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "text": str,
    "int": int,
    "float": _finite,
    "decimal": lambda value: str(Decimal(str(value))),
    "bool": _truth,
}


def _time(value: Any, unit: str) -> int:
    """Return a time in nanoseconds. Numbers are exact, also those with a fraction."""
    if unit == "iso":
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is None:
            raise ValueError(f"the time {value!r} has no offset: write Z for UTC")
        return to_ns(moment)
    try:
        return to_ns(int(Decimal(str(value)) * _UNITS[unit]))
    except (InvalidOperation, OverflowError):
        raise ValueError(f"{value!r} is no time in {unit}") from None
