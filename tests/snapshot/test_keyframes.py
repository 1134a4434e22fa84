"""Keyframes: old snapshots beside the archive, near any moment, and never simply believed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import EventStore, SimulatedClock, state_at
from eventstore.disk.layout import keyframe_name, snapshot_name
from eventstore.disk.listing import list_keyframes, list_snapshots
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import begin_timeline, load_manifest
from eventstore.reading.bases import base_numbers, last_base_before, nearest_base
from eventstore.repair import propose, repair
from eventstore.snapshot import keyframes
from eventstore.snapshot.format import SnapshotHeader
from eventstore.snapshot.keyframes import compress_keyframe, decompress_keyframe
from eventstore.testing import Call, SimulatedCrash, SimulatedDisk
from eventstore.tools.backup.copying import backup
from eventstore.tools.backup.places import DirectoryPlace
from eventstore.tools.backup.restore import plan_restore, restore
from eventstore.tools.verify import verify
from tests.support.bank import Bank, bank_after, bank_registry, pay

SETTINGS: dict[str, Any] = {
    "segment_size": 4096,
    "wal_max_entries": None,
    "auto_save_interval": None,
    "backup_count": 2,
    "keyframe_events": 20,
}
EVENTS = 120
EVERY = 10
KEPT = [20, 40, 60, 80, 100]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a snapshot of a few events be small enough."""
    monkeypatch.setattr(keyframes, "BYTES_PER_EVENT", 1000)


def at(number: int) -> int:
    """The time of an event."""
    return (1_600_000_000 + number) * 10**9


async def lived(
    disk: Any, *, first: int = 1, last: int = EVENTS, **options: Any
) -> EventStore[Bank]:
    """Append events, a second apart, with a snapshot after every ten."""
    clock = SimulatedClock(at(first))
    store = await EventStore.open(
        "", bank_registry(), disk=disk, clock=clock, **{**SETTINGS, **options}
    )
    for number in range(first, last + 1):
        clock.set(at(number))
        await store.append(pay(number))
        if number % EVERY == 0:
            await store.snapshot()
    return store


async def left(**options: Any) -> SimulatedDisk:
    """The disk of a store that was closed."""
    disk = SimulatedDisk()
    await (await lived(disk, **options)).close()
    return disk.reopen()


async def made(path: Path, **options: Any) -> Path:
    store = await lived(LocalDisk(path, create=True), **options)
    await store.close()
    return path


def expected(seq: int) -> Bank:
    return bank_after(*range(1, seq + 1))


class TestKeeping:
    @pytest.mark.asyncio
    async def test_one_for_so_many_events_and_none_that_is_kept_anyway(self) -> None:
        disk = await left()
        assert list_snapshots(disk) == [110, 120]
        assert list_keyframes(disk) == KEPT
        assert base_numbers(disk, load_manifest(disk)) == [0, *KEPT, 110, 120]

    @pytest.mark.asyncio
    async def test_none_that_is_too_large_for_its_events(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = await left()
        size = len(disk.read_file(keyframe_name(100)))
        monkeypatch.setattr(keyframes, "BYTES_PER_EVENT", size / 45)
        disk = await left()
        assert list_keyframes(disk) == [50, 100]

    @pytest.mark.asyncio
    async def test_the_configuration_removes_them(self) -> None:
        disk = await left()
        store = await lived(disk, first=121, last=130, keyframe_events=None)
        await store.close()
        assert list_keyframes(disk.reopen()) == []
        assert state_at("", bank_registry(), 77, disk=disk.reopen()) == expected(77)

    @pytest.mark.asyncio
    async def test_none_where_the_events_are_discarded(self) -> None:
        disk = await left(history="discard")
        assert list_keyframes(disk) == []

    @pytest.mark.asyncio
    async def test_a_snapshot_that_cannot_be_read_is_left_out(self) -> None:
        """Retention and archiving go on without that keyframe."""
        disk = SimulatedDisk()
        disk.fail(kind="read", name=snapshot_name(40), errno=errno.EIO, forever=True)
        store = await lived(disk)
        assert not store.stats().history_warning
        await store.close()
        disk = disk.reopen()
        assert list_keyframes(disk) == [20, 50, 70, 90]
        assert list_snapshots(disk) == [110, 120]

    @pytest.mark.asyncio
    async def test_an_opening_does_not_look_at_them(self) -> None:
        disk = await left()
        disk = disk.reopen()
        store = await lived(disk, first=121, last=121)
        assert store.recovery.snapshot_seq == 120
        assert store.recovery.unknown_files == ()
        await store.close()
        looked = {call.name for call in disk.calls if call.name.endswith(".snap")}
        assert not [name for name in looked if name.startswith("archive/")]

    @pytest.mark.asyncio
    async def test_a_crash_at_any_call_of_keeping(self) -> None:
        """A snapshot goes only after its keyframe is durable."""
        start = await left(last=30)
        counted = start.clone()
        keyframes.keep_keyframes(counted, [20], 20, 0)
        for number in range(1, len(counted.calls) - len(start.calls) + 1):
            disk = start.reopen()
            disk.crash_at(number)
            with contextlib.suppress(SimulatedCrash):
                keyframes.keep_keyframes(disk, [20], 20, 0)
            for image in (disk.after_kill(), *disk.images(limit=8)):
                for seq in (19, 20, 25, 30):
                    assert state_at("", bank_registry(), seq, disk=image) == expected(seq)
                await (await lived(image.reopen(), first=31, last=40)).close()


class TestUse:
    @pytest.mark.asyncio
    async def test_any_moment_is_folded_from_the_one_before(self) -> None:
        disk = await left()
        for seq in range(EVENTS + 1):
            assert state_at("", bank_registry(), seq, disk=disk) == expected(seq)
            near = max(one for one in [0, *KEPT, 110, 120] if one <= seq)
            assert nearest_base(disk, bank_registry(), upto=seq).seq == near

    @pytest.mark.asyncio
    async def test_a_time_reads_few_headers(self) -> None:
        disk = await left()
        manifest = load_manifest(disk)
        for seq in range(1, EVENTS + 1):
            time = at(seq)
            since = len(disk.calls)
            near = max(one for one in [0, *KEPT, 110, 120] if one < seq)
            assert last_base_before(disk, manifest, time) == near
            opened = [call for call in disk.calls[since:] if call.kind == "open"]
            assert len(opened) <= 2 * 4
            assert state_at("", bank_registry(), time, disk=disk) == expected(seq)

    @pytest.mark.asyncio
    async def test_one_that_moves_between_two_listings_is_found(self) -> None:
        disk = await left(last=30)
        listed: list[str] = []

        def move(call: Call) -> None:
            if call.kind == "list" and call.name in ("archive", "snapshots"):
                listed.append(call.name)
                if len(listed) == 2:
                    keyframes.keep_keyframes(disk, [20], 20, 0)
                    disk.remove(snapshot_name(20))

        disk.add_rule(move)
        assert nearest_base(disk, bank_registry(), upto=25).seq == 20


class TestOneThatIsWrong:
    @pytest.mark.asyncio
    async def test_of_a_timeline_that_was_left(self, tmp_path: Path) -> None:
        """A copy of the store went back to event 70. Its keyframes of later events are lies."""
        path = await made(tmp_path / "store")
        foreign = {seq: (path / keyframe_name(seq)).read_bytes() for seq in (100, 80)}
        disk = LocalDisk(path)
        manifest = begin_timeline(disk, load_manifest(disk), 70)
        assert [one.left_at for one in manifest.timelines] == [0, 70]
        store = tmp_path / "store"
        for seq in foreign:
            assert nearest_base(disk, bank_registry(), upto=seq).seq == 60
            assert last_base_before(disk, manifest, at(seq + 1)) <= 60
        found = verify(store, bank_registry())
        told = {damage.name for damage in found.damage}
        assert told == {keyframe_name(seq) for seq in KEPT if seq > 70}
        assert {damage.name for damage in verify(store).damage} == told
        disk.close()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("bit", [3, 100, 8 * 68, 8 * 85, -9])
    async def test_damaged(self, tmp_path: Path, bit: int) -> None:
        path = await made(tmp_path / "store")
        file = path / keyframe_name(100)
        data = bytearray(file.read_bytes())
        data[bit // 8] ^= 1
        file.write_bytes(data)
        assert state_at(path, bank_registry(), 110) == expected(110)
        assert [one.name for one in verify(path, bank_registry()).damage] == [keyframe_name(100)]
        places = propose(path).diagnosis.places
        assert [place.name for place in places] == [keyframe_name(100)]

    @pytest.mark.asyncio
    async def test_a_repair_leaves_out_a_damaged_one(self, tmp_path: Path) -> None:
        path = await made(tmp_path / "store")
        whole = (path / keyframe_name(100)).read_bytes()
        (path / keyframe_name(100)).write_bytes(whole[:95] + b"!" + whole[96:])
        (path / keyframe_name(80)).write_bytes(b"nothing of a snapshot")
        found = propose(path)
        repaired = tmp_path / "repaired"
        repair(path, found.recommended, bank_registry(), to=repaired)
        assert verify(repaired, bank_registry()).passed
        disk = LocalDisk(repaired, read_only=True)
        assert 80 not in list_keyframes(disk)
        assert set(list_keyframes(disk)) >= {seq for seq in KEPT if seq not in (80, 100)}
        disk.close()

    @pytest.mark.asyncio
    async def test_renamed(self, tmp_path: Path) -> None:
        path = await made(tmp_path / "store")
        shutil.copy(path / keyframe_name(40), path / keyframe_name(50))
        assert state_at(path, bank_registry(), 55) == expected(55)
        assert [one.name for one in verify(path, bank_registry()).damage] == [keyframe_name(50)]

    @pytest.mark.asyncio
    async def test_of_another_state(self, tmp_path: Path) -> None:
        """It is whole, and a fault made it: only folding the history tells."""
        path = await made(tmp_path / "store")
        forged = forged_from(path, 40)
        (path / keyframe_name(50)).write_bytes(forged)
        found = verify(path, bank_registry())
        assert not found.passed
        assert found.divergence is not None

    @pytest.mark.asyncio
    async def test_a_lost_manifest_leaves_them_out(self, tmp_path: Path) -> None:
        """Nobody knows the timelines then."""
        path = await made(tmp_path / "store")
        (path / "store.json").unlink()
        found = propose(path)
        repair(path, found.recommended, bank_registry(), in_place=True)
        assert verify(path, bank_registry()).passed
        assert state_at(path, bank_registry(), 77) == expected(77)


def forged_from(path: Path, seq: int) -> bytes:
    """Return the state of event `seq` as a keyframe that claims to be of event 50."""
    data = bytearray(decompress_keyframe((path / keyframe_name(seq)).read_bytes()))
    header = SnapshotHeader.decode(bytes(data))
    data[:64] = msgspec.structs.replace(header, seq=50).encode()
    end = len(data) - 96
    data[end + 48 : end + 80] = hashlib.blake2b(data[:end], digest_size=32).digest()
    data[-4:] = zlib.crc32(data[end:-4]).to_bytes(4, "little")
    return compress_keyframe(bytes(data))


class TestCopies:
    @pytest.mark.asyncio
    async def test_a_backup_and_what_is_restored_have_them(self, tmp_path: Path) -> None:
        path = await made(tmp_path / "store")
        place = DirectoryPlace(tmp_path / "backup")
        source = LocalDisk(path, read_only=True)
        backup(source, place, bank_registry())
        source.close()
        restored = tmp_path / "restored"
        restore(plan_restore(place, 90, bank_registry()), restored, bank_registry())
        disk = LocalDisk(restored, read_only=True)
        assert list_keyframes(disk) == [20, 40, 60, 80]
        assert nearest_base(disk, bank_registry(), upto=90).seq == 80
        disk.close()
        assert verify(restored, bank_registry()).passed
