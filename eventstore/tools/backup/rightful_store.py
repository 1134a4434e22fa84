"""Which store may go on with the copies at a place.

The store's history must contain the newest copy's last event, by timeline, number and checksum. A
store that went back deliberately (a restore, a repair) has begun a later timeline, and goes on in
that. A writer that was left behind in the earlier timeline is refused from then on.
"""

from __future__ import annotations

from eventstore.cursor import Cursor
from eventstore.disk.base import Disk
from eventstore.errors import ForeignCursorError, HistoryForkedError
from eventstore.reading.cursor_check import confirm
from eventstore.tools.backup.catalog import Catalog
from eventstore.tools.backup.places import Place
from eventstore.tools.backup.source import Collected

__all__ = ["check_goes_on"]


def check_goes_on(disk: Disk, place: Place, found: Collected, previous: Catalog) -> None:
    """Raise `HistoryForkedError` unless the store goes on from the newest copy.

    Raises `ForeignCursorError` where the copies are of another store.
    """
    if previous.store != found.manifest.store:
        raise ForeignCursorError(
            f"{place.name} has copies of the store {previous.store}, and {disk.path} is the store "
            f"{found.manifest.store}: choose another place. Nothing was written",
            path=disk.path,
            cursor=previous.place,
            store=str(found.manifest.store),
        )
    lineage, cursor = found.manifest.lineage(disk.path), previous.cursor
    if (previous.timeline, previous.timeline_id) in [
        (one.number, one.id) for one in lineage.timelines[:-1]
    ]:
        return  # the store began a later timeline since
    begun = Cursor(previous.store, previous.timeline, previous.timeline_id, 0)
    try:
        lineage.check(begun)
        lineage.check(cursor)
        if cursor.seq > found.last + found.not_durable:
            raise lineage.ahead_error(cursor, found.last)
        if found.manifest.logged and cursor.seq >= found.manifest.history_start - 1:
            confirm(disk, cursor)
    except HistoryForkedError as error:
        raise _refused(error, place, previous) from error


def _refused(error: HistoryForkedError, place: Place, previous: Catalog) -> HistoryForkedError:
    shared = f"Both share the events up to {error.last_shared}. " if error.last_shared else ""
    return HistoryForkedError(
        f"{place.name} has a copy up to event {previous.last} of timeline {previous.timeline}, and "
        f"the store {error.path} does not go on from there. Nothing was written. {shared}Is this "
        "an older directory, or does another writer go on elsewhere? Then stop this one. To keep "
        "both, choose another place",
        path=error.path,
        cursor=error.cursor,
        last_shared=error.last_shared,
    )
