"""The rules of readers that keep a cursor, for the machine of `test_store`.

Cursors are kept over closes, crashes and power cuts, and read on from at any time. A consumer keeps
its place in a named cursor, which failing calls and crashes in mid-save hit too.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from eventstore import EventStoreError, HistoryForkedError, HistoryUnavailableError, Subscription
from tests.stateful.misuse import MisuseRules
from tests.torture.oracle import Kept, OracleError, cursor_as_claimed

__all__ = ["CursorRules"]


class CursorRules(MisuseRules):
    """Rules on the store of `session`."""

    def __init__(self) -> None:
        super().__init__()
        self.consumers = 1
        self.saved_place: Kept | None = None
        self.save_unknown = False

    @precondition(MisuseRules.is_open)
    @rule()
    def keep_a_cursor(self) -> None:
        async def keeps() -> None:
            self.session.record.keep(self.session.open_store)

        self.session.run(keeps())

    def has_cursors(self) -> bool:
        return self.is_open() and bool(self.session.record.cursors)

    @precondition(has_cursors)
    @rule(index=st.integers(0, 2**16))
    def read_on_from_a_cursor(self, index: int) -> None:
        session = self.session
        kept = session.record.cursors[index % len(session.record.cursors)]

        async def reads() -> None:
            claim = session.claim()
            await session.attempt(cursor_as_claimed(session.open_store, claim, kept))

        session.run(reads())

    @precondition(MisuseRules.is_open)
    @rule(count=st.integers(0, 20))
    def consume(self, count: int) -> None:
        """Let the consumer get some events, each once and in order, and save its place."""
        session = self.session

        async def consumes() -> None:
            name = f"consumer-{self.consumers}"
            try:
                async with session.open_store.subscribe(cursor=name) as events:
                    await self._take(events, count)
            except HistoryForkedError as error:
                if (
                    not self.save_unknown
                    and self.saved_place is not None
                    and self._is_there(self.saved_place)
                ):
                    raise OracleError(f"{name} is refused: {error}") from error
                self._begin_anew()
            except HistoryUnavailableError as error:
                if not session.record.discards:
                    raise OracleError(f"history is gone for {name}") from error
                self._begin_anew()
            except EventStoreError as error:
                session.blame(error)

        session.run(consumes())

    async def _take(self, events: Subscription, count: int) -> None:
        store, record = self.session.open_store, self.session.record
        unknown, self.save_unknown = self.save_unknown, True
        await events.save()  # the place is known from here on
        if not unknown:
            if self.saved_place is not None and not self._is_there(self.saved_place):
                raise OracleError(
                    f"a consumer goes on behind {self.saved_place.event}, which is gone"
                )
            if events.cursor.seq != (0 if self.saved_place is None else self.saved_place.event.seq):
                raise OracleError(
                    f"a consumer goes on behind {events.cursor}, not {self.saved_place}"
                )
        for _ in range(count):
            seq = events.cursor.seq + 1
            if seq > store.seq:
                break
            event = await anext(events)
            if event != record.submitted[seq - 1].event:
                raise OracleError(f"{event} was given to a consumer for event {seq}")
        saved = await events.save()
        self.saved_place = Kept(saved, record.submitted[saved.seq - 1].event) if saved.seq else None
        self.save_unknown = False

    def _is_there(self, place: Kept) -> bool:
        seq, submitted = place.cursor.seq, self.session.record.submitted
        return seq <= len(submitted) and submitted[seq - 1].event == place.event

    def _begin_anew(self) -> None:
        self.consumers, self.saved_place, self.save_unknown = self.consumers + 1, None, False
