"""The files of an export under way: for each table one, or one for each day."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from urllib.parse import quote

from eventstore.analysis.event_tables import Columns, Table
from eventstore.analysis.export_settings import ExportSettings
from eventstore.analysis.table_files import TableFile, begun_file
from eventstore.analysis.table_stream import TableStream
from eventstore.clock import to_datetime

__all__ = ["Parts"]

_DAY = 86_400 * 10**9


class Parts:
    """The files of an export under way: one open file for each table.

    Attributes:
        rows: The rows of each table so far.
        files: The names of the files of each table, relative to the folder.
    """

    def __init__(
        self, folder: Path, stream: TableStream, settings: ExportSettings, *, again: bool
    ) -> None:
        self.rows: dict[Table, int] = {}
        self.files: dict[Table, list[str]] = {}
        self._folder = folder
        self._stream = stream
        self._settings = settings
        self._again = again
        self._open: dict[Table, tuple[str, TableFile]] = {}

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, kind: type[BaseException] | None, *given: object) -> None:
        for _, file in self._open.values():
            with contextlib.suppress(Exception) if kind else contextlib.nullcontext():
                file.close()

    def write(self, table: Table, columns: Columns) -> None:
        """Write some more rows of a table."""
        self.rows[table] = self.rows.get(table, 0) + len(columns[0])
        if not self._settings.partition:
            self._file(table, "").write(columns)
            return
        times = columns[list(table.columns).index("time")]
        begin = 0
        for day, of_day in itertools.groupby(times, key=lambda time: time // _DAY):
            end = begin + sum(1 for _ in of_day)
            file = self._file(table, f"{to_datetime(day * _DAY):%Y-%m-%d}")
            file.write([column[begin:end] for column in columns])
            begin = end

    def _file(self, table: Table, day: str) -> TableFile:
        if table in self._open:
            open_day, file = self._open[table]
            if open_day == day:
                return file
            file.close()
        name = self._name(table, day)
        self.files.setdefault(table, []).append(name)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        form, decimals = self._settings.format, self._settings.decimals
        file = begun_file(path, form, table, decimals, self._stream.metadata(table))
        self._open[table] = day, file
        return file

    def _name(self, table: Table, day: str) -> str:
        """Return the name of the next file of a table, which a repetition gives again."""
        first, end = self._stream.history.first, self._settings.format
        stem = quote(table.name, safe="").replace(".", "%2E")
        if not self._settings.partition:
            return f"{stem}.{first}.{end}" if self._again else f"{stem}.{end}"
        name, known = f"{stem}/date={day}/{first}", self.files.get(table, [])
        times = sum(one.startswith((f"{name}.", f"{name}-")) for one in known)
        return f"{name}-{times}.{end}" if times else f"{name}.{end}"
