"""The report of an opening: every field of `RecoveryReport`, and the log messages."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import EventStore, RecoveryReport
from eventstore.recovery_words import tell
from eventstore.testing import Call, Fault, SimulatedDisk
from tests.support.bank import bank_after, bank_registry, pay

QUIET: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None}


async def report_of(disk: SimulatedDisk, **options: Any) -> RecoveryReport:
    async with EventStore.open("", bank_registry(), disk=disk, **{**QUIET, **options}) as store:
        return store.recovery


async def killed(*amounts: int) -> SimulatedDisk:
    """Return the disk of a store. The store's process was killed after the deposits."""
    disk = SimulatedDisk()
    store = await EventStore.open("", bank_registry(), disk=disk, **QUIET)
    for amount in amounts:
        await store.append(pay(amount))
    image = disk.after_kill()
    await store.close()
    return image


def log_files(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.files() if name.startswith("log/0")]


class TestFields:
    @pytest.mark.asyncio
    async def test_a_new_store(self) -> None:
        report = await report_of(SimulatedDisk())
        assert report.seconds > 0.0
        assert msgspec.structs.replace(report, seconds=0.0, segments=0) == RecoveryReport(
            created=True
        )

    @pytest.mark.asyncio
    async def test_a_new_store_is_told_as_new_and_an_old_one_is_not(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "eventstore")
        disk = SimulatedDisk()
        for told in (1, 0):
            caplog.clear()
            await report_of(disk)
            said = [line for line in caplog.messages if "made a new store" in line]
            assert len(said) == told
            disk = disk.reopen()

    def test_no_escape_of_a_path_or_a_name_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "eventstore")
        tell("sto\x1b[31mre", RecoveryReport(warnings=("odd",)))
        assert len(caplog.messages) == 2
        assert all(line.startswith("sto\\x1b[31mre: ") for line in caplog.messages)
        assert all(line.isprintable() for line in caplog.messages)

    @pytest.mark.asyncio
    async def test_after_a_clean_end(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **QUIET) as store:
            for amount in (1, 2, 3):
                await store.append(pay(amount))
        report = await report_of(disk.reopen())
        assert (report.seq, report.events_folded) == (3, 3)
        assert (report.snapshot, report.snapshot_seq) == (None, 0)
        assert report.clean
        assert (report.torn_bytes, report.quarantined, report.rewritten) == (0, None, None)
        assert report.segments == len(log_files(disk))
        assert report.snapshots_rejected == report.unknown_files == report.warnings == ()

    @pytest.mark.asyncio
    async def test_after_a_kill_the_last_segment_is_rewritten(self) -> None:
        disk = await killed(1, 2, 3)
        last = log_files(disk)[-1]
        report = await report_of(disk)
        assert (report.seq, report.clean, report.rewritten) == (3, False, last)
        assert (report.torn_bytes, report.quarantined) == (0, None)
        again = await report_of(disk.reopen())
        assert (again.seq, again.clean, again.rewritten) == (3, True, None)

    @pytest.mark.asyncio
    async def test_torn_bytes_are_set_aside_and_counted(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        disk = await killed(1, 2, 3)
        last = log_files(disk)[-1]
        content = disk.read_file(last)
        end = len(content.rstrip(b"\0"))
        torn = content[: end - 4] + bytes(len(content) - end + 4)
        disk.write_file(last, torn)
        caplog.set_level(logging.WARNING, "eventstore")
        report = await report_of(disk)
        assert (report.seq, report.clean, report.rewritten) == (2, False, last)
        assert report.quarantined is not None
        kept = disk.read_file(report.quarantined)
        assert len(kept) == report.torn_bytes > 0
        assert kept in torn
        assert report.quarantined.startswith("quarantine/")
        assert any(report.quarantined in text for text in report.warnings)
        assert any(report.quarantined in record.getMessage() for record in caplog.records)
        again = await report_of(disk.reopen())
        assert (again.seq, again.clean, again.torn_bytes, again.quarantined) == (2, True, 0, None)
        assert disk.read_file(report.quarantined) == kept, "never deleted by the store"

    @pytest.mark.asyncio
    async def test_which_snapshot_was_used_and_what_was_folded_after_it(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **QUIET) as store:
            await store.append(pay(1), pay(2))
            await store.snapshot()
            await store.append(pay(3))
        report = await report_of(disk.reopen())
        assert report.snapshot == f"snapshots/{2:020d}.snap"
        assert (report.snapshot_seq, report.events_folded, report.seq) == (2, 1, 3)

    @pytest.mark.asyncio
    async def test_rejected_snapshots_are_named_with_the_reason(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **QUIET) as store:
            await store.append(pay(1))
            await store.snapshot()
        name = f"snapshots/{1:020d}.snap"
        disk.write_file(name, b"nonsense")
        report = await report_of(disk.reopen())
        [rejected] = report.snapshots_rejected
        assert rejected.startswith(f"{name}: it is damaged")
        assert any(name in text for text in report.warnings)
        assert (report.snapshot, report.events_folded) == (None, 1)

    @pytest.mark.asyncio
    async def test_files_it_does_not_know_are_left_alone_and_named(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **QUIET) as store:
            await store.append(pay(1))
            await store.snapshot()
        strange = {
            "notes.txt",
            "log/0001.log",
            "log/00000000000000000001.log.bak",
            "snapshots/README",
            "archive/old.zst",
        }
        for name in strange:
            disk.write_file(name, b"mine")
        report = await report_of(disk.reopen())
        assert set(report.unknown_files) == strange
        for name in strange:
            assert disk.read_file(name) == b"mine"
            assert any(name in text for text in report.warnings)
            assert any(name in record.getMessage() for record in caplog.records)

    @pytest.mark.asyncio
    async def test_archives_of_discarded_history_are_removed_and_not_named(self) -> None:
        """The writer died after discarding the archives and before removing the files."""
        disk = SimulatedDisk()
        options = {**QUIET, "segment_size": 4096, "backup_count": 2}
        async with EventStore.open("", bank_registry(), options, disk=disk) as store:
            for _ in range(3):
                for amount in range(1, 21):
                    await store.append(pay(amount, "a" * 200))
                await store.snapshot()
        archives = {name for name in disk.files() if name.startswith("archive/")}
        assert archives
        images: list[SimulatedDisk] = []

        def look(call: Call) -> None:
            if (call.kind, call.name) == ("remove", min(archives)):
                images.append(disk.after_kill())

        disk.add_rule(look)
        async with EventStore.open(
            "", bank_registry(), options, disk=disk.reopen(), history="discard"
        ) as store:
            for amount in range(1, 21):
                await store.append(pay(amount, "a" * 200))
            await store.snapshot()
        [image] = images
        assert archives < set(image.files())
        report = await report_of(image)
        assert report.unknown_files == report.warnings == ()
        assert not archives & set(image.files())

    @pytest.mark.asyncio
    async def test_segments_are_counted(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open(
            "", bank_registry(), disk=disk, segment_size=4096, history="keep", **QUIET
        ) as store:
            for amount in range(1, 60):
                await store.append(pay(amount, "a" * 100))
        report = await report_of(disk.reopen())
        assert report.segments == len(log_files(disk)) > 2

    @pytest.mark.asyncio
    async def test_read_only_reports_without_mending(self) -> None:
        disk = await killed(1, 2)
        report = await report_of(disk, read_only=True)
        assert (report.seq, report.clean, report.rewritten) == (2, False, None)
        assert (await report_of(disk.reopen())).rewritten is not None

    @pytest.mark.asyncio
    async def test_opening_twice_reports_the_same_end(self) -> None:
        disk = await killed(1, 2, 3)
        first = await report_of(disk)
        second, third = await report_of(disk.reopen()), await report_of(disk.reopen())
        assert first.seq == second.seq == third.seq == 3
        assert msgspec.structs.replace(second, seconds=0.0) == msgspec.structs.replace(
            third, seconds=0.0
        )

    @pytest.mark.asyncio
    async def test_after_a_failed_sync(self) -> None:
        disk = SimulatedDisk()
        store = await EventStore.open("", bank_registry(), disk=disk, **QUIET)
        await store.append(pay(1))
        disk.add_rule(lambda call: Fault(errno=errno.EIO) if call.kind == "sync" else None)
        with pytest.raises(Exception, match="EIO"):
            await store.append(pay(2))
        disk.heal()
        await store.close()
        async with EventStore.open("", bank_registry(), disk=disk.reopen(), **QUIET) as again:
            assert not again.recovery.clean
            assert again.recovery.rewritten is not None
            assert again.state in (bank_after(1), bank_after(1, 2))
            assert again.recovery.seq == again.seq == again.state.last


class TestItself:
    def test_it_cannot_be_changed(self) -> None:
        report: Any = RecoveryReport()
        with pytest.raises(AttributeError):
            report.seq = 1

    def test_it_can_be_written_down(self) -> None:
        report = RecoveryReport(seq=5, snapshots_rejected=("a: b",))
        assert msgspec.json.decode(msgspec.json.encode(report), type=RecoveryReport) == report

    @pytest.mark.asyncio
    async def test_recovery_is_told_to_the_operator(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "eventstore")
        async with EventStore.open(tmp_path, bank_registry()) as store:
            await store.append(pay())
        caplog.clear()
        async with EventStore.open(tmp_path, bank_registry()):
            pass
        told = [record for record in caplog.records if record.name == "eventstore.recovery"]
        assert [record.levelname for record in told] == ["INFO"]
        assert "recovered to event 1" in told[0].getMessage()
        assert str(tmp_path) in told[0].getMessage()
