"""Calls that would break the order of numbers: each is refused, and the log goes on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    Event,
    EventLog,
    EventStore,
    EventStoreError,
    HandlerRegistry,
    Operation,
    StoreClosedError,
    StoreFailedError,
    StoreUsageError,
    SystemClock,
    handler,
    read_events,
)
from eventstore.log.call_guard import FOLDING, IDLE, INTERRUPTED, QUEUEING, CallGuard
from eventstore.reading.recent_events import BUFFER
from eventstore.testing import SimulatedDisk
from tests.log.samples import open_on

QUIET: dict[str, Any] = {"auto_save_interval": None, "wal_max_entries": None}


class Nested:
    """A call that user code makes, once. `refused` collects the errors of the call."""

    def __init__(self) -> None:
        self.call: Callable[[], object] | None = None
        self.refused: list[EventStoreError] = []

    def __call__(self) -> None:
        call, self.call = self.call, None
        if call is not None:
            try:
                call()
            except EventStoreError as error:
                self.refused.append(error)


NESTED = Nested()
PATIENCE = 10.0


@pytest.fixture(autouse=True)
def no_call() -> None:
    NESTED.call = None
    NESTED.refused.clear()


class Add(Operation):
    amount: int


class Sly(Operation):
    """An operation whose class runs code whenever one is made."""

    amount: int

    def __post_init__(self) -> None:
        NESTED()


class Equal(Operation):
    """An operation whose class compares by itself, which a round trip asks for."""

    amount: int

    def __eq__(self, other: object) -> bool:
        NESTED()
        return isinstance(other, Equal) and other.amount == self.amount

    def __hash__(self) -> int:
        return self.amount


@handler
def add(state: int, event: Event[Add]) -> int:
    NESTED()
    return state + event.data.amount


@handler
def add_slyly(state: int, event: Event[Sly]) -> int:
    return state + event.data.amount


@handler
def add_equal(state: int, event: Event[Equal]) -> int:
    return state + event.data.amount


class SlyMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        NESTED()
        return {"amount": 1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["amount"])

    def __len__(self) -> int:
        return 1


class SlyClock(SystemClock):
    def time_ns(self) -> int:
        NESTED()
        return super().time_ns()


REGISTRY = HandlerRegistry(add, add_slyly, add_equal)

Opens = Callable[[SimulatedDisk], Awaitable[EventStore[int]]]


async def with_log(disk: SimulatedDisk) -> EventStore[int]:
    return await EventStore.open("", REGISTRY, disk=disk, clock=SlyClock(), **QUIET)


async def with_snapshots_only(disk: SimulatedDisk) -> EventStore[int]:
    return await EventStore.open("", REGISTRY, disk=disk, clock=SlyClock(), use_wal=False, **QUIET)


async def in_memory(disk: SimulatedDisk) -> EventStore[int]:
    return await EventStore.in_memory(REGISTRY, clock=SlyClock())


every_store = pytest.mark.parametrize("opens", [with_log, with_snapshots_only, in_memory])


def from_typed(store: EventStore[int]) -> Any:
    return store.append(Add(amount=1))


def from_a_sly_payload(store: EventStore[int]) -> Any:
    call, NESTED.call = NESTED.call, None
    payload = Sly(amount=1)
    NESTED.call = call
    return store.append(payload)


def from_an_equality(store: EventStore[int]) -> Any:
    return store.append(Equal(amount=1))


def from_a_group(store: EventStore[int]) -> Any:
    return store.append(Add(amount=1), Add(amount=0))


def from_a_mapping(store: EventStore[int]) -> Any:
    return store.append("add", SlyMapping())


def from_a_sly_payload_by_name(store: EventStore[int]) -> Any:
    return store.append("sly", {"amount": 1})


class TestFromInside:
    @every_store
    @pytest.mark.parametrize(
        "append",
        [
            from_typed,
            from_a_sly_payload,
            from_an_equality,
            from_a_group,
            from_a_mapping,
            from_a_sly_payload_by_name,
        ],
    )
    @pytest.mark.parametrize("kind", ["submit", "append"])
    @pytest.mark.asyncio
    async def test_it_is_refused_and_the_outer_call_goes_on(
        self, opens: Opens, append: Callable[[EventStore[int]], Any], kind: str
    ) -> None:
        store = await opens(SimulatedDisk())
        await store.append(Add(amount=5))
        if kind == "submit":
            NESTED.call = lambda: store.submit(Add(amount=100))
        else:
            NESTED.call = lambda: store.append(Add(amount=100)).send(None)
        receipt = await append(store)
        (error,) = NESTED.refused
        assert isinstance(error, StoreUsageError)
        assert "may not call its own store" in str(error)
        assert "Nothing was written" in str(error)
        assert receipt.first_seq == 2
        assert (store.seq, store.state) == (receipt.seq, 6)
        assert (await store.append(Add(amount=1))).seq == receipt.seq + 1
        assert (store.state, store.stats().pending) == (7, 0)
        await store.close()

    @pytest.mark.asyncio
    async def test_what_the_handler_does_not_catch_refuses_the_outer_call(self) -> None:
        @handler
        def careless(state: int, event: Event[Add]) -> int:
            if event.data.amount == 13:
                store.submit(Add(amount=1))
            return state + event.data.amount

        disk = SimulatedDisk()
        store = await EventStore.open("", HandlerRegistry(careless), disk=disk, **QUIET)
        await store.append(Add(amount=1))
        with pytest.raises(StoreUsageError):
            await store.append(Add(amount=2), Add(amount=13))
        await store.append(Add(amount=3))
        assert (store.seq, store.state) == (2, 4)
        await store.close()
        assert open_on(disk.reopen()).next_seq == 3

    @pytest.mark.parametrize("method", ["submit", "append", "flush", "close"])
    @pytest.mark.asyncio
    async def test_every_method_of_a_log(self, method: str) -> None:
        """A clock is user code, too, and the only one that a log of plain values calls."""
        async with EventLog.open(disk=SimulatedDisk(), clock=SlyClock()) as log:
            arguments = ("nested",) if method in ("submit", "append") else ()

            def calls() -> None:
                made = getattr(log, method)(*arguments)
                if asyncio.iscoroutine(made):
                    made.send(None)

            NESTED.call = calls
            await log.append("outer")
            (error,) = NESTED.refused
            assert isinstance(error, StoreUsageError)
            await log.append("next")
            assert [event.data async for event in log.read()] == ["outer", "next"]

    @pytest.mark.asyncio
    async def test_a_text_of_a_class_of_its_own_is_not_asked(self) -> None:
        """Between the look at `expected_seq` and the pass, its comparison would take a number."""

        class SlyText(str):
            __slots__ = ()

            def __eq__(self, other: object) -> bool:
                store.submit(Add(amount=100))
                return str.__eq__(self, other)

            def __hash__(self) -> int:
                store.submit(Add(amount=100))
                return str.__hash__(self)

        async with EventStore.in_memory(REGISTRY) as store:
            options: Any = {"durability": SlyText("commit"), "expected_seq": 0}
            receipt = await store.append(Add(amount=1), **options)
            assert (receipt.seq, store.head_seq, store.state) == (1, 1, 1)

    @pytest.mark.asyncio
    async def test_another_store_may_be_called(self) -> None:
        """A handler that keeps a second store is not pure, but it breaks no order."""
        other = await EventLog.open(disk=SimulatedDisk())
        accepted = []

        @handler
        def tells(state: int, event: Event[Add]) -> int:
            accepted.append(other.submit(event.data.amount))
            return state + 1

        async with EventStore.in_memory(HandlerRegistry(tells)) as store:
            await store.append(Add(amount=3))
        await other.flush()
        assert [receipt.seq for receipt in accepted] == [1]
        await other.close()


class TestFromSignalHandlers:
    @every_store
    @pytest.mark.asyncio
    async def test_a_signal_in_mid_fold(self, opens: Opens) -> None:
        """Python runs the handler of a signal between two instructions of the fold."""
        store = await opens(SimulatedDisk())
        refused = []

        def on_signal(number: int, frame: object) -> None:
            try:
                store.submit(Add(amount=100))
            except StoreUsageError as error:
                refused.append(str(error))

        before = signal.signal(signal.SIGUSR1, on_signal)
        try:
            NESTED.call = lambda: signal.raise_signal(signal.SIGUSR1)
            await store.append(Add(amount=1))
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert "loop.add_signal_handler" in refused[0]
        assert (store.seq, store.state) == (1, 1)
        await store.close()

    @pytest.mark.asyncio
    async def test_the_remedy_of_the_message_works(self) -> None:
        async with EventStore.in_memory(REGISTRY) as store:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGUSR1, store.submit, Add(amount=100))
            try:
                NESTED.call = lambda: signal.raise_signal(signal.SIGUSR1)
                await store.append(Add(amount=1))
                while store.seq < 2:  # noqa: ASYNC110  there is no event to wait for
                    await asyncio.sleep(0)
            finally:
                loop.remove_signal_handler(signal.SIGUSR1)
            assert store.state == 101


async def _waited(waits: Callable[[], Awaitable[object]]) -> object:
    """Wait for so long that waiting for nothing ends, too."""
    return await asyncio.wait_for(waits(), PATIENCE)


def in_thread(call: Callable[[], object]) -> object:
    """Return the result of `call` on another thread, or the error that `call` raised."""
    results: list[object] = []

    def calls() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001  the test looks at it
            results.append(error)

    thread = threading.Thread(target=calls)
    thread.start()
    thread.join()
    return results[0]


class TestFromOtherThreadsAndLoops:
    @every_store
    @pytest.mark.asyncio
    async def test_a_submit_from_a_thread(self, opens: Opens) -> None:
        store = await opens(SimulatedDisk())
        error = in_thread(lambda: store.submit(Add(amount=1)))
        assert isinstance(error, StoreUsageError)
        assert "call_soon_threadsafe" in str(error)
        assert (store.seq, store.stats().pending) == (0, 0)
        await store.append(Add(amount=1))
        assert (store.seq, store.state) == (1, 1)
        await store.close()

    @every_store
    @pytest.mark.parametrize("method", ["append", "flush"])
    @pytest.mark.asyncio
    async def test_a_loop_of_another_thread(self, opens: Opens, method: str) -> None:
        store = await opens(SimulatedDisk())
        arguments = (Add(amount=1),) if method == "append" else ()

        async def calls() -> None:
            await getattr(store, method)(*arguments)

        assert isinstance(in_thread(lambda: asyncio.run(calls())), StoreUsageError)
        await store.append(Add(amount=1))
        assert store.seq == 1
        await store.close()

    @pytest.mark.parametrize("method", ["append", "flush", "close"])
    def test_a_second_loop_of_the_same_thread(self, method: str) -> None:
        first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
        disk = SimulatedDisk()
        log = first.run_until_complete(EventLog.open(disk=disk).__aenter__())
        arguments = (1,) if method == "append" else ()

        async def calls() -> None:
            await getattr(log, method)(*arguments)

        error = StoreClosedError if method == "close" else StoreUsageError
        with pytest.raises(error, match="event loop"):
            second.run_until_complete(asyncio.wait_for(calls(), PATIENCE))
        first.run_until_complete(log.append(2))
        first.run_until_complete(log.close())
        assert open_on(disk.reopen()).next_seq == 2
        first.close()
        second.close()

    @pytest.mark.asyncio
    async def test_waiting_in_a_loop_of_another_thread(self) -> None:
        """A commit wakes the loop of its store, and nobody would wake the other one."""
        async with EventStore.open("", REGISTRY, disk=SimulatedDisk(), **QUIET) as store:
            await store.append(Add(amount=1))
            live, late = store.subscribe(), store.subscribe(after=0)
            receipt = store.submit(Add(amount=1))

            async def awaited() -> object:
                return await receipt

            for waits in (awaited, lambda: anext(live), lambda: anext(late)):
                told = in_thread(functools.partial(asyncio.run, _waited(waits)))
                assert isinstance(told, StoreUsageError)
            assert (await receipt).seq == 2
            for subscription, first in ((live, 2), (late, 1)):
                assert (await anext(subscription)).seq == first
                await subscription.close()

    @pytest.mark.asyncio
    async def test_in_the_middle_of_a_fold(self, tmp_path: Path) -> None:
        """The thread comes while the owner folds, and gets no number."""
        async with EventStore.open(tmp_path / "store", REGISTRY, **QUIET) as store:
            seen: list[object] = []

            def in_fold() -> object:
                seen.append(in_thread(lambda: store.submit(Add(amount=100))))
                return store.submit(Add(amount=100))

            NESTED.call = in_fold
            await store.append(Add(amount=1))
            assert [type(error) for error in (*seen, *NESTED.refused)] == [StoreUsageError] * 2
        assert [event.seq for event in read_events(tmp_path / "store")] == [1]

    @pytest.mark.asyncio
    async def test_the_remedies_of_the_message_work(self) -> None:
        loop = asyncio.get_running_loop()
        async with EventStore.open("", REGISTRY, disk=SimulatedDisk(), **QUIET) as store:

            def calls() -> int:
                loop.call_soon_threadsafe(store.submit, Add(amount=1))
                appended = store.append(Add(amount=2))
                return asyncio.run_coroutine_threadsafe(appended, loop).result().seq

            assert await asyncio.to_thread(calls) == 2
            assert store.state == 3

    def test_on_its_own_thread_between_two_runs_of_the_loop(self) -> None:
        """Nothing runs then, so nothing can be broken."""
        loop = asyncio.new_event_loop()
        log = loop.run_until_complete(EventLog.open(disk=SimulatedDisk()).__aenter__())
        receipt = log.submit("between")
        loop.run_until_complete(log.flush())
        assert receipt.done
        loop.run_until_complete(log.close())
        loop.close()

    def test_there_with_a_subscriber_that_falls_far_behind(self) -> None:
        """A store in memory commits at once, and has the loop look at the subscriber later."""
        loop = asyncio.new_event_loop()
        store = loop.run_until_complete(EventStore.in_memory(REGISTRY).__aenter__())
        late = store.subscribe()
        for _ in range(3):
            store.submit(*[Add(amount=1)] * BUFFER)
        assert late.lag == store.seq == 3 * BUFFER
        assert loop.run_until_complete(anext(late)).seq == 1
        loop.run_until_complete(store.close())
        loop.close()


class TestTheOrderOfNumbers:
    """The last check, for faults of the library: it stands before the bytes."""

    @pytest.mark.asyncio
    async def test_from_every_depth_of_the_stack(self, tmp_path: Path) -> None:
        """Close to the limit of recursion, an append is refused or written, and never halfway."""
        around, written = 100, 0

        def from_depth(depth: int, call: Callable[[], object]) -> object:
            return call() if depth <= 0 else from_depth(depth - 1, call)

        async with EventStore.open(tmp_path / "store", REGISTRY, **QUIET) as store:
            limit = sys.getrecursionlimit() - len(inspect.stack(0))
            for depth in range(limit - around, limit):
                with contextlib.suppress(RecursionError, EventStoreError):
                    from_depth(depth, lambda: store.submit(Add(amount=1)))
                    written += 1
            await store.append(Add(amount=1))
            assert 1 < written + 1 < around
            assert store.seq == store.head_seq == store.state == written + 1

    @pytest.mark.asyncio
    async def test_a_number_that_does_not_continue_the_log_fails_it(self) -> None:
        disk = SimulatedDisk()
        store = await with_log(disk)
        await store.append(Add(amount=1))
        before = disk.contents()
        store.log.appender.numbers.head = 7
        with pytest.raises(StoreFailedError, match="fault of eventstore"):
            await store.append(Add(amount=1))
        assert disk.contents() == before
        with pytest.raises(StoreFailedError):
            store.submit(Add(amount=1))
        await store.close()
        assert open_on(disk.reopen()).next_seq == 2

    @pytest.mark.asyncio
    async def test_nor_does_a_log_in_memory_take_one(self) -> None:
        store = await in_memory(SimulatedDisk())
        await store.append(Add(amount=1))
        with pytest.raises(StoreFailedError, match="fault of eventstore"):
            store.log.appender.submit(7, b"", 1, 0, 0)
        assert store.stats().failed
        await store.close()


class TestPhases:
    """The guard alone."""

    @pytest.mark.asyncio
    async def test_idle_lets_through_and_the_middle_of_a_pass_does_not(self) -> None:
        guard = CallGuard("store", lambda: None)
        guard.check()
        for phase in (FOLDING, QUEUEING):
            guard.phase = phase
            with pytest.raises(StoreUsageError):
                guard.check()
            assert guard.phase == phase

    @pytest.mark.asyncio
    async def test_an_interruption_is_repaired_by_the_next_call(self) -> None:
        phases = []
        guard = CallGuard("store", lambda: phases.append(guard.phase))
        guard.phase = INTERRUPTED
        guard.check()
        assert (phases, guard.phase) == ([QUEUEING], IDLE)
        guard.check()
        assert phases == [QUEUEING]

    @pytest.mark.asyncio
    async def test_or_by_the_loop(self) -> None:
        repaired = asyncio.Event()
        guard = CallGuard("store", repaired.set)
        guard.phase = INTERRUPTED
        guard.settle_soon()
        await asyncio.wait_for(repaired.wait(), 5)
        assert guard.phase == IDLE

    @pytest.mark.asyncio
    async def test_a_repair_that_is_interrupted_is_made_again(self) -> None:
        outcomes = [KeyboardInterrupt, None]

        def repair() -> None:
            if (outcome := outcomes.pop(0)) is not None:
                raise outcome

        guard = CallGuard("store", repair)
        guard.phase = INTERRUPTED
        with pytest.raises(KeyboardInterrupt):
            guard.check()
        assert guard.phase == INTERRUPTED
        guard.check()
        assert (guard.phase, outcomes) == (IDLE, [])

    @pytest.mark.asyncio
    async def test_a_signal_handler_in_mid_repair_is_refused(self) -> None:
        def repair() -> None:
            with pytest.raises(StoreUsageError):
                guard.check()

        guard = CallGuard("store", repair)
        guard.phase = INTERRUPTED
        guard.check()
        assert guard.phase == IDLE

    @pytest.mark.asyncio
    async def test_a_forked_child_is_refused_also_on_the_inherited_loop(self) -> None:
        guard = CallGuard("store", lambda: None)
        guard.forked()
        guard._pid = 0
        with pytest.raises(StoreClosedError, match="this fork of it"):
            guard.check()
