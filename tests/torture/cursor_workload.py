"""A program with consumers that keep their place in a named cursor, over every kind of crash.

A consumer gets the events from its saved place on, each once and in order. After a crash that took
events which the consumer was given, the consumer is refused: another history's event never comes.
Then a consumer of another name begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from eventstore import (
    Durability,
    EventStoreError,
    HistoryForkedError,
    HistoryUnavailableError,
    StoreConfig,
    Subscription,
)
from tests.torture.oracle import Kept, OracleError, cursor_as_claimed
from tests.torture.workload import Workload

__all__ = ["CursorWorkload"]


class CursorWorkload(Workload):
    """A program with a store, and a consumer."""

    kind = "cursors"
    weights: ClassVar[Mapping[str, int]] = {
        **Workload.weights,
        "consume": 10,
        "look_back": 6,
        "read": 0,
        "follow": 0,
        "crowd": 1,
    }
    _consumers = 1
    _place: Kept | None = None
    """The last save, of a consumer that has saved behind an event."""

    async def end(self, how: str) -> None:
        """End a life, and more often by a power cut."""
        await super().end("power cut" if how == "kill" else how)

    def configured(self, config: StoreConfig) -> StoreConfig:
        """Let a power cut take acknowledged events, more often than not."""
        return msgspec.structs.replace(config, durability=self.random.choice(list(Durability)))

    async def _consume(self) -> None:
        store, name = self._open_store(), f"consumer-{self._consumers}"
        try:
            async with store.subscribe(cursor=name) as events:
                await self._take(events, name)
        except HistoryForkedError as error:
            place = self._place
            if place is None or self._is_there(place):
                raise OracleError(f"{name} is refused: {error}") from error
            self._begin_anew()
        except HistoryUnavailableError as error:
            if not self.record.discards:
                raise OracleError(f"history is gone for {name}") from error
            self._begin_anew()
        except EventStoreError as error:
            self._report(error)

    async def _look_back(self) -> None:
        """Read on from a cursor that was kept in this life or an earlier one."""
        if self.record.cursors:
            kept, claim = self.random.choice(self.record.cursors), self.record.claim()
            try:
                await cursor_as_claimed(self._open_store(), claim, kept)
            except EventStoreError as error:
                self._report(error)

    async def _take(self, events: Subscription, name: str) -> None:
        """Take some events, and save behind them."""
        await events.save()  # the place is known from here on
        place, record = self._place, self.record
        if place is not None and not self._is_there(place):
            raise OracleError(f"{name} goes on behind {place.event}, which is gone")
        if events.cursor.seq != (0 if place is None else place.event.seq):
            raise OracleError(f"{name} goes on behind {events.cursor}, and saved {place}")
        for _ in range(self.random.choice((0, 1, 1, 2, 30))):
            seq = events.cursor.seq + 1
            if seq > self._open().seq:
                break
            event = await anext(events)
            if event != record.submitted[seq - 1].event:
                raise OracleError(f"{event} was given to {name} for event {seq}")
        saved = await events.save()
        record.saved = name, saved.seq
        if saved.seq:
            self._place = Kept(saved, record.submitted[saved.seq - 1].event)

    def _is_there(self, place: Kept) -> bool:
        seq, submitted = place.cursor.seq, self.record.submitted
        return seq <= len(submitted) and submitted[seq - 1].event == place.event

    def _begin_anew(self) -> None:
        self._consumers, self._place = self._consumers + 1, None
        self.record.saved = "", 0
