"""Warnings of an open store are told once, stand, and end."""

from __future__ import annotations

import errno
import logging
import threading

import pytest

from eventstore import EventStore, SimulatedClock, StoreFullError
from eventstore.log.slow_syncs import SlowSyncs
from eventstore.operator_log import operator_log
from eventstore.standing_warnings import StandingWarnings
from eventstore.testing import SimulatedDisk
from eventstore.testing.faults import Fault
from tests.support.bank import bank_registry, pay
from tests.support.gates import PATIENCE

logger = operator_log("eventstore.test")


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_each_is_told_at_its_beginning_and_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    warnings = StandingWarnings("store")
    assert not warnings.texts
    warnings.end("disk", "all is well")
    warnings.begin("disk", "full", logger)
    warnings.begin("disk", "still full", logger)
    warnings.begin("snapshot", "failed", logger, level=logging.ERROR)
    assert warnings.texts == ("still full", "failed")
    assert warnings.stands("disk")
    warnings.end("disk", "space again")
    warnings.end("disk", "space again")
    assert not warnings.stands("disk")
    warnings.begin("disk", "full again", logger)
    assert lines(caplog) == [
        ("WARNING", "store: full"),
        ("ERROR", "store: failed"),
        ("WARNING", "store: space again"),
        ("WARNING", "store: full again"),
    ]


@pytest.mark.asyncio
async def test_a_clock_that_stepped_back(caplog: pytest.LogCaptureFixture) -> None:
    clock = SimulatedClock(10**18)
    async with EventStore.open("", bank_registry(), disk=SimulatedDisk(), clock=clock) as store:
        await store.append(pay())
        clock.set(10**18 - 2 * 10**9)
        await store.append(pay())
        clock.advance(1.0)
        await store.append(pay())
        (warning,) = store.stats().warnings
        assert warning.startswith("the clock stepped back: event 3 is 1.000 s before the latest")
        clock.advance(1.0)
        await store.append(pay())
        assert not store.stats().warnings
    told = [text for _, text in lines(caplog) if "clock" in text]
    assert [text.partition(": ")[2][:30] for text in told] == [
        "the clock stepped back: event ",
        "the clock is past event 4 agai",
    ]


@pytest.mark.asyncio
async def test_snapshots_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    disk = SimulatedDisk()
    full = True
    disk.add_rule(
        lambda call: (
            Fault(errno=errno.ENOSPC)
            if full and call.kind == "write" and call.name.startswith("snapshots/")
            else None
        )
    )
    async with EventStore.open("", bank_registry(), disk=disk, wal_max_entries=None) as store:
        for _ in range(3):
            await store.append(pay())
            with pytest.raises(StoreFullError):
                await store.snapshot()
        (warning,) = store.stats().warnings
        assert warning.startswith("a snapshot could not be taken: no space")
        full = False
        await store.snapshot()
        assert not store.stats().warnings
    told = [(level, text) for level, text in lines(caplog) if "a snapshot" in text]
    assert [level for level, _ in told] == ["ERROR", "WARNING"]
    assert told[1][1].endswith("a snapshot of event 3 was taken")


def test_a_row_of_slow_syncs(caplog: pytest.LogCaptureFixture) -> None:
    second = 10**9
    warnings = StandingWarnings("store")
    syncs = SlowSyncs(0.25, warnings)
    for now in (1, 2, 30):
        syncs.note("store/log/1", second // 2, now * second)
    syncs.note("store/log/1", 10, 89 * second)
    (text,) = warnings.texts
    assert text.startswith("fdatasync of store/log/1 took 0.500 s: appends waited for it")
    syncs.note("store/log/1", 10, 91 * second)
    assert not warnings.stands("slow sync")
    assert [text for _, text in lines(caplog)][1:] == ["store: no fdatasync was slow for 60 s"]


def test_a_signal_handler_may_ask_in_the_middle_of_a_warning() -> None:
    """`stats()` in a signal handler waits for nothing that the handler itself holds up."""
    warnings = StandingWarnings("store")
    seen: list[tuple[str, ...]] = []

    class Signalled(str):
        def __hash__(self) -> int:
            seen.append(warnings.texts)
            return super().__hash__()

    telling = threading.Thread(
        target=warnings.begin, args=(Signalled("disk"), "full", logger), daemon=True
    )
    telling.start()
    telling.join(PATIENCE)
    assert not telling.is_alive()
    assert seen
    assert warnings.texts == ("full",)
