"""Every byte of a run of identity keys, checked."""

from __future__ import annotations

import uuid

from eventstore.disk.base import Disk
from eventstore.disk.layout import run_name
from eventstore.keys.format import InvalidRunError
from eventstore.keys.run import Run, damaged_run_error

__all__ = ["check_run"]


def check_run(disk: Disk, store: uuid.UUID, covered: tuple[int, int]) -> None:
    """Check header, prints and every block of the run of a range of events.

    A run that the writer merged meanwhile is sound. Raises `CorruptStoreError`, which says what to
    do, and `ReadFailedError`.
    """
    name = run_name(*covered)
    try:
        run = Run.open(disk, name)
    except FileNotFoundError:
        return
    except InvalidRunError as error:
        raise damaged_run_error(f"{disk.path}/{name}", str(error)) from error
    try:
        header = run.header
        if header.store != store:
            raise damaged_run_error(
                f"{disk.path}/{name}", f"it belongs to another store ({header.store})"
            )
        if (header.first, header.last) != covered:
            raise damaged_run_error(
                f"{disk.path}/{name}", f"it covers events {header.first} to {header.last}"
            )
        run.load_prints()
        for _ in run.batches():
            pass
    finally:
        run.close()
