"""The rules of a program that misuses its store, for the machine of `test_store`.

The store is called in the middle of its own submission, its queue is filled while others wait, it
is closed while others use it, and clock and decimal context are whatever the caller likes.
"""

from __future__ import annotations

import asyncio
import decimal
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from eventstore import (
    ConfigError,
    EventStoreError,
    Receipt,
    StoreConfig,
    StoreOverloadedError,
    StoreUsageError,
)
from eventstore.clock import LATEST
from tests.stateful import draws
from tests.stateful.session import Session
from tests.torture.ledger import Deposit
from tests.torture.misuse import CALLS
from tests.torture.oracle import OracleError

__all__ = ["MisuseRules"]

_GOOD = Deposit(number=0, account="cash", amount=1)
_FULL = 6
"""Events of a refused group: as many as the smaller of the two queues holds."""


class MisuseRules(RuleBasedStateMachine):
    """Rules on the store of `session`."""

    session: Session

    def is_open(self) -> bool:
        return hasattr(self, "session") and self.session.store is not None

    def is_sound(self) -> bool:
        return self.is_open() and not self.session.failed

    def open_again(self, config: StoreConfig) -> None:
        raise NotImplementedError  # each machine opens a subject of its own kind

    @precondition(is_sound)
    @rule(
        payloads=draws.groups,
        name=st.sampled_from(sorted(CALLS)),
        by_clock=st.booleans(),
        lets_out=st.booleans(),
    )
    def call_the_store_in_mid_submission(
        self, payloads: list[Any], name: str, by_clock: bool, lets_out: bool
    ) -> None:
        """The call is refused. Its caller goes on, or lets the refusal out."""
        session, told = self.session, list[StoreUsageError]()
        group, numbered = session.group(payloads)

        def call() -> None:
            try:
                CALLS[name](session.open_store)
            except StoreUsageError as error:
                told.append(error)
                if lets_out:
                    raise
            else:
                raise OracleError(f"a call of {name} in mid-submission was let in")

        async def called() -> None:
            receipt: Receipt | None = None
            if by_clock:
                session.clock.call = call
            else:
                session.called_by_handler = call
            try:
                receipt = session.open_store.submit(*numbered)
            except (StoreUsageError, StoreOverloadedError) as error:
                session.record.refuse(group)
                if isinstance(error, StoreUsageError) and (told != [error] or not lets_out):
                    raise OracleError(f"a store was called in order, and told {error}") from error
            except EventStoreError as error:
                session.blame(error)
            session.clock.call = session.called_by_handler = None
            if receipt is not None:
                await session.attempt(receipt, group)

        session.run(called())

    @precondition(is_sound)
    @rule(
        queued=st.lists(draws.groups, min_size=1, max_size=4),
        waiting=st.lists(st.one_of(st.none(), draws.groups), min_size=2, max_size=5),
        cancelled=st.sets(st.integers(0, 4)),
        turns=st.integers(0, 3),
    )
    def wait_for_room(
        self,
        queued: list[list[Any]],
        waiting: list[list[Any] | None],
        cancelled: set[int],
        turns: int,
    ) -> None:
        """Good, refused (`None`) and cancelled appends wait. Then nothing is pending."""
        session, began = self.session, self.session.loop.time()

        async def waited() -> None:
            for payloads in queued:
                session.submit(payloads)
            tasks = [asyncio.ensure_future(self._appended_or_refused(one)) for one in waiting]
            for _ in range(turns):
                await asyncio.sleep(0)  # one turn of the loop
            for number in cancelled & set(range(len(tasks))):
                tasks[number].cancel()
            for told in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(told, Exception):
                    raise told
            if session.loop.time() != began:  # the idle seal's timer woke somebody
                raise OracleError("there was room, and nobody who waited was told")
            await session.attempt(session.open_store.flush())
            pending = session.open_store.stats().pending
            if pending and not session.failed:
                raise OracleError(f"{pending} events are pending in an empty queue")

        session.run(waited())

    async def _appended_or_refused(self, payloads: list[Any] | None) -> None:
        session = self.session
        if payloads is not None:
            await session.append(payloads, named=False, key=None, metadata=None)
            return
        group, (*good, bad) = session.group([_GOOD] * _FULL)
        try:
            await session.open_store.append(*good, msgspec.structs.replace(bad, amount=-1))
        except ValueError:
            session.record.refuse(group)
        except EventStoreError as error:
            session.blame(error)
        else:
            raise OracleError("an event that cannot be folded was appended")

    @precondition(is_open)
    @rule(moment=draws.moments)
    def set_the_clock(self, moment: int) -> None:
        self.session.clock.set(moment)

    @precondition(is_sound)
    @rule()
    def submit_at_an_impossible_time(self) -> None:
        session = self.session
        now = session.clock.time_ns()

        async def refused() -> None:
            group, numbered = session.group([_GOOD])
            try:
                session.open_store.submit(*numbered)
            except (ConfigError, StoreOverloadedError):
                session.record.refuse(group)
            except EventStoreError as error:
                session.blame(error)
            else:
                raise OracleError("an event was given a time that no event can have")

        session.clock.set(LATEST + 1)
        session.run(refused())
        session.clock.set(now)

    @precondition(is_open)
    @rule(context=draws.contexts)
    def set_the_decimal_context(self, context: decimal.Context) -> None:
        self.session.context = context

    @precondition(is_open)
    @rule(
        groups=st.lists(draws.groups, max_size=4),
        uses=st.sets(st.sampled_from(("flush", "snapshot"))),
        before=st.integers(0, 4),
        turns=st.integers(0, 12),
        config=draws.configs,
    )
    def close_beside_users(
        self,
        groups: list[list[Any]],
        uses: set[str],
        before: int,
        turns: int,
        config: StoreConfig,
    ) -> None:
        """Cancel a closing after so many turns, while others use the store. Then close again."""
        session = self.session

        async def closed() -> None:
            store = session.open_store
            session.in_use_while_closing = True
            users = [asyncio.ensure_future(self._appended_or_refused(one)) for one in groups]
            users += [
                asyncio.ensure_future(self._used(store.flush if use == "flush" else store.snapshot))
                for use in sorted(uses)
            ]
            for _ in range(before):
                await asyncio.sleep(0)  # one turn of the loop
            closing = asyncio.ensure_future(self._used(store.close))
            for _ in range(turns):
                await asyncio.sleep(0)  # one turn of the loop
            closing.cancel()
            await asyncio.wait([closing])
            await session.close()
            await asyncio.gather(*users)
            session.in_use_while_closing = False

        session.run(closed())
        self.open_again(config)

    async def _used(self, ask: Any) -> None:
        await self.session.attempt(ask())
