"""What a workload opens: an ``EventStore`` of the ledger, or an ``EventLog`` of its operations.

:class:`Opened` is what both can do. A log folds nothing, so that no handler could tell what
was submitted; :class:`LedgerLog` tells an observer itself, at the instant at which a store would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from eventstore import (
    Clock,
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    Receipt,
    RecoveryReport,
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
        self, *operations: Any, key: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Receipt: ...
    def submit(
        self, *operations: Any, key: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Receipt: ...
    def events(self, start: int = 1) -> AsyncIterator[Event[Any]]: ...
    async def flush(self) -> None: ...
    def stats(self) -> StoreStats: ...
    async def close(self) -> None: ...


class Subject(Protocol):
    """Opens one of them on a disk. ``observe`` is told of each event as it is submitted."""

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
    """A store of the ledger. Its handlers tell ``observe`` of what recovery folds, too."""
    registry: HandlerRegistry[Ledger] = _REGISTRY if observe is None else ledger_registry(observe)
    return await EventStore.open(
        "ledger", registry, config, clock=clock, disk=disk, read_only=read_only
    )


class LedgerLog(EventLog[Any]):
    """A log of the ledger's operations."""

    observe: Observer | None = None

    def events(self, start: int = 1) -> AsyncIterator[Event[Any]]:
        """What a store calls ``events``."""
        return self.read(start)

    def _submit(
        self, values: tuple[Any, ...], key: str | None, metadata: dict[str, Any] | None
    ) -> Receipt:
        if self.observe is not None:
            time, first = self._clock.time_ns(), self._log.appender.numbers.head + 1
            for seq, value in enumerate(values, first):
                self.observe(Event(seq, time, value, key, metadata))
        return super()._submit(values, key, metadata)


async def open_log(
    disk: SimulatedDisk,
    config: StoreConfig,
    *,
    clock: Clock | None = None,
    observe: Observer | None = None,
    read_only: bool = False,
) -> LedgerLog:
    """A log of the ledger's operations."""
    log = await LedgerLog.open(
        value_type=Deposit | Transfer, config=config, clock=clock, disk=disk, read_only=read_only
    )
    assert isinstance(log, LedgerLog)
    log.observe = observe
    return log
