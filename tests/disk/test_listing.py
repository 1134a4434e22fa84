"""A listing of a store's directory: the calls made, the numbers, and the unknown files."""

from __future__ import annotations

import uuid

import msgspec
import pytest

from eventstore.disk.layout import archive_name, segment_name, snapshot_name
from eventstore.disk.listing import Listing, list_snapshots
from eventstore.disk.manifest import Manifest
from eventstore.testing import SimulatedDisk
from eventstore.timelines import first_timeline

STORE = uuid.UUID(int=1)
MANIFEST = Manifest(store=STORE, created=0, timelines=first_timeline(STORE))
OWN_NAMES = (
    "store.json",
    "store.json.tmp",
    "writer.pid",
    "log/spare",
    "log/new.tmp",
    "log/rewrite.tmp",
    "archive/new.tmp",
    "snapshots/new.tmp",
    "quarantine/whatever",
    segment_name(20),
    segment_name(3),
    archive_name(1),
    archive_name(3),
    snapshot_name(100),
    snapshot_name(9),
)


def disk_with(*names: str) -> SimulatedDisk:
    disk = SimulatedDisk()
    for name in names:
        disk.write_file(name, b"")
    return disk


def test_an_empty_directory() -> None:
    assert Listing.read(SimulatedDisk()) == ([], [], [], [], [])


def test_it_is_read_in_five_calls_the_log_last() -> None:
    disk = disk_with(*OWN_NAMES)
    Listing.read(disk)
    assert [(call.kind, call.name) for call in disk.calls] == [
        ("list", ""),
        ("list", "snapshots"),
        ("list", "archive"),
        ("list", "keys"),
        ("list", "log"),
    ]


def test_the_numbers_in_names_ascend() -> None:
    disk = disk_with(*OWN_NAMES, "log/1.log", "archive/old.zst", "snapshots/README")
    listing = Listing.read(disk)
    assert listing.segments == [3, 20]
    assert listing.archives == [1, 3]
    assert listing.snapshot_seqs == list_snapshots(disk) == [9, 100]


def test_a_spare_is_seen() -> None:
    assert Listing.read(disk_with("log/spare")).has_spare
    assert not Listing.read(disk_with(segment_name(1), "spare")).has_spare


class TestUnknownFiles:
    def test_none_of_the_stores_own_names_is_unknown(self) -> None:
        """Archive 3 has its segment in the log, and archive 1 is in the manifest."""
        counted = msgspec.structs.replace(MANIFEST, log_start=3, archived=((1, 2, 0),))
        assert Listing.read(disk_with(*OWN_NAMES)).unknown(counted) == []

    @pytest.mark.parametrize(
        "name",
        [
            "notes.txt",
            "log/notes.txt",
            "log/00000000000000000001.log.bak",
            "log/1.log",
            "archive/old.zst",
            "archive/spare",
            "snapshots/README",
            "snapshots/rewrite.tmp",
        ],
    )
    def test_a_strange_name_is(self, name: str) -> None:
        listing = Listing.read(disk_with(segment_name(1), snapshot_name(1), name))
        assert listing.unknown(MANIFEST) == [name]

    def test_an_archive_that_neither_log_nor_manifest_knows_is(self) -> None:
        listing = Listing.read(disk_with(segment_name(3), archive_name(1), archive_name(3)))
        assert listing.unknown(MANIFEST) == [archive_name(1)]

    def test_an_archive_of_discarded_history_is_a_leftover(self) -> None:
        listing = Listing.read(disk_with(segment_name(9), archive_name(1), archive_name(20)))
        discarded = msgspec.structs.replace(MANIFEST, log_start=9, history_start=9)
        assert listing.unknown(discarded) == [archive_name(20)]

    def test_they_are_told_folder_by_folder(self) -> None:
        names = ["notes.txt", "archive/mine", "snapshots/a", "snapshots/b", "log/mine"]
        assert Listing.read(disk_with(*reversed(names))).unknown(MANIFEST) == names
