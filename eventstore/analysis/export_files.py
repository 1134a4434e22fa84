"""The files of an export under way: for each table one, or one for each day."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import quote

from eventstore.analysis.event_tables import Table
from eventstore.analysis.export_settings import ExportSettings
from eventstore.analysis.table_blocks import Block
from eventstore.analysis.table_files import TableFile, begun_file
from eventstore.analysis.table_stream import TableStream

__all__ = ["Parts"]


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

    def write(self, table: Table, block: Block) -> None:
        """Write some more rows of a table."""
        self.rows[table] = self.rows.get(table, 0) + block.rows
        self._file(table, block.day).write(block.encoded, block.rows)

    def begin(self, table: Table) -> None:
        """Begin a file of a table that may get no rows."""
        self.rows[table] = 0
        self._file(table, "")

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
