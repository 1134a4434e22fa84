"""A state folded for a command: the handlers found, the moment settled, the progress shown."""

from __future__ import annotations

from pathlib import Path

import click

from eventstore.command_line.moments import NamedMoment, settle_moment
from eventstore.command_line.progress import progress
from eventstore.command_line.registries import REGISTRY_HINT, load_registry
from eventstore.cursor import Cursor
from eventstore.errors import StateRefusedError, UnknownOperationError
from eventstore.moment import AtTime
from eventstore.tools.moment_state import MomentState, moment_state

__all__ = ["fold_shown"]


def fold_shown(path: Path, at: NamedMoment | None, registry_name: str | None) -> MomentState:
    """Fold the store at `path` to a moment. Raises the errors of `state_at`, and `click`'s."""
    registry = load_registry(registry_name)
    moment: int | AtTime | Cursor | None = None if at is None else settle_moment(path, at)
    total = moment if isinstance(moment, int) else None
    try:
        with progress("folding") as advance:
            return moment_state(path, registry, moment, lambda seq: advance(seq, total))
    except (UnknownOperationError, StateRefusedError) as error:
        if registry_name is not None:
            raise
        message = f"{error}. The installed handlers do not fold this store: {REGISTRY_HINT}"
        raise click.UsageError(message) from error
