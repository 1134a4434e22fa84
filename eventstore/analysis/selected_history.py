"""The part of a store's history for tables, and the reading of the selected events.

The part ends where the history ends at the beginning, so all passes see the same events beside a
live engine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from eventstore.analysis.lenient_codec import PayloadCodec
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.errors import CorruptLogError, RegistrationError
from eventstore.log.reader import LogReader
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.os_errors import translating_read_errors
from eventstore.reading.replay import recorded_batches
from eventstore.tools.backup.source import durable_end
from eventstore.tools.events_around_damage import Gap, read_around_damage
from eventstore.tools.log_end import last_event_of
from eventstore.tools.selection import Selection, select_events, selected_numbers

__all__ = ["SelectedHistory", "installed_handlers", "read_selected"]

_BATCH = 4096
"""Events that are decoded together where events are selected one by one."""


class SelectedHistory:
    """The selected events of one store. `durable` leaves out events that a crash may take back.

    Attributes:
        disk: The store's directory.
        manifest: The store's identity.
        wanted: The selection, with numbers for its first event and the event to stop before.
        first: The number of the first event.
        last: The number of the last event, 0 where there is none. Where the end of the log is
            damaged and `wanted` passes over damage, the last event that can be read.
        lost_end: The damage behind the last event.
    """

    def __init__(
        self, path: str | os.PathLike[str], wanted: Selection, *, durable: bool = False
    ) -> None:
        self.disk: Disk = LocalDisk(path, read_only=True)
        self.lost_end: list[Gap] = []
        with translating_read_errors(self.disk.path):
            self.manifest: Manifest = load_manifest(self.disk)
            if not self.manifest.logged:
                next(LogReader(self.disk).chunks(), None)  # raises the error of every reader
            self.first, stop = selected_numbers(self.disk, wanted)
            self.last = min(stop - 1, self._end(durable, wanted, stop))
        self.wanted = msgspec.structs.replace(wanted, start=self.first, stop=self.last + 1)

    def _end(self, durable: bool, wanted: Selection, stop: int) -> int:
        """Return the number of the last event of the store."""
        try:
            event = last_event_of(self.disk)
        except CorruptLogError:
            if not wanted.skip_damage:
                raise
            return self._readable_end(wanted, stop)
        if event is None:
            return 0
        return durable_end(self.disk, self.manifest, event.seq) if durable else event.seq

    def _readable_end(self, wanted: Selection, stop: int) -> int:
        """Return the number of the last readable event, and note the damage behind."""
        backwards = select_events(self.disk, Selection(reverse=True, skip_damage=True))
        last = next((one.seq for one in backwards if isinstance(one, Event)), 0)
        behind = max(last + 1, self.first)
        if behind < stop:
            found = read_around_damage(self.disk, behind, None if wanted.stop is None else stop)
            self.lost_end += [part for part in found if isinstance(part, Gap)]
        return last

    def close(self) -> None:
        """Close the store's directory."""
        self.disk.close()


def read_selected(
    disk: Disk, wanted: Selection, codec: EventCodec, advance: Callable[[int], None]
) -> Iterator[Sequence[Event[Any]] | Gap]:
    """Iterate over batches of the selected events, decoded by `codec`, and over the gaps.

    `advance` is called with the number of events looked at since the last call.
    """
    if wanted.key is not None or wanted.conditions:
        yield from _filtered(disk, wanted, codec, advance)
        return
    start, stop = selected_numbers(disk, wanted)
    if wanted.skip_damage:
        found = read_around_damage(disk, start, stop, codec)
    else:
        found = recorded_batches(disk, codec, start, stop)
    for part in found:
        yield part
        if not isinstance(part, Gap):
            advance(len(part))


def _filtered(
    disk: Disk, wanted: Selection, codec: EventCodec, advance: Callable[[int], None]
) -> Iterator[Sequence[Event[Any]] | Gap]:
    chosen: list[Event[Any]] = []
    for part in select_events(disk, wanted, advance):
        if isinstance(part, Gap):
            yield part
            continue
        chosen.append(part)
        if len(chosen) == _BATCH:
            yield _typed(codec, chosen)
            chosen = []
    if chosen:
        yield _typed(codec, chosen)


def _typed(codec: EventCodec, events: list[Event[Any]]) -> list[Event[Any]]:
    return codec.typed(events) if isinstance(codec, PayloadCodec) else events


def installed_handlers() -> HandlerRegistry[Any]:
    """Return the handlers of the installed plugins.

    Raises `RegistrationError` for plugins that make no registry together.
    """
    try:
        return HandlerRegistry.discover()
    except RegistrationError as error:
        raise RegistrationError(
            f"{error}. Or pass registry=: your handlers, or HandlerRegistry() for shapes that are "
            "found from the data"
        ) from error
