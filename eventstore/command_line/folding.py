"""States folded for a command: the handlers found, the moment settled, the progress shown."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from eventstore.analysis.moments import number_at
from eventstore.command_line.moments import NamedMoment, settle_moment
from eventstore.command_line.progress import progress, progress_of_tasks
from eventstore.command_line.registries import REGISTRY_HINT, load_registry
from eventstore.cursor import Cursor
from eventstore.disk.local import LocalDisk
from eventstore.errors import EventStoreError, StateRefusedError, UnknownOperationError
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import AtTime
from eventstore.tools.log_end import last_event
from eventstore.tools.moment_state import MomentState, moment_state

__all__ = ["Analysis", "analysing", "fold_shown"]


class Analysis(NamedTuple):
    """The handlers for an analysis, and a function to be told of folded events."""

    registry: HandlerRegistry[Any]
    advance: Callable[[int], None]


def fold_shown(path: Path, at: NamedMoment | None, registry_name: str | None) -> MomentState:
    """Fold the store at `path` to a moment. Raises the errors of `state_at`, and `click`'s."""
    registry = load_registry(registry_name)
    moment: int | AtTime | Cursor | None = None if at is None else settle_moment(path, at)
    with _hinting(registry_name), progress("folding") as advance:
        total = _last_folded(path, moment)
        return moment_state(path, registry, moment, lambda seq: advance(seq, total))


def _last_folded(path: Path, moment: int | AtTime | Cursor | None) -> int | None:
    """Return the last event up to a moment, `None` where folding has to find out."""
    disk = LocalDisk(path, read_only=True)
    try:
        return number_at(disk, moment)
    except EventStoreError:
        return None
    finally:
        disk.close()


@contextlib.contextmanager
def analysing(path: Path, registry_name: str | None) -> Iterator[Analysis]:
    """Show the progress of an analysis of a history. Some events may be folded twice."""
    registry = load_registry(registry_name)
    last = last_event(path)
    total, done = 0 if last is None else last.seq, 0
    with _hinting(registry_name), progress_of_tasks(task="folding") as advance:

        def folded(count: int) -> None:
            nonlocal done
            done += count
            again = done > total
            advance("folding again" if again else "folding", done - total * again, total)

        yield Analysis(registry, folded)


@contextlib.contextmanager
def _hinting(registry_name: str | None) -> Iterator[None]:
    """Say how to name handlers where the installed ones do not fold the store."""
    try:
        yield
    except (UnknownOperationError, StateRefusedError) as error:
        if registry_name is not None:
            raise
        message = f"{error}. The installed handlers do not fold this store: {REGISTRY_HINT}"
        raise click.UsageError(message) from error
