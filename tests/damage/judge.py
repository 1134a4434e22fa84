"""The outcome for a damaged store: opened, read to the end, held against the undamaged one.

Three outcomes are allowed, and `verdicts` raises `UnfitError` for any other:

* Opening is refused with a `CorruptStoreError`, and not a byte was written.
* The store opens with exactly the state at closing, and the history is exact.
* The store opens so, and reading the history raises a `CorruptStoreError` and skips nothing.

The caller demands, with `Verdict`, whether the damage had to be noticed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from eventstore import (
    CorruptStoreError,
    Event,
    EventStore,
    EventStoreError,
    RecoveryReport,
    StoreNotFoundError,
    read_events,
)
from eventstore.disk.layout import FRONTIER
from eventstore.testing import SimulatedDisk
from eventstore.testing.faults import Fault
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.damage.golden_store import PATH, REGISTRY, Golden
from tests.torture.ledger import Deposit, ledger_after

_CALLS = 3000  # calls on the disk; a sound opening and reading take some two hundred


class UnfitError(AssertionError):
    """An outcome that is never allowed."""


class Damage(NamedTuple):
    """A damaged copy of a store, and a description of the damage."""

    what: str
    disk: SimulatedDisk


class Verdict(NamedTuple):
    """The outcome of one damage.

    Attributes:
        history: Error of reading the opened store's events, if any.
        outside: Error of reading without opening, if any.
        removed: Files that opening removed.
    """

    refused: CorruptStoreError | None
    report: RecoveryReport | None
    history: EventStoreError | None
    outside: EventStoreError | None
    removed: frozenset[str]

    def refuses(self, name: str) -> bool:
        """Whether opening was refused with the file's name."""
        return self.refused is not None and name in str(self.refused)

    def rejects(self, name: str) -> bool:
        """Tell whether the store opened and reported that this snapshot was passed over."""
        return self.report is not None and any(
            rejected.startswith(name) for rejected in self.report.snapshots_rejected
        )

    def spoils_history(self, name: str) -> bool:
        """Tell whether the store opened, and reading this file's events raises an error."""
        return (
            self.refused is None
            and self.history is not None
            and name in str(self.history)
            and self.outside is not None
            and name in str(self.outside)
        )

    @property
    def unharmed(self) -> bool:
        """Whether the store opened and everything could be read."""
        return self.refused is None and self.history is None and self.outside is None


def verdicts(
    golden: Golden,
    damages: Iterable[Damage],
    *,
    outside: bool = True,
    inside: bool = True,
    go_on: bool = False,
) -> list[tuple[str, Verdict]]:
    """Return the verdict on each damage. Raises `UnfitError`, naming every unfit outcome.

    The history is read without opening the store (`outside`), as a backtest does, and `inside`
    by the opened store. With `go_on`, each store that opens is also written to, closed and opened
    once more.
    """
    logging.disable()  # thousands of warnings, each deserved
    try:
        return run_in_virtual_time(_verdicts(golden, damages, outside, inside, go_on))
    finally:
        logging.disable(logging.NOTSET)


async def _verdicts(
    golden: Golden, damages: Iterable[Damage], outside: bool, inside: bool, go_on: bool
) -> list[tuple[str, Verdict]]:
    found: list[tuple[str, Verdict]] = []
    unfit: list[str] = []
    for damage in damages:
        try:
            found.append((damage.what, await _judge(golden, damage.disk, outside, inside, go_on)))
        except Exception as error:  # noqa: BLE001  whatever is not an allowed outcome, all told at the end
            unfit.append(f"{damage.what}: {type(error).__name__}: {error}")
    if unfit:
        raise UnfitError("\n".join([f"{len(unfit)} outcomes that are not allowed:", *unfit[:20]]))
    return found


async def _judge(
    golden: Golden, disk: SimulatedDisk, reads_outside: bool, reads_inside: bool, go_on: bool
) -> Verdict:
    before = _without_frontier(disk)
    _limit_calls(disk)
    outside = _read_outside(golden, disk.reopen()) if reads_outside else None
    try:
        store = await EventStore.open(PATH, REGISTRY, golden.config, disk=disk, clock=golden.clock)
    except CorruptStoreError as error:
        if _without_frontier(disk) != before:
            raise UnfitError(f"it was written to, and then refused: {error}") from error
        return Verdict(error, None, None, outside, frozenset())
    try:
        if store.state != golden.state or store.seq != golden.seq:
            raise UnfitError(f"it opened at event {store.seq} with {store.state}")
        history = await _read_inside(golden, store) if reads_inside else outside
    finally:
        await store.close()
    after = _without_frontier(disk)
    removed = before.keys() - after.keys()
    if after != {name: before[name] for name in before.keys() - removed}:
        changed = sorted(name for name in after if after[name] != before.get(name))
        raise UnfitError(f"opening and closing changed {', '.join(changed)}")
    if go_on:
        await _use_further(golden, disk.reopen())
    return Verdict(None, store.recovery, history, outside, frozenset(removed))


def _without_frontier(disk: SimulatedDisk) -> dict[str, bytes]:
    """Return all files but the frontier, which every opening for writing begins anew."""
    return {name: content for name, content in disk.contents().items() if name != FRONTIER}


async def _read_inside(golden: Golden, store: EventStore[Any]) -> EventStoreError | None:
    """Read the history through the opened store."""
    seen: list[Event[Any]] = []
    error = None
    try:
        async for event in store.events(golden.first):
            seen.append(event)
    except CorruptStoreError as raised:
        error = raised
    _compare(golden, seen, whole=error is None)
    return error


def _read_outside(golden: Golden, disk: SimulatedDisk) -> EventStoreError | None:
    """Read the history as a backtest does, without opening the store."""
    seen: list[Event[Any]] = []
    try:
        seen.extend(read_events(PATH, REGISTRY, start=golden.first, disk=disk))
    except (CorruptStoreError, StoreNotFoundError) as error:
        return error
    _compare(golden, seen, whole=True)
    return None


def _compare(golden: Golden, seen: list[Event[Any]], *, whole: bool) -> None:
    expected = golden.events if whole else golden.events[: len(seen)]
    if seen != expected:
        raise UnfitError(f"the history was read as {[event.seq for event in seen]}")


async def _use_further(golden: Golden, disk: SimulatedDisk) -> None:
    """Check that the findings stay true when the store is used further, rolls, and compacts."""
    state = golden.state
    for life in range(2):
        async with EventStore.open(
            PATH, REGISTRY, golden.config, disk=disk, clock=golden.clock
        ) as store:
            if store.state != state:
                raise UnfitError(f"life {life} after it opened with {store.state}")
            for _ in range(2):
                deposit = Deposit(
                    number=1000 + store.seq, account="fees", amount=1, memo="x" * 3000
                )
                await store.append(deposit)
                state = ledger_after(state, deposit)
            await store.snapshot()
        disk = disk.reopen()
    async with EventStore.open(
        PATH, REGISTRY, golden.config, disk=disk, clock=golden.clock, read_only=True
    ) as store:
        if store.state != state:
            raise UnfitError(f"the last life after it opened with {store.state}")


def _limit_calls(disk: SimulatedDisk) -> None:
    left = iter(range(_CALLS))

    def count(*_: object) -> Fault | None:
        if next(left, None) is None:
            raise UnfitError(f"it hangs: {_CALLS} calls on the disk and no end")
        return None

    disk.add_rule(count)
