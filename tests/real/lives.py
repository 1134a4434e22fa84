"""Writers that end in mid-sentence, and the witness of their reports.

Theory of operation
-------------------
`live` is a child's program: several appenders side by side, single events and groups, and
receipts without a waiter. The store rolls, takes snapshots and archives all the time. The child
reports each submission in advance, and each acknowledgement afterwards. A power cut may take back
an event that did not ask for a sync.

The contents of event number N follow from the store's seed. So `Witness`, in the parent, knows
from the reports exactly which events may be in the store and which must be. The witness examines a
*copy* of the store. So the next child begins with the same unclean end, and may be killed while
recovering.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from eventstore import Durability, Event, EventStore, RecoveryReport, SimulatedClock, StoreConfig
from eventstore.disk.local import LocalDisk
from eventstore.missing_await import Opening
from tests.real.children import Child, Parent
from tests.torture.ledger import Deposit, Ledger, Transfer, ledger_after, ledger_registry
from tests.torture.oracle import Claim, OracleError, Submitted, recovered_as_claimed

__all__ = ["Witness", "busy_config", "contents", "live", "payload"]

_ACCOUNTS = ("cash", "fees", "AAPL", "MSFT")
_APPENDERS = 3
_ASKED = (None, "none", None, "interval", "commit", None)
"""What the groups ask for, by the number of their first event."""


def busy_config(seed: int, durability: Durability = Durability.COMMIT) -> StoreConfig:
    """Return a configuration under which a few events roll, snapshot and archive."""
    random = Random(seed)
    return StoreConfig(
        durability=durability,
        segment_size=random.choice((4096, 4096, 8192)),
        wal_max_entries=random.choice((7, 15, 40)),
        backup_count=random.choice((1, 2)),
        history=random.choice(("archive", "archive", "keep")),
        idle_seal=0.001,
        sync_interval=0.005,
    )


def payload(seed: int, number: int) -> Deposit | Transfer:
    """Return event `number` in the store of this seed."""
    random = Random(seed << 32 | number)
    account, amount = random.choice(_ACCOUNTS), random.randrange(1000)
    if random.random() < 0.3:
        return Transfer(number=number, source=account, target="cash", amount=amount)
    memo = "x" * random.choice((0, 5, 40, 40, 300, 1800))
    return Deposit(number=number, account=account, amount=amount, memo=memo)


def _key(first: int, count: int) -> str:
    return f"{first}+{count}"


async def live(parent: Parent, path: str, seed: int, time: int, config: StoreConfig) -> NoReturn:
    """Append to the store until the end of this process. `time` is the time of the events."""
    random = Random(seed ^ time)
    store = await EventStore.open(path, ledger_registry(), config, clock=SimulatedClock(time))
    parent.report("opened", store.seq)
    numbers = itertools.count(store.seq + 1)

    async def appender(pause: bool) -> NoReturn:
        while True:
            count = random.choice((1, 1, 1, 2, 5))
            group = [next(numbers) for _ in range(count)]
            parent.report("submits", group[0], count)
            operations = [payload(seed, number) for number in group]
            asked = _ASKED[group[0] % len(_ASKED)]
            receipt = store.submit(*operations, key=_key(group[0], count), durability=asked)
            if random.random() < 0.2:
                await asyncio.sleep(0)
                continue  # no waiter for this receipt
            await receipt
            level = config.durability if asked is None else Durability(asked)
            told = "durable" if level is Durability.COMMIT else "acknowledged"
            parent.report(told, receipt.seq)
            if pause and random.random() < 0.1:
                await asyncio.sleep(0.002)  # long enough to be sealed

    await asyncio.gather(*(appender(pause=number == 0) for number in range(_APPENDERS)))
    raise AssertionError("appenders never end")


class Witness:
    """The reports of the children of one store, and the events that must therefore be found."""

    def __init__(self, path: Path, seed: int, config: StoreConfig) -> None:
        self.path = path
        self.seed = seed
        self.config = config
        self.acknowledged = 0
        self.durable = 0
        self.time = 0
        self.reports: list[RecoveryReport] = []
        self._submitted: list[Submitted] = []
        self._states: list[Ledger] = [Ledger()]

    def hear(self, child: Child, seconds: float | None = None, *, once_open: bool = False) -> None:
        """Take down the reports of `child` for so many seconds, or until the child has gone.

        With `once_open`, the time begins when the store is open, not before.
        """
        if once_open:
            self.take(*child.report())
        for report in child.reports(seconds):
            self.take(*report)

    def take(self, what: str, *numbers: int) -> None:
        """Take down one report."""
        if what == "opened":
            assert numbers[0] == len(self._submitted), "recovered differently than the copy"
        elif what == "submits":
            self._submits(*numbers)
        else:
            self.acknowledged = max(self.acknowledged, *numbers)
            if what == "durable":
                self.durable = max(self.durable, *numbers)

    def _submits(self, first: int, count: int) -> None:
        assert first == len(self._submitted) + 1
        for number in range(first, first + count):
            data = payload(self.seed, number)
            event: Event[Any] = Event(number, self.time, data, _key(first, count))
            self._submitted.append(Submitted(event, first))
            self._states.append(ledger_after(self._states[-1], data))

    async def examine(self, copy: Path, *, power_cut: bool = False) -> RecoveryReport:
        """Hold the store of the last child against the reports. Returns the recovery report.

        The next child's events are later ones.
        """
        disk = LocalDisk(self.path, create=True)
        disk.lock()  # the lock is free
        disk.close()
        shutil.copytree(self.path, copy)
        claim = Claim(
            self._submitted,
            self._states,
            len(self._submitted),
            self.acknowledged,
            self.durable,
        )
        required = claim.after_power_cut if power_cut else claim.after_kill
        async with self._open(copy) as store:
            await recovered_as_claimed(store, claim, required)
            report, state = store.recovery, store.state
        before = contents(copy)
        async with self._open(copy) as store:
            await recovered_as_claimed(store, claim, required)
            if (store.seq, store.state) != (report.seq, state) or not store.recovery.clean:
                raise OracleError("the second opening gave another result than the first")
        if contents(copy) != before:
            raise OracleError("the second opening changed the store")
        if report.unknown_files:
            raise OracleError(f"files of its own are not known to it: {report.unknown_files}")
        shutil.rmtree(copy)
        del self._submitted[report.seq :]
        del self._states[report.seq + 1 :]
        self.acknowledged = self.durable = report.seq
        self.time += 1
        self.reports.append(report)
        return report

    def _open(self, path: Path) -> Opening[EventStore[Ledger]]:
        return EventStore.open(path, ledger_registry(), self.config)


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a store, without the present owner's notes for other processes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("writer.pid", "frontier")
    }
