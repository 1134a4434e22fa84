"""A reader of tapes: rows of trade prints, checked one by one and grouped into moments.

A tape is a CSV file, plain or compressed by Zstandard or gzip, told apart by the first bytes. Its
columns are `exchange, symbol, timestamp, local_timestamp, id, side, price, amount` in any order.
Prints with one timestamp of the venue belong to one *moment*: a taker sweeping through the book
makes dozens of prints at once. Rows are read one after the other, so a tape may be longer than
memory. Prices and amounts are read as the decimals that the file spells out.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import IO, cast

from eventstore.errors import EventStoreError

if sys.version_info >= (3, 14):
    from compression import zstd  # pragma: no cover - only one of the two is there
else:
    from backports import zstd  # pragma: no cover - only one of the two is there

__all__ = ["COLUMNS", "Print", "TapeError", "read_moments", "read_tape", "shipped_tape"]

COLUMNS = (
    "exchange", "symbol", "timestamp", "local_timestamp", "id", "side", "price", "amount",
)  # fmt: skip
SIDES = frozenset({"buy", "sell", "unknown"})
GZIP = b"\x1f\x8b"
ZSTANDARD = b"\x28\xb5\x2f\xfd"
LARGEST_EXPONENT = 50


class TapeError(EventStoreError, ValueError):
    """A tape cannot be used. `line` is the line of the file, `None` for the whole file."""

    def __init__(self, message: str, *, path: str, line: int | None = None) -> None:
        super().__init__(f"{path}, line {line}: {message}" if line else f"{path}: {message}")
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class Print:
    """One print. `side` is the taker's. `time` (the venue's) and `received` are in ns."""

    symbol: str
    time: int
    received: int
    side: str
    price: Decimal
    amount: Decimal


def shipped_tape() -> Path:
    """Return the path of the tape inside the package."""
    folder = resources.files("eventstore.demo") / "tape"
    return Path(str(folder / "btcusdt-perp-trades-2020-02-22.csv.zst"))


def read_tape(path: Path) -> Iterator[Print]:
    """Yield the prints of a tape, in the order of the file.

    Raises `TapeError`, with the line's number, for a row that is not a print.
    """
    name = str(path)
    prints = 0
    try:
        with (
            path.open("rb") as raw,
            io.TextIOWrapper(_unpacked(raw), encoding="utf-8-sig", newline="") as text,
        ):
            rows = csv.reader(text, strict=True)
            layout = _Layout(next(rows, []), name)
            for row in rows:
                if row:
                    yield layout.read(row, rows.line_num)
                    prints += 1
    except OSError as error:  # gzip.BadGzipFile is one as well
        raise TapeError(f"cannot be read: {error.strerror or error}", path=name) from error
    except (EOFError, UnicodeDecodeError, csv.Error, zlib.error, zstd.ZstdError) as error:
        raise TapeError(f"is damaged after {prints} prints: {error}", path=name) from error
    if not prints:
        raise TapeError("holds no prints", path=name)


def _unpacked(raw: io.BufferedReader) -> IO[bytes]:
    begin = raw.peek(len(ZSTANDARD))
    if begin.startswith(ZSTANDARD):
        return cast("IO[bytes]", zstd.ZstdFile(raw))
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if begin.startswith(GZIP) else raw


def read_moments(path: Path) -> Iterator[tuple[Print, ...]]:
    """Yield the prints of a tape, grouped by the venue's timestamp."""
    for _, prints in groupby(read_tape(path), key=lambda one: one.time):
        yield tuple(prints)


class _Layout:
    """Which field is which column, as the first line has it."""

    def __init__(self, header: list[str], path: str) -> None:
        names = [column.strip() for column in header]
        missing = [column for column in COLUMNS if column not in names]
        if missing:
            raise TapeError(
                f"the first line must name the columns {', '.join(COLUMNS)}; missing: "
                f"{', '.join(missing)}",
                path=path,
                line=1,
            )
        self._path = path
        self._width = len(names)
        self._at = {column: names.index(column) for column in COLUMNS}

    def read(self, row: list[str], line: int) -> Print:
        """The print in one row."""
        if len(row) != self._width:
            raise TapeError(
                f"it has {len(row)} fields, the first line names {self._width}",
                path=self._path,
                line=line,
            )
        value = {column: row[index].strip() for column, index in self._at.items()}
        try:
            if not value["symbol"]:
                raise ValueError("the symbol is empty")
            if value["side"] not in SIDES:
                raise ValueError(f"the side is {value['side']!r}, not buy, sell or unknown")
            return Print(
                value["symbol"],
                _microseconds(value["timestamp"], "timestamp"),
                _microseconds(value["local_timestamp"], "local_timestamp"),
                value["side"],
                _above_zero(value["price"], "price"),
                _above_zero(value["amount"], "amount"),
            )
        except ValueError as error:
            raise TapeError(str(error), path=self._path, line=line) from None


def _microseconds(text: str, column: str) -> int:
    """Nanoseconds, from whole microseconds since the epoch (up to the year 2262)."""
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) >= 2**63 // 1000:
        raise ValueError(f"the {column} is {text!r}, not microseconds since the epoch")
    return int(text) * 1000


def _above_zero(text: str, column: str) -> Decimal:
    try:
        number = Decimal(text) if "_" not in text else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not (number.is_finite() and number > 0 and abs(number.adjusted()) < LARGEST_EXPONENT):
        raise ValueError(f"the {column} is {text!r}, not a number above zero")
    return number
