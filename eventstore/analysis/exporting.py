"""The export of a store: a file for each operation, and `_export.json` with the contents.

Theory of operation
-------------------
A first export makes a directory beside the place, and renames the directory when all files are
whole. Going on (`append=True`) makes new files in a directory inside the export, renames each file
into place, and replaces `_export.json` last. The names of the new files have the first event of the
part. So a repetition of an interrupted append has the same names, and no row is there twice.

`_export.json` names the store and its timeline. After a restore or a repair the same numbers may
mean other events, so another timeline is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from eventstore.analysis.event_tables import Table
from eventstore.analysis.export_files import Parts
from eventstore.analysis.export_settings import ExportSettings
from eventstore.analysis.selected_history import SelectedHistory, installed_handlers
from eventstore.analysis.table_files import new_file
from eventstore.analysis.table_stream import TableStream
from eventstore.arguments import argument_error, checked_flag, checked_function, checked_path
from eventstore.disk.manifest import Manifest
from eventstore.errors import ConfigError, StoreNotFoundError, StoreUsageError
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import AnyMoment, place_of
from eventstore.os_errors import write_error
from eventstore.reading.arguments import checked_registry
from eventstore.tools.events_around_damage import Gap
from eventstore.tools.selection import Selection
from eventstore.tools.staging import refuse_within, staged

__all__ = ["SUMMARY", "Exported", "ExportedTable", "export_store"]

SUMMARY = "_export.json"
"""The file with the contents, beside the tables."""
_UNFINISHED = ".unfinished-"


class ExportedTable(msgspec.Struct):
    """One table of an export. `columns` has the type of each column, in words."""

    rows: int
    version: int
    columns: dict[str, str]
    files: list[str]

    def __repr__(self) -> str:
        return f"<ExportedTable {self.rows:,} rows, {len(self.columns)} columns: {self.files[-1]}>"


class Exported(msgspec.Struct, kw_only=True):
    """The contents of an export, as in `_export.json`.

    Attributes:
        store: The store's UUID.
        timeline: The identity of the timeline, and `timeline_number` the number.
        first: The number of the first event.
        last: The number of the last event. `append` goes on behind.
        settings: The settings of all files.
        tables: The tables by name.
        gaps: The damage passed over: first and last event, file, and reason.
    """

    schema: str = "eventstore.export-directory/1"
    store: str
    timeline: str
    timeline_number: int
    first: int
    last: int
    settings: ExportSettings
    tables: dict[str, ExportedTable]
    gaps: list[Gap] = []

    def __repr__(self) -> str:
        rows = sum(table.rows for table in self.tables.values())
        tables = f"{rows:,} rows in {len(self.tables)} tables"
        return f"<Exported {tables}: events {self.first} to {self.last} of {self.store}>"


def export_store(
    path: str | os.PathLike[str],
    to: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    *,
    settings: ExportSettings | None = None,
    start: AnyMoment = 1,
    stop: AnyMoment | None = None,
    skip_damage: bool = False,
    append: bool = False,
    jobs: int | None = None,
    advance: Callable[[int, int | None], None] | None = None,
) -> Exported:
    """Export the events of the store at `path` to the directory or the file `to`.

    `to` is a directory with a file for each operation, or one file where `settings` name one
    operation and no days. With `append`, `to` is always a directory: an export goes on behind the
    last event, and begins where nothing is. Memory is flat. The last event is the last one on
    stable storage, so no exported event is ever taken back.

    `registry` are the handlers, by default the installed plugins (`to_arrow` says more). `start`
    and `stop` (exclusive) limit the events. `skip_damage` goes on behind damage, and the result
    names each gap. `jobs` is the number of processes, by default as for `to_arrow`. The files are
    the same for any number. `advance` is called with the events read so far, and the number of all,
    by one thread at a time.

    Raises `StoreExistsError` for a path in use, `StoreUsageError` for another timeline and beside
    another append, and the errors of `to_arrow` and of a write.
    """
    if settings is not None and not isinstance(settings, ExportSettings):
        raise argument_error("settings", settings, "expected ExportSettings(...)")
    asked = (ExportSettings() if settings is None else settings).checked()
    if registry is not None:
        checked_registry(registry)
    checked_flag("skip_damage", skip_damage)
    checked_flag("append", append)
    if advance is not None:
        checked_function("advance", advance)
    target = Path(checked_path(to, "to"))
    refuse_within(target)
    with contextlib.ExitStack() as closing:
        earlier: Exported | None = None
        if append and os.path.lexists(target):
            closing.enter_context(_alone(target))
            earlier = _earlier(target)
            asked, start = asked.going_on(earlier.settings), earlier.last + 1
        wanted = Selection(
            start=place_of(start, "start"),
            stop=None if stop is None else place_of(stop, "stop"),
            key=asked.key,
            conditions=asked.conditions(),
            skip_damage=skip_damage,
        )
        history = SelectedHistory(path, wanted, durable=True)
        closing.callback(history.close)
        if earlier is not None:
            _check_timeline(history.manifest, earlier, target)
        stream = TableStream(
            history,
            installed_handlers() if registry is None else registry,
            asked.operations,
            form=asked.format,
            decimals=asked.decimals,
            by_day=bool(asked.partition),
            jobs=jobs,
            survey_from=None if earlier is None else earlier.first,
            advance=advance,
        )
        export = _Export(stream, asked, earlier)
        if len(asked.operations) == 1 and not asked.partition and not append:
            return export.file(target)
        return export.directory(target)


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other appends away from a directory, and remove the leftovers of a killed one.

    Raises `StoreNotFoundError` for a path that is no directory, and `StoreUsageError` beside
    another append.
    """
    try:
        descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    except NotADirectoryError as error:
        raise _no_export_error(target) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreUsageError(
                f"another process appends to {target} at the moment: try again later",
                path=str(target),
            ) from error
        for leftover in target.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def _earlier(target: Path) -> Exported:
    try:
        return msgspec.json.decode((target / SUMMARY).read_bytes(), type=Exported)
    except FileNotFoundError as error:
        raise _no_export_error(target) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise StoreUsageError(
            f"{target / SUMMARY} cannot be read ({error}): export to another path",
            path=str(target),
        ) from error


def _no_export_error(target: Path) -> StoreNotFoundError:
    return StoreNotFoundError(
        f"{target} has no {SUMMARY}, and is no export to go on with: choose another path",
        path=str(target),
        what="export",
    )


def _check_timeline(manifest: Manifest, earlier: Exported, target: Path) -> None:
    timeline = manifest.timelines[-1]
    if (str(manifest.store), timeline.id) != (earlier.store, earlier.timeline):
        raise StoreUsageError(
            f"{target} holds events of store {earlier.store}, timeline {earlier.timeline_number} "
            f"({earlier.timeline}), and the store is {manifest.store}, timeline {timeline.number} "
            f"({timeline.id}): its events may differ. Export to another path",
            path=str(target),
        )


class _Export:
    """One export under way."""

    def __init__(
        self,
        stream: TableStream,
        settings: ExportSettings,
        earlier: Exported | None,
    ) -> None:
        self._stream = stream
        self._settings = settings
        self._earlier = earlier

    def file(self, target: Path) -> Exported:
        """Write the one table to the file `target`."""
        table, form, decimals = self._stream.table(), self._settings.format, self._settings.decimals
        metadata = self._stream.metadata(table)
        with (
            new_file(target, form, table, decimals, metadata) as file,
            contextlib.closing(self._stream.blocks()) as blocks,
        ):
            for block in blocks:
                file.write(block.encoded, block.rows)
        return self._summary({table.name: _described(table, file.rows, [target.name])})

    def directory(self, target: Path) -> Exported:
        """Write a file for each table, and the summary. Files of an earlier export stay."""
        if self._earlier is None:
            with staged(target) as folder:
                summary = self._fill(folder)
                _write(folder / SUMMARY, summary)
            return summary
        try:
            with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=target) as name:
                summary, folder = self._fill(Path(name)), Path(name)
                for part in sorted(path for path in folder.rglob("*") if path.is_file()):
                    place = target / part.relative_to(folder)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    part.replace(place)
                _write(folder / SUMMARY, summary)
                (folder / SUMMARY).replace(target / SUMMARY)
        except OSError as error:
            raise write_error(error, str(target)) from error
        return summary

    def _fill(self, folder: Path) -> Exported:
        """Write the new rows to files in `folder`, and return the summary of the whole export."""
        earlier = self._earlier
        tables = {} if earlier is None else dict(earlier.tables)
        with (
            Parts(folder, self._stream, self._settings, again=earlier is not None) as parts,
            contextlib.closing(self._stream.blocks()) as blocks,
        ):
            for name in self._settings.operations:
                table = self._stream.named(name)
                if table.name not in tables and not self._settings.partition:
                    parts.begin(table)
            for block in blocks:
                table = self._stream.named(block.table)
                _check_columns(table, tables.get(table.name))
                parts.write(table, block)
        for table, rows in parts.rows.items():
            found = _described(table, rows, parts.files[table])
            if (before := tables.get(table.name)) is not None:
                found.rows += before.rows
                found.files = list(dict.fromkeys([*before.files, *found.files]))
            tables[table.name] = found
        return self._summary(tables)

    def _summary(self, tables: dict[str, ExportedTable]) -> Exported:
        history, earlier = self._stream.history, self._earlier
        timeline = history.manifest.timelines[-1]
        gaps, last = list(self._stream.gaps), history.last
        if earlier is not None:
            gaps, last = [*earlier.gaps, *gaps], max(last, earlier.last)
        return Exported(
            store=str(history.manifest.store),
            timeline=timeline.id,
            timeline_number=timeline.number,
            first=history.first if earlier is None else earlier.first,
            last=last,
            settings=self._settings,
            tables=dict(sorted(tables.items())),
            gaps=gaps,
        )


def _described(table: Table, rows: int, files: list[str]) -> ExportedTable:
    columns = {name: str(shape) for name, shape in table.columns.items()}
    return ExportedTable(rows, table.version, columns, files)


def _check_columns(table: Table, earlier: ExportedTable | None) -> None:
    """Refuse to go on with a table of other columns, for example of a new version."""
    columns = {name: str(shape) for name, shape in table.columns.items()}
    if earlier is None or earlier.columns == columns:
        return
    names = [*columns, *(name for name in earlier.columns if name not in columns)]
    name = next(
        (name for name in names if columns.get(name) != earlier.columns.get(name)), "their order"
    )
    raise ConfigError(
        f"{table.name}, column `{name}`: the export has {earlier.columns.get(name, 'none')}, and "
        f"the events have {columns.get(name, 'none')} now; export to another path",
        key=name,
    )


def _write(path: Path, summary: Exported) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
