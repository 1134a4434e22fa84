"""Every bit of a sealed store, flipped, and the store's answer to each.

A closed store detects every flipped bit of its log and of its newest snapshot at opening, and of
its archives at reading. Some bits are never read, such as those of an older snapshot beside a good
newer one, and of the empty spare. For these, the state and the history are exact.

By default every third bit of the store with archives is flipped, and fewer in long runs of zeros
and in the other stores. With `EVENTSTORE_COMPLETE=1`, every bit of every store is flipped, which
takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from eventstore import CorruptLogError
from tests.damage.golden_store import Golden, History, golden
from tests.damage.judge import Damage, verdicts

COMPLETE = bool(os.environ.get("EVENTSTORE_COMPLETE"))
STEP, SPARSE = 3, 21  # odd, so that a sample has every bit of a byte
RUN = 16  # zeros in a run


def flips(golden: Golden, name: str, *, step: int = STEP) -> Iterator[Damage]:
    """Copies of the store, each with one bit of the file flipped: every `step`-th."""
    content = golden.disk.read_file(name)
    for bit in range(8 * len(content)):
        byte = bit // 8
        dull = not any(content[max(0, byte - RUN) : byte + RUN])
        if bit % (max(step, SPARSE) if dull else step) and not COMPLETE:
            continue
        disk = golden.disk.clone()
        disk.flip_bit(name, bit)
        yield Damage(f"bit {bit} of {name}", disk)


@pytest.mark.parametrize("number", range(3))
def test_every_flipped_bit_of_the_log_is_refused_when_the_store_is_opened(number: int) -> None:
    store = golden("archive")
    name = store.segments[number]
    for what, verdict in verdicts(store, flips(store, name), inside=COMPLETE):
        assert verdict.refuses(name), f"{what}: {verdict}"
        assert isinstance(verdict.refused, CorruptLogError)
        assert str(verdict.refused.path).endswith(name)


@pytest.mark.parametrize("number", range(3))
def test_every_flipped_bit_of_an_archive_is_told_to_whoever_reads_it(number: int) -> None:
    store = golden("archive")
    name = store.archives[number]
    for what, verdict in verdicts(store, flips(store, name), inside=COMPLETE):
        assert verdict.spoils_history(name), f"{what}: {verdict}"


def test_every_flipped_bit_of_the_newest_snapshot_is_passed_over_and_reported() -> None:
    store = golden("archive")
    older, newest = store.snapshots
    for what, verdict in verdicts(store, flips(store, newest), inside=COMPLETE):
        assert verdict.unharmed, f"{what}: {verdict}"
        assert verdict.rejects(newest), f"{what}: {verdict}"
        assert verdict.report is not None
        assert verdict.report.snapshot == older


def test_no_flipped_bit_of_an_older_snapshot_matters_while_there_is_a_newer_one() -> None:
    store = golden("archive")
    older, newest = store.snapshots
    for what, verdict in verdicts(store, flips(store, older, step=SPARSE), inside=COMPLETE):
        assert verdict.unharmed, f"{what}: {verdict}"
        assert verdict.report is not None
        assert verdict.report.snapshot == newest


@pytest.mark.parametrize("history", ["archive", "discard"])
def test_every_flipped_bit_of_the_only_snapshot_is_reported_or_refused(history: History) -> None:
    """With the history, the state is folded again. Without, nothing is left to recover from."""
    store = golden(history)
    older, newest = store.snapshots
    disk = store.disk.clone()
    disk.remove_file(newest)
    bare = store._replace(disk=disk)
    for what, verdict in verdicts(
        bare, flips(bare, older, step=SPARSE if history == "archive" else STEP), inside=COMPLETE
    ):
        if history == "archive":
            assert verdict.unharmed, f"{what}: {verdict}"
            assert verdict.rejects(older), f"{what}: {verdict}"
        else:
            assert verdict.refuses(older), f"{what}: {verdict}"


def test_every_flipped_bit_of_the_manifest_is_refused() -> None:
    store = golden("archive")
    for what, verdict in verdicts(store, flips(store, "store.json"), inside=COMPLETE):
        assert verdict.refuses("store.json"), f"{what}: {verdict}"


def test_no_flipped_bit_of_the_spare_matters_to_what_is_in_the_store() -> None:
    store = golden("archive")
    for what, verdict in verdicts(store, flips(store, "log/spare", step=151), inside=COMPLETE):
        assert verdict.unharmed, f"{what}: {verdict}"


def test_a_spare_with_flipped_bits_makes_a_sound_segment_all_the_same() -> None:
    store = golden("archive")
    size = len(store.disk.read_file("log/spare"))
    damages = []
    for bit in range(0, 8 * size, 8 * size // 50 + 1):
        disk = store.disk.clone()
        disk.flip_bit("log/spare", bit)
        damages.append(Damage(f"bit {bit} of log/spare", disk))
    for what, verdict in verdicts(store, damages, go_on=True):
        assert verdict.unharmed, f"{what}: {verdict}"


def test_flipped_bits_of_a_store_that_discards_its_history() -> None:
    store = golden("discard")
    for name in store.segments:
        for what, verdict in verdicts(store, flips(store, name, step=SPARSE), inside=COMPLETE):
            assert verdict.refuses(name), f"{what}: {verdict}"
    older, newest = store.snapshots
    for what, verdict in verdicts(store, flips(store, newest, step=SPARSE), inside=COMPLETE):
        assert verdict.rejects(newest), f"{what}: {verdict}"
        assert verdict.report is not None
        assert verdict.report.snapshot == older


def test_flipped_bits_of_old_segments_that_are_kept_are_told_to_whoever_reads_them() -> None:
    """Opening reads only segments that recovery may need, and headers and lengths of the others."""
    store = golden("keep")
    *old, _, _, _ = store.segments
    for name in old:
        for what, verdict in verdicts(store, flips(store, name, step=SPARSE), inside=COMPLETE):
            assert verdict.refuses(name) or verdict.spoils_history(name), f"{what}: {verdict}"
