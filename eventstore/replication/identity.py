"""The file `replica.json`: the part of a directory among the replicas of a store.

Theory of operation
-------------------
The random identity tells the holder of the lease from all other directories. `writes` names the
timeline that the directory writes, and stands in the file before the first event is sent. Only the
writer's own directory takes events over at an opening (`tail_adoption.py`). A standby that is
behind is promoted instead, and begins a timeline, because the old writer may have further events.
"""

from __future__ import annotations

import uuid

import msgspec

from eventstore.disk.base import Disk, write_atomically
from eventstore.disk.layout import REPLICA, REPLICA_TEMPORARY
from eventstore.timelines import Timeline

__all__ = ["Identity", "identity_of", "note_writing"]


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of the file. `writes` is number and identity of a timeline, or nothing."""

    id: str
    writes: str = ""

    def writes_timeline(self, timeline: Timeline) -> bool:
        """Return whether the directory writes a timeline."""
        return self.writes == _name(timeline)


def identity_of(disk: Disk) -> Identity:
    """Return the identity of a store's directory, drawn at the first call.

    Raises `OSError`, for the caller to translate.
    """
    try:
        file = disk.open(REPLICA)
        try:
            found = msgspec.json.decode(file.read(0, 4096), type=Identity)
        finally:
            file.close()
        if found.id:
            return found
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        pass  # no file, or a damaged one
    drawn = Identity(id=uuid.UUID(bytes=disk.entropy(16), version=4).hex)
    _write(disk, drawn)
    return drawn


def note_writing(disk: Disk, identity: Identity, timeline: Timeline) -> Identity:
    """Note durably that the directory writes a timeline. Raises `OSError`."""
    noted = msgspec.structs.replace(identity, writes=_name(timeline))
    _write(disk, noted)
    return noted


def _write(disk: Disk, identity: Identity) -> None:
    write_atomically(disk, REPLICA, REPLICA_TEMPORARY, msgspec.json.encode(identity) + b"\n")


def _name(timeline: Timeline) -> str:
    return f"{timeline.number}-{timeline.id}"
