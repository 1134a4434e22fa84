"""Whole files of a sealed store: cut, removed, renamed, doubled, swapped, zeroed, of another store.

`judge` holds the outcome of each against the contract: refused with nothing written, or opened
with exactly the right state. The tests here also demand that the damage is noticed wherever the
damage could matter. A store that opens is also used further, and must stay right.

By default every third length is tried, or fewer. `EVENTSTORE_COMPLETE=1` tries every length.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import msgspec
import pytest

from eventstore import CorruptLogError, CorruptSnapshotError, CorruptStoreError
from eventstore.disk.manifest import load_manifest, save_manifest
from tests.damage.golden_store import Golden, History, golden
from tests.damage.judge import Damage, Verdict, verdicts

COMPLETE = bool(os.environ.get("EVENTSTORE_COMPLETE"))
HISTORIES: list[History] = ["archive", "keep", "discard"]
LEFTOVERS = (
    "log/new.tmp",
    "log/rewrite.tmp",
    "snapshots/new.tmp",
    "archive/new.tmp",
    "quarantine/torn.tmp",
    "store.json.tmp",
)
"""Names under which the store makes its files: such a file is left by a crash and cleared away."""

OUTDATED = "archive/00000000000000000004.log.zst"
"""Name of no archive here. Where history is discarded, such a name belongs to a discarded file."""

UNKNOWN = (
    "log/copy of a segment.log",
    "log/00000000000000000008.log.bak",
    "log/8.log",
    "snapshots/00000000000000000008.snap~",
    OUTDATED,
    "archive/00000000000000000001.log",
    "notes.txt",
)

HOLDING_NOTHING = ("frontier", "log/spare")
"""Files without an event: the note on the durable end for other processes, and the spare."""


def other_names(store: Golden) -> list[str]:
    """Return names that a file of the store could have been given, and that no file has."""
    numbers = [*range(1, 15), 99]
    names = [f"log/{number:020d}.log" for number in numbers]
    names += [f"snapshots/{number:020d}.snap" for number in (0, *numbers)]
    names += [*UNKNOWN, *LEFTOVERS]
    taken = store.disk.files()
    return [name for name in names if name not in taken]


def changed(
    store: Golden, name: str, contents: Iterator[tuple[str, bytes | None]]
) -> Iterator[Damage]:
    """Return copies of the store in which the file has other contents, or is missing."""
    for what, content in contents:
        disk = store.disk.clone()
        if content is None:
            disk.remove_file(name)
        else:
            disk.write_file(name, content)
        yield Damage(f"{name} {what}", disk)


def noticed(store: Golden, name: str, verdict: Verdict) -> bool:
    """Tell whether damage to the whole of a file was noticed in the way that befits the file."""
    older, newest = store.snapshots
    if name in HOLDING_NOTHING:
        return verdict.unharmed
    if name == older:  # nothing depends on this file
        return verdict.unharmed
    if name == newest:
        return verdict.unharmed and verdict.rejects(name)
    if name in store.archives:
        return verdict.spoils_history(name)
    return verdict.refuses(name)


# ---- cut short, grown, zeroed --------------------------------------------------------------------


@pytest.mark.parametrize("history", HISTORIES)
def test_the_lengths_to_which_a_file_can_be_cut(history: History) -> None:
    store = golden(history)
    unread = store.segments[:-3]  # opening reads only headers and lengths of these
    for name in store.disk.files():
        content = store.disk.read_file(name)
        step = 97 if name == "log/spare" else 3 if history == "archive" else 15
        if COMPLETE:
            step = 1
        lengths = {*range(0, len(content), step), *range(len(content) - 8, len(content) - 99, -8)}
        cuts = ((f"cut to {n} bytes", content[:n]) for n in sorted(lengths))
        for what, verdict in verdicts(store, changed(store, name, cuts), inside=COMPLETE):
            if name in unread and not verdict.refuses(name):
                assert verdict.spoils_history(name), f"{what}: {verdict}"
            elif what.endswith(f"store.json cut to {len(content) - 1} bytes"):
                assert verdict.unharmed, f"{what}: {verdict}"  # the last newline says nothing
            else:
                assert noticed(store, name, verdict), f"{what}: {verdict}"


@pytest.mark.parametrize("history", HISTORIES)
def test_a_file_of_zeros(history: History) -> None:
    store = golden(history)
    for name in store.disk.files():
        zeros = bytes(len(store.disk.read_file(name)))
        for what, verdict in verdicts(store, changed(store, name, iter([("zeroed", zeros)]))):
            assert noticed(store, name, verdict), f"{what}: {verdict}"


@pytest.mark.parametrize("added", [b"\0", b"\xff", b"\0" * 512, b"x" * 512])
def test_bytes_at_the_end_of_a_file(added: bytes) -> None:
    """Zeros behind a segment's last seal may be left by a crash, and mean nothing."""
    store = golden("archive")
    for name in store.disk.files():
        content = store.disk.read_file(name) + added
        for what, verdict in verdicts(store, changed(store, name, iter([("grown", content)]))):
            if name in store.segments[:-1] and not any(added):
                assert verdict.unharmed, f"{what}: {verdict}"
            else:
                assert noticed(store, name, verdict), f"{what}: {verdict}"


# ---- gone, doubled, renamed ----------------------------------------------------------------------


@pytest.mark.parametrize("history", HISTORIES)
def test_a_file_that_is_gone(history: History) -> None:
    store = golden(history)
    for name in store.disk.files():
        gone = changed(store, name, iter([("removed", None)]))
        for what, verdict in verdicts(store, gone, go_on=True):
            if name in (*HOLDING_NOTHING, *store.snapshots):  # another file does
                assert verdict.unharmed, f"{what}: {verdict}"
            else:
                assert verdict.refuses(name), f"{what}: {verdict}"


def test_both_snapshots_gone_and_the_history_discarded() -> None:
    store = golden("discard")
    disk = store.disk.clone()
    for name in store.snapshots:
        disk.remove_file(name)
    ((_, verdict),) = verdicts(store, [Damage("no snapshots", disk)])
    assert isinstance(verdict.refused, CorruptSnapshotError)


@pytest.mark.parametrize("history", HISTORIES)
def test_a_file_that_is_there_twice(history: History) -> None:
    """Nothing is lost, but any file that could be taken for the store's own is reported."""
    store = golden(history)
    for name, other in itertools.product(store.disk.files(), other_names(store)):
        disk = store.disk.clone()
        disk.write_file(other, store.disk.read_file(name))
        what = f"{name} also as {other}"
        go_on = COMPLETE or not other.startswith("log/")
        for _, verdict in verdicts(store, [Damage(what, disk)], go_on=go_on):
            assert told(store, other, verdict), f"{what}: {verdict}"


@pytest.mark.parametrize("history", HISTORIES)
def test_an_empty_file_under_a_name_of_the_store(history: History) -> None:
    store = golden(history)
    for other in other_names(store):
        disk = store.disk.clone()
        disk.write_file(other, b"")
        for what, verdict in verdicts(store, [Damage(f"empty {other}", disk)], go_on=True):
            assert told(store, other, verdict), f"{what}: {verdict}"


def told(store: Golden, other: str, verdict: Verdict) -> bool:
    """Tell whether a superfluous file, named `other`, was noticed."""
    if other in LEFTOVERS:
        return verdict.unharmed and verdict.removed == {other}
    if other == OUTDATED and store.archives == [] and store.first > 1:
        return verdict.unharmed and verdict.removed == {other}
    if other in UNKNOWN:
        return verdict.report is not None and verdict.report.unknown_files == (other,)
    if other.startswith("snapshots/") and other < store.snapshots[-1]:
        return verdict.unharmed  # not asked for while a newer one is good
    return verdict.rejects(other) or verdict.refuses(other)


@pytest.mark.parametrize("history", HISTORIES)
def test_a_file_under_a_wrong_name(history: History) -> None:
    """Opening is refused, and the file stays in place, since the file may be the only copy."""
    store = golden(history)
    for name, other in itertools.product(store.disk.files(), other_names(store)):
        disk = store.disk.clone()
        disk.write_file(other, store.disk.read_file(name))
        disk.remove_file(name)
        what = f"{name} renamed to {other}"
        for _, verdict in verdicts(store, [Damage(what, disk)], go_on=True):
            if name in (*HOLDING_NOTHING, *store.snapshots):
                assert verdict.refused is not None or told(store, other, verdict), (
                    f"{what}: {verdict}"
                )
            else:
                assert verdict.refuses(name) or verdict.refuses(other), f"{what}: {verdict}"


# ---- other files in place of one --------------------------------------------------------------


@pytest.mark.parametrize("history", HISTORIES)
def test_two_files_that_have_changed_places(history: History) -> None:
    store = golden(history)
    for one, two in itertools.combinations(store.disk.files(), 2):
        disk = store.disk.clone()
        disk.write_file(one, store.disk.read_file(two))
        disk.write_file(two, store.disk.read_file(one))
        what = f"{one} and {two} swapped"
        for _, verdict in verdicts(store, [Damage(what, disk)]):
            if {one, two} <= {*HOLDING_NOTHING, store.snapshots[0]}:
                assert verdict.unharmed, f"{what}: {verdict}"
            elif [one, two] == store.snapshots and history == "discard":  # none is left
                assert verdict.refuses(one), f"{what}: {verdict}"
            else:
                assert any(
                    noticed(store, name, verdict)
                    for name in (one, two)
                    if name not in (*HOLDING_NOTHING, store.snapshots[0])
                ), f"{what}: {verdict}"


@pytest.mark.parametrize("history", HISTORIES)
def test_a_file_of_another_store(history: History) -> None:
    """The other store has the same shape and the same events. Only store id and salts differ."""
    store, stranger = golden(history), golden(history, 2)
    assert store.disk.files() == stranger.disk.files()
    for name in store.disk.files():
        foreign = stranger.disk.read_file(name)
        for what, verdict in verdicts(
            store, changed(store, name, iter([("of another store", foreign)])), go_on=True
        ):
            if name == "store.json":  # then all the others are foreign
                assert isinstance(verdict.refused, CorruptStoreError), f"{what}: {verdict}"
            else:
                assert noticed(store, name, verdict), f"{what}: {verdict}"


def test_all_segments_of_another_store() -> None:
    store, stranger = golden("archive"), golden("archive", 2)
    disk = store.disk.clone()
    for name in store.segments:
        disk.write_file(name, stranger.disk.read_file(name))
    ((_, verdict),) = verdicts(store, [Damage("all segments", disk)])
    assert isinstance(verdict.refused, CorruptLogError)
    assert "another store" in str(verdict.refused)


@pytest.mark.parametrize("lives", [1, 2, 3, 4])
def test_a_log_from_an_older_backup(lives: int) -> None:
    """The log is whole, and every file is this store's. But snapshots cover events that are
    missing.
    """
    store = golden("keep")
    older = golden("keep", lives=lives)
    disk = store.disk.clone()
    for name in store.segments:
        disk.remove_file(name)
    for name in older.segments:
        disk.write_file(name, older.disk.read_file(name))
    ((_, verdict),) = verdicts(store, [Damage("an older log", disk)], outside=False)
    assert isinstance(verdict.refused, CorruptLogError)
    assert "a snapshot of event 9" in str(verdict.refused)


def test_an_older_manifest_of_the_same_store() -> None:
    """The old file does not know the last archive, and demands its segment: nothing begins too
    late.
    """
    store = golden("archive")
    disk = store.disk.clone()
    manifest = load_manifest(disk)
    first = manifest.archived[-1][0]
    save_manifest(
        disk,
        msgspec.structs.replace(manifest, archived=manifest.archived[:-1], log_start=first),
    )
    ((_, verdict),) = verdicts(store, [Damage("an older store.json", disk)])
    assert verdict.refuses(f"{first:020d}.log")


# ---- snapshots that must not count ---------------------------------------------------------------


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("retain", [1, 2])
def test_a_snapshot_that_was_passed_over_does_not_count_as_one_that_is_kept(
    history: History, retain: int
) -> None:
    """Counting a bad one with a high number would cost the events that the good ones need."""
    store = golden(history, 1, retain)
    source = store.snapshots[-1]
    for other in ("snapshots/00000000000000000099.snap", "snapshots/00000000000000000098.snap"):
        disk = store.disk.clone()
        disk.write_file(other, store.disk.read_file(source))
        for what, verdict in verdicts(store, [Damage(f"{source} as {other}", disk)], go_on=True):
            assert verdict.rejects(other), f"{what}: {verdict}"
