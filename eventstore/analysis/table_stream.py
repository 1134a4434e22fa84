"""Tables of a store as a stream of batches, in the order of the events.

Events are taken apart into columns as soon as they are decoded, while the processor's cache holds
them. The values wait until a batch of the table is full, so memory holds one batch for each table.
A table outside the request costs no more than the decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from eventstore.analysis.event_tables import ALL, AllEvents, Catalog, Columns, Table
from eventstore.analysis.selected_history import UNKNOWN, SelectedHistory, Survey
from eventstore.analysis.shapes import fields_of
from eventstore.errors import UnknownOperationError
from eventstore.model.operation import operation_name
from eventstore.model.registry import HandlerRegistry

__all__ = ["BATCH_ROWS", "TableStream"]

BATCH_ROWS = 8_192
"""Rows of a batch: enough for one call a column, and few enough for the processor's cache."""


class TableStream:
    """The requested tables, and the rows of each in batches.

    `operations` are the names to keep, all operations if empty, or `("all",)` for the one table of
    all events. `survey_from` is the first event to look at for shapes without a handler. `advance`
    is called with the events read so far, in both passes, and the number of all.

    Raises `UnknownOperationError` for a name without a handler and without an event.
    """

    def __init__(
        self,
        history: SelectedHistory,
        registry: HandlerRegistry[Any],
        operations: Collection[str] = (),
        *,
        batch_rows: int = BATCH_ROWS,
        survey_from: int | None = None,
        advance: Callable[[int, int | None], None] | None = None,
    ) -> None:
        self.history = history
        self._advance = advance
        self._looked_at = self._read = 0
        self._rows = batch_rows
        self._wanted = frozenset(operations)
        self._catalog: Catalog | AllEvents = AllEvents()
        if self._wanted == {ALL} or (history.manifest.kind == "log" and not self._wanted):
            self._wanted = frozenset({self._catalog.name})
            return
        known = {operation_name(kind): kind for kind in registry.functions}
        wide = {
            name: [field for field, shape in fields_of(kind).items() if shape.wide]
            for name, kind in known.items()
            if not self._wanted or name in self._wanted
        }
        survey = Survey()
        if not self._wanted or self._wanted - known.keys() or any(wide.values()):
            begin = history.first if survey_from is None else survey_from
            self._looked_at = max(history.last - begin + 1, 0)
            survey = history.survey(registry, wide, begin, self._tell)
            self._looked_at = max(history.last - begin + 1, 0)  # known now at a damaged end, too
        self._catalog = Catalog(registry, survey.found, survey.large, self._wanted)
        for name in sorted(self._wanted):
            if self._catalog.named(name) is None:
                raise UnknownOperationError(
                    f"{name!r} is no operation of the store, and no handler is registered for it "
                    f"(known: {', '.join(self._catalog.names)}); give one of those, or {ALL!r}",
                    operation=name,
                )

    def table(self) -> Table:
        """Return the table of the one requested operation."""
        (name,) = self._wanted
        return self.named(name)

    def named(self, operation: str) -> Table:
        """Return the table of a requested operation."""
        if isinstance(self._catalog, AllEvents):
            return self._catalog
        found = self._catalog.named(operation)
        assert found is not None  # checked at the beginning
        return found

    def _tell(self, count: int) -> None:
        self._read += count
        if self._advance is not None:
            history = self.history
            total = self._looked_at + history.last - history.first + 1
            self._advance(self._read, None if history.last == UNKNOWN else total)

    def batches(self) -> Iterator[tuple[Table, Columns]]:
        """Iterate over the batches of rows, each with the table."""
        waiting: dict[Table, Columns] = {}
        for batch in self.history.events(self._catalog.codec, advance=self._tell):
            for table, events in self._catalog.sorted(batch):
                columns = waiting.get(table)
                if columns is None:
                    columns = waiting[table] = table.no_rows()
                for column, values in zip(columns, table.values(events), strict=True):
                    column.extend(values)
                if len(columns[0]) >= self._rows:
                    yield table, waiting.pop(table)
        yield from waiting.items()

    def metadata(self, table: Table) -> Mapping[str, str]:
        """Return the facts for the schema of a table."""
        manifest = self.history.manifest
        found = {
            "eventstore.operation": table.name,
            "eventstore.version": str(table.version),
            "eventstore.store": str(manifest.store),
            "eventstore.timeline": str(manifest.timelines[-1].number),
            "eventstore.first": str(self.history.first),
        }
        if self.history.last != UNKNOWN:
            found["eventstore.last"] = str(self.history.last)
        return found
