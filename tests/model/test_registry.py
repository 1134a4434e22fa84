"""Handlers, upcasters and plugins: the items that a registry takes, and its errors for others."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from immutables import Map

from eventstore import (
    Event,
    EventStore,
    HandlerRegistry,
    InvalidPayloadError,
    Operation,
    RegistrationError,
    ReplayError,
    UnknownOperationError,
    handler,
    read_events,
    replay,
    upcaster,
)
from eventstore.model.plugins import members
from eventstore.testing import SimulatedDisk
from tests.support import bank
from tests.support.bank import Bank, Deposit, bank_registry, deposit, pay, withdraw
from tests.support.gates import PATIENCE

if TYPE_CHECKING:
    from decimal import Decimal as TypeCheckingOnly

ROOT = Path(__file__).resolve().parents[2]


class Other(msgspec.Struct, frozen=True):
    total: int = 0


class Note(Operation):
    text: str


class Unserialisable(Operation):
    value: list[int] | tuple[int, ...]


@handler
def note_bank(state: Bank, event: Event[Note]) -> Bank:
    return state


@handler
def note_other(state: Other, event: Event[Note]) -> Other:
    return state


@handler
def deposit_again(state: Bank, event: Event[Deposit]) -> Bank:
    return state


@handler
def unserialisable(state: Bank, event: Event[Unserialisable]) -> Bank:
    return state


def untyped(state, event):  # type: ignore[no-untyped-def]  # what is tested
    return state


def half_typed(state, event: Event[Note]):  # type: ignore[no-untyped-def]  # what is tested
    return state


def bare_event(state: Bank, event: Event) -> Bank:  # type: ignore[type-arg]  # what is tested
    return state


def no_operation(state: Bank, event: Event[int]) -> Bank:
    return state


def unresolvable(state: Bank, event: Event[TypeCheckingOnly]) -> Bank:
    return state


def one_argument(state: Bank) -> Bank:
    return state


class TestHandlers:
    def test_a_handler_is_still_a_function(self) -> None:
        state = deposit(Bank(), Event(1, 0, pay(5)))
        assert state.balances["a"] == 5

    def test_it_says_what_it_is(self) -> None:
        assert repr(deposit) == "<handler tests.support.bank.deposit>"
        assert deposit.__name__ == "deposit"
        assert deposit.types() == (Bank, Deposit)
        assert deposit.version == 1

    def test_a_registry_knows_its_operations_and_its_state(self) -> None:
        registry = bank_registry()
        assert registry.operations == ("deposit", "withdraw")
        assert registry.state_type is Bank
        assert registry.initial() == Bank()

    def test_modules_and_iterables_are_taken_apart(self) -> None:
        assert HandlerRegistry(bank).operations == ("deposit", "withdraw")
        assert HandlerRegistry([deposit, [withdraw]]).operations == ("deposit", "withdraw")

    def test_registering_the_same_handler_twice_changes_nothing(self) -> None:
        assert HandlerRegistry(deposit, deposit, bank).operations == ("deposit", "withdraw")

    def test_the_initial_state_may_be_given(self) -> None:
        start = Bank(Map(a=7))
        assert HandlerRegistry(deposit, initial=lambda: start).initial() is start

    @pytest.mark.parametrize(
        ("function", "says"),
        [
            (untyped, "must be annotated"),
            (half_typed, "must be annotated"),
            (bare_event, "must be annotated"),
            (no_operation, "derive it from eventstore.Operation"),
            (unresolvable, "TypeCheckingOnly.*import those names at run time"),
            (one_argument, "must take 2 argument"),
        ],
    )
    def test_annotations_that_do_not_say_enough_are_refused(
        self, function: Callable[..., Any], says: str
    ) -> None:
        with pytest.raises(RegistrationError, match=says) as caught:
            HandlerRegistry(handler(function))
        assert function.__name__ in str(caught.value)

    def test_two_handlers_of_one_operation_are_refused(self) -> None:
        with pytest.raises(RegistrationError, match="both handle 'deposit'") as caught:
            HandlerRegistry(deposit, deposit_again)
        assert caught.value.operation == "deposit"
        assert "bank.deposit" in str(caught.value)
        assert "deposit_again" in str(caught.value)

    def test_a_handler_takes_the_place_of_an_earlier_one_where_asked(self) -> None:
        registry = HandlerRegistry(deposit, withdraw)
        assert registry.codec is registry.codec
        registry.register(deposit_again, replace=True)
        assert registry.items == (withdraw, deposit_again)
        event = registry.record(1, 0, [pay(5)], None, None)[0][0]
        assert registry.apply(Bank(), event) == deposit_again(Bank(), event)
        registry.register([deposit, withdraw], replace=True)
        assert registry.same_as(HandlerRegistry(deposit, withdraw))

    def test_a_refused_replacement_changes_nothing(self) -> None:
        registry = HandlerRegistry(deposit, withdraw)
        with pytest.raises(RegistrationError, match="but this registry's state is"):
            registry.register([deposit_again, note_other], replace=True)
        with pytest.raises(RegistrationError, match="both handle"):
            registry.register([deposit, deposit_again], replace=True)
        assert registry.items == (deposit, withdraw)

    def test_an_upcaster_takes_the_place_of_one_for_the_same_payloads(self) -> None:
        def cell() -> tuple[type[Operation], Any]:
            class Transfer(Operation):
                cents: int

            @upcaster
            def led(old: Transfer) -> Deposit:
                return pay(old.cents)

            led.function.__annotations__.update(old=Transfer)
            return Transfer, led

        (_, first), (newest, second) = cell(), cell()
        registry = HandlerRegistry(deposit, first)
        registry.register(second, replace=True)
        assert registry.items == (deposit, second)
        assert newest in registry.payload_types

    def test_two_states_are_refused(self) -> None:
        with pytest.raises(RegistrationError, match=r"Other.*but this registry's state is.*Bank"):
            HandlerRegistry[Any](deposit, note_other)

    def test_a_payload_that_cannot_be_recorded_is_refused(self) -> None:
        with pytest.raises(
            RegistrationError, match=r"cannot handle Unserialisable: .*array-like"
        ) as caught:
            HandlerRegistry(deposit, unserialisable)
        assert caught.value.operation == "unserialisable"

    @pytest.mark.parametrize("item", [untyped, 5, "tests.support.bank", None, Bank])
    def test_what_is_no_handler_is_refused(self, item: Any) -> None:
        with pytest.raises(RegistrationError, match=r"mark the function with @eventstore\.handler"):
            HandlerRegistry(item)

    def test_a_module_without_handlers_is_refused(self) -> None:
        with pytest.raises(RegistrationError, match="holds no function"):
            HandlerRegistry(types)

    def test_a_refused_handler_leaves_the_registry_as_it_was(self) -> None:
        registry = bank_registry()
        bad_handlers: list[Any] = [deposit_again, note_other, unserialisable]
        for bad in bad_handlers:
            with pytest.raises(RegistrationError):
                registry.register(bad)
        assert registry.operations == ("deposit", "withdraw")
        assert registry.fingerprint() == bank_registry().fingerprint()

    def test_what_is_made_of_the_class_of_a_state_is_made_once(self) -> None:
        """A test suite makes a registry for each test. Making the checks takes most of it."""
        one, other = bank_registry(), bank_registry()
        assert one.states is other.states
        untyped = HandlerRegistry(state_type=dict[str, int])
        assert untyped.states is not HandlerRegistry(state_type=dict[str, int]).states

    def test_a_registry_without_handlers_has_no_state(self) -> None:
        with pytest.raises(RegistrationError, match="no handlers"):
            HandlerRegistry[Any]().initial()

    @pytest.mark.asyncio
    async def test_an_operation_registered_later_is_known_at_once(self) -> None:
        registry = bank_registry()
        async with EventStore.in_memory(registry) as store:
            with pytest.raises(UnknownOperationError):
                await store.append(Note(text="x"))
            registry.register(note_bank)
            assert (await store.append(Note(text="x"))).seq == 1


# ---- plugins -------------------------------------------------------------------------------

Install = Callable[..., None]
GROUP = "eventstore.handlers"

PLUGIN = """
import msgspec
from eventstore import Event, Operation, handler
from tests.support.bank import Bank

class {name}(Operation):
    amount: int

@handler
def apply(state: Bank, event: Event[{name}]) -> Bank:
    return Bank(state.balances, event.seq)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution with entry points on `sys.path`, as pip would."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def put(distribution: str, points: dict[str, str], group: str = GROUP, **code: str) -> None:
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        lines = [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        for module, source in code.items():
            (site / f"{module}.py").write_text(textwrap.dedent(source))
            monkeypatch.delitem(sys.modules, module, raising=False)
        importlib.invalidate_caches()

    return put


class TestPlugins:
    def test_an_installed_plugin_is_found(self, install: Install) -> None:
        install("acme-fees", {"fee": "acme_fees:apply"}, acme_fees=PLUGIN.format(name="Fee"))
        assert HandlerRegistry.discover(Bank).operations == ("fee",)

    def test_the_trading_handlers_are_found_in_the_same_way(self, install: Install) -> None:
        source = PLUGIN.replace("tests.support.bank", "handlers").replace("Bank(", "state.replace(")
        source = source.replace("state.balances, event.seq", "trade_count=event.data.amount")
        source = source.replace("Bank", "EngineState")
        install("acme-cash", {"cash": "acme_cash:apply"}, acme_cash=source.format(name="SetCash"))
        trading = importlib.import_module("handlers")
        built_in = HandlerRegistry(*members(trading)).operations
        assert set(built_in) > {"full_state", "record_trade", "update_position"}
        assert trading.trading_registry().operations == (*sorted((*built_in, "set_cash")),)

    def test_a_module_or_a_list_may_be_named(self, install: Install) -> None:
        install("acme-a", {"a": "acme_a"}, acme_a=PLUGIN.format(name="Aa"))
        install(
            "acme-b", {"b": "acme_b:ALL"}, acme_b=PLUGIN.format(name="Bb") + "\nALL = [apply]\n"
        )
        assert HandlerRegistry.discover(Bank).operations == ("aa", "bb")

    def test_handlers_of_other_states_are_passed_over(self, install: Install) -> None:
        install("acme-a", {"a": "acme_a"}, acme_a=PLUGIN.format(name="Aa"))
        assert HandlerRegistry.discover(Other).operations == ()
        assert "aa" not in importlib.import_module("handlers").trading_registry().operations

    def test_without_a_state_all_must_agree(self, install: Install) -> None:
        install("acme-a", {"zz": "acme_a"}, acme_a=PLUGIN.format(name="Aa"))
        with pytest.raises(RegistrationError, match=r"zz.*acme-a") as caught:
            HandlerRegistry.discover()
        assert (caught.value.plugin, caught.value.distribution) == ("zz", "acme-a")

    def test_a_group_of_its_own(self, install: Install) -> None:
        install("acme-a", {"a": "acme_a"}, "acme.events", acme_a=PLUGIN.format(name="Aa"))
        assert HandlerRegistry.discover(group="acme.events").operations == ("aa",)

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
            ("1 / 0", "ZeroDivisionError"),
            ("apply = ", "SyntaxError"),
            ("", "AttributeError"),
        ],
    )
    def test_one_that_cannot_be_imported_is_named(
        self, install: Install, source: str, says: str
    ) -> None:
        install("acme-broken", {"fee": "acme_broken:apply"}, acme_broken=source)
        with pytest.raises(RegistrationError, match=says) as caught:
            HandlerRegistry.discover(Bank)
        assert (caught.value.plugin, caught.value.distribution) == ("fee", "acme-broken")
        assert "plugin 'fee' (acme_broken:apply) of distribution 'acme-broken'" in str(caught.value)

    def test_a_module_that_is_not_there_is_named(self, install: Install) -> None:
        install("acme-gone", {"gone": "acme_gone"})
        with pytest.raises(RegistrationError, match=r"'gone'.*'acme-gone' cannot be imported"):
            HandlerRegistry.discover(Bank)

    def test_a_module_without_handlers_is_named(self, install: Install) -> None:
        install("acme-empty", {"none": "acme_empty"}, acme_empty="x = 1")
        with pytest.raises(RegistrationError, match="acme_empty holds no function") as caught:
            HandlerRegistry.discover(Bank)
        assert (caught.value.plugin, caught.value.distribution) == ("none", "acme-empty")

    def test_what_is_no_handler_is_named(self, install: Install) -> None:
        install("acme-odd", {"odd": "acme_odd:apply"}, acme_odd="apply = 5")
        with pytest.raises(RegistrationError, match=r"@eventstore\.handler") as caught:
            HandlerRegistry.discover(Bank)
        assert (caught.value.plugin, caught.value.distribution) == ("odd", "acme-odd")

    def test_two_plugins_for_one_operation_are_named(self, install: Install) -> None:
        install("acme-one", {"one": "acme_one"}, acme_one=PLUGIN.format(name="Fee"))
        install("acme-two", {"two": "acme_two"}, acme_two=PLUGIN.format(name="Fee"))
        with pytest.raises(RegistrationError, match="both handle 'fee'") as caught:
            HandlerRegistry.discover(Bank)
        assert (caught.value.plugin, caught.value.distribution) == ("two", "acme-two")
        assert caught.value.operation == "fee"
        assert "acme_one.apply" in str(caught.value)
        assert "acme_two.apply" in str(caught.value)

    def test_the_order_of_installation_does_not_matter(self, install: Install) -> None:
        for name in ("Zz", "Aa", "Mm"):
            install(
                f"acme-{name}", {name: f"acme_{name}"}, **{f"acme_{name}": PLUGIN.format(name=name)}
            )
        assert HandlerRegistry.discover(Bank).operations == ("aa", "mm", "zz")

    def test_an_upcaster_for_another_state_does_not_touch_ours(self, install: Install) -> None:
        install(
            "acme-other",
            {"old": "acme_other"},
            acme_other="""
            from eventstore import Event, Operation, handler, upcaster
            from tests.model.test_registry import Other

            class Old(Operation, tag="aa"):
                unrelated: str

            class New(Operation, tag="aa", version=2):
                unrelated: str

            @upcaster
            def newer(old: Old) -> New:
                return New(unrelated=old.unrelated)

            @handler
            def apply(state: Other, event: Event[New]) -> Other:
                return state
            """,
        )
        install("acme-a", {"a": "acme_a"}, acme_a=PLUGIN.format(name="Aa"))
        registry = HandlerRegistry.discover(Bank)
        payload = registry.payload("aa", {"amount": 5})
        (event,), _ = registry.record(1, 0, [payload], None, None)
        assert event.data == payload


# ---- upcasters -----------------------------------------------------------------------------


class PaidV1(Operation, tag="paid"):
    text: str


class PaidV2(Operation, tag="paid", version=2):
    account: str
    cents: int


class PaidV3(Operation, tag="paid", version=3):
    account: str
    cents: int
    currency: str


class Both(Operation):
    one: str
    other: str
    cents: int


class Dropped(Operation):
    reason: str = ""


class SameTag(Operation, tag="paid", version=3):
    unrelated: int


@handler
def paid_v1(state: Bank, event: Event[PaidV1]) -> Bank:
    account, _, amount = event.data.text.partition(" ")
    return Bank(
        state.balances.set(account, state.balances.get(account, 0) + int(amount)), event.seq
    )


@handler
def paid_v3(state: Bank, event: Event[PaidV3]) -> Bank:
    data = event.data
    balance = state.balances.get(data.account, 0) + data.cents // 100
    return Bank(state.balances.set(data.account, balance), event.seq)


@handler
def both(state: Bank, event: Event[Both]) -> Bank:
    data = event.data
    balances = state.balances
    for account in (data.one, data.other):
        balances = balances.set(account, balances.get(account, 0) + data.cents // 100)
    return Bank(balances, event.seq)


@handler
def dropped(state: Bank, event: Event[Dropped]) -> Bank:
    return state


@upcaster
def to_v2(old: PaidV1) -> PaidV2:
    account, _, amount = old.text.partition(" ")
    return PaidV2(account=account, cents=int(amount) * 100)


@upcaster
def to_v3(old: PaidV2) -> PaidV3:
    return PaidV3(account=old.account, cents=old.cents, currency="EUR")


@upcaster
def to_v3_too(old: PaidV2) -> PaidV3:
    return PaidV3(account=old.account, cents=old.cents, currency="USD")


@upcaster
def split(old: Both) -> tuple[PaidV3, PaidV3]:
    return (
        PaidV3(account=old.one, cents=old.cents, currency="EUR"),
        PaidV3(account=old.other, cents=old.cents, currency="EUR"),
    )


@upcaster
def forget(old: Dropped) -> tuple[PaidV3, ...]:
    return ()


@upcaster
def forgot_to_return(old: PaidV1) -> PaidV2:
    return None  # type: ignore[return-value]  # what is tested


OLD = HandlerRegistry[Bank](paid_v1, both, dropped)
NEW = HandlerRegistry[Bank](paid_v3, to_v2, to_v3, split, forget)


async def old_store(*operations: Operation, **options: Any) -> SimulatedDisk:
    disk = SimulatedDisk()
    async with EventStore.open("", OLD, disk=disk, **options) as store:
        for operation in operations:
            await store.append(operation)
    return disk.reopen()


class TestUpcasters:
    @pytest.mark.asyncio
    async def test_a_chain_leads_old_events_to_the_newest_payload(self) -> None:
        disk = await old_store(PaidV1(text="a 3"), PaidV1(text="b 4"))
        async with EventStore.open("", NEW, disk=disk) as store:
            assert store.state.balances == Map(a=3, b=4)
            events = [event async for event in store.events()]
            assert [event.data for event in events] == [
                PaidV3(account="a", cents=300, currency="EUR"),
                PaidV3(account="b", cents=400, currency="EUR"),
            ]
            assert [(event.seq, event.operation) for event in events] == [(1, "paid"), (2, "paid")]
            await store.append(PaidV3(account="a", cents=100, currency="USD"))
            assert store.state.balances == Map(a=4, b=4)
            assert store.seq == 3

    @pytest.mark.asyncio
    async def test_a_mapping_is_the_newest_payload(self) -> None:
        async with EventStore.in_memory(NEW) as store:
            await store.append("paid", {"account": "a", "cents": 100, "currency": "EUR"})
            assert store.state.balances["a"] == 1

    @pytest.mark.asyncio
    async def test_one_old_event_may_become_several_of_the_same_number(self) -> None:
        disk = await old_store(PaidV1(text="a 3"), Both(one="a", other="b", cents=100))
        async with EventStore.open("", NEW, disk=disk) as store:
            assert store.state == Bank(Map(a=4, b=1), 2)
            assert store.seq == 2
            assert [event.seq async for event in store.events()] == [1, 2, 2]
            async with asyncio.timeout(PATIENCE), store.subscribe(after=0) as events:
                seen = [await anext(events) for _ in range(3)]
            assert [event.seq for event in seen] == [1, 2, 2]
            assert seen[1].data != seen[2].data
            assert (await store.append(PaidV3(account="a", cents=0, currency=""))).seq == 3
        folded = list(replay("", NEW, disk=disk.reopen()))
        assert folded[-1][1] == Bank(Map(a=4, b=1), 3)

    @pytest.mark.asyncio
    async def test_one_old_event_may_become_none_at_all(self) -> None:
        disk = await old_store(PaidV1(text="a 3"), Dropped(), Dropped())
        for number in (3, 4):
            async with EventStore.open("", NEW, disk=disk.reopen()) as store:
                assert store.seq == store.recovery.seq == number
                assert store.state.balances["a"] == 3
                await store.append(PaidV3(account="b", cents=100, currency=""))
                assert store.seq == number + 1

    @pytest.mark.asyncio
    async def test_a_log_of_nothing_else_is_still_read(self) -> None:
        disk = await old_store(Dropped(), Dropped())
        async with EventStore.open("", NEW, disk=disk) as store:
            assert (store.seq, store.state) == (2, Bank())

    @pytest.mark.asyncio
    async def test_an_old_payload_is_refused_on_append(self) -> None:
        async with EventStore.in_memory(NEW) as store:
            for old in (PaidV1(text="a 1"), PaidV2(account="a", cents=1)):
                with pytest.raises(InvalidPayloadError, match="is an old payload") as caught:
                    await store.append(old)
                assert caught.value.operation == "paid"
            assert (store.seq, store.state) == (0, Bank())

    @pytest.mark.asyncio
    async def test_an_upcaster_that_raises_is_named_with_the_event(self) -> None:
        disk = await old_store(PaidV1(text="a 1"), Both(one="a", other="b", cents=1))
        broken = HandlerRegistry[Bank](paid_v3, to_v3, broken_upcaster, split)
        with pytest.raises(ReplayError, match="broken_upcaster> raised ValueError on event 1"):
            await EventStore.open("", broken, disk=disk.reopen())
        with pytest.raises(ReplayError) as caught:
            list(read_events("", broken, disk=disk))
        assert (caught.value.seq, caught.value.operation) == (1, "paid")
        assert isinstance(caught.value.__cause__, ValueError)

    @pytest.mark.asyncio
    async def test_an_upcaster_that_returns_nothing_is_named(self) -> None:
        disk = await old_store(PaidV1(text="a 1"))
        forgetful = HandlerRegistry[Bank](paid_v3, to_v3, forgot_to_return)
        with pytest.raises(ReplayError, match="forgot_to_return"):
            list(read_events("", forgetful, disk=disk))

    def test_two_upcasters_of_one_payload_are_refused(self) -> None:
        with pytest.raises(RegistrationError, match=r"to_v3_too.*to_v3.*both take PaidV2"):
            HandlerRegistry(paid_v3, to_v3, to_v3_too)

    def test_two_payload_classes_of_one_tag_are_refused(self) -> None:
        @upcaster
        def confused(old: SameTag) -> PaidV3:
            return PaidV3(account="", cents=0, currency="")

        with pytest.raises(RegistrationError, match="paid@3"):
            HandlerRegistry(paid_v3, confused)

    def test_an_upcaster_without_annotations_is_refused(self) -> None:
        def bare(old):  # type: ignore[no-untyped-def]  # what is tested
            return old

        with pytest.raises(RegistrationError, match="must be annotated"):
            HandlerRegistry(paid_v3, upcaster(bare))


@upcaster
def broken_upcaster(old: PaidV1) -> PaidV2:
    raise ValueError("no")


# ---- folding -------------------------------------------------------------------------------


@handler
def strict(state: Bank, event: Event[Note]) -> Bank:
    raise ArithmeticError(event.data.text)


@handler
def careless(state: Bank, event: Event[Note]) -> Bank:
    return None  # type: ignore[return-value]  # what is tested


NOTES: HandlerRegistry[Bank] = HandlerRegistry(deposit, note_bank)


class TestReplaying:
    """A handler that no longer accepts the events in the log."""

    @pytest.mark.parametrize(("changed", "cause"), [(strict, ArithmeticError), (careless, None)])
    @pytest.mark.asyncio
    async def test_the_event_is_named(self, changed: Any, cause: type[Exception] | None) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", NOTES, disk=disk) as store:
            await store.append(pay(1))
            await store.append(Note(text="x"))
        before = disk.contents()
        registry: HandlerRegistry[Bank] = HandlerRegistry(deposit, changed)
        with pytest.raises(ReplayError, match="event 2") as caught:
            await EventStore.open("", registry, disk=disk.reopen())
        assert (caught.value.seq, caught.value.operation) == (2, "note")
        if cause is not None:
            assert isinstance(caught.value.__cause__, cause)
        with pytest.raises(ReplayError, match="event 2"):
            list(replay("", registry, disk=disk.reopen()))
        assert {**disk.contents(), "writer.pid": b""} == {**before, "writer.pid": b""}

    @pytest.mark.asyncio
    async def test_a_missing_plugin_is_named(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", NOTES, disk=disk) as store:
            await store.append(pay(1), Note(text="x"))
        for registry in (HandlerRegistry(deposit), bank_registry()):
            with pytest.raises(UnknownOperationError, match="install") as caught:
                await EventStore.open("", registry, disk=disk.reopen())
            assert (caught.value.operation, caught.value.seq) == ("note", 2)
        # A reader without a registry needs no handler.
        assert [event.data["op"] for event in read_events("", disk=disk.reopen())] == [
            "deposit",
            "note",
        ]


# ---- fingerprints --------------------------------------------------------------------------


class PaidWithFee(Operation, tag="paid", version=3):
    account: str
    cents: int
    currency: str
    fee: int = 0


@handler(version=2)
def paid_v3_corrected(state: Bank, event: Event[PaidV3]) -> Bank:
    return state


@handler
def paid_with_fee(state: Bank, event: Event[PaidWithFee]) -> Bank:
    return state


PRINT = """
import json
from handlers import trading_registry
from tests.support.bank import bank_registry
print(json.dumps([trading_registry().fingerprint(), bank_registry().fingerprint()]))
"""


class TestFingerprint:
    def test_it_has_an_entry_for_each_operation_and_one_for_the_state(self) -> None:
        assert set(bank_registry().fingerprint()) == {"", "deposit", "withdraw"}

    def test_it_is_the_same_under_every_hash_seed(self) -> None:
        seen = set()
        for seed in ("0", "1", "4711"):
            run = subprocess.run(
                [sys.executable, "-c", PRINT],
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
                cwd=ROOT,
            )
            seen.add(run.stdout)
        trading = importlib.import_module("handlers").trading_registry()
        assert [json.loads(text) for text in seen] == [
            [trading.fingerprint(), bank_registry().fingerprint()]
        ]

    def test_the_order_of_registration_does_not_matter(self) -> None:
        assert (
            HandlerRegistry(withdraw, deposit).fingerprint()
            == HandlerRegistry(deposit, withdraw).fingerprint()
        )

    def test_a_new_operation_changes_no_other_entry(self) -> None:
        before = bank_registry().fingerprint()
        after = HandlerRegistry(deposit, withdraw, note_bank).fingerprint()
        assert {key: after[key] for key in before} == before

    def test_a_higher_version_changes_its_entry_alone(self) -> None:
        before = HandlerRegistry(paid_v3, deposit).fingerprint()
        after = HandlerRegistry(paid_v3_corrected, deposit).fingerprint()
        assert {key for key in before if before[key] != after[key]} == {"paid"}

    def test_another_payload_schema_changes_its_entry(self) -> None:
        assert (
            HandlerRegistry(paid_v3).fingerprint()["paid"]
            != HandlerRegistry(paid_with_fee).fingerprint()["paid"]
        )

    def test_another_state_changes_the_entry_of_the_state(self) -> None:
        assert (
            HandlerRegistry(note_bank).fingerprint()[""]
            != HandlerRegistry(note_other).fingerprint()[""]
        )

    @pytest.mark.asyncio
    async def test_opening_a_store_walks_the_type_of_the_state_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        judged: list[Any] = []

        def judge(kind: Any) -> str | None:
            judged.append(kind)
            return None

        monkeypatch.setattr("eventstore.model.fingerprint.unrecordable_reason", judge)
        registry = bank_registry()
        async with EventStore.open(tmp_path / "store", registry) as store:
            await store.append(Deposit(account="a", amount=1))
            await store.snapshot()
        async with EventStore.open(tmp_path / "store", registry):
            pass
        assert judged == [Bank]

    def test_a_registration_takes_the_verdict_back(self) -> None:
        registry = HandlerRegistry[Bank](deposit)
        assert set(registry.fingerprint()) == {"", "deposit"}
        registry.register(withdraw)
        assert set(registry.fingerprint()) == {"", "deposit", "withdraw"}


class TestSameAs:
    def test_the_same_handlers_in_any_order(self) -> None:
        one = HandlerRegistry[Bank](deposit, withdraw)
        assert one.same_as(one)
        assert one.same_as(HandlerRegistry[Bank](withdraw, deposit))

    def test_one_handler_more_or_another_one_of_the_same_operation(self) -> None:
        assert not HandlerRegistry[Bank](deposit).same_as(HandlerRegistry(deposit, withdraw))
        assert not HandlerRegistry[Bank](paid_v3).same_as(HandlerRegistry(paid_v3_corrected))


class Limit(msgspec.Struct, frozen=True, tag=1):
    price: float


class Market(msgspec.Struct, frozen=True, tag=2):
    most: float


class Place(Operation):
    order: Limit | Market
    by_number: dict[int, float] = msgspec.field(default_factory=dict)


@handler
def place_order(state: tuple[float, ...], event: Event[Place]) -> tuple[float, ...]:
    order = event.data.order
    return (*state, order.price if isinstance(order, Limit) else order.most)


@pytest.mark.asyncio
async def test_what_check_passes_a_store_takes(tmp_path: Path) -> None:
    """Tags and keys may be integers, and the fingerprint tells them from texts."""
    registry = HandlerRegistry(place_order)
    registry.check()
    async with EventStore.open(tmp_path, registry) as store:
        await store.append(Place(order=Limit(price=1.5)), Place(order=Market(most=2.5)))
        await store.snapshot()
    async with EventStore.open(tmp_path, registry) as store:
        assert store.state == (1.5, 2.5)
        assert store.recovery.snapshot_seq == 2


def test_check_finds_what_opening_would() -> None:
    with pytest.raises(RegistrationError, match="neither a handler nor an upcaster"):
        HandlerRegistry(note_bank, to_v2).check()
