"""The catalog of one copy: all files of the store, and the objects that hold their bytes.

::

    catalogs/0000000012.json                             the twelfth copy at this place
    data/t0001/log/00000000000000000001.log/000000000000-000000004096-<digest>.zst

Theory of operation
-------------------
A file of the store is kept as *parts*, ranges of bytes that follow one another. A finished segment,
an archive or a snapshot never changes, and is one part as a rule. The last segment grows, so each
copy adds a part with the new bytes alone. The name of a part says timeline, file, range and digest
of its bytes. So a part that is there already is known by its name, and a name is never needed for
other bytes.

The catalog is written last. Until then nobody refers to the new parts. The number of a copy is
taken by writing the catalog, and only one writer can write the catalog of a number. A second writer
sees the other's copy, and is refused unless its history goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from eventstore.cursor import Cursor
from eventstore.errors import CorruptStoreError, newer_format_error
from eventstore.tools.backup.places import Place
from eventstore.tools.staging import BACKUP_FOLDERS

if sys.version_info >= (3, 14):
    from compression import zstd  # pragma: no cover - only one of the two is there
else:
    from backports import zstd  # pragma: no cover - only one of the two is there

__all__ = [
    "CATALOGS",
    "DATA",
    "Catalog",
    "CopiedFile",
    "Part",
    "catalog_facts",
    "catalog_name",
    "catalog_numbers",
    "load_catalog",
    "pack_part",
    "unpack_part",
]

CATALOGS, DATA = (f"{name}/" for name in BACKUP_FOLDERS)
FORMAT = 1


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A range of a file's bytes, kept as one object of `stored` bytes with SHA-256 `sha256`."""

    name: str
    begin: int
    end: int
    stored: int
    sha256: str


class CopiedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the store: `length` bytes, their SHA-256, and the parts in order.

    The last segment has no seal yet. Zeros follow its bytes, up to `size`. A `settled` file never
    changes again.

    A CRC-32 does not tell two versions of a segment apart. The segment holds CRC-32s of its own,
    and a checksum over bytes and their checksum is the same for all bytes.
    """

    length: int
    size: int
    sha256: str
    settled: bool
    parts: tuple[Part, ...]


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """One copy of a store, as of event `last`.

    Attributes:
        number: The copy's number at this place, from 1 on.
        made: Time of the copy, nanoseconds since the epoch.
        store: The store's UUID.
        kind: Whether an `EventStore` or an `EventLog` wrote the store.
        timeline: Number of the timeline that the store was in.
        timeline_id: Random identity of that timeline.
        first: First event in the copy. `last` is one less in a copy without events.
        last: Last event in the copy.
        last_time: Time of the last event, `None` in a copy without events.
        place: The place behind the last event, as the text of a cursor.
        digest: Digest of the state after the last event, `None` where the state was not folded.
        manifest: `store.json` as text.
        files: The other files, by name.
        format: Version of this form.
        seal: SHA-256 of the other members.
    """

    number: int
    made: int
    store: uuid.UUID
    kind: str
    timeline: int
    timeline_id: str
    first: int
    last: int
    last_time: int | None
    place: str
    digest: str | None
    manifest: str
    files: Mapping[str, CopiedFile]
    format: int = FORMAT
    seal: str = ""

    @property
    def cursor(self) -> Cursor:
        """The place behind the last event."""
        return Cursor.parse(self.place)

    @property
    def parts(self) -> dict[str, Part]:
        """All parts, by name."""
        return {part.name: part for file in self.files.values() for part in file.parts}

    @property
    def size(self) -> int:
        """Bytes of all parts, as stored."""
        return sum(part.stored for part in self.parts.values())

    def encode(self) -> bytes:
        """Return the bytes of the object."""
        return msgspec.json.format(msgspec.json.encode(self.sealed())) + b"\n"

    def sealed(self) -> Catalog:
        """Return the catalog with its seal."""
        return msgspec.structs.replace(self, seal=self._digest())

    def intact(self) -> bool:
        """Whether the seal is that of the members."""
        return self.seal == self._digest()

    def _digest(self) -> str:
        plain = msgspec.json.encode(msgspec.structs.replace(self, seal=""))
        return hashlib.sha256(plain).hexdigest()


def catalog_name(number: int) -> str:
    """Name the catalog of a copy."""
    return f"{CATALOGS}{number:010d}.json"


def catalog_numbers(place: Place) -> list[int]:
    """Return the numbers of all copies at a place, ascending."""
    names = place.list(CATALOGS)
    found = (name.removeprefix(CATALOGS).removesuffix(".json") for name in names)
    return sorted(int(text) for text in found if text.isascii() and text.isdecimal())


def load_catalog(place: Place, number: int) -> Catalog:
    """Read a catalog. Raises `FileNotFoundError` where there is none.

    Raises `CorruptStoreError`, and `StoreFormatError` for a catalog of a newer release.
    """
    name = catalog_name(number)
    where = f"{place.name}/{name}"
    data = place.get(name)
    try:
        version = json.loads(data)["format"]
        known = not isinstance(version, int) or version <= FORMAT
        if not known and not _is_misread(data):
            raise newer_format_error(where, version, FORMAT)
        catalog = msgspec.json.decode(data, type=Catalog)
    except (ValueError, LookupError, TypeError, msgspec.MsgspecError) as error:
        raise CorruptStoreError(
            f"{where} is damaged ({error}): restore another copy with --copy N (eventstore backup "
            "--list names them)",
            path=where,
        ) from error
    if not catalog.intact() or catalog.number != number:
        raise CorruptStoreError(
            f"{where} is damaged (its digest does not match): restore another copy with --copy N "
            "(eventstore backup --list names them)",
            path=where,
        )
    return catalog


def _is_misread(data: bytes) -> bool:
    """Whether a larger version is a changed digit in a catalog of this release."""
    try:
        catalog = msgspec.json.decode(data, type=Catalog)
    except msgspec.MsgspecError:
        return False
    return msgspec.structs.replace(catalog, format=FORMAT).intact()


def pack_part(timeline: int, file: str, begin: int, data: bytes) -> tuple[Part, bytes]:
    """Make the object of a part: its facts, and its bytes. Archives are compressed already."""
    digest, end = hashlib.sha256(data).hexdigest(), begin + len(data)
    packed, suffix = (data, "") if file.endswith(".zst") else (zstd.compress(data), ".zst")
    part = Part(
        name=f"{DATA}t{timeline:04d}/{file}/{begin:012d}-{end:012d}-{digest[:16]}{suffix}",
        begin=begin,
        end=end,
        stored=len(packed),
        sha256=hashlib.sha256(packed).hexdigest(),
    )
    return part, packed


def unpack_part(place: Place, part: Part) -> bytes:
    """Read a part, check it, and return the bytes of the file. Raises `CorruptStoreError`."""
    where = f"{place.name}/{part.name}"
    try:
        packed = place.get(part.name)
    except FileNotFoundError:
        raise CorruptStoreError(
            f"{where} is missing, so this copy is not complete: restore another copy with --copy N "
            "(eventstore backup --list names them)",
            path=where,
        ) from None
    if len(packed) != part.stored or hashlib.sha256(packed).hexdigest() != part.sha256:
        raise CorruptStoreError(
            f"{where} is damaged, its digest is another one than the catalog says: restore another "
            "copy with --copy N (eventstore backup --list names them)",
            path=where,
        )
    data = zstd.decompress(packed) if part.name.endswith(".zst") else packed
    if len(data) != part.end - part.begin:
        raise CorruptStoreError(f"{where} has not the bytes that its name says", path=where)
    return data


def catalog_facts(catalog: Catalog) -> dict[str, Any]:
    """Return a copy's facts for a list of copies."""
    return {
        "number": catalog.number,
        "made": catalog.made,
        "first": catalog.first,
        "last": catalog.last,
        "time": catalog.last_time,
        "bytes": catalog.size,
        "digest": catalog.digest,
        "timeline": catalog.timeline,
        "store": str(catalog.store),
    }
