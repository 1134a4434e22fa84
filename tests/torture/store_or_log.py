"""The subject of a workload: an `EventStore` of the ledger, or an `EventLog` of its operations.

`Opened` has the methods of both. A log folds nothing, so no handler could tell of submitted
events. `LedgerLog` tells an observer by itself, at the instant at which a store would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from eventstore import (
    Clock,
    Durability,
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    Receipt,
    RecoveryReport,
    SimulatedClock,
    StoreConfig,
    StoreStats,
)
from eventstore.testing.simulated_disk import SimulatedDisk
from tests.torture.ledger import Deposit, Ledger, Transfer, ledger_registry

__all__ = ["LedgerLog", "Observer", "Opened", "Subject", "open_log", "open_store"]

Observer = Callable[[Event[Any]], None]

_REGISTRY = ledger_registry()


class Opened(Protocol):
    """A store or a log that is open."""

    recovery: RecoveryReport

    @property
    def seq(self) -> int: ...
    async def append(
        self,
        *operations: Any,
        key: str | None = None,
        metadata: dict[str, Any] | None = None,
        durability: Durability | None = None,
    ) -> Receipt: ...
    def submit(
        self,
        *operations: Any,
        key: str | None = None,
        metadata: dict[str, Any] | None = None,
        durability: Durability | None = None,
    ) -> Receipt: ...
    def events(self, start: int = 1) -> AsyncIterator[Event[Any]]: ...
    async def flush(self) -> None: ...
    def stats(self) -> StoreStats: ...
    async def close(self) -> None: ...


class Subject(Protocol):
    """Opens a store or a log on a disk. `observe` is told of each event as the event is
    submitted.
    """

    async def __call__(
        self,
        disk: SimulatedDisk,
        config: StoreConfig,
        *,
        clock: Clock | None = None,
        observe: Observer | None = None,
        read_only: bool = False,
    ) -> Opened: ...


async def open_store(
    disk: SimulatedDisk,
    config: StoreConfig,
    *,
    clock: Clock | None = None,
    observe: Observer | None = None,
    read_only: bool = False,
) -> EventStore[Ledger]:
    """Open a store of the ledger. The handlers tell `observe` of recovered events, too."""
    registry: HandlerRegistry[Ledger] = _REGISTRY if observe is None else ledger_registry(observe)
    return await EventStore.open(
        "ledger", registry, config, clock=clock, disk=disk, read_only=read_only
    )


class LedgerLog(EventLog[Any]):
    """A log of the ledger's operations."""

    observe: Observer | None = None

    def events(self, start: int = 1) -> AsyncIterator[Event[Any]]:
        """Return the log's records, under the name that a store uses."""
        return self.read(start)

    def _submit(
        self,
        values: tuple[Any, ...],
        key: str | None,
        metadata: dict[str, Any] | None,
        durability: Durability | str | None,
    ) -> Receipt:
        if self.observe is not None:
            assert isinstance(self._clock, SimulatedClock)
            time = SimulatedClock.time_ns(self._clock)  # the log alone asks a clock that calls back
            first = self._log.appender.numbers.head + 1
            for seq, value in enumerate(values, first):
                self.observe(Event(seq, time, value, key, metadata))
        return super()._submit(values, key, metadata, durability)


async def open_log(
    disk: SimulatedDisk,
    config: StoreConfig,
    *,
    clock: Clock | None = None,
    observe: Observer | None = None,
    read_only: bool = False,
) -> LedgerLog:
    """Open a log of the ledger's operations."""
    log = await LedgerLog.open(
        value_type=Deposit | Transfer, config=config, clock=clock, disk=disk, read_only=read_only
    )
    assert isinstance(log, LedgerLog)
    log.observe = observe
    return log
