"""The facts of a diagnosis: files of a history, and the damaged places in them."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from eventstore.disk.manifest import Manifest
from eventstore.log.flipped_bits import Flip
from eventstore.repair.segment_scan import Hole

__all__ = ["Diagnosis", "Kind", "Part", "Place", "SnapshotFacts", "place_object"]


class Kind(enum.StrEnum):
    """The kind of a damaged place."""

    RECORD = "record"
    """Bytes of a segment that are no valid records, or a segment that ends too early."""
    HEADER = "header"
    """The first 512 bytes of a segment."""
    LINK = "link"
    """A whole segment that differs from the successor's account."""
    MISSING = "missing"
    """A segment or an archive that is gone."""
    ARCHIVE = "archive"
    """A damaged archive."""
    STRAY = "stray"
    """A file under a segment's name without a place in the log."""
    RENAMED = "renamed"
    """A segment under a wrong name, while the right name is free."""
    SNAPSHOT = "snapshot"
    """A damaged snapshot."""
    KEYS = "keys"
    """A damaged run of identity keys. Its events are not lost."""
    MANIFEST = "manifest"
    """`store.json`, damaged or gone."""
    POISON = "poison"
    """A whole event that a handler refuses, or that no handler takes."""
    TORN = "torn"
    """No damage: the end of an unfinished commit, made whole by turning one bit."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One damaged place.

    Attributes:
        name: The file, relative to the store's directory.
        kind: The kind of damage.
        reason: The damage in words.
        offset: Offset of the first damaged byte, `None` for the file as a whole.
        size: Number of damaged bytes.
        first, last: The lost events. `last` is `first - 1` where no event is lost.
        open: Whether nothing tells the last lost event for sure.
        before: Time of event `first - 1`, nanoseconds since the epoch, `None` if unknown.
        after: Time of event `last + 1`, `None` if unknown or if there is none.
        key_before, key_after: Keys of the same two events.
        flips: The bits whose turning gives back the bytes of before, `None` where unknown.
    """

    name: str
    kind: Kind
    reason: str
    offset: int | None = None
    size: int = 0
    first: int = 1
    last: int = 0
    open: bool = False
    before: int | None = None
    after: int | None = None
    key_before: str | None = None
    key_after: str | None = None
    flips: tuple[Flip, ...] | None = None

    @property
    def lost(self) -> int:
        """How many events cannot be read."""
        return max(0, self.last - self.first + 1)

    @property
    def harmless(self) -> bool:
        """Whether the place is no damage."""
        return self.kind is Kind.TORN


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the history, present or not, and the events of the file.

    Attributes:
        name: The file's right name, relative to the store's directory.
        source: The present name of the file, `None` for a missing file.
        first, last: The events of the whole file. `last` may be a guess in the last file.
        latest: The latest time of any event up to there, of an archive only.
        holes: Damage in a segment. Everything of a damaged archive is lost.
        sound: Whether nothing is wrong with the file.
    """

    name: str
    archived: bool
    first: int
    last: int
    source: str | None
    latest: int = 0
    holes: tuple[Hole, ...] = ()
    torn: tuple[int, int] | None = None
    sound: bool = True

    @property
    def gone(self) -> bool:
        """Whether no event of the file can be read."""
        return self.source is None or (self.archived and not self.sound)


class SnapshotFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot: name, last event covered, latest time of any event, and the damage if any."""

    name: str
    seq: int
    latest: int = 0
    damage: str | None = None
    flips: tuple[Flip, ...] | None = None


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All damage in a store, and all whole files.

    Attributes:
        path: The store's directory.
        manifest: The facts of `store.json`, put together again for a damaged file.
        unknown: The facts lost with an unreadable `store.json`, in words.
        parts: The files of the history, in the order of events.
        snapshots: The snapshots, ascending.
        places: The damaged places, in the order of events.
        more_poison: Whether handlers refuse more events than have a place.
        unfolded: The reason why a sound history was not folded to the end, or empty: an operation
            without a handler, or a snapshot of other handlers. Neither is damage.
    """

    path: str
    manifest: Manifest
    unknown: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    snapshots: tuple[SnapshotFacts, ...] = ()
    places: tuple[Place, ...] = ()
    more_poison: bool = False
    unfolded: str = ""

    @property
    def damage(self) -> tuple[Place, ...]:
        """The places with damage."""
        return tuple(place for place in self.places if not place.harmless)

    @property
    def first_seq(self) -> int:
        """The first event of the history."""
        return self.manifest.history_start

    @property
    def last_seq(self) -> int:
        """The last known event of the history."""
        if not self.manifest.logged:
            return max((one.seq for one in self.snapshots if one.damage is None), default=0)
        return max((part.last for part in self.parts), default=self.first_seq - 1)

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """The ranges of lost events, ascending: first and last of each."""
        lost = [(place.first, place.last) for place in self.damage if place.lost]
        return tuple(sorted(set(lost)))

    @property
    def readable(self) -> int:
        """How many events can be read."""
        if not self.manifest.logged:
            return 0
        total = self.last_seq - self.first_seq + 1
        return total - sum(last - first + 1 for first, last in self.gaps)


def place_object(place: Place) -> dict[str, Any]:
    """Return a place as plain values, for JSON."""
    fields = msgspec.structs.asdict(place)
    flips = None if place.flips is None else [[flip.offset, flip.bit] for flip in place.flips]
    return {**fields, "kind": place.kind.value, "lost": place.lost, "flips": flips}
