"""Tables of a store as a stream of blocks, in the order of the events.

A first pass looks for the shapes that no payload class says, and a second one makes the blocks. A
crew of processes does both, piece by piece (`pieces.py`). Memory holds some pieces for each process
of several, and one batch of each table where one process does all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from typing import Any, TypeVar

from eventstore.analysis.event_tables import ALL, Table
from eventstore.analysis.pieces import Piece, pieces_of
from eventstore.analysis.selected_history import SelectedHistory
from eventstore.analysis.shapes import fields_of
from eventstore.analysis.survey import Survey, survey_piece
from eventstore.analysis.table_blocks import Block, TablePlan, blocks_of_piece
from eventstore.arguments import argument_error, checked_count
from eventstore.errors import UnknownOperationError
from eventstore.model.operation import operation_name
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.fold_crew import FoldCrew, Work
from eventstore.tools.events_around_damage import Gap

__all__ = ["BATCH_ROWS", "TableStream"]

PlanT = TypeVar("PlanT")
MadeT = TypeVar("MadeT")

BATCH_ROWS = 8_192
"""Rows of a batch: enough for one call a column, and few enough for the processor's cache."""


class TableStream:
    """The requested tables, and the rows of each in blocks.

    `operations` are the names to keep, all operations if empty, or `("all",)` for the one table of
    all events. `form`, `decimals` and `by_day` say what a block is. `jobs` is the number of
    processes, `None` for as many as are worth it. `survey_from` is the first event to look at for
    shapes without a handler. `advance` is called with the events read so far, in both passes, and
    the number of all, by one thread at a time.

    Raises `UnknownOperationError` for a name without a handler and without an event, and
    `ConfigError` for several processes where others cannot find a handler.

    Attributes:
        gaps: The damage that was passed over so far.
    """

    def __init__(
        self,
        history: SelectedHistory,
        registry: HandlerRegistry[Any],
        operations: Collection[str] = (),
        *,
        form: str,
        decimals: str,
        by_day: bool = False,
        batch_rows: int = BATCH_ROWS,
        jobs: int | None = None,
        survey_from: int | None = None,
        advance: Callable[[int, int | None], None] | None = None,
    ) -> None:
        if jobs is not None:
            checked_count("jobs", jobs, "a number of processes")
        self.history = history
        self.gaps: list[Gap] = []
        self._registry = registry
        self._jobs = jobs
        self._advance = advance
        self._read = 0
        self._looked_at = 0
        plan = TablePlan(frozenset(operations), Survey(), form, decimals, by_day, batch_rows)
        if plan.operations == {ALL} or (history.manifest.kind == "log" and not plan.operations):
            plan = plan._replace(operations=None)
        else:
            plan = plan._replace(survey=self._survey(frozenset(operations), survey_from))
        self._plan = plan
        self._tables = plan.tables(registry)
        for name in sorted(plan.operations or ()):
            if self._tables.named(name) is None:
                raise UnknownOperationError(
                    f"{name!r} is no operation of the store, and no handler is registered for it "
                    f"(known: {', '.join(self._tables.names)}); give one of those, or {ALL!r}",
                    operation=name,
                )

    def _survey(self, wanted: Collection[str], survey_from: int | None) -> Survey:
        """Look at the events once, if the payload classes leave a question."""
        known = {operation_name(kind): kind for kind in self._registry.functions}
        wide: Mapping[str, Collection[str]] = {
            name: [field for field, shape in fields_of(kind).items() if shape.wide]
            for name, kind in known.items()
            if not wanted or name in wanted
        }
        survey, history = Survey(), self.history
        if not wanted or wanted - known.keys() or any(wide.values()):
            begin = history.first if survey_from is None else survey_from
            self._looked_at = max(history.last - begin + 1, 0)
            for found in self._made(survey_piece, begin, wide):
                survey.join(found)
        return survey

    def _made(
        self, work: Work[Piece[PlanT], Iterator[MadeT]], first: int, plan: PlanT
    ) -> Iterator[MadeT]:
        """Have the pieces of the history worked on, from an event on."""
        history, jobs = self.history, self._jobs
        pieces, events = pieces_of(history, first, plan), history.last - first + 1
        with FoldCrew(history.disk, self._registry, jobs=jobs, events=events) as crew:
            if jobs is not None and crew.alone is not None:
                raise argument_error("jobs", jobs, f"{crew.alone}: leave it out")
            yield from crew.stream(work, pieces, self._tell)

    def _tell(self, count: int) -> None:
        self._read += count
        if self._advance is not None:
            history = self.history
            self._advance(self._read, self._looked_at + history.last - history.first + 1)

    def table(self) -> Table:
        """Return the table of the one requested operation."""
        (name,) = self._plan.operations or (ALL,)
        return self.named(name)

    def named(self, operation: str) -> Table:
        """Return the table of a requested operation."""
        found = self._tables.named(operation)
        assert found is not None  # checked at the beginning
        return found

    def blocks(self) -> Generator[Block, None, None]:
        """Iterate over the rows of all tables, in blocks."""
        self.gaps.clear()
        for made in self._made(blocks_of_piece, self.history.first, self._plan):
            if isinstance(made, Gap):
                self.gaps.append(made)
            else:
                yield made
        self.gaps += self.history.lost_end

    def metadata(self, table: Table) -> Mapping[str, str]:
        """Return the facts for the schema of a table."""
        manifest = self.history.manifest
        return {
            "eventstore.operation": table.name,
            "eventstore.version": str(table.version),
            "eventstore.store": str(manifest.store),
            "eventstore.timeline": str(manifest.timelines[-1].number),
            "eventstore.first": str(self.history.first),
            "eventstore.last": str(self.history.last),
        }
