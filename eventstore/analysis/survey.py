"""A first pass over events: the shapes of operations without a handler, and large integers.

Each piece of the history is looked at by itself, and what was found is joined. No value is kept.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from eventstore.analysis.found_shapes import FoundPayload
from eventstore.analysis.lenient_codec import SurveyCodec
from eventstore.analysis.pieces import Piece
from eventstore.analysis.selected_history import read_selected
from eventstore.disk.base import Disk
from eventstore.model.operation import OPERATION_FIELD, Operation, operation_name, tag_of
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.fold_crew import Advance
from eventstore.tools.events_around_damage import Gap

__all__ = ["Survey", "survey_piece"]


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

    def join(self, later: Survey) -> None:
        """Add the findings of later events."""
        for name, payload in later.found.items():
            self.found.setdefault(name, FoundPayload()).join(payload)
        for name, fields in later.large.items():
            self.large.setdefault(name, set()).update(fields)


def survey_piece(
    disk: Disk,
    registry: HandlerRegistry[Any],
    piece: Piece[Mapping[str, Collection[str]]],
    advance: Advance,
) -> Iterator[Survey]:
    """Look at the events of a piece. Work for a crew.

    The plan of the piece has the fields of operations with a handler that may have integers from
    2**63 on.
    """
    kinds = {tag_of(kind): kind for kind in (*registry.payload_types, *registry.functions)}
    fields = {tag: piece.plan.get(operation_name(kind), ()) for tag, kind in kinds.items()}
    survey = Survey()
    for batch in read_selected(disk, piece.wanted, SurveyCodec(fields), advance):
        if not isinstance(batch, Gap) and batch:
            for tag, payloads in _by_tag([event.data for event in batch]).items():
                survey.look(tag, payloads, fields.get(tag))
    yield survey


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
