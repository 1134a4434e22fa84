"""Segments put in their places in the log: by the header, and not by the name alone."""

from __future__ import annotations

from typing import NamedTuple

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import segment_name
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest
from eventstore.log.flipped_bits import mend_segment_header
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SegmentHeader
from eventstore.log.segment import header_fault
from eventstore.repair.damaged_places import Kind, Place
from eventstore.repair.segment_scan import scan_segment

__all__ = ["PlacedSegment", "placed_segments"]


class PlacedSegment(NamedTuple):
    """A segment in place: the present name of the file, and the header if valid."""

    source: str
    header: SegmentHeader | None


def placed_segments(
    disk: Disk, manifest: Manifest, listing: Listing
) -> tuple[dict[int, PlacedSegment], list[Place]]:
    """Find the place of every file in the log, by the first event of the segment.

    The second result has the files under a wrong name. One without a place is a stray.
    """
    placed: dict[int, PlacedSegment] = {}
    places: list[Place] = []
    misnamed: list[tuple[int, SegmentHeader, str]] = []
    for first in listing.segments:
        if first < manifest.log_start:
            continue
        name = segment_name(first)
        try:
            header = SegmentHeader.decode(read_whole(disk, name, HEADER_SIZE))
        except FileNotFoundError:  # archived by a writer
            continue
        except InvalidBytesError:
            placed[first] = PlacedSegment(name, None)
            continue
        reason = header_fault(header, manifest.store, first)
        if reason is None:
            placed[first] = PlacedSegment(name, header)
        else:
            misnamed.append((first, header, reason))
    for first, header, reason in misnamed:
        name, right = segment_name(first), segment_name(header.first_seq)
        usable = header.store == manifest.store and header.first_seq >= manifest.log_start
        kind = Kind.STRAY
        if usable and header.first_seq not in placed:
            placed[header.first_seq] = PlacedSegment(name, header)
            kind, reason = Kind.RENAMED, f"it is the segment {right} under another name"
        elif usable:
            reason = f"it is segment {header.first_seq} under another name"
        at = header.first_seq if kind is Kind.RENAMED else first
        places.append(Place(name=name, kind=kind, reason=reason, first=at, last=at - 1))
    return placed, places + _dropped(disk, placed)


def _dropped(disk: Disk, placed: dict[int, PlacedSegment]) -> list[Place]:
    """Take out the files with an invalid header and without a part of the log."""
    places = []
    for first in [first for first, found in placed.items() if found.header is None]:
        data = read_whole(disk, placed[first].source)
        if scan_segment(data, None, first).records or mend_segment_header(data) is not None:
            continue
        later = [number for number in placed if number > first]
        named = {found.header.previous_first for found in placed.values() if found.header}
        if later and first not in named:
            del placed[first]
            reason = "it is no segment of this log"
            name = segment_name(first)
            place = Place(name=name, kind=Kind.STRAY, reason=reason, first=first, last=first - 1)
            places.append(place)
    return places
