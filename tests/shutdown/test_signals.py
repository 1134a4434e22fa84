"""SIGTERM drains and seals, a second one kills: real processes, and the handlers in this one."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from eventstore import ConfigError, EventStore, StoreUsageError, shutdown_on_signals
from tests.real.children import Child, Parent
from tests.support.bank import bank_registry, pay
from tests.support.gates import GatedDisk, commits

QUIET: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None, "idle_seal": 3600.0}


async def trading(parent: Parent, path: str) -> None:
    """Trade until a signal arrives, and leave some appends in the queue."""
    with shutdown_on_signals():
        async with EventStore.open(path, bank_registry(), **QUIET) as store:
            await store.append(pay())
            parent.report(store.seq)
            try:
                while True:
                    await store.append(pay())
            finally:
                for _ in range(100):
                    store.submit(pay())
                parent.report(store.head_seq)


async def hanging(parent: Parent, path: str) -> None:
    """Hang in the closing, because the disk hangs."""
    disk = GatedDisk(Path(path), commits)
    with shutdown_on_signals():
        async with EventStore.open(path, bank_registry(), disk=disk, **QUIET) as store:
            await store.append(pay())
            disk.gate.shut()
            store.submit(pay())
            parent.report(store.seq)
            try:
                await asyncio.Event().wait()
            finally:
                parent.report("closing")


async def blocking(parent: Parent, path: str) -> None:
    """Get both signals in one turn of the loop."""
    with shutdown_on_signals():
        async with EventStore.open(path, bank_registry(), **QUIET) as store:
            await store.append(pay())
            parent.report(store.seq)
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)


async def closing(parent: Parent, path: str) -> None:
    """Get the signal while the store is being closed at the end of the block."""
    with shutdown_on_signals():
        async with EventStore.open(path, bank_registry(), **QUIET) as store:
            for _ in range(5000):
                store.submit(pay())
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        parent.report("not reached")


async def found(path: Path) -> tuple[int, bool]:
    async with EventStore.open(path, bank_registry()) as store:
        return store.seq, store.recovery.clean


def test_the_first_drains_and_seals(tmp_path: Path) -> None:
    child = Child(trading, str(tmp_path))
    child.report()
    os.kill(child.pid, signal.SIGTERM)
    (last,) = child.report()
    assert child.wait() == 128 + signal.SIGTERM
    assert asyncio.run(found(tmp_path)) == (last, True)


def test_the_second_kills_a_program_that_hangs(tmp_path: Path) -> None:
    child = Child(hanging, str(tmp_path))
    (acknowledged,) = child.report()
    os.kill(child.pid, signal.SIGTERM)
    assert child.report() == ("closing",)
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM
    seq, clean = asyncio.run(found(tmp_path))
    assert seq >= acknowledged == 1
    assert not clean


def test_the_second_kills_a_program_that_blocks_its_loop(tmp_path: Path) -> None:
    child = Child(blocking, str(tmp_path))
    assert child.report() == (1,)
    assert child.wait() == -signal.SIGTERM
    assert asyncio.run(found(tmp_path)) == (1, False)


def test_one_while_the_store_is_being_closed(tmp_path: Path) -> None:
    child = Child(closing, str(tmp_path))
    with pytest.raises(EOFError):
        child.report()
    assert child.wait() == 128 + signal.SIGTERM
    assert asyncio.run(found(tmp_path)) == (5000, True)


class TestInThisProcess:
    """The signal is SIGUSR1 here: pytest ends with a second SIGTERM."""

    def test_the_block_ends_with_the_status_of_the_signal(self) -> None:
        async def bot() -> None:
            with shutdown_on_signals(signal.SIGUSR1):
                os.kill(os.getpid(), signal.SIGUSR1)
                await asyncio.Event().wait()

        with pytest.raises(SystemExit) as ended:
            asyncio.run(bot())
        assert ended.value.code == 128 + signal.SIGUSR1

    def test_so_it_does_where_the_program_takes_the_cancellation(self) -> None:
        async def bot() -> None:
            with shutdown_on_signals(signal.SIGUSR1):
                os.kill(os.getpid(), signal.SIGUSR1)
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return

        with pytest.raises(SystemExit) as ended:
            asyncio.run(bot())
        assert ended.value.code == 128 + signal.SIGUSR1

    def test_an_error_of_the_program_says_more(self) -> None:
        async def bot() -> None:
            with shutdown_on_signals(signal.SIGUSR1):
                os.kill(os.getpid(), signal.SIGUSR1)
                try:
                    await asyncio.Event().wait()
                finally:
                    raise KeyError("a bug while ending")

        with pytest.raises(KeyError, match="a bug while ending"):
            asyncio.run(bot())

    def test_somebody_elses_cancellation_stays_one(self) -> None:
        async def bot() -> None:
            task = asyncio.current_task()
            assert task is not None
            with shutdown_on_signals(signal.SIGUSR1):
                os.kill(os.getpid(), signal.SIGUSR1)
                asyncio.get_running_loop().call_later(0.01, task.cancel)
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(1)

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(bot())

    def test_without_a_signal_nothing_happens(self) -> None:
        calls: list[int] = []
        before = signal.signal(signal.SIGUSR1, lambda number, frame: calls.append(number))
        try:

            async def bot() -> str:
                with shutdown_on_signals(signal.SIGUSR1):
                    await asyncio.sleep(0)
                os.kill(os.getpid(), signal.SIGUSR1)
                return "done"

            assert asyncio.run(bot()) == "done"
            assert calls == [signal.SIGUSR1], "the handler of before is in force again"
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_a_cancellation_of_the_program_is_no_signal(self) -> None:
        async def bot() -> None:
            async with asyncio.timeout(0.01):
                with shutdown_on_signals(signal.SIGUSR1):
                    await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            asyncio.run(bot())

    def test_it_is_for_the_code_of_a_task(self) -> None:
        with pytest.raises(StoreUsageError, match="of a task"), shutdown_on_signals():
            pass

    def test_a_signal_that_is_named_twice_is_handled_once(self) -> None:
        async def bot() -> None:
            with shutdown_on_signals(signal.SIGUSR1, signal.SIGUSR1):
                await asyncio.sleep(0)

        before = signal.getsignal(signal.SIGUSR1)
        asyncio.run(bot())
        assert signal.getsignal(signal.SIGUSR1) == before, "and not the handler of the block"

    @pytest.mark.parametrize("given", [True, signal.SIGKILL, signal.SIGSTOP, 0, "SIGTERM", None])
    def test_what_is_no_signal_for_a_program_is_refused_before_any_is_handled(
        self, given: Any
    ) -> None:
        async def bot() -> None:
            with (
                pytest.raises(ConfigError, match="numbers"),
                shutdown_on_signals(signal.SIGUSR1, given),
            ):
                pass

        before = signal.getsignal(signal.SIGUSR1)
        asyncio.run(bot())
        assert signal.getsignal(signal.SIGUSR1) == before

    def test_a_block_that_cannot_be_entered_leaves_no_handler(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handle = signal.signal

        def refuse(number: int, handler: Any) -> Any:
            if number == signal.SIGUSR2:
                raise OSError("refused")
            return handle(number, handler)

        async def bot() -> None:
            monkeypatch.setattr(signal, "signal", refuse)
            with pytest.raises(StoreUsageError, match="refused"):  # noqa: SIM117  the block is inside
                with shutdown_on_signals(signal.SIGUSR1, signal.SIGUSR2):
                    pass
            monkeypatch.undo()

        before = signal.getsignal(signal.SIGUSR1)
        asyncio.run(bot())
        assert signal.getsignal(signal.SIGUSR1) == before
