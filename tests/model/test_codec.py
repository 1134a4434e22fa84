"""The codec refuses a value that would not come back from the log, and names its place.

A refusal writes nothing. The sequence goes on as if the value had never been appended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
import pytest
from immutables import Map
from msgspec import Meta

from eventstore import (
    CorruptLogError,
    Event,
    EventStore,
    EventStoreError,
    HandlerRegistry,
    InvalidPayloadError,
    Operation,
    UnknownOperationError,
    handler,
    read_events,
    replay,
    state_at,
)
from eventstore.model.codec import EventCodec, array_header, field_of
from eventstore.model.conversion import freeze
from eventstore.testing import SimulatedDisk
from handlers import RecordTrade, UpdatePosition, trading_registry

NAN, INF = float("nan"), float("inf")


class Leg(msgspec.Struct, frozen=True):
    price: Annotated[float, Meta(ge=-1e100, le=1e100)]
    size: int = 1


class Spread(Operation):
    legs: tuple[Leg, ...] = ()
    note: Any = None
    at: datetime | None = None
    exact: Decimal | None = None
    id: UUID | None = None
    raw: bytes = b""
    tags: frozenset[str] = frozenset()
    by_strike: Map[int, Map[str, float]] = Map()
    loose: dict[str, Any] = msgspec.field(default_factory=dict)
    real: float = 0.0


class Count(msgspec.Struct, frozen=True):
    events: int = 0


@handler
def spread(state: Count, event: Event[Spread]) -> Count:
    return Count(state.events + 1)


SPREADS: HandlerRegistry[Count] = HandlerRegistry(spread)


class Unregistered(Operation):
    amount: int = 0


def spread_with(**fields: Any) -> Spread:
    """A payload with unchecked fields, since msgspec does not check constructors."""
    return Spread(**fields)


async def refusal(
    registry: HandlerRegistry[Any], *operations: Any, **attached: Any
) -> EventStoreError:
    """Return the error of `append`. Check that nothing was written and the store goes on."""
    disk = SimulatedDisk()
    async with EventStore.open("", registry, disk=disk) as store:
        before = disk.contents()
        with pytest.raises(EventStoreError) as caught:
            await store.append(*operations, **attached)
        with pytest.raises(EventStoreError):
            store.submit(*operations, **attached)
        assert disk.contents() == before
        assert (store.seq, store.state) == (0, registry.initial())
        good = UpdatePosition(symbol="A", shares=1.0, price=1.0) if registry is TRADES else Spread()
        assert (await store.append(good)).seq == 1
    return caught.value


TRADES = trading_registry()
POSITION: dict[str, Any] = {"symbol": "A", "shares": 1.0, "price": 1.0}


class TestRefusedMappings:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"shares": "many"}, "$.shares"),
            ({"shares": None}, "$.shares"),
            ({"shares": True}, "$.shares"),
            ({"symbol": 5}, "$.symbol"),
            ({"symbol": ""}, "$.symbol"),
            ({"price": NAN}, "$.price"),
            ({"price": INF}, "$.price"),
            ({"price": -INF}, "$.price"),
            ({"weight": NAN}, "$.weight"),
            ({"wieght": 1.0}, "$.wieght"),
        ],
    )
    async def test_a_wrong_field_is_named(self, change: dict[str, Any], field: str) -> None:
        error = await refusal(TRADES, "update_position", {**POSITION, **change})
        assert isinstance(error, InvalidPayloadError)
        assert (error.operation, error.field) == ("update_position", field)
        assert field in str(error)
        assert "update_position" in str(error)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("missing", ["symbol", "shares", "price"])
    async def test_a_missing_field_is_named(self, missing: str) -> None:
        data = {key: value for key, value in POSITION.items() if key != missing}
        error = await refusal(TRADES, "update_position", data)
        assert isinstance(error, InvalidPayloadError)
        assert error.field == f"$.{missing}"

    @pytest.mark.asyncio
    async def test_a_nested_field_is_named_with_its_path(self) -> None:
        error = await refusal(SPREADS, "spread", {"legs": [{"price": 1.0}, {"price": "x"}]})
        assert isinstance(error, InvalidPayloadError)
        assert error.field == "$.legs[1].price"
        error = await refusal(SPREADS, "spread", {"legs": [{"size": 1}]})
        assert isinstance(error, InvalidPayloadError)
        assert error.field == "$.legs[0].price"

    @pytest.mark.asyncio
    @pytest.mark.parametrize("data", [None, 5, "text", [("symbol", "A")]])
    async def test_what_is_no_mapping_is_refused(self, data: Any) -> None:
        error = await refusal(TRADES, "update_position", data)
        assert isinstance(error, InvalidPayloadError)
        assert error.field == "$"

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", ["update_positoin", "", "record_trade@2"])
    async def test_an_unknown_operation_is_named_beside_the_known_ones(self, name: str) -> None:
        error = await refusal(TRADES, name, {})
        assert isinstance(error, UnknownOperationError)
        assert (error.operation, error.seq) == (name, None)
        assert repr(name) in str(error)
        assert f"(known: {', '.join(TRADES.operations)})" in str(error)

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        "operations",
        [
            ("update_position",),
            ("update_position", POSITION, POSITION),
            (("update_position",),),
            (("update_position", POSITION, 1),),
            (),
            (5,),
            (None,),
            ([("update_position", POSITION)],),
            (UpdatePosition,),
            ((5, POSITION),),
        ],
    )
    async def test_what_is_no_operation_is_refused(self, operations: tuple[Any, ...]) -> None:
        error = await refusal(TRADES, *operations)
        assert isinstance(error, InvalidPayloadError | UnknownOperationError)

    @pytest.mark.asyncio
    async def test_one_bad_operation_refuses_the_whole_group(self) -> None:
        good = UpdatePosition(symbol="A", shares=1.0, price=1.0)
        error = await refusal(TRADES, good, ("update_position", {**POSITION, "price": "x"}))
        assert isinstance(error, InvalidPayloadError)
        assert error.field == "$.price"


class TestRefusedObjects:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"real": "x"}, "$.real"),
            ({"real": True}, "$.real"),
            ({"real": NAN}, "$.real"),
            ({"real": 2**53 + 1}, "$.real"),
            ({"legs": (Leg(1.0), Leg(INF))}, "$.legs[1].price"),
            ({"legs": (Leg(NAN),)}, "$.legs[0].price"),
            ({"note": NAN}, "$.note"),
            ({"note": {"deep": [1, NAN]}}, "$.note['deep'][1]"),
            ({"note": (1, 2)}, "$.note"),
            ({"note": {"a": {1, 2}}}, "$.note['a']"),
            ({"by_strike": Map({1: Map({"bid": "x"})})}, "$.by_strike"),
            ({"at": "tomorrow"}, "$.at"),
        ],
    )
    async def test_a_value_that_does_not_survive_is_named(
        self, fields: dict[str, Any], field: str
    ) -> None:
        error = await refusal(SPREADS, spread_with(**fields))
        assert isinstance(error, InvalidPayloadError)
        assert error.operation == "spread"
        assert error.field.startswith(field)
        assert field in str(error)

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("note", "change"),
        [
            ({"legs": (1, 2)}, "(1, 2) (tuple) is read back as [1, 2] (list): pass a list - at"),
            (date(2026, 3, 2), "is read back as '2026-03-02' (str) - at"),
            (NAN, "does not survive being recorded - at"),  # reads as it was, and equals nothing
        ],
    )
    async def test_the_change_is_told(self, note: object, change: str) -> None:
        assert change in str(await refusal(SPREADS, spread_with(note=note)))

    @pytest.mark.asyncio
    @pytest.mark.parametrize("value", [object(), 2**64, -(2**63) - 1, "\ud800", {1j: 2}, print])
    async def test_a_value_that_cannot_be_encoded_is_named(self, value: object) -> None:
        error = await refusal(SPREADS, spread_with(note=value))
        assert isinstance(error, InvalidPayloadError)
        assert error.field.startswith("$.note")

    @pytest.mark.asyncio
    async def test_a_value_that_contains_itself_is_refused(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        error = await refusal(SPREADS, spread_with(note=endless))
        assert isinstance(error, InvalidPayloadError)

    @pytest.mark.asyncio
    async def test_nan_in_a_trade_is_refused(self) -> None:
        trade = RecordTrade(trade_id="1", symbol="A", side="buy", shares=1.0, price=NAN)
        error = await refusal(TRADES, trade)
        assert isinstance(error, InvalidPayloadError)
        assert (error.operation, error.field) == ("record_trade", "$.price")

    @pytest.mark.asyncio
    async def test_an_operation_without_a_handler_is_refused(self) -> None:
        error = await refusal(TRADES, Unregistered())
        assert isinstance(error, UnknownOperationError)
        assert (error.operation, error.seq) == ("unregistered", None)
        assert "install its plugin" in str(error)

    @pytest.mark.asyncio
    async def test_a_subclass_of_a_known_payload_is_another_operation(self) -> None:
        class UpdatePositionTwice(UpdatePosition):
            pass

        error = await refusal(TRADES, UpdatePositionTwice(**POSITION))
        assert isinstance(error, UnknownOperationError)


class TestRefusedKeysAndMetadata:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("attached", "field"),
        [
            ({"key": 5}, "$key"),
            ({"metadata": {"a": NAN}}, "$metadata['a']"),
            ({"metadata": {"a": (1, 2)}}, "$metadata['a']"),
            ({"metadata": {"a": object()}}, "$metadata"),
            ({"metadata": {5: "a"}}, "$metadata"),
            ({"metadata": 5}, "$metadata"),
            ({"metadata": "text"}, "$metadata"),
            ({"metadata": [1]}, "$metadata"),
        ],
    )
    async def test_the_part_is_named(self, attached: dict[str, Any], field: str) -> None:
        error = await refusal(SPREADS, Spread(), **attached)
        assert isinstance(error, InvalidPayloadError)
        assert error.field.startswith(field)
        assert "`" not in error.field


class TestRoundTrip:
    FULL = Spread(
        legs=(Leg(1.5), Leg(-0.0, 3)),
        note={"a": [1, 2.5, None, True, "ü", b"\0"]},
        at=datetime(2024, 1, 15, 9, 30, 0, 123456, UTC),
        exact=Decimal("0.10"),
        id=UUID(int=7),
        raw=b"\xff\0",
        tags=frozenset({"x", "y"}),
        by_strike=Map({100: Map({"bid": 1.25})}),
        loose={"k": {"n": 1}},
        real=-1e-300,
    )

    def test_every_kind_of_value_comes_back_as_it_was(self) -> None:
        event = Event(3, -5, self.FULL, "key", {"by": {"desk": 7}})
        decoded, encoded = EventCodec([Spread]).round_trip(event)
        assert decoded == event
        assert decoded.data == self.FULL
        assert type(decoded.data.by_strike) is Map
        assert type(decoded.data.by_strike[100]) is Map
        assert msgspec.msgpack.decode(encoded)[0] == 3

    def test_an_integer_for_a_float_is_recorded_as_a_float(self) -> None:
        decoded, _ = EventCodec([Spread]).round_trip(Event(1, 0, spread_with(real=3)))
        assert (decoded.data.real, type(decoded.data.real)) == (3.0, float)

    def test_what_comes_back_shares_nothing_with_the_original(self) -> None:
        inner: list[int] = [1]
        loose = {"a": inner}
        metadata = {"m": inner}
        decoded, _ = EventCodec([Spread]).round_trip(
            Event(1, 0, spread_with(loose=loose), None, metadata)
        )
        inner.append(2)
        loose["b"] = inner
        assert decoded.data.loose == {"a": [1]}
        assert decoded.metadata == {"m": [1]}

    def test_concatenated_events_are_decoded_in_one_call(self) -> None:
        codec = EventCodec([Spread, Unregistered])
        events = [
            Event(seq, seq, Spread(real=float(seq)) if seq % 2 else Unregistered(amount=seq))
            for seq in range(5, 105)
        ]
        body = b"".join(codec.encode(event) for event in events)
        assert codec.decode(array_header(100) + body, 100, 5) == events
        assert codec.encode_all(events) == body

    @pytest.mark.parametrize("count", [1, 15, 16, 17, 65_535, 65_536])
    def test_encoding_many_at_once_is_the_same(self, count: int) -> None:
        codec = EventCodec()
        events = [Event(seq, 0, None) for seq in range(1, count + 1)]
        body = codec.encode_all(events)
        assert codec.decode(array_header(count) + body, count, 1) == events

    def test_any_tool_can_read_a_record(self) -> None:
        body = EventCodec([Unregistered]).encode(Event(1, 2, Unregistered(amount=3), "k"))
        assert msgspec.msgpack.decode(array_header(1) + body) == [
            [1, 2, {"op": "unregistered", "amount": 3}, "k", None]
        ]


class TestDecoding:
    """Return the errors of recovery for a record that does not decode."""

    @staticmethod
    def body(*data: Any, first: int = 1) -> bytes:
        return msgspec.msgpack.encode(
            [[seq, 0, item, None, None] for seq, item in enumerate(data, first)]
        )

    @pytest.mark.parametrize("known", [[Spread], [Spread, Unregistered]])
    def test_an_unknown_operation_is_named_with_its_number(self, known: list[Any]) -> None:
        body = self.body({"op": "spread"}, {"op": "roll@3"}, {"op": "spread"}, first=40)
        with pytest.raises(UnknownOperationError, match="event 41 is a 'roll@3'") as caught:
            EventCodec(known).decode(body, 3, 40)
        assert (caught.value.operation, caught.value.seq) == ("roll", 41)
        assert "install" in str(caught.value)

    def test_an_event_that_does_not_fit_its_class_any_more_is_named(self) -> None:
        body = self.body({"op": "spread"}, {"op": "spread", "real": "x"}, first=8)
        with pytest.raises(InvalidPayloadError, match="event 9") as caught:
            EventCodec([Spread]).decode(body, 2, 8)
        assert caught.value.operation == "spread"

    @pytest.mark.parametrize("body", [b"", b"\xc1", b"\x95\x01"])
    def test_bytes_that_are_no_events_are_corruption(self, body: bytes) -> None:
        with pytest.raises(CorruptLogError) as caught:
            EventCodec([Spread]).decode(body, 1, 12)
        assert caught.value.expected_seq == 12

    def test_events_of_other_numbers_are_corruption(self) -> None:
        body = self.body({"op": "spread"}, {"op": "spread"}, first=8)
        with pytest.raises(CorruptLogError, match="holds 8 to 9") as caught:
            EventCodec([Spread]).decode(body, 2, 7)
        assert caught.value.expected_seq == 7

    def test_a_new_field_with_a_default_reads_old_events(self) -> None:
        events = EventCodec([Spread]).decode(self.body({"op": "spread", "real": 2.0}), 1, 1)
        assert events[0].data == Spread(real=2.0)

    def test_a_field_that_is_gone_is_passed_over(self) -> None:
        events = EventCodec([Unregistered]).decode(
            self.body({"op": "unregistered", "amount": 2, "old": 1}), 1, 1
        )
        assert events[0].data == Unregistered(amount=2)


class TestGroups:
    """Several events take one call each way. The result equals the results of single calls."""

    def group(self, *payloads: Spread) -> list[Event[Spread]]:
        return [Event(seq, 1_000, data, "k", {"m": 1}) for seq, data in enumerate(payloads, 7)]

    @pytest.mark.parametrize("count", [2, 15, 16, 300])
    def test_the_bytes_are_those_of_each_event(self, count: int) -> None:
        codec = SPREADS.codec
        plain = [spread_with(note=number, tags=frozenset("a")) for number in range(count)]
        events, body = codec.round_trips(self.group(*plain))
        each = [codec.round_trip(event) for event in self.group(*plain)]
        assert (events, body) == ([event for event, _ in each], b"".join(b for _, b in each))
        assert codec.decode(array_header(count) + body, count, 7) == events

    @pytest.mark.parametrize("place", [0, 1, 2])
    @pytest.mark.parametrize(
        ("bad", "field"),
        [
            (spread_with(legs=(Leg(1.0), Leg(INF))), "$.legs[1].price"),  # cannot be decoded
            (spread_with(note=object()), "$.note"),  # cannot be encoded
            (spread_with(note=(1, 2)), "$.note"),  # is another value afterwards
        ],
    )
    @pytest.mark.asyncio
    async def test_the_one_to_blame_is_named(self, bad: Spread, field: str, place: int) -> None:
        group = [spread_with(note=number) for number in range(3)]
        group[place] = bad
        error = await refusal(SPREADS, *group)
        assert isinstance(error, InvalidPayloadError)
        assert error.field == field

    @pytest.mark.asyncio
    async def test_one_that_is_no_operation_refuses_all(self) -> None:
        error = await refusal(SPREADS, spread_with(), Unregistered(), spread_with())
        assert isinstance(error, UnknownOperationError)
        assert error.operation == "unregistered"


class TestFreeze:
    def test_the_copy_is_deep_and_cannot_change(self) -> None:
        plain: dict[str, Any] = {"a": [1, {"b": bytearray(b"x")}]}
        frozen = freeze(plain)
        plain["a"][1]["b"][0] = 0
        assert isinstance(frozen, Map)
        assert frozen["a"][0] == 1
        assert isinstance(frozen["a"], tuple)
        assert frozen["a"][1]["b"] == b"x"

    def test_a_mapping_of_any_kind_becomes_a_map(self) -> None:
        class Odd(dict[str, int], Mapping[str, int]):
            pass

        assert freeze(Odd(a=1)) == Map({"a": 1})


@pytest.mark.parametrize(
    ("reason", "field"),
    [
        ("Expected `int`, got `str` - at `$.a[0].b`", "$.a[0].b"),
        ("Object missing required field `a`", "$.a"),
        ("Object missing required field `a` - at `$.b`", "$.b.a"),
        ("Object contains unknown field `c`", "$.c"),
        ("Expected `object`, got `str`", "$"),
    ],
)
def test_the_field_of_a_reason(reason: str, field: str) -> None:
    assert field_of(reason) == field


refusals: list[Exception] = []
"""What the check of `Checked` raises now, for one symbol."""


class Checked(Operation):
    symbol: str

    def __post_init__(self) -> None:
        if refusals and self.symbol == "OLD":
            raise refusals[0]


@handler
def checked(state: Count, event: Event[Checked]) -> Count:
    return Count(state.events + 1)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "raised",
    [ValueError("no"), AssertionError("no"), KeyError("OLD"), ZeroDivisionError(),
     StopIteration("no"), RuntimeError("no"), MemoryError("no")],
    ids=repr,
)  # fmt: skip
async def test_a_payload_whose_own_check_raises(raised: Exception, tmp_path: Path) -> None:
    """A typed error with number and operation wherever history is read, and a refusal on append."""
    registry = HandlerRegistry(checked)
    try:
        async with EventStore.open(tmp_path, registry) as store:
            for symbol in ("A", "OLD", "B"):
                await store.append(Checked(symbol=symbol))
            old = Checked(symbol="OLD")
            groups: list[list[Any]] = [
                [old],
                [Checked(symbol="A"), old],
                [("checked", {"symbol": "OLD"})],
            ]
            refusals[:] = [raised]
            for group in groups:
                with pytest.raises(InvalidPayloadError):
                    await store.append(*group)
            assert store.seq == 3
        attempts: list[Callable[[], object]] = [
            lambda: list(read_events(tmp_path, registry)),
            lambda: list(replay(tmp_path, registry)),
            lambda: state_at(tmp_path, registry),
        ]
        for attempt in attempts:
            with pytest.raises(InvalidPayloadError, match=r"event 2 \(checked\)") as caught:
                attempt()
            assert caught.value.operation == "checked"
        with pytest.raises(InvalidPayloadError, match=r"event 2 \(checked\)"):
            await asyncio.wait_for(EventStore.open(tmp_path, registry), 10)
        assert len(list(read_events(tmp_path))) == 3
    finally:
        refusals.clear()


class Unequal(msgspec.Struct, frozen=True):
    value: int = 0

    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("cannot compare")

    __hash__ = None  # type: ignore[assignment]  # a field of a payload need not be hashable


@pytest.mark.parametrize(
    "part", [Decimal("sNaN"), Decimal("NaN"), float("nan"), Unequal(), {"a": Decimal("sNaN")}]
)
def test_what_cannot_be_compared_is_refused(part: Any) -> None:
    made: list[Any] = [Spread(note=part)]
    if isinstance(part, Decimal):
        made.append(Spread(exact=part))
    for data in made:
        alone = [Event(1, 0, data)]
        for events in (alone, [*alone, Event(2, 0, Spread())]):
            with pytest.raises(InvalidPayloadError):
                EventCodec([Spread]).round_trips(events)


class Moody(Operation):
    """A payload whose check refuses one of its calls."""

    refusals: ClassVar[list[bool]] = []

    def __post_init__(self) -> None:
        if self.refusals and self.refusals.pop():
            raise ValueError("not now")


def test_a_group_that_fails_where_each_event_passes_is_refused_with_the_reason() -> None:
    events: list[Event[Any]] = [Event(1, 0, Moody()), Event(2, 0, Moody())]
    Moody.refusals.append(True)
    with pytest.raises(InvalidPayloadError, match=r"not now.*in the group as a whole") as caught:
        EventCodec([Moody]).round_trips(events)
    assert isinstance(caught.value.__cause__, msgspec.ValidationError)
    assert EventCodec([Moody]).round_trips(events)[0] == events
