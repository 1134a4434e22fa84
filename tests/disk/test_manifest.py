"""`store.json`: edited by hand without a change of what it says, it is read as before."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest

from eventstore.disk.manifest import BranchPoint, Manifest, load_manifest, save_manifest
from eventstore.errors import CorruptStoreError
from eventstore.testing import SimulatedDisk
from eventstore.timelines import first_timeline

NAME = "store.json"
STORE = uuid.UUID("6f1d3a52-8c0e-4b7a-9d4e-2b5c7a90e1f3")
MANIFEST = Manifest(
    store=STORE,
    created=1_705_311_000_000_000_000,
    timelines=first_timeline(STORE),
    log_start=7,
    archived=((1, 3, 5), (4, 6, 9)),
    branched=BranchPoint(path="/tmp/Ä b", store=STORE, seq=4),
)


def reordered(text: str) -> str:
    return json.dumps(dict(reversed(json.loads(text).items())), indent=4)


EDITS: dict[str, Callable[[str], str]] = {
    "no newline at the end": str.rstrip,
    "another newline": lambda text: text + "\n",
    "of Windows": lambda text: text.replace("\n", "\r\n"),
    "with a byte-order mark": lambda text: "\ufeff" + text,
    "tabs": lambda text: text.replace("  ", "\t"),
    "one line": lambda text: json.dumps(json.loads(text), separators=(",", ":")),
    "another order": reordered,
    "letters escaped": lambda text: json.dumps(json.loads(text), ensure_ascii=True),
}


def saved() -> tuple[SimulatedDisk, str]:
    disk = SimulatedDisk()
    save_manifest(disk, MANIFEST)
    return disk, disk.read_file(NAME).decode()


@pytest.mark.parametrize("edit", EDITS)
def test_spaces_and_order_do_not_matter(edit: str) -> None:
    disk, text = saved()
    edited = EDITS[edit](text)
    assert edited != text
    disk.write_file(NAME, edited.encode())
    found = load_manifest(disk)
    assert found.archived == MANIFEST.archived
    assert found.branched == MANIFEST.branched


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"log_start": 7', '"log_start": 1'),
        ('"logged": true', '"logged": false'),
        ("6f1d3a52", "6F1D3A52"),
        ('"crc": ', '"crc": 1'),
        ('"kind": "store"', '"kind": "log"'),
    ],
)
def test_a_value_that_was_edited_is_refused_with_both_ways_out(old: str, new: str) -> None:
    disk, text = saved()
    assert old in text
    disk.write_file(NAME, text.replace(old, new, 1).encode())
    with pytest.raises(CorruptStoreError, match="undo the edit, restore it"):
        load_manifest(disk)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "\0" * 100, '{"store": 1', "[" * 5000])
def test_anything_else_is_refused(text: str) -> None:
    disk, _ = saved()
    disk.write_file(NAME, text.encode())
    with pytest.raises(CorruptStoreError):
        load_manifest(disk)


def test_a_member_that_stands_twice_is_no_edit_of_spaces() -> None:
    disk = SimulatedDisk()
    save_manifest(disk, MANIFEST)
    data = disk.read_file(NAME)
    disk.write_file(NAME, data.replace(b'"created"', b'"created": 1, "created"', 1))
    with pytest.raises(CorruptStoreError):
        load_manifest(disk)
