"""Faults are named at registration or when a store is opened, and so is the item at fault."""

from __future__ import annotations

import decimal
from collections.abc import AsyncIterator, Iterator
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
    handler,
    upcaster,
)
from eventstore.testing import SimulatedDisk
from tests.model.test_registry import Install, install
from tests.support.bank import Bank

if TYPE_CHECKING:
    from array import array

__all__ = ["install"]


class Note(Operation):
    text: str


class NoteV2(Operation, tag="note", version=2):
    text: str
    tags: tuple[str, ...] = ()


class NoteV3(Operation, tag="note", version=3):
    lines: tuple[str, ...] = ()


class Other(Operation):
    text: str


@handler
def note(state: Bank, event: Event[Note]) -> Bank:
    return state


@handler
def note_v2(state: Bank, event: Event[NoteV2]) -> Bank:
    return state


@handler
def other(state: Bank, event: Event[Other]) -> Bank:
    return state


@upcaster
def to_v2(old: Note) -> NoteV2:
    return NoteV2(text=old.text)


@upcaster
def to_v3(old: NoteV2) -> NoteV3:
    return NoteV3(lines=(old.text,))


@upcaster
def back_to_v1(old: NoteV3) -> Note:
    return Note(text="")


@upcaster
def to_itself(old: NoteV3) -> NoteV3:
    return old


@upcaster
def note_to_other(old: Note) -> Other:
    return Other(text=old.text)


# ---- handlers ------------------------------------------------------------------------------


async def awaits(state: Bank, event: Event[Note]) -> Bank:
    return state


def yields(state: Bank, event: Event[Note]) -> Iterator[Bank]:
    yield state


async def awaits_and_yields(state: Bank, event: Event[Note]) -> AsyncIterator[Bank]:
    yield state


def names_a_missing_attribute(state: Bank, event: Event[decimal.Missing]) -> Bank:  # type: ignore[name-defined]  # what is tested
    return state


class TestHandlers:
    @pytest.mark.parametrize("function", [awaits, yields, awaits_and_yields])
    def test_they_neither_await_nor_yield(self, function: Any) -> None:
        with pytest.raises(
            RegistrationError, match=rf"{function.__name__}.*may not await or yield"
        ):
            HandlerRegistry(handler(function))

    def test_a_name_that_is_not_there_is_said(self) -> None:
        with pytest.raises(RegistrationError, match=r"names_a_missing_attribute.*'Missing'"):
            HandlerRegistry(handler(names_a_missing_attribute))

    def test_a_payload_class_of_a_function_is_found_where_it_is_used(self) -> None:
        class Local(Operation):
            text: str

        @handler
        def local(state: Bank, event: Event[Local]) -> Bank:
            return Bank(Map({Local.__name__: 1}))

        assert HandlerRegistry(local).operations == ("local",)

    def test_and_else_where_to_put_it_is_said(self) -> None:
        class Unused(Operation):
            text: str

        @handler
        def unused(state: Bank, event: Event[Unused]) -> Bank:
            return state

        with pytest.raises(RegistrationError, match="define them at the top of a module"):
            HandlerRegistry(unused)

    @pytest.mark.parametrize("version", [0, -1, True, 1.0, "2"])
    def test_a_version_is_a_positive_integer(self, version: Any) -> None:
        with pytest.raises(RegistrationError, match="must be a positive integer"):
            handler(version=version)

    def test_a_version_is_given_by_name(self) -> None:
        with pytest.raises(RegistrationError, match=r"@handler\(version=2\)"):
            handler(2)  # type: ignore[call-overload]  # what is tested


# ---- payloads ------------------------------------------------------------------------------


class Foreign:
    pass


class Nested(msgspec.Struct, frozen=True):
    inner: Map[str, list[Foreign]] = Map()


class WithForeign(Operation):
    value: Foreign | None = None


class WithNested(Operation):
    nested: tuple[Nested, ...] = ()


class WithArray(Operation):
    values: array[float]


class WithAmbiguity(Operation):
    value: list[int] | set[int]


class OtherTag(Operation, tag_field="kind"):
    value: int


class SecondNote(Operation, tag="note"):
    words: int


def handling(kind: type[Operation]) -> Any:
    def handle(state: Bank, event: Any) -> Bank:
        return state

    handle.__annotations__ = {"state": Bank, "event": Event[kind], "return": Bank}  # type: ignore[valid-type]  # a run-time type
    return handler(handle)


class TestPayloads:
    @pytest.mark.parametrize(
        ("kind", "says"),
        [
            (WithForeign, "`$.value` is of type Foreign, which MessagePack cannot carry"),
            (WithNested, "`$.nested[...].inner[...][...]` is of type Foreign"),
            (WithArray, "name 'array' is not defined"),
            (WithAmbiguity, "more than one array-like (list, set, tuple) type"),
            (OtherTag, "its tag_field is 'kind' instead of 'op'"),
        ],
    )
    def test_what_msgspec_cannot_handle_is_refused_with_the_field(
        self, kind: type[Operation], says: str
    ) -> None:
        with pytest.raises(RegistrationError) as caught:
            HandlerRegistry(handling(kind))
        assert f"msgspec cannot handle {kind.__name__}: " in str(caught.value)
        assert says in str(caught.value)
        assert caught.value.operation is not None

    def test_old_ones_are_checked_too(self) -> None:
        def newer(old: Any) -> NoteV2:
            return NoteV2(text="")

        newer.__annotations__ = {"old": WithForeign, "return": NoteV2}
        with pytest.raises(RegistrationError, match="cannot handle WithForeign"):
            HandlerRegistry(note_v2, upcaster(newer))

    def test_two_classes_of_one_name_are_told_what_to_do(self) -> None:
        def newer(old: Any) -> NoteV2:
            return NoteV2(text="")

        newer.__annotations__ = {"old": SecondNote, "return": NoteV2}
        with pytest.raises(
            RegistrationError, match=r"SecondNote and .*Note are both recorded as 'note'.*version=2"
        ):
            HandlerRegistry(note_v2, to_v2, upcaster(newer))


# ---- upcasters -----------------------------------------------------------------------------


def no_result(old: Note):  # type: ignore[no-untyped-def]  # what is tested
    return old


def a_number(old: Note) -> int:
    return 1


def nothing(old: Note) -> None:
    return None


async def awaiting(old: Note) -> NoteV2:
    return NoteV2(text="")


class TestUpcasters:
    @pytest.mark.parametrize("function", [no_result, a_number, nothing])
    def test_what_they_lead_to_has_to_be_annotated(self, function: Any) -> None:
        with pytest.raises(RegistrationError, match=rf"{function.__name__}.* must be annotated as"):
            HandlerRegistry(note_v2, upcaster(function))

    def test_they_do_not_await(self) -> None:
        with pytest.raises(RegistrationError, match="may not await"):
            HandlerRegistry(note_v2, upcaster(awaiting))

    def test_the_same_one_twice_changes_nothing(self) -> None:
        HandlerRegistry(note_v2, to_v2, to_v2).fingerprint()

    @pytest.mark.parametrize(
        ("items", "says"),
        [
            ((other, to_v2), "to_v2>: it leads to NoteV2, which has neither a handler nor an upc"),
            ((note_v2, to_v2, to_v3), "NoteV2 has a handler and an upcaster"),
            ((other, to_v2, to_v3, back_to_v1), "in a circle: Note -> NoteV2 -> NoteV3 -> Note;"),
            ((other, to_itself), "in a circle: NoteV3 -> NoteV3;"),
            ((note, other, note_to_other), "Note has a handler and an upcaster"),
        ],
    )
    @pytest.mark.asyncio
    async def test_those_that_do_not_arrive_are_found_when_a_store_is_opened(
        self, items: tuple[Any, ...], says: str, tmp_path: Path
    ) -> None:
        registry = HandlerRegistry[Bank](*items)
        with pytest.raises(RegistrationError) as caught:
            await EventStore.open(tmp_path / "store", registry)
        assert says in str(caught.value)
        assert caught.value.operation == "note"
        assert not (tmp_path / "store").exists()

    @pytest.mark.asyncio
    async def test_in_memory_too(self) -> None:
        with pytest.raises(RegistrationError, match="neither a handler nor"):
            async with EventStore.in_memory(HandlerRegistry[Bank](other, to_v2)) as store:
                await store.append(Other(text=""))

    def test_the_order_of_registration_does_not_matter(self) -> None:
        registry = HandlerRegistry[Bank](to_v2, note_v2)
        registry.fingerprint()
        later = HandlerRegistry[Bank](other, to_v2)
        with pytest.raises(RegistrationError):
            later.fingerprint()
        later.register(note_v2)
        later.fingerprint()


# ---- states --------------------------------------------------------------------------------


class Uncarried(msgspec.Struct, frozen=True):
    values: tuple[complex, ...] = ()


@handler
def uncarried(state: Uncarried, event: Event[Note]) -> Uncarried:
    return Uncarried((*state.values, 1j))


class TestStates:
    @pytest.mark.asyncio
    async def test_one_that_no_snapshot_can_carry_is_refused_when_a_store_is_opened(self) -> None:
        with pytest.raises(
            RegistrationError, match=r"Uncarried.*`\$\.values\[\.\.\.\]` is of type"
        ):
            await EventStore.open("", HandlerRegistry(uncarried), disk=SimulatedDisk())

    @pytest.mark.asyncio
    async def test_in_memory_it_may_be_anything(self) -> None:
        async with EventStore.in_memory(HandlerRegistry[Uncarried](uncarried)) as store:
            await store.append(Note(text=""))
            assert store.state.values == (1j,)


# ---- plugins -------------------------------------------------------------------------------

PLUGIN = """
from eventstore import Event, Operation, handler, upcaster
from tests.support.bank import Bank
{extra}
class Fee(Operation, tag="acme.fee"):
    cents: {kind}

@handler
def apply(state: Bank, event: Event[Fee]) -> Bank:
    return state
"""


def plugin(kind: str = "int", extra: str = "") -> str:
    return PLUGIN.format(kind=kind, extra=extra)


class TestPlugins:
    def test_both_plugins_of_one_operation_are_named(self, install: Install) -> None:
        install("acme-one", {"one": "acme_one"}, acme_one=plugin())
        install("acme-two", {"two": "acme_two"}, acme_two=plugin())
        with pytest.raises(RegistrationError) as caught:
            HandlerRegistry.discover(Bank)
        message = str(caught.value)
        assert "plugin 'two' (acme_two) of distribution 'acme-two'" in message
        assert "plugin 'one' (acme_one) of distribution 'acme-one'" in message
        assert "both handle 'acme.fee'" in message

    def test_one_with_a_payload_that_cannot_be_recorded_is_named(self, install: Install) -> None:
        install("acme-one", {"one": "acme_one"}, acme_one=plugin("complex"))
        with pytest.raises(
            RegistrationError, match=r"'acme-one'.*cannot handle Fee: `\$\.cents`"
        ) as e:
            HandlerRegistry.discover(Bank)
        assert (e.value.plugin, e.value.distribution) == ("one", "acme-one")
        assert e.value.operation == "acme.fee"

    def test_one_without_annotations_is_named(self, install: Install) -> None:
        extra = "@handler\ndef bare(state, event):\n    return state\n"
        install("acme-one", {"one": "acme_one"}, acme_one=plugin(extra=extra))
        with pytest.raises(RegistrationError, match=r"'acme-one'.*bare.* must be annotated"):
            HandlerRegistry.discover(Bank)

    def test_one_whose_upcaster_leads_nowhere_is_named_when_a_store_is_opened(
        self, install: Install
    ) -> None:
        extra = (
            "class Old(Operation):\n    x: int\n"
            "class Lost(Operation):\n    x: int\n"
            "@upcaster\ndef lose(old: Old) -> Lost:\n    return Lost(x=old.x)\n"
        )
        install("acme-one", {"one": "acme_one"}, acme_one=plugin(extra=extra))
        registry = HandlerRegistry.discover(Bank)
        with pytest.raises(RegistrationError, match=r"'acme-one'.*lose.* leads to Lost") as caught:
            registry.fingerprint()
        assert (caught.value.plugin, caught.value.distribution) == ("one", "acme-one")

    def test_a_package_gives_the_handlers_of_its_modules(
        self, install: Install, tmp_path: Path
    ) -> None:
        install("acme-pack", {"all": "acme_pack"})
        package = tmp_path / "site-packages" / "acme_pack"
        package.mkdir()
        (package / "fees.py").write_text(plugin())
        (package / "__init__.py").write_text("from acme_pack.fees import apply\n")
        assert HandlerRegistry.discover(Bank).operations == ("acme.fee",)

    def test_upcasters_go_with_the_handlers_they_lead_to(self, install: Install) -> None:
        """The same holds where one payload class is folded into two states."""
        extra = (
            "import msgspec\n"
            "class Other(msgspec.Struct, frozen=True):\n    n: int = 0\n"
            "class Old(Operation, tag='acme.old'):\n    cents: int\n"
            "class Mine(Operation, tag='acme.mine'):\n    cents: int\n"
            "class MineOld(Operation, tag='acme.mine_old'):\n    cents: int\n"
            "@upcaster\ndef lead(old: Old) -> 'Fee':\n    return Fee(cents=old.cents)\n"
            "@upcaster\ndef mine(old: MineOld) -> Mine:\n    return Mine(cents=old.cents)\n"
            "@handler\ndef fee_too(state: Other, event: Event['Fee']) -> Other:\n    return state\n"
            "@handler\ndef only(state: Other, event: Event[Mine]) -> Other:\n    return state\n"
        )
        install("acme-one", {"one": "acme_one"}, acme_one=plugin(extra=extra))
        registry = HandlerRegistry.discover(Bank)
        registry.fingerprint()
        names = {kind.__name__ for kind in registry.payload_types}
        assert names == {"Fee", "Old"}


def test_a_refused_registration_leaves_a_registry_that_works() -> None:
    registry = HandlerRegistry[Bank](note)
    for item in (handling(WithForeign), upcaster(a_number)):
        with pytest.raises(RegistrationError):
            registry.register(item)
    registry.fingerprint()
    with pytest.raises(InvalidPayloadError):
        registry.payload("note", {"text": 1})
