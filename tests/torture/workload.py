"""Programs that use a store in every way there is, drawn from a seed.

A `Workload` is the `Program` of an `EventStore` with a log. The steps are appends alone and
in groups, submits, appenders side by side, cancelled awaits, flushes, snapshots, idleness and
reading, by this process and by others. The steps that must be refused are in `misuse`. Further
kinds of programs, with a log alone,
without a log, and in concurrent use, are in `workload_kinds`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from eventstore import EventStore
from tests.torture.ledger import Ledger
from tests.torture.misuse import Misuse
from tests.torture.oracle import OracleError

__all__ = ["Workload"]


class Workload(Misuse):
    """A program with a store."""

    weights: ClassVar[Mapping[str, int]] = {
        "append": 5,
        "group": 4,
        "burst": 3,
        "crowd": 2,
        "cancel": 2,
        "refused_payload": 1,
        "full_queue": 2,
        "reentrant_call": 2,
        "set_clock": 1,
        "flush": 1,
        "snapshot": 2,
        "snapshot_beside_appends": 2,
        "read": 1,
        "follow": 1,
        "idle": 2,
    }

    def _open_store(self) -> EventStore[Ledger]:
        store = self._open()
        assert isinstance(store, EventStore)
        return store

    async def _snapshot(self) -> None:
        await self._succeeds(self._take_snapshot())

    async def _snapshot_beside_appends(self) -> None:
        self._background.append(asyncio.ensure_future(self._succeeds(self._take_snapshot())))
        for _ in range(self._small_count()):
            await self._appended(1)

    async def _take_snapshot(self) -> None:
        store = self._open_store()
        before = store.seq
        covered = await store.snapshot()
        if covered < before:
            raise OracleError(f"a snapshot of event {before} covers {covered}")
        if store is self.store:
            self.record.flushed = max(self.record.flushed, covered)
