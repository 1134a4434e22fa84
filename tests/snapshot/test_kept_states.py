"""A snapshot gives back exactly the state: else the append is refused, or the snapshot not kept."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import msgspec
import pytest
from immutables import Map
from msgspec import Meta

from eventstore import (
    CorruptSnapshotError,
    Event,
    EventStore,
    HandlerRegistry,
    Operation,
    RegistrationError,
    StateRefusedError,
    handler,
    replay,
    state_at,
    state_digest,
)
from eventstore.disk.manifest import load_manifest
from eventstore.history import branch
from eventstore.model.state_codec import StateCodec
from eventstore.snapshot.format import SnapshotBuilder, parse
from eventstore.snapshot.vault import LoadedSnapshot, Rejected, SnapshotVault
from eventstore.testing import SimulatedDisk
from eventstore.tools.verify import verify
from tests.support.bank import bank_registry, deposit, pay, withdraw

pytestmark = pytest.mark.asyncio

NEVER: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None}


class Put(Operation):
    key: str
    value: int


class Stock(msgspec.Struct, frozen=True):
    units: Map[str, Annotated[int, Meta(ge=0)]] = Map()
    total: int = 0


@handler
def put(state: Stock, event: Event[Put]) -> Stock:
    data = event.data
    return Stock(state.units.set(data.key, data.value), state.total + 1)


STOCK: HandlerRegistry[Stock] = HandlerRegistry(put)


def files(disk: SimulatedDisk) -> dict[str, bytes]:
    return {**disk.contents(), "writer.pid": b""}


class TestAnAppendIsRefused:
    @pytest.mark.parametrize("use_wal", [True, False])
    async def test_nothing_is_written_and_the_store_goes_on(self, use_wal: bool) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", STOCK, disk=disk, use_wal=use_wal, **NEVER) as store:
            await store.append(Put(key="a", value=1))
            before = files(disk)
            with pytest.raises(StateRefusedError, match="nothing was written") as caught:
                await store.append(Put(key="b", value=-1))
            assert caught.value.operation == "put"
            assert caught.value.field == "$.units['b']"
            assert "Expected `int` >= 0" in str(caught.value)
            with pytest.raises(StateRefusedError):
                store.submit(Put(key="c", value=2), Put(key="a", value=-1))
            assert files(disk) == before
            assert (store.seq, dict(store.state.units)) == (1, {"a": 1})
            assert (await store.append(Put(key="b", value=2))).seq == 2
        async with EventStore.open("", STOCK, disk=disk.reopen(), use_wal=use_wal) as store:
            assert (store.seq, dict(store.state.units)) == (2, {"a": 1, "b": 2})

    async def test_in_memory_as_well(self) -> None:
        async with EventStore.in_memory(STOCK) as store:
            with pytest.raises(StateRefusedError):
                await store.append(Put(key="b", value=-1))
            assert store.seq == 0

    async def test_within_a_group_only_the_last_state_counts(self) -> None:
        """The states in between are seen by nobody, and no snapshot is taken of them."""
        disk = SimulatedDisk()
        async with EventStore.open("", STOCK, disk=disk, **NEVER) as store:
            await store.append(Put(key="a", value=-1), Put(key="a", value=1))
            assert dict(store.state.units) == {"a": 1}
        assert state_at("", STOCK, 1, disk=disk.reopen()).units["a"] == -1

    async def test_a_branch_at_such_a_state_is_refused(self, tmp_path: Any) -> None:
        async with EventStore.open(tmp_path / "s", STOCK, **NEVER) as store:
            await store.append(Put(key="a", value=-1), Put(key="a", value=1))
        with pytest.raises(StateRefusedError):
            await branch(tmp_path / "s", STOCK, 1, to=tmp_path / "b")
        async with branch(tmp_path / "s", STOCK, 2, to=tmp_path / "c") as made:
            assert dict(made.state.units) == {"a": 1}


class Take(Operation):
    key: str
    value: int


@handler(trusted=True)
def take(state: Stock, event: Event[Take]) -> Stock:
    data = event.data
    return Stock(state.units.set(data.key, -data.value), state.total + 1)


class TestATrustedHandler:
    """A handler that its author has tested, or says so."""

    REGISTRY: HandlerRegistry[Stock] = HandlerRegistry(put, take)

    async def test_is_told_by_its_mark(self) -> None:
        assert (take.trusted, put.trusted) == (True, False)
        assert self.REGISTRY.trusted == {Take}

    @pytest.mark.parametrize("trusted", [1, None, "yes"])
    async def test_the_mark_takes_a_bool(self, trusted: Any) -> None:
        with pytest.raises(RegistrationError, match="trusted must be True or False"):
            handler(trusted=trusted)

    async def test_another_handler_in_its_place_is_checked(self) -> None:
        @handler
        def careful(state: Stock, event: Event[Take]) -> Stock:
            return take(state, event)

        registry = HandlerRegistry[Stock](put, take)
        registry.register(careful, replace=True)
        assert registry.trusted == frozenset()

    async def test_its_states_are_not_checked_at_an_append(self) -> None:
        async with EventStore.in_memory(self.REGISTRY) as store:
            await store.append(Take(key="a", value=1))
            assert dict(store.state.units) == {"a": -1}

    async def test_a_group_with_another_handler_is_checked(self) -> None:
        async with EventStore.in_memory(self.REGISTRY) as store:
            for group in (
                (Take(key="a", value=1), Put(key="b", value=1)),
                (Put(key="b", value=-1),),
            ):
                with pytest.raises(StateRefusedError):
                    await store.append(*group)
            assert store.seq == 0

    async def test_what_it_gets_wrong_is_found_by_a_snapshot_and_an_opening(self) -> None:
        """The log has every event, and opens with a handler that was mended."""
        disk = SimulatedDisk()
        async with EventStore.open("", self.REGISTRY, disk=disk, **NEVER) as store:
            await store.append(Take(key="a", value=1))
            with pytest.raises(StateRefusedError):
                await store.snapshot()
            await store.append(Take(key="b", value=2))
        with pytest.raises(StateRefusedError):
            await EventStore.open("", self.REGISTRY, disk=disk.reopen())

        @handler(version=2)
        def mended(state: Stock, event: Event[Take]) -> Stock:
            data = event.data
            return Stock(state.units.set(data.key, data.value), state.total + 1)

        registry = HandlerRegistry[Stock](put, mended)
        async with EventStore.open("", registry, disk=disk.reopen()) as store:
            assert (store.seq, dict(store.state.units)) == (2, {"a": 1, "b": 2})

    async def test_an_opening_takes_it_at_its_word_behind_a_snapshot(self) -> None:
        """With an event of another handler behind the snapshot, the whole state is checked."""
        disk = SimulatedDisk()
        async with EventStore.open("", self.REGISTRY, disk=disk, **NEVER) as store:
            await store.append(Put(key="b", value=1))
            await store.snapshot()
            await store.append(Take(key="a", value=1))
        disk = disk.reopen()
        async with EventStore.open("", self.REGISTRY, disk=disk, **NEVER) as store:
            assert (store.recovery.events_folded, dict(store.state.units)) == (1, {"a": -1, "b": 1})
            await store.append(Put(key="b", value=2))
        with pytest.raises(StateRefusedError, match=r"units\['a'\]"):
            await EventStore.open("", self.REGISTRY, disk=disk.reopen())


class Whole(msgspec.Struct, frozen=True):
    cash: float = 0  # an integer


@handler
def whole(state: Whole, event: Event[Put]) -> Whole:
    return Whole(state.cash + event.data.value)


class TestOpeningIsRefused:
    async def test_with_an_initial_state_that_does_not_fit(self) -> None:
        disk = SimulatedDisk()
        with pytest.raises(StateRefusedError, match=r"`\$\.cash` is 0, of type int"):
            await EventStore.open("", HandlerRegistry[Whole](whole), disk=disk)
        assert disk.contents() == {}, "before the directory is touched"
        with pytest.raises(StateRefusedError):
            await EventStore.in_memory(HandlerRegistry[Whole](whole))

    async def test_with_a_folded_state_that_does_not_fit(self) -> None:
        """The handler was changed, so the same events lead to another state."""

        @handler(version=2)
        def negative(state: Stock, event: Event[Put]) -> Stock:
            return Stock(state.units.set(event.data.key, -event.data.value))

        disk = SimulatedDisk()
        async with EventStore.open("", STOCK, disk=disk, **NEVER) as store:
            await store.append(Put(key="a", value=1))
            await store.snapshot()
        before = files(disk)
        with pytest.raises(StateRefusedError):
            await EventStore.open("", HandlerRegistry[Stock](negative), disk=disk.reopen())
        assert files(disk) == before


class Note(msgspec.Struct):
    """A state that somebody changes in place, against the rules."""

    lines: dict[str, Any] = {}
    limits: dict[str, float] = msgspec.field(default_factory=lambda: {"a": 1.0})


@handler
def note(state: Note, event: Event[Put]) -> Note:
    return Note({**state.lines, event.data.key: event.data.value})


class TestASnapshotIsNotKept:
    @pytest.mark.parametrize("value", [2**70, 1j, "\ud800", 1])
    async def test_where_it_would_not_give_back_the_state(
        self, value: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The state was changed in place, so no append has seen the value."""
        disk = SimulatedDisk()
        registry = HandlerRegistry[Note](note)
        async with EventStore.open("", registry, disk=disk, **NEVER) as store:
            await store.append(Put(key="a", value=1))
            await store.snapshot()
            await store.append(Put(key="b", value=2))
            before = {name: data for name, data in files(disk).items() if "snap" in name}
            hidden: dict[str, Any] = (
                store._append_path.state.limits if value == 1 else store._append_path.state.lines
            )
            hidden["a"] = value
            with pytest.raises(StateRefusedError, match="snapshot of event 2 would not"):
                await store.snapshot()
            stats = store.stats()
            assert stats.snapshot_seq == 1
            assert stats.snapshot_warning is not None
            assert "older snapshots stay" in stats.snapshot_warning
            assert {n: data for n, data in files(disk).items() if "snap" in n} == before
            hidden["a"] = 1.0
            assert await store.snapshot() == 2
            assert store.stats().snapshot_warning is None
        assert "could not be taken" in caplog.text
        assert logging.ERROR in {record.levelno for record in caplog.records}

    async def test_nothing_is_discarded_that_it_would_have_stood_for(self) -> None:
        disk = SimulatedDisk()
        registry = HandlerRegistry[Note](note)
        options: dict[str, Any] = {**NEVER, "history": "discard", "segment_size": 4096}
        async with EventStore.open("", registry, disk=disk, backup_count=1, **options) as store:
            for number in range(60):
                await store.append(Put(key="x" * 200, value=number))
            log = [name for name in disk.files() if name.startswith("log/")]
            store._append_path.state.lines["bad"] = 2**70
            with pytest.raises(StateRefusedError):
                await store.snapshot()
            assert [name for name in disk.files() if name.startswith("log/")] == log
            del store._append_path.state.lines["bad"]
        async with EventStore.open("", registry, disk=disk.reopen(), **options) as store:
            assert store.recovery.events_folded == 60


def with_digest(data: bytes, digest: str, reader: str | None = "other programs") -> bytes:
    """The same snapshot with right checksums and another digest of the state.

    `reader` are the programs that wrote it, `None` for those that did.
    """
    header, about, _, slices = parse(data)
    if reader is not None:
        about = msgspec.structs.replace(about, reader=reader)
    builder = SnapshotBuilder()
    return (
        builder.begin(header, about)
        + b"".join(builder.slice(content) for content in slices)
        + builder.end(digest)
    )


class TestTheDigestInIt:
    async def test_is_compared_on_loading(self, tmp_path: Any) -> None:
        path = tmp_path / "s"
        async with EventStore.open(path, bank_registry(), **NEVER) as store:
            for amount in (1, 2):
                await store.append(pay(amount))
                await store.snapshot()
            state = store.state
        newest = path / "snapshots" / f"{2:020d}.snap"
        newest.write_bytes(with_digest(newest.read_bytes(), "00" * 32))
        found = verify(path, bank_registry())
        assert [damage.reason for damage in found.damage] == [
            "its digest is not that of the state in it"
        ]
        async with EventStore.open(path, bank_registry()) as store:
            assert (store.state, store.recovery.snapshot_seq) == (state, 1)
            (rejected,) = store.recovery.snapshots_rejected
            assert "its digest is not that of the state in it" in rejected

    async def test_without_another_snapshot_or_the_history_opening_is_refused(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, use_wal=False, **NEVER) as store:
            await store.append(pay(1))
        name = f"snapshots/{1:020d}.snap"
        disk.write_file(name, with_digest(disk.read_file(name), "00" * 32))
        with pytest.raises(CorruptSnapshotError, match="its digest is not that of the state"):
            await EventStore.open("", bank_registry(), disk=disk.reopen(), use_wal=False)

    async def test_is_not_computed_again_by_the_programs_that_have_read_it_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a state that msgspec alone makes. `verify` computes the digest in any case."""
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, **NEVER) as store:
            await store.append(pay(1))
            await store.snapshot()
        name = f"snapshots/{1:020d}.snap"
        computed: list[object] = []
        load = StateCodec.load_with_digest

        def counted(codec: StateCodec[Any], slices: Any) -> Any:
            computed.append(slices)
            return load(codec, slices)

        monkeypatch.setattr(StateCodec, "load_with_digest", counted)
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as store:
            assert store.recovery.snapshot_seq == 1
        assert not computed
        disk = disk.reopen()
        assert isinstance(of(disk, bank_registry()).load(1), LoadedSnapshot)
        assert len(computed) == 1
        right = disk.read_file(name)
        disk.write_file(name, with_digest(right, "00" * 32, reader=None))
        assert isinstance(of(disk, bank_registry()).load(1), Rejected)

    async def test_is_computed_again_for_a_class_with_code_of_its_own(self) -> None:
        disk = SimulatedDisk()
        registry = HandlerRegistry[Halved](halve)
        async with EventStore.open("", registry, disk=disk, **NEVER) as store:
            await store.append(Put(key="a", value=1))
            await store.snapshot()
        assert registry.states.runs_own_code
        name = f"snapshots/{1:020d}.snap"
        disk.write_file(name, with_digest(disk.read_file(name), "00" * 32, reader=None))
        async with EventStore.open("", registry, disk=disk.reopen(), **NEVER) as store:
            assert store.recovery.snapshot is None
            assert store.recovery.events_folded == 1


class Halved(msgspec.Struct, frozen=True):
    whole: int = 0

    def __post_init__(self) -> None:
        """Code that a fingerprint does not show."""


@handler
def halve(state: Halved, event: Event[Put]) -> Halved:
    return Halved(state.whole + 2)


def of(disk: SimulatedDisk, registry: HandlerRegistry[Any]) -> SnapshotVault[Any]:
    return SnapshotVault(disk, load_manifest(disk).store, registry)


class TestHandlersRegisteredLater:
    async def test_are_in_the_fingerprint_of_the_snapshots_taken_afterwards(self) -> None:
        disk = SimulatedDisk()
        registry = HandlerRegistry(deposit)
        async with EventStore.open("", registry, disk=disk, **NEVER) as store:
            await store.append(pay(5))
            await store.snapshot()
            registry.register(withdraw)
            await store.append("withdraw", {"account": "a", "amount": 2})
            await store.snapshot()
            live = store.state
        _, first, _, _ = parse(disk.read_file(f"snapshots/{1:020d}.snap"))
        _, second, _, _ = parse(disk.read_file(f"snapshots/{2:020d}.snap"))
        assert set(first.fingerprint) == {"", "deposit"}
        assert set(second.fingerprint) == {"", "deposit", "withdraw"}
        corrected = HandlerRegistry(deposit, handler(version=2)(withdraw.function))
        async with EventStore.open("", corrected, disk=disk.reopen(), **NEVER) as store:
            assert store.recovery.snapshot_seq == 1, "the state is folded again from there"
            assert store.state == live
        *_, (_, replayed) = replay("", corrected, disk=disk.reopen())
        assert state_digest(replayed) == state_digest(live)
