"""The simulated disk: like a real disk without failures, and an honest adversary with failures."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from eventstore.disk.base import Bytes, Disk, write_fully
from eventstore.disk.local import LocalDisk
from eventstore.errors import StoreLockedError
from eventstore.testing import (
    SECTOR,
    Call,
    Fault,
    SimulatedCrash,
    SimulatedDisk,
    SimulatedFile,
    check_disks_agree,
    check_lock,
)

OLD = b"o" * SECTOR
NEW = b"n" * SECTOR


def synced_file(
    content: bytes, name: str = "f", seed: int = 0
) -> tuple[SimulatedDisk, SimulatedFile]:
    """A disk with one durable file, and the file opened."""
    disk = SimulatedDisk(seed)
    disk.write_file(name, content)
    return disk, disk.open(name, writable=True)


def cuts(disk: SimulatedDisk, count: int = 300) -> list[dict[str, bytes]]:
    """Return the contents of the files after many power cuts."""
    return [disk.after_power_cut(seed).contents() for seed in range(count)]


def outcomes(disk: SimulatedDisk, name: str = "f", count: int = 300) -> set[bytes | None]:
    """Return the contents of one file after many power cuts, `None` for a missing file."""
    return {image.get(name) for image in cuts(disk, count)}


class TestLikeTheRealOne:
    @pytest.mark.parametrize("seed", range(25))
    def test_every_answer_is_that_of_a_local_disk(self, seed: int, tmp_path: Path) -> None:
        check_disks_agree(LocalDisk(tmp_path), SimulatedDisk(seed), seed=seed, steps=300)

    def test_the_check_finds_a_difference(self) -> None:
        class Forgetful(SimulatedDisk):
            def rename(self, old: str, new: str) -> None:
                super().rename(old, new)
                self.remove_file(new)

        with pytest.raises(AssertionError, match="disks differ"):
            check_disks_agree(SimulatedDisk(), Forgetful(), seed=1, steps=3000)

    def test_the_lock_of_a_local_disk(self, tmp_path: Path) -> None:
        check_lock(LocalDisk(tmp_path), LocalDisk(tmp_path))

    def test_the_lock_of_a_simulated_disk(self) -> None:
        disk = SimulatedDisk()
        check_lock(disk, disk.reopen())

    def test_it_is_a_disk_that_never_blocks(self) -> None:
        disk: Disk = SimulatedDisk(path="somewhere")
        assert (disk.blocking, disk.path) == (False, "somewhere")

    def test_a_closed_file_or_disk_is_refused(self) -> None:
        disk, file = synced_file(OLD)
        file.close()
        for use in (lambda: file.read(0, 1), lambda: file.write(0, b"x"), file.sync, file.size):
            with pytest.raises(OSError, match="Bad file descriptor"):
                use()
        disk.close()
        with pytest.raises(OSError, match="the disk is closed"):
            disk.list()

    def test_a_file_outlives_its_name(self) -> None:
        disk, file = synced_file(OLD)
        disk.remove("f")
        assert file.read(0, 2 * SECTOR) == OLD

    def test_an_owner_that_is_gone_has_no_lock(self) -> None:
        disk = SimulatedDisk()
        disk.reopen().lock()
        disk.lock()


class TestWhatAPowerCutLeaves:
    def test_synced_bytes_under_a_synced_name_stay(self) -> None:
        disk = SimulatedDisk()
        disk.make_folder("log")
        disk.sync_folder()
        file = disk.create("log/f")
        file.write(0, OLD + NEW)
        file.truncate(SECTOR + 7)
        file.sync()
        disk.sync_folder("log")
        assert outcomes(disk, "log/f") == {OLD + NEW[:7]}
        assert len(list(disk.images())) == 1

    def test_unsynced_sectors_are_kept_or_lost_each_for_itself(self) -> None:
        disk, file = synced_file(OLD * 3)
        file.write(0, NEW * 3)
        seen = outcomes(disk)
        for first in (OLD, NEW):
            for second in (OLD, NEW):
                for third in (OLD, NEW):
                    assert first + second + third in seen

    def test_a_sector_is_torn_to_a_prefix_a_suffix_or_a_range(self) -> None:
        disk, file = synced_file(OLD)
        file.write(0, NEW)
        shapes = {
            bytes(dict.fromkeys(content)).decode() + content[-1:].decode()
            for content in outcomes(disk, count=1000)
            if content is not None
        }
        assert shapes >= {"oo", "nn", "no" + "o", "on" + "n", "on" + "o"}

    def test_a_tear_damages_nothing_outside_the_write(self) -> None:
        disk, file = synced_file(OLD)
        file.write(100, NEW[:50])
        for content in outcomes(disk):
            assert content is not None
            assert content[:100] + content[150:] == OLD[:100] + OLD[150:]

    def test_any_of_several_writes_to_one_sector_may_be_the_last_that_landed(self) -> None:
        disk, file = synced_file(OLD)
        for letter in b"abc":
            file.write(0, bytes([letter]) * SECTOR)
        assert outcomes(disk) >= {OLD, b"a" * SECTOR, b"b" * SECTOR, b"c" * SECTOR}

    def test_the_size_is_kept_or_lost_apart_from_the_bytes(self) -> None:
        disk, file = synced_file(OLD)
        file.write(SECTOR, NEW)
        assert outcomes(disk) >= {OLD, OLD + NEW, OLD + bytes(SECTOR)}
        file.sync()
        file.truncate(10)
        assert outcomes(disk) >= {OLD + NEW, OLD[:10]}

    def test_what_an_unsynced_truncation_cut_off_may_be_back(self) -> None:
        disk, file = synced_file(OLD * 2)
        file.truncate(100)
        file.truncate(2 * SECTOR)
        assert file.read(0, 2 * SECTOR) == OLD[:100].ljust(2 * SECTOR, b"\0")
        assert outcomes(disk) >= {OLD * 2, OLD[:100].ljust(2 * SECTOR, b"\0")}
        file.sync()
        assert outcomes(disk) == {OLD[:100].ljust(2 * SECTOR, b"\0")}

    @pytest.mark.parametrize("seed", range(20))
    def test_every_byte_was_there_at_some_time_since_the_last_sync(self, seed: int) -> None:
        random = Random(seed)
        disk, file = synced_file(random.randbytes(1500))
        past = [file.read(0, 9999)]
        for _ in range(40):
            match random.randrange(6):
                case 0:
                    file.truncate(random.randrange(3000))
                case 1:
                    file.sync()
                    past = []
                case _:
                    file.write(random.randrange(2500), random.randbytes(random.randrange(900)))
            past.append(file.read(0, 9999))
            padded = [content.ljust(4000, b"\0") for content in past]
            for cut in range(5):
                found = disk.after_power_cut(cut).read_file("f")
                assert len(found) in map(len, past)
                for position, byte in enumerate(found):
                    assert any(content[position] == byte for content in padded)

    def test_a_later_power_cut_starts_from_the_earlier_one(self) -> None:
        disk, file = synced_file(OLD)
        file.write(0, NEW)
        for seed in range(50):
            image = disk.after_power_cut(seed)
            assert outcomes(image, count=5) == {image.read_file("f")}


class TestWhatAPowerCutLeavesOfNames:
    def test_syncing_a_file_does_not_sync_its_name(self) -> None:
        disk = SimulatedDisk()
        file = disk.create("f")
        file.write(0, OLD)
        file.sync()
        assert outcomes(disk) == {None, OLD}
        disk.sync_folder()
        assert outcomes(disk) == {OLD}

    def test_names_are_kept_or_lost_each_for_itself(self) -> None:
        disk = SimulatedDisk()
        for name in "ab":
            disk.create(name)
        assert {"".join(image) for image in cuts(disk)} == {"", "a", "b", "ab"}

    def test_a_removal_may_not_have_happened(self) -> None:
        disk, _ = synced_file(OLD)
        disk.remove("f")
        assert outcomes(disk) == {None, OLD}
        disk.sync_folder()
        assert outcomes(disk) == {None}

    def test_a_rename_replaces_its_target_atomically(self) -> None:
        disk, _ = synced_file(OLD)
        disk.write_file("temporary", NEW)
        disk.rename("temporary", "f")
        assert {tuple(sorted(image.items())) for image in cuts(disk)} == {
            (("f", OLD), ("temporary", NEW)),
            (("f", NEW),),
        }

    def test_a_rename_does_not_wait_for_the_bytes(self) -> None:
        disk, _ = synced_file(OLD)
        file = disk.create("temporary")
        file.write(0, NEW)
        disk.rename("temporary", "f")
        disk.sync_folder()
        assert outcomes(disk) >= {NEW, bytes(SECTOR), b""}

    def test_one_entry_is_never_older_than_a_change_that_followed_it(self) -> None:
        disk, _ = synced_file(OLD)
        disk.rename("f", "g")
        disk.rename("g", "h")
        assert {"".join(image) for image in cuts(disk)} == {"f", "g", "h"}

    def test_between_folders_a_file_may_have_both_names_but_never_neither(self) -> None:
        disk, _ = synced_file(OLD, "log/f")
        disk.make_folder("archive")
        disk.sync_folder()
        disk.rename("log/f", "archive/f")
        assert {" ".join(sorted(image)) for image in cuts(disk)} == {
            "log/f", "archive/f", "archive/f log/f",
        }  # fmt: skip
        disk.sync_folder("archive")
        assert {" ".join(sorted(image)) for image in cuts(disk)} == {
            "archive/f",
            "archive/f log/f",
        }
        disk.sync_folder("log")
        assert {" ".join(sorted(image)) for image in cuts(disk)} == {"archive/f"}

    def test_both_names_are_of_one_file(self) -> None:
        disk, _ = synced_file(OLD, "log/f")
        disk.write_file("archive/g", b"")
        disk.rename("log/f", "archive/f")
        image = next(i for i in disk.images() if {"log/f", "archive/f"} <= set(i.files()))
        image.open("log/f", writable=True).write(0, NEW)
        assert image.read_file("archive/f") == NEW

    def test_folders_are_not_renamed(self) -> None:
        disk = SimulatedDisk()
        disk.make_folder("log")
        with pytest.raises(NotImplementedError):
            disk.rename("log", "gol")

    def test_a_folder_that_is_lost_takes_its_files_along(self) -> None:
        disk = SimulatedDisk()
        disk.make_folder("log")
        file = disk.create("log/f")
        file.write(0, OLD)
        file.sync()
        disk.sync_folder("log")
        assert outcomes(disk, "log/f") == {None, OLD}
        lost = next(disk.images())
        lost.make_folder("log")
        assert lost.list("log") == []


class TestAfterAFailedSync:
    @pytest.fixture
    def disk(self) -> SimulatedDisk:
        """Return a disk with a later, successful sync. The doubt about the bytes stays."""
        disk, file = synced_file(OLD)
        file.write(0, NEW * 2)
        disk.fail(kind="sync")
        with pytest.raises(OSError, match="Input/output error"):
            file.sync()
        file.sync()
        return disk

    def test_reads_go_on_seeing_the_bytes(self, disk: SimulatedDisk) -> None:
        assert disk.open("f").read(0, 2 * SECTOR) == NEW * 2
        assert disk.after_kill().read_file("f") == NEW * 2

    def test_a_power_cut_may_take_them(self, disk: SimulatedDisk) -> None:
        assert outcomes(disk) >= {OLD, OLD + NEW, OLD + bytes(SECTOR), NEW * 2}
        assert outcomes(disk.after_kill()) == outcomes(disk)

    def test_a_sync_in_the_next_process_does_not_save_them(self, disk: SimulatedDisk) -> None:
        killed = disk.after_kill()
        killed.open("f", writable=True).sync()
        assert OLD in outcomes(killed)

    def test_writing_them_again_does(self, disk: SimulatedDisk) -> None:
        file = disk.open("f", writable=True)
        file.write(0, NEW * 2)
        file.sync()
        assert {(content or b"")[:SECTOR] for content in outcomes(disk)} == {NEW}
        file.write(2 * SECTOR, NEW)
        file.sync()
        assert outcomes(disk) == {NEW * 3}

    def test_the_cache_may_be_dropped(self, disk: SimulatedDisk) -> None:
        found = set()
        for seed in range(200):
            other = disk.clone()
            other.drop_caches(seed)
            found.add(other.read_file("f"))
            assert outcomes(other, count=3) == {other.read_file("f")}
        assert found >= {OLD, OLD + NEW, OLD + bytes(SECTOR), NEW * 2}

    def test_dirty_pages_are_not_dropped(self, disk: SimulatedDisk) -> None:
        disk.open("f", writable=True).write(SECTOR, b"dirty")
        for seed in range(20):
            other = disk.clone()
            other.drop_caches(seed)
            assert other.read_file("f")[SECTOR:] == b"dirty" + NEW[5:]

    def test_names_of_a_failed_sync_stay_in_doubt(self) -> None:
        disk = SimulatedDisk()
        disk.create("f")
        disk.fail(kind="sync_folder")
        with pytest.raises(OSError, match="Input/output error"):
            disk.sync_folder()
        disk.sync_folder()
        assert outcomes(disk) == {None, b""}
        disk.rename("f", "g")
        disk.sync_folder()
        assert {"".join(image) for image in cuts(disk)} == {"g"}


class TestFaults:
    def test_calls_are_recorded(self) -> None:
        disk = SimulatedDisk()
        file = disk.create("f")
        file.write(0, b"abc")
        disk.rename("f", "g")
        disk.entropy(8)
        assert list(disk.calls) == [
            Call("create", "f"),
            Call("write", "f", (0, 3)),
            Call("rename", "f", ("g",)),
        ]
        assert [str(call) for call in disk.calls] == ["create f", "write f 0 3", "rename f g"]

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            (errno.EIO, OSError),
            (errno.ENOSPC, OSError),
            (errno.EDQUOT, OSError),
            (errno.EROFS, OSError),
            (errno.EINTR, InterruptedError),
        ],
    )
    def test_any_call_fails_with_any_errno_before_it_has_an_effect(
        self, code: int, error: type[OSError]
    ) -> None:
        calls: list[Callable[[SimulatedDisk, SimulatedFile], object]] = [
            lambda disk, file: file.read(0, 1),
            lambda disk, file: file.write(0, NEW),
            lambda disk, file: file.sync(),
            lambda disk, file: file.truncate(1),
            lambda disk, file: file.size(),
            lambda disk, file: file.close(),
            lambda disk, file: disk.lock(),
            lambda disk, file: disk.create("g"),
            lambda disk, file: disk.open("f"),
            lambda disk, file: disk.list(),
            lambda disk, file: disk.make_folder("log"),
            lambda disk, file: disk.rename("f", "g"),
            lambda disk, file: disk.remove("f"),
            lambda disk, file: disk.sync_folder(),
        ]
        for call in calls:
            disk, file = synced_file(OLD)
            disk.fail(errno=code)
            with pytest.raises(error) as raised:
                call(disk, file)
            assert (type(raised.value), raised.value.errno) == (error, code)
            assert disk.contents() == {"f": OLD}
            assert disk.list() == ["f"]

    def test_closing_a_disk_never_fails(self) -> None:
        disk = SimulatedDisk()
        disk.lock()
        disk.fail(kind="close_disk")
        disk.close()
        disk.reopen().lock()

    def test_the_nth_call_of_all_of_a_kind_or_on_a_name(self) -> None:
        disk, file = synced_file(OLD)  # call 1 opens the file
        disk.fail(3)
        disk.fail(2, kind="write")
        disk.fail(1, kind="read", name="g")
        file.write(0, b"a")
        with pytest.raises(OSError, match="error"):
            file.size()
        with pytest.raises(OSError, match="error"):
            file.write(1, b"b")
        file.read(0, 1)
        other = disk.create("g")
        with pytest.raises(OSError, match="error"):
            other.read(0, 1)
        with pytest.raises(ValueError, match="made already"):
            disk.fail(2)

    def test_for_ever_until_it_is_healed(self) -> None:
        disk, file = synced_file(OLD)
        disk.fail(2, kind="write", errno=errno.ENOSPC, forever=True)
        file.write(0, b"a")
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                file.write(0, b"b")
        disk.heal()
        assert file.write(0, b"c") == 1

    def test_a_short_count(self) -> None:
        disk, file = synced_file(b"")
        disk.fail(2, short=5)
        disk.fail(3, errno=errno.EINTR)
        write_fully(file, 0, b"all of it")
        assert [call.args for call in disk.calls[1:]] == [(0, 9), (5, 4), (5, 4)]
        assert disk.read_file("f") == b"all of it"
        disk.fail(kind="write", short=0)
        with pytest.raises(OSError, match="accepted no bytes"):
            write_fully(file, 0, b"x")

    def test_an_error_after_a_part_or_the_whole(self) -> None:
        disk, file = synced_file(OLD)
        disk.fail(effect="partial")
        with pytest.raises(OSError, match="error"):
            file.write(0, NEW)
        written = disk.read_file("f").count(b"n")
        assert disk.read_file("f") == NEW[:written] + OLD[written:]
        assert 0 < written < SECTOR
        disk.fail(effect="whole")
        with pytest.raises(OSError, match="error"):
            disk.rename("f", "g")
        assert disk.list() == ["g"]

    def test_a_rule_decides_call_by_call(self) -> None:
        disk, file = synced_file(OLD)
        disk.add_rule(lambda call: Fault(errno.EIO) if call == ("read", "f", (0, 9)) else None)
        assert file.read(0, 8) == OLD[:8]
        with pytest.raises(OSError, match="error"):
            file.read(0, 9)


class TestCrashes:
    def test_every_call_after_it_dies_too(self) -> None:
        disk = SimulatedDisk()
        disk.lock()
        file = disk.create("f")
        disk.crash_at(3)
        with pytest.raises(SimulatedCrash):
            file.write(0, OLD)
        assert disk.crashed
        uses = (file.sync, file.close, disk.close, disk.list, disk.reopen().lock)
        for use in (*uses, lambda: disk.entropy(1)):
            with pytest.raises(SimulatedCrash):
                use()
        assert len(disk.calls) == 3

    def test_no_handler_of_errors_survives_it(self) -> None:
        assert not issubclass(SimulatedCrash, Exception)

    def test_before_during_and_after_a_call(self) -> None:
        lengths = {}
        for when in ("before", "during", "after"):
            disk, file = synced_file(b"")
            disk.crash_at(1, kind="write", when=when)
            with pytest.raises(SimulatedCrash):
                file.write(0, OLD)
            lengths[when] = len(disk.after_kill().read_file("f"))
        assert lengths["before"] == 0
        assert 0 < lengths["during"] < lengths["after"] == SECTOR

    def test_a_sync_that_did_not_happen_is_no_failed_sync(self) -> None:
        disk, file = synced_file(OLD)
        file.write(0, NEW)
        disk.crash_at(kind="sync", when="before")
        with pytest.raises(SimulatedCrash):
            file.sync()
        killed = disk.after_kill()
        killed.open("f").sync()
        assert outcomes(killed) == {NEW}

    def test_it_can_come_with_a_call_that_fails_by_itself(self) -> None:
        disk = SimulatedDisk()
        disk.crash_at(1)
        with pytest.raises(SimulatedCrash):
            disk.open("missing")

    def test_a_killed_process_leaves_what_it_wrote_and_no_lock(self) -> None:
        disk = SimulatedDisk()
        disk.lock()
        disk.create("f").write(0, OLD)
        disk.crash_at()
        with pytest.raises(SimulatedCrash):
            disk.list()
        killed = disk.after_kill()
        assert killed.contents() == {"f": OLD, "writer.pid": b"%d\n" % os.getpid()}
        killed.lock()
        assert len(killed.calls) == 1
        assert None in outcomes(killed)

    def test_a_second_writer_is_told_who_owns_the_store(self) -> None:
        disk = SimulatedDisk(path="here")
        disk.lock()
        with pytest.raises(StoreLockedError, match="here is in use") as raised:
            disk.reopen().lock()
        assert raised.value.pid == os.getpid()


class TestImages:
    @pytest.fixture
    def disk(self) -> SimulatedDisk:
        disk, file = synced_file(OLD * 3)
        file.write(0, NEW)
        file.write(SECTOR, NEW)
        file.write(2 * SECTOR, NEW)
        return disk

    def test_the_telling_ones_come_first(self, disk: SimulatedDisk) -> None:
        first = [image.read_file("f") for image in disk.images(limit=2)]
        assert first == [OLD * 3, NEW * 3]

    def test_the_last_write_alone_missing_and_torn(self, disk: SimulatedDisk) -> None:
        half = SECTOR // 2
        assert {image.read_file("f") for image in disk.images()} >= {
            OLD * 2 + NEW,
            NEW * 2 + OLD,
            NEW * 2 + NEW[:half] + OLD[half:],
            NEW * 2 + OLD[half:] + NEW[:half],
        }

    def test_each_sector_alone_and_each_missing(self, disk: SimulatedDisk) -> None:
        seen = [image.read_file("f") for image in disk.images()]
        assert len(seen) == len(set(seen))
        assert set(seen) >= {
            NEW + OLD * 2, OLD + NEW + OLD, OLD + NEW * 2, NEW + OLD + NEW,
        }  # fmt: skip

    def test_names_and_sizes_and_bytes_each_kept_or_lost_altogether(self) -> None:
        disk, file = synced_file(OLD)
        file.write(0, NEW * 2)
        disk.create("g")
        seen = [image.contents() for image in disk.images(limit=8)]
        for names in ({}, {"g": b""}):
            for content in (OLD, NEW, OLD + bytes(SECTOR), NEW * 2):
                assert {"f": content, **names} in seen

    def test_every_name_alone_missing(self) -> None:
        disk = SimulatedDisk()
        for name in "abc":
            disk.create(name)
        assert {"".join(image.files()) for image in disk.images()} >= {"", "abc", "bc", "ac", "ab"}


class TestIdentity:
    """Equal for disks with equal files and equal things in doubt, and for no others."""

    def written(self, *, last: bytes = NEW, sync: bool = False, name: str = "f") -> SimulatedDisk:
        disk, file = synced_file(OLD * 2)
        file.write(SECTOR, last)
        if sync:
            file.sync()
        disk.create("g")
        disk.rename("g", "h" if name == "f" else name)
        return disk

    def test_the_same_calls_and_copies(self) -> None:
        disk = self.written()
        assert disk.identity() == self.written().identity() == disk.clone().identity()
        assert hash(disk.identity()) == hash(disk.clone().identity())

    def test_a_way_there_does_not_matter(self) -> None:
        kept = next(image for number, image in enumerate(self.written().images()) if number)
        assert kept.contents() == self.written().contents()
        assert kept.identity() != self.written().identity()  # nothing is in doubt any more
        other = self.written()
        other.sync_folder()
        other.open("f", writable=True).sync()
        assert other.identity() == kept.identity()

    @pytest.mark.parametrize("changed", [{"last": OLD[:9]}, {"sync": True}, {"name": "i"}])
    def test_other_bytes_doubts_or_names(self, changed: dict[str, Any]) -> None:
        assert self.written(**changed).identity() != self.written().identity()

    def test_a_process_id_is_no_difference(self) -> None:
        """Two processes come to equal figures therefore."""
        disk = self.written()
        disk.lock()
        assert disk.identity() == self.written().identity()

    def test_what_is_left_of_a_hint(self) -> None:
        disk, other = self.written(), self.written()
        for told, of in ((b"1", disk), (b"2", disk), (b"2", other)):
            of.overwrite("frontier", told)
        assert disk.contents() == other.contents()
        assert disk.identity() != other.identity()


class TestRepeating:
    def run(self, seed: int) -> tuple[list[dict[str, bytes]], bytes]:
        disk, file = synced_file(OLD, seed=seed)
        disk.fail(kind="write", effect="partial")
        with pytest.raises(OSError, match="error"):
            file.write(0, NEW * 4)
        images = [disk.after_power_cut().contents() for _ in range(20)]
        return images, disk.entropy(100)

    def test_a_seed_gives_the_same_run(self) -> None:
        assert self.run(1) == self.run(1)
        assert self.run(1) != self.run(2)

    def test_a_cut_is_repeated_by_its_seed(self) -> None:
        disk, file = synced_file(OLD)
        file.write(0, NEW * 9)
        assert cuts(disk, 50) == cuts(disk, 50)
        assert disk.after_power_cut(3).contents() == disk.after_power_cut(Random(3)).contents()

    def test_entropy_does_not_come_back_after_a_crash(self) -> None:
        disk = SimulatedDisk()
        first = disk.entropy(8)
        assert len(first) == 8
        later = [disk.after_power_cut(0).entropy(8), disk.after_kill().entropy(8)]
        assert first not in later

    @pytest.mark.parametrize("other", ["clone", "after_kill", "after_power_cut"])
    def test_disks_share_no_change(self, other: str) -> None:
        disk, file = synced_file(OLD)
        copy: SimulatedDisk = getattr(disk, other)()
        file.write(0, b"here")
        copy.open("f", writable=True).write(4, b"there")
        copy.create("g")
        assert disk.contents() == {"f": b"here" + OLD[4:]}
        assert copy.contents() == {"f": OLD[:4] + b"there" + OLD[9:], "g": b""}

    def test_a_clone_has_the_same_doubts(self) -> None:
        disk, file = synced_file(OLD)
        file.write(0, NEW * 2)
        disk.remove("f")
        disk.make_folder("log")
        disk.create("log/g")
        assert cuts(disk) == cuts(disk.clone())


class TestDamaging:
    def test_files_are_made_changed_and_removed_durably(self) -> None:
        disk = SimulatedDisk()
        disk.fail(forever=True)
        disk.write_file("log/f", b"\x00\x00")
        disk.flip_bit("log/f", 9)
        disk.write_file("g", b"gone")
        disk.remove_file("g")
        assert disk.files() == ["log/f"]
        assert cuts(disk, 20) == [{"log/f": b"\x00\x02"}] * 20
        assert not disk.calls

    def test_a_missing_file_is_not_found(self) -> None:
        for use in (SimulatedDisk().read_file, SimulatedDisk().remove_file):
            with pytest.raises(FileNotFoundError):
                use("f")


def test_a_buffer_of_any_kind_is_written() -> None:
    _, file = synced_file(b"")
    kinds: list[Bytes] = [b"ab", bytearray(b"cd"), memoryview(b"ef")]
    for number, data in enumerate(kinds):
        file.write(2 * number, data)
    assert file.read(0, 9) == b"abcdef"


def test_the_collector_closes_nothing_in_the_middle_of_a_call() -> None:
    """It may come at any instruction. A watcher would see a disk that no program leaves."""
    disk = SimulatedDisk()
    owner = disk.reopen()
    owner.lock()
    forgotten: list[SimulatedDisk | SimulatedFile] = [disk.create("a"), owner]
    seen: list[Call] = []

    def rule(call: Call) -> None:
        seen.append(call)
        while call.kind == "rename" and forgotten:
            forgotten.pop().close()

    disk.add_rule(rule)
    disk.rename("a", "b")
    assert [call.kind for call in seen] == ["rename"]
    assert disk.files() == ["b"]
    disk.lock()  # the forgotten owner gave it up
