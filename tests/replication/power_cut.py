"""What a power cut does to a log: records that were not synced are gone."""

from __future__ import annotations

import contextlib
from pathlib import Path

from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SegmentHeader, read_record

__all__ = ["lose_events"]


def lose_events(path: Path, behind: int) -> None:
    """Take the records behind event `behind` from the last segment, whatever seal it has."""
    file = max((path / "log").glob("*.log"))
    data = file.read_bytes()
    header, at, kept = SegmentHeader.decode(data[:HEADER_SIZE]), HEADER_SIZE, HEADER_SIZE
    with contextlib.suppress(InvalidBytesError):
        while True:
            record = read_record(data, at, header.salt)
            if record.events and record.first_seq > behind:
                break
            at = record.end
            kept = at if record.events else kept
    file.write_bytes(data[:kept].ljust(header.size, b"\0"))
