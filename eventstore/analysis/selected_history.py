"""The part of a store's history that goes into tables: read once for shapes, once for values.

The part ends where the history ends at the beginning, so both passes see the same events beside a
live engine. Memory is flat: a pass holds one batch of events.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from eventstore.analysis.found_shapes import FoundPayload
from eventstore.analysis.lenient_codec import PayloadCodec, SurveyCodec
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.errors import CorruptLogError, RegistrationError
from eventstore.model.codec import EventCodec
from eventstore.model.operation import OPERATION_FIELD, Event, Operation, operation_name, tag_of
from eventstore.model.registry import HandlerRegistry
from eventstore.os_errors import translating_read_errors
from eventstore.reading.replay import recorded_batches
from eventstore.tools.backup.source import durable_end
from eventstore.tools.events_around_damage import Gap, read_around_damage
from eventstore.tools.log_end import last_event_of
from eventstore.tools.selection import Selection, select_events, selected_numbers

__all__ = ["UNKNOWN", "SelectedHistory", "Survey", "installed_handlers"]

UNKNOWN = 1 << 62
"""The number of the last event where the end of the log is damaged."""
_BATCH = 4096
"""Events that are decoded together where events are selected one by one."""


class Survey:
    """What a first pass found.

    Attributes:
        found: The operations without a handler.
        large: The fields with integers from 2**63 on, by operation, of operations with a handler.
    """

    def __init__(self) -> None:
        self.found: dict[str, FoundPayload] = {}
        self.large: dict[str, set[str]] = {}

    def look(self, tag: str, payloads: Sequence[Any], wide: Collection[str] | None) -> None:
        """Look at payloads of one tag. `wide` are fields that may be large, of a known tag."""
        name = tag.partition("@")[0]
        if wide is None:
            if tag:
                self.found.setdefault(name, FoundPayload()).look(tag, payloads)
            return
        for place, field in enumerate(wide):
            if isinstance(payloads[0], dict):
                values = [payload.get(field) for payload in payloads]
            else:
                get = operator.attrgetter(payloads[0].__struct_fields__[place])
                values = list(map(get, payloads))
            if _largest(values) >= 1 << 63:
                self.large.setdefault(name, set()).add(field)


def _largest(values: Sequence[Any]) -> int:
    if set(map(type, values)) != {int}:
        values = [value for value in values if type(value) is int]
    return max(values, default=0)


def _by_tag(payloads: Sequence[Any]) -> dict[str, list[Any]]:
    """Sort the payloads of a batch by tag. The values of an `EventLog` have the empty tag."""
    found: dict[str, list[Any]] = {}
    for kind in set(map(type, payloads)):
        if issubclass(kind, Operation):
            found[tag_of(kind)] = [one for one in payloads if type(one) is kind]
            continue
        for one in payloads:
            if type(one) is kind:
                tag = one.get(OPERATION_FIELD) if isinstance(one, dict) else None
                found.setdefault(tag if isinstance(tag, str) else "", []).append(one)
    return found


class SelectedHistory:
    """The selected events of one store. `durable` leaves out events that a crash may take back.

    Attributes:
        manifest: The store's identity.
        first: The number of the first event.
        last: The number of the last event, 0 where there is none. Where the end of the log is
            damaged, the last event that the pass has read.
        gaps: The damage that the last pass has met.
    """

    def __init__(
        self, path: str | os.PathLike[str], wanted: Selection, *, durable: bool = False
    ) -> None:
        self._disk: Disk = LocalDisk(path, read_only=True)
        self._wanted = wanted
        self.gaps: list[Gap] = []
        with translating_read_errors(self._disk.path):
            self.manifest: Manifest = load_manifest(self._disk)
            self.first, stop = selected_numbers(self._disk, wanted)
            end = self._end(durable)
            self._open = end == UNKNOWN and wanted.stop is None
            self.last = UNKNOWN if self._open else min(stop - 1, end)

    def _end(self, durable: bool) -> int:
        try:
            event = last_event_of(self._disk)
        except CorruptLogError:
            if not self._wanted.skip_damage:
                raise
            return UNKNOWN
        if event is None:
            return 0
        return durable_end(self._disk, self.manifest, event.seq) if durable else event.seq

    def events(
        self,
        codec: EventCodec,
        first: int | None = None,
        advance: Callable[[int], None] = lambda count: None,
    ) -> Iterator[Sequence[Event[Any]]]:
        """Iterate over batches of the events, from number `first` on, decoded by `codec`.

        `advance` is called with the number of events looked at since the last call.
        """
        start = self.first if first is None else first
        stop = None if self._open else self.last + 1  # behind the damaged end as well: a gap
        wanted = msgspec.structs.replace(self._wanted, start=start, stop=stop)
        self.gaps.clear()
        if start > self.last and not self._open:
            return
        read = start - 1
        for part in self._parts(codec, wanted, advance):
            if isinstance(part, Gap):
                self.gaps.append(part)
            elif part:
                yield part
                read = part[-1].seq
                if not self._filtered:
                    advance(len(part))
        if self._open:
            self.last = max(read, self.first - 1)

    @property
    def _filtered(self) -> bool:
        return self._wanted.key is not None or bool(self._wanted.conditions)

    def _parts(
        self, codec: EventCodec, wanted: Selection, advance: Callable[[int], None]
    ) -> Iterator[Sequence[Event[Any]] | Gap]:
        start, stop = selected_numbers(self._disk, wanted)
        if self._filtered:
            return self._selected(codec, wanted, advance)
        if wanted.skip_damage:
            return read_around_damage(self._disk, start, None if self._open else stop, codec)
        return recorded_batches(self._disk, codec, start, stop)

    def _selected(
        self, codec: EventCodec, wanted: Selection, advance: Callable[[int], None]
    ) -> Iterator[Sequence[Event[Any]] | Gap]:
        chosen: list[Event[Any]] = []
        for part in select_events(self._disk, wanted, advance):
            if isinstance(part, Gap):
                yield part
                continue
            chosen.append(part)
            if len(chosen) == _BATCH:
                yield _typed(codec, chosen)
                chosen = []
        if chosen:
            yield _typed(codec, chosen)

    def survey(
        self,
        registry: HandlerRegistry[Any],
        wide: Mapping[str, Collection[str]],
        first: int | None = None,
        advance: Callable[[int], None] = lambda count: None,
    ) -> Survey:
        """Look at the events once, for operations without a handler and for large integers.

        `wide` are the fields of operations with a handler that may have integers from 2**63 on.
        `first` is the number of the first event to look at. `advance` is that of `events`.
        """
        kinds = {tag_of(kind): kind for kind in (*registry.payload_types, *registry.functions)}
        fields = {tag: wide.get(operation_name(kind), ()) for tag, kind in kinds.items()}
        survey = Survey()
        for batch in self.events(SurveyCodec(fields), first, advance):
            for tag, payloads in _by_tag([event.data for event in batch]).items():
                survey.look(tag, payloads, fields.get(tag))
        return survey

    def close(self) -> None:
        """Close the store's directory."""
        self._disk.close()


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
