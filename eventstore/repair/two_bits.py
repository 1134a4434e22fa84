"""Two flipped bits in one record, believed only where a snapshot behind has the folded state.

A checksum has many answers to the question for two bits. Most answers do not decode. Each other
answer is folded up to the next snapshot, and the digest of the state decides. Where no snapshot
stands behind the record, or several answers lead to the snapshot's state, nothing is offered.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.errors import EventStoreError
from eventstore.log.flipped_bits import Flip, find_two_flips, flipped, holds_events
from eventstore.log.format import (
    HEADER_SIZE,
    RECORD_HEADER_SIZE,
    InvalidBytesError,
    SegmentHeader,
    read_record,
    read_synced_end,
)
from eventstore.model.registry import HandlerRegistry
from eventstore.repair.damaged_places import Diagnosis, Kind, Place
from eventstore.repair.history_fold import confirming_snapshot
from eventstore.repair.prices import Choice, first_choices, history_of

__all__ = ["with_confirmed_pairs"]

_BODY_CRC = struct.Struct("<I")
_BODY_CRC_AT = 32


def with_confirmed_pairs(
    disk: Disk, diagnosis: Diagnosis, registry: HandlerRegistry[Any] | None
) -> Diagnosis:
    """Add the two flipped bits to each place where a snapshot confirms exactly one pair."""
    if registry is None or diagnosis.manifest.kind == "log":
        return diagnosis
    for index, place in enumerate(diagnosis.places):
        if place.flips is not None or place.kind is not Kind.RECORD or place.open:
            continue
        confirmed = []
        for pair in _pairs(disk, place):
            tried = _with_flips(diagnosis, index, pair)
            if _is_confirmed(disk, tried, index, registry):
                confirmed.append(tried)
        if len(confirmed) == 1:
            diagnosis = confirmed[0]
    return diagnosis


def _pairs(disk: Disk, place: Place) -> Iterator[tuple[Flip, Flip]]:
    """Yield the pairs of bits that make a whole record of a place, right numbers included."""
    data, offset = read_whole(disk, place.name), place.offset or 0
    try:
        salt = SegmentHeader.decode(data[:HEADER_SIZE]).salt
        read_synced_end(data, offset, salt)
    except InvalidBytesError:
        return
    start, end = offset + RECORD_HEADER_SIZE, offset + place.size
    (right,) = _BODY_CRC.unpack_from(data, offset + _BODY_CRC_AT)
    body = data[start:end]
    for pair in find_two_flips(len(body), zlib.crc32(body) ^ right):
        whole = data[offset:start] + flipped(body, pair)
        try:
            record = read_record(whole, 0, salt, place=offset)
        except InvalidBytesError:
            continue
        right_end = record.end == len(whole) and record.first_seq == place.first
        if right_end and holds_events(whole, record):
            one, other = (Flip(start + flip.offset, flip.bit) for flip in pair)
            yield one, other


def _with_flips(diagnosis: Diagnosis, index: int, pair: tuple[Flip, Flip]) -> Diagnosis:
    places = list(diagnosis.places)
    places[index] = msgspec.structs.replace(places[index], flips=pair)
    return msgspec.structs.replace(diagnosis, places=tuple(places))


def _is_confirmed(
    disk: Disk, diagnosis: Diagnosis, index: int, registry: HandlerRegistry[Any]
) -> bool:
    choices = first_choices(disk, diagnosis)
    history = history_of(disk, diagnosis, {**choices, index: Choice("mend")})
    try:
        return bool(confirming_snapshot(history, diagnosis.places[index], registry))
    except EventStoreError:  # a handler refuses the events of a wrong pair
        return False
