"""Any program over a store's public interface keeps every promise. The programs are random.

Each example is a program of up to fifty steps on a simulated disk. After each step, the store is
held against a plain model, and so are the possible remains of a power cut in that instant.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)

from eventstore import (
    Durability,
    Event,
    EventStore,
    EventStoreError,
    HistoryUnavailableError,
    InvalidPayloadError,
    StoreConfig,
    StoreFailedError,
    StoreLockedError,
    StoreOverloadedError,
    StoreReadOnlyError,
    UnknownOperationError,
    read_events,
    replay,
    state_at,
)
from eventstore.reading.subscription import Subscription
from tests.stateful import draws
from tests.stateful.cursors import CursorRules
from tests.stateful.faults import Failing
from tests.stateful.misuse import MisuseRules
from tests.stateful.profile import examples
from tests.stateful.session import PATH, Session
from tests.torture.ledger import Deposit, ledger_registry
from tests.torture.oracle import OracleError

_REGISTRY = ledger_registry()

_GOOD = Deposit(number=0, account="cash", amount=1)
_BAD: dict[str, tuple[Any, dict[str, Any], type[Exception]]] = {
    "a handler that raises": (msgspec.structs.replace(_GOOD, amount=-1), {}, ValueError),
    "an unknown name": (("withdraw", {}), {}, UnknownOperationError),
    "no operation": (42, {}, InvalidPayloadError),
    "a missing field": (("deposit", {"number": 0}), {}, InvalidPayloadError),
    "a wrong type": (
        ("deposit", {"number": 0, "account": "cash", "amount": "much"}),
        {},
        InvalidPayloadError,
    ),
    "an unknown field": (
        ("deposit", {"number": 0, "account": "cash", "amount": 1, "note": ""}),
        {},
        InvalidPayloadError,
    ),
    "NaN": (_GOOD, {"metadata": {"price": float("nan")}}, InvalidPayloadError),
    "half a character": (msgspec.structs.replace(_GOOD, memo="\ud800"), {}, InvalidPayloadError),
    "a tuple in metadata": (_GOOD, {"metadata": {"legs": (1, 2)}}, InvalidPayloadError),
}
"""Refused calls: an operation, options of `append`, and the error."""

_ASKING_GROUPS = st.lists(st.tuples(draws.groups, draws.durabilities), min_size=1, max_size=4)
"""Groups, and the durability that each asks for."""


class StoreMachine(CursorRules):
    """One store, and one program that uses the store."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable()
        self.following: tuple[Subscription, int] | None = None

    @initialize(seed=st.integers(0, 2**16), config=draws.configs)
    def begin(self, seed: int, config: StoreConfig) -> None:
        self.session = Session(seed)
        self.session.run(self.session.open(config))

    def teardown(self) -> None:
        logging.disable(logging.NOTSET)
        if hasattr(self, "session"):
            self.session.end()

    # ---- questions to the store ------------------------------------------------------------

    def is_closed(self) -> bool:
        return hasattr(self, "session") and self.session.store is None

    def is_following(self) -> bool:
        return self.is_open() and self.following is not None

    @invariant()
    def everything_is_as_claimed(self) -> None:
        if self.is_open() and self.session.crashed() is None:
            self.session.run(self.session.check())

    # ---- appending -------------------------------------------------------------------------

    @precondition(MisuseRules.is_open)
    @rule(
        payloads=draws.groups,
        named=st.booleans(),
        key=draws.keys,
        metadata=draws.metadata,
        durability=draws.durabilities,
    )
    def append(
        self,
        payloads: list[Any],
        named: bool,
        key: str | None,
        metadata: dict[str, Any] | None,
        durability: Durability | None = None,
    ) -> None:
        session = self.session
        failed, before = session.failed, len(session.record.submitted)
        session.run(
            session.append(payloads, named=named, key=key, metadata=metadata, durability=durability)
        )
        if failed and len(session.record.submitted) != before:
            raise OracleError("a store that has failed took an event")

    @precondition(MisuseRules.is_open)
    @rule(which=st.integers(0, 20))
    def append_again(self, which: int) -> None:
        self.session.run(self.session.append_again(which))

    @precondition(MisuseRules.is_open)
    @rule(groups=_ASKING_GROUPS, key=draws.keys)
    def submit(self, groups: list[tuple[list[Any], Durability | None]], key: str | None) -> None:
        async def submitted() -> None:  # as a program does: on the loop
            for payloads, durability in groups:
                self.session.submit(payloads, key, durability)

        self.session.run(submitted())

    @precondition(MisuseRules.is_open)
    @rule(groups=st.lists(draws.groups, min_size=2, max_size=5))
    def append_side_by_side(self, groups: list[list[Any]]) -> None:
        async def appended() -> None:
            await asyncio.gather(*(self._appending(payloads) for payloads in groups))

        self.session.run(appended())

    def _appending(self, payloads: list[Any]) -> Any:
        return self.session.append(payloads, named=False, key=None, metadata=None)

    @precondition(MisuseRules.is_open)
    @rule(payloads=draws.groups)
    def append_in_the_background(self, payloads: list[Any]) -> None:
        session = self.session

        async def begun() -> None:
            session.background.append(asyncio.ensure_future(self._appending(payloads)))
            await asyncio.sleep(0)

        session.run(begun())

    @precondition(MisuseRules.is_open)
    @rule(
        groups=st.lists(draws.groups, min_size=1, max_size=4),
        turns=st.integers(0, 4),
        every=st.integers(1, 2),
    )
    def cancel(self, groups: list[list[Any]], turns: int, every: int) -> None:
        async def cancelled() -> None:
            tasks = [asyncio.ensure_future(self._appending(payloads)) for payloads in groups]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[::every]:
                task.cancel()
            for task in tasks:
                try:
                    await task
                except asyncio.CancelledError:
                    continue

        self.session.run(cancelled())

    @precondition(lambda self: self.is_open() and bool(self.session.receipts))
    @rule(which=st.integers(0, 20), turns=st.integers(0, 3))
    def await_a_receipt_again_after_cancelling(self, which: int, turns: int) -> None:
        group, receipt = self.session.receipts[which % len(self.session.receipts)]

        async def waits() -> None:
            await receipt

        async def awaited() -> None:
            task = asyncio.ensure_future(waits())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            told = await self.session.attempt(receipt, group)
            if told is not (receipt if receipt.error is None else None):
                raise OracleError(f"awaiting {receipt} gave {told}")

        self.session.run(awaited())

    # ---- intents ---------------------------------------------------------------------------

    @precondition(MisuseRules.is_open)
    @rule(others=st.one_of(st.just([]), draws.groups), intends=st.booleans())
    def place(self, others: list[Any], intends: bool) -> None:
        self.session.run(self.session.place(others, intends=intends))

    @precondition(MisuseRules.is_open)
    @rule(which=st.integers(0, 4), by_value=st.booleans(), times=st.integers(1, 2))
    def settle(self, which: int, by_value: bool, times: int) -> None:
        self.session.run(self.session.settle(which, by_value=by_value, times=times))

    @precondition(MisuseRules.is_sound)
    @rule(what=st.sampled_from(sorted(_BAD)), before=st.integers(0, 2), waits=st.booleans())
    def append_what_is_refused(self, what: str, before: int, waits: bool) -> None:
        """Nothing changes, also where good events stand before the bad one."""
        session, (bad, options, error) = self.session, _BAD[what]
        group, numbered = session.group([_GOOD] * (before + 1), None, options.get("metadata"))
        numbered[-1] = (
            msgspec.structs.replace(bad, number=numbered[-1].number)
            if isinstance(bad, Deposit)
            else bad
        )
        length = len(session.record.submitted)

        async def refused() -> None:
            store = session.open_store
            try:
                if waits:
                    await store.append(*numbered, **options)
                else:
                    store.submit(*numbered, **options)
            except (error, StoreOverloadedError):
                session.record.refuse(group)
            except EventStoreError as other:
                session.blame(other)
            else:
                raise OracleError(f"{what} was taken")

        session.run(refused())
        if len(session.record.submitted) > length:
            raise OracleError(f"{what} left something behind")

    # ---- waiting ---------------------------------------------------------------------------

    @precondition(MisuseRules.is_open)
    @rule()
    def flush(self) -> None:
        session = self.session

        async def flushed() -> None:
            count = len(session.record.submitted)
            fired = len(session.trouble.fired)
            await session.attempt(session.open_store.flush())
            session.claim()
            if not session.trouble.fired:
                session.record.flushed = max(session.record.flushed, count)
                if session.open_store.seq < count:
                    raise OracleError(f"flushed to {session.open_store.seq} of {count}")
            assert fired <= len(session.trouble.fired)

        session.run(flushed())

    @precondition(MisuseRules.is_open)
    @rule(seconds=st.sampled_from((0.01, 0.06, 0.6, 4.0)), back=st.booleans())
    def idle(self, seconds: float, back: bool) -> None:
        """Let time pass. The wall clock may be put back meanwhile."""
        if back:
            self.session.clock.set(self.session.clock.time_ns() - 10**9)
        self.session.clock.advance(seconds)
        self.session.run(asyncio.sleep(seconds))

    @precondition(MisuseRules.is_open)
    @rule()
    def snapshot(self) -> None:
        session = self.session

        async def taken() -> None:
            before = session.open_store.seq
            covered = await session.attempt(session.open_store.snapshot())
            if covered is not None:
                if not before <= covered <= session.open_store.seq:
                    raise OracleError(f"a snapshot of event {before} covers {covered}")
                session.claim()
                session.record.flushed = max(session.record.flushed, covered)

        session.run(taken())

    # ---- reading ---------------------------------------------------------------------------

    @precondition(MisuseRules.is_open)
    @rule(
        start=st.integers(0, 40),
        length=st.one_of(st.none(), st.integers(0, 20)),
        only=st.sampled_from((None, {"deposit"}, {"transfer"}, set[str]())),
        write=st.booleans(),
    )
    def read(self, start: int, length: int | None, only: set[str] | None, write: bool) -> None:
        """The store's own events, also while more are written."""
        session = self.session

        async def reads() -> None:
            store = session.open_store
            last = store.seq
            first = start % (last + 2)
            stop = None if length is None else first + length
            end = last + 1 if stop is None else min(stop, last + 1)
            found: list[Event[Any]] = []
            try:
                async for event in store.events(first, stop, operations=only):
                    if write and not found:
                        session.submit([Deposit(number=0, account="cash", amount=1)])
                    found.append(event)
            except HistoryUnavailableError as error:
                self._discarded(error)
                return
            except EventStoreError as error:
                session.blame(error)
                return
            self._compare(found, max(first, 1), end, only)

        session.run(reads())

    @precondition(MisuseRules.is_open)
    @rule(start=st.integers(0, 40), how=st.sampled_from(("read_events", "replay", "state_at")))
    def read_from_outside(self, start: int, how: str) -> None:
        """Read like a backtest: no lock, no loop, and perhaps events still in flight."""
        session = self.session
        claim, disk = session.claim(), session.disk.reopen()
        first = 1 + start % (claim.after_kill + 1)
        try:
            if how == "state_at":
                if first <= claim.after_kill:
                    state = state_at(PATH, _REGISTRY, first, disk=disk)
                    if state != claim.states[first]:
                        raise OracleError(f"the state at {first} is {state}")
                return
            if how == "replay":
                pairs = list(replay(PATH, _REGISTRY, start=first, disk=disk))
                for event, state in pairs:
                    if state != claim.states[event.seq]:
                        raise OracleError(f"replay has {state} after {event}")
                found = [event for event, _ in pairs]
            else:
                found = list(read_events(PATH, _REGISTRY, start=first, disk=disk))
        except HistoryUnavailableError as error:
            self._discarded(error)
            return
        except EventStoreError as error:
            session.blame(error)
            return
        end = first + len(found)
        if not claim.after_kill < end <= claim.length + 1:
            raise OracleError(f"read to {end - 1} of {claim.after_kill} to {claim.length}")
        self._compare(found, first, end, None)

    def _discarded(self, error: HistoryUnavailableError) -> None:
        covered = self.session.open_store.stats().snapshot_seq
        if not self.session.record.discards or error.first_available > covered + 1:
            raise OracleError(f"{error}, and a snapshot covers {covered}") from error

    def _compare(
        self, found: list[Event[Any]], first: int, end: int, only: set[str] | None
    ) -> None:
        submitted = self.session.record.submitted[first - 1 : max(first, end) - 1]
        recorded = [one.event for one in submitted]
        wanted = [one for one in recorded if only is None or one.operation in only]
        if found != wanted:
            raise OracleError(f"events {first} to {end} were read as {found}, not {wanted}")

    @precondition(MisuseRules.is_open)
    @rule()
    def open_for_reading(self) -> None:
        session = self.session

        async def refused() -> None:
            reader = await session.attempt(
                EventStore.open(PATH, _REGISTRY, disk=session.disk.reopen(), read_only=True)
            )
            if reader is not None:
                try:
                    await reader.append(Deposit(number=0, account="cash", amount=1))
                except StoreReadOnlyError:
                    return
                finally:
                    await reader.close()
                raise OracleError("a store opened for reading took an event")

        session.run(session.check_reader())
        session.run(refused())

    @precondition(MisuseRules.is_open)
    @rule()
    def open_a_second_time(self) -> None:
        session = self.session

        async def refused() -> None:
            try:
                await EventStore.open(PATH, _REGISTRY, disk=session.disk.reopen())
            except StoreLockedError:
                return
            except EventStoreError as error:
                session.blame(error)
                return
            raise OracleError("two writers")

        session.run(refused())

    @precondition(MisuseRules.is_open)
    @rule(start=st.one_of(st.none(), st.integers(0, 40)))
    def subscribe(self, start: int | None) -> None:
        session = self.session

        async def follows() -> None:
            store = session.open_store
            if self.following is not None:
                await self.following[0].close()
            first = store.seq + 1 if start is None else 1 + start % (store.seq + 1)
            after = None if start is None else first - 1
            self.following = store.subscribe(after=after), first

        session.run(follows())

    @precondition(is_following)
    @rule()
    def follow(self) -> None:
        """Check that every durable event comes, in order, once, and nothing else."""
        session = self.session
        assert self.following is not None
        subscription, first = self.following

        async def follows() -> None:
            end = session.open_store.seq + 1
            found: list[Event[Any]] = []
            try:
                for _ in range(first, end):
                    found.append(await anext(subscription))
            except HistoryUnavailableError as error:
                self._discarded(error)
                self.following = None
            except EventStoreError as error:
                session.blame(error)
                self.following = None
            else:
                self._compare(found, first, end, None)
                self.following = subscription, end
                return
            await subscription.close()

        session.run(follows())

    # ---- ends ------------------------------------------------------------------------------

    @precondition(MisuseRules.is_open)
    @rule(config=draws.configs)
    def close_and_open_again(self, config: StoreConfig) -> None:
        self.session.run(self.session.close())
        self.open_again(config)

    @precondition(is_closed)
    @rule(config=draws.configs)
    def open_again_when_healed(self, config: StoreConfig) -> None:
        self.session.trouble.failing = None
        self.session.trouble.fired.clear()
        self._open(config)
        if self.session.store is None:
            raise OracleError("it does not open, though nothing fails")

    @precondition(MisuseRules.is_open)
    @rule(image=draws.images, config=draws.configs)
    def crash(self, image: str, config: StoreConfig) -> None:
        self._die(self.session.point, image, config)

    @precondition(MisuseRules.is_open)
    @rule(payloads=draws.groups, image=draws.images, config=draws.configs)
    def crash_behind_a_kept_cursor(
        self, payloads: list[Any], image: str, config: StoreConfig
    ) -> None:
        """Lose what a cursor stands behind, perhaps, and give the number to another event."""
        self.append(payloads, False, None, None)
        self.keep_a_cursor()
        self.crash(image, config)
        if self.is_open() and self.has_cursors():
            self.append([*payloads, *payloads], False, None, None)
            self.read_on_from_a_cursor(len(self.session.record.cursors) - 1)

    @precondition(MisuseRules.is_open)
    @rule(calls=st.integers(1, 60), image=draws.images, config=draws.configs, data=st.data())
    def crash_in_a_step(
        self, calls: int, image: str, config: StoreConfig, data: st.DataObject
    ) -> None:
        """Stop everything in the middle of one of these steps, recovery included."""
        session = self.session
        session.crash_later(calls)
        self._step(config, data)
        point = session.crashed()
        if point is None:
            session.trouble.crash = None
        else:
            self._die(lambda: point, image, config)

    def _step(self, config: StoreConfig, data: st.DataObject) -> None:
        """Do something with many calls on the disk."""
        step = data.draw(st.sampled_from(("append", "submit", "snapshot", "close", "idle")))
        if step == "append":
            payloads = data.draw(draws.groups)
            self.append(payloads, False, None, None, data.draw(draws.durabilities))
            self.submit([(payloads, data.draw(draws.durabilities))], None)
        elif step == "submit":
            self.submit(data.draw(_ASKING_GROUPS), None)
            self.flush()
        elif step == "snapshot":
            self.snapshot()
        elif step == "idle":
            self.idle(0.6, False)
        else:
            self.close_and_open_again(config)

    @precondition(MisuseRules.is_open)
    @rule(failing=draws.failing)
    def let_a_call_fail(self, failing: Failing) -> None:
        self.session.trouble.failing = Failing(**vars(failing))

    @precondition(MisuseRules.is_open)
    @rule(failing=draws.failing, heals=st.booleans(), config=draws.configs, data=st.data())
    def fail_in_a_step(
        self, failing: Failing, heals: bool, config: StoreConfig, data: st.DataObject
    ) -> None:
        """Let a call of this step fail. Then the fault may go away, and the store goes on."""
        self.let_a_call_fail(failing)
        self._step(config, data)
        if heals:
            self.session.trouble.failing = None
        if self.is_open():
            self.append([_GOOD], True, None, None)

    @precondition(MisuseRules.is_open)
    @rule()
    def mend_the_disk(self) -> None:
        self.session.trouble.failing = None

    def _open(self, config: StoreConfig) -> None:
        self.session.run(self.session.open(config))

    def open_again(self, config: StoreConfig) -> None:
        self.following = None
        self._open(config)

    def _die(self, at: Callable[[], Any], image: str, config: StoreConfig) -> None:
        self.following = None
        self.session.run(self.session.die(at(), image, config))
        self._open(config)


StoreMachine.TestCase.settings = examples(100)
TestStore = StoreMachine.TestCase

__all__ = ["StoreFailedError", "TestStore"]
