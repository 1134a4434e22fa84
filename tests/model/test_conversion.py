"""Plain data becomes a typed payload with nothing lost, or is refused."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypedDict

import immutables
import msgspec
import pytest

from eventstore import Event, EventStore, HandlerRegistry, InvalidPayloadError, Operation, handler
from eventstore.model.append_arguments import build_payload
from eventstore.model.conversion import are_unchanged, first_change, foreign_cure


class Leg(msgspec.Struct, frozen=True):
    symbol: str
    stop_loss: float | None = None


class Limit(msgspec.Struct, frozen=True, tag=1):
    price: float


class Market(msgspec.Struct, frozen=True, tag=2):
    most: float | None = None


class Level(msgspec.Struct, frozen=True, array_like=True):
    price: float
    size: float = 0.0


@dataclass(frozen=True)
class Note:
    text: str = ""


class Extra(TypedDict, total=False):
    venue: str


class Side(enum.Enum):
    BUY = "buy"


class Place(Operation):
    leg: Leg | None = None
    more: tuple[Leg, ...] = ()
    by_venue: dict[str, Leg] = msgspec.field(default_factory=dict)
    mapped: immutables.Map[str, float] = msgspec.field(default_factory=immutables.Map)
    order: Limit | Market | None = None
    levels: list[Level] = msgspec.field(default_factory=list)
    note: Note | None = None
    extra: Extra = msgspec.field(default_factory=lambda: Extra())
    amount: float = 0.0
    exact: Decimal | None = None
    weights: dict[float, int] = msgspec.field(default_factory=dict)
    sizes: frozenset[float] = frozenset()
    when: dt.datetime | None = None
    time: dt.time | None = None
    span: dt.timedelta | None = None
    days: dict[dt.date, float] = msgspec.field(default_factory=dict)
    side: Side | None = None
    ident: uuid.UUID | None = None
    blob: bytes = b""
    anything: Any = None


class Order(Operation, rename="camel"):
    order_id: str = ""
    limit_price: float = 0.0


class Trade(Operation):
    side: str = msgspec.field(name="type", default="?")


class Named(Operation):
    symbol: str
    price: float = 0.0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "symbol", self.symbol.upper())
        if self.price < 0:
            raise AssertionError("a price below zero")


@handler
def place(state: int, event: Event[Place]) -> int:
    return state + 1


CURRENT: Mapping[str, type[Operation]] = {
    "place": Place,
    "order": Order,
    "trade": Trade,
    "named": Named,
}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"mor": []}, "$.mor"),
        ({"leg": {"symbol": "A", "stop_los": 95.0}}, "$.leg.stop_los"),
        ({"more": [{"symbol": "A"}, {"symbol": "B", "stoploss": 1.0}]}, "$.more[1].stoploss"),
        ({"by_venue": {"X": {"symbol": "B", "stopLoss": 1.0}}}, "$.by_venue['X'].stopLoss"),
        ({"order": {"type": 1, "price": 1.0, "prize": 2.0}}, "$.order.prize"),
        ({"note": {"text": "a", "txt": "b"}}, "$.note.txt"),
        ({"extra": {"venu": "X"}}, "$.extra.venu"),
        ({"levels": [[1.0, 2.0, 3.0]]}, "$.levels[0]"),
        ({5: 1}, "$.5"),
    ],
    ids=str,
)
def test_a_key_that_is_no_field_is_refused_at_any_depth(data: Any, field: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        build_payload(CURRENT, "place", data)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"amount": Decimal("12345678901234567890.123456789")}, "$.amount"),
        ({"amount": Decimal("0.1")}, "$.amount"),
        ({"amount": Decimal("1e-400")}, "$.amount"),
        ({"amount": Decimal("1e400")}, "$.amount"),
        ({"amount": Decimal("sNaN")}, "$"),
        ({"amount": 2**60 + 1}, "$.amount"),
        ({"amount": 10**400}, "$.amount"),
        ({"exact": 0.1}, "$.exact"),
        ({"leg": {"symbol": "A", "stop_loss": 2**60 + 1}}, "$.leg.stop_loss"),
        ({"mapped": {"A": 2**60 + 1}}, "$.mapped['A']"),
        ({"by_venue": {"X": {"symbol": "A", "stop_loss": Decimal("0.1")}}}, None),
        ({"weights": {2**60 + 1: 1}}, None),
        ({"weights": {1: 1, Decimal("1." + "0" * 30 + "1"): 2}}, None),
        ({"sizes": [1.0, 2**60 + 1]}, "$.sizes[1]"),
        ({"levels": [[1.0, Decimal("0.1")]]}, "$.levels[0][1]"),
        ({"when": "2026-03-02T00:00:00.123456789Z"}, "$.when"),
        ({"time": "10:00:00.0000001"}, "$.time"),
        ({"span": "PT0.0000001S"}, "$.span"),
    ],
    ids=str,
)
def test_a_value_that_its_type_cannot_hold_is_refused(data: Any, field: str | None) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        build_payload(CURRENT, "place", data)
    if field is not None:
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("data", "made"),
    [
        ({}, Place()),
        ({"amount": 5}, Place(amount=5.0)),
        ({"amount": Decimal("1.5")}, Place(amount=1.5)),
        ({"exact": 0.5}, Place(exact=Decimal("0.5"))),
        ({"exact": 10**40}, Place(exact=Decimal(10**40))),
        ({"exact": "0.10"}, Place(exact=Decimal("0.10"))),
        ({"mapped": {"A": 1}}, Place(mapped=immutables.Map({"A": 1.0}))),
        ({"mapped": immutables.Map({"A": 1})}, Place(mapped=immutables.Map({"A": 1.0}))),
        ({"more": [Leg("A"), {"symbol": "B"}]}, Place(more=(Leg("A"), Leg("B")))),
        ({"order": {"type": 2, "most": 1}}, Place(order=Market(1.0))),
        ({"levels": [[1, 2], [3]]}, Place(levels=[Level(1.0, 2.0), Level(3.0)])),
        ({"note": {"text": "a"}}, Place(note=Note("a"))),
        ({"extra": {"venue": "X"}}, Place(extra={"venue": "X"})),
        ({"weights": {2: 1}}, Place(weights={2.0: 1})),
        ({"sizes": [1, 1.0, 2]}, Place(sizes=frozenset({1.0, 2.0}))),
        ({"when": "2026-03-02T00:00:00.1234560Z"},
         Place(when=dt.datetime(2026, 3, 2, 0, 0, 0, 123456, tzinfo=dt.UTC))),
        ({"days": {"2026-03-02": 1}}, Place(days={dt.date(2026, 3, 2): 1.0})),
        ({"side": "buy", "ident": str(uuid.UUID(int=7))},
         Place(side=Side.BUY, ident=uuid.UUID(int=7))),
        ({"blob": bytearray(b"x")}, Place(blob=b"x")),
        ({"anything": {"a": [1, None]}}, Place(anything={"a": [1, None]})),
    ],
    ids=str,
)  # fmt: skip
def test_everything_else_becomes_the_payload(data: Any, made: Place) -> None:
    found = build_payload(CURRENT, "place", data)
    assert found == made
    assert msgspec.msgpack.encode(found.amount) == msgspec.msgpack.encode(made.amount)


def test_fields_go_by_their_names_in_the_log() -> None:
    made = build_payload(CURRENT, "order", {"orderId": "A1", "limitPrice": 5})
    assert made == Order(order_id="A1", limit_price=5.0)
    with pytest.raises(InvalidPayloadError, match="recorded as `orderId`") as caught:
        build_payload(CURRENT, "order", {"order_id": "A1"})
    assert caught.value.field == "$.order_id"
    assert build_payload(CURRENT, "trade", {"type": "buy"}) == Trade(side="buy")
    with pytest.raises(InvalidPayloadError, match="recorded as `type`"):
        build_payload(CURRENT, "trade", {"side": "buy"})


def test_a_class_may_normalise_its_own_fields() -> None:
    made = build_payload(CURRENT, "named", {"symbol": "aapl", "price": 1})
    assert made == Named(symbol="AAPL", price=1.0)


@pytest.mark.parametrize("data", [None, 5, "symbol", [("symbol", "A")], Named, object()])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(InvalidPayloadError):
        build_payload(CURRENT, "named", data)


def test_whatever_the_class_raises_is_a_refusal() -> None:
    with pytest.raises(InvalidPayloadError, match="AssertionError: a price below") as caught:
        build_payload(CURRENT, "named", {"symbol": "A", "price": -1.0})
    assert isinstance(caught.value.__cause__, AssertionError)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "data",
    [
        {"amount": 1},
        {"amount": 2**53 + 1},
        {"amount": Decimal("0.5")},
        {"exact": 0.1},
        {"exact": Decimal("0.1")},
        {"sizes": frozenset({1.5})},
        {"weights": {1.5: 1}},
        {"mapped": immutables.Map({"A": 1.5})},
        {"leg": Leg("A", 1)},
        {"anything": (1, 2)},
        {"anything": float("nan")},
    ],
    ids=str,
)
async def test_a_mapping_stores_what_the_payload_stores(data: dict[str, Any]) -> None:
    """Or it is refused: never another value."""
    async with EventStore.in_memory(HandlerRegistry(place)) as store:
        stored: list[Any] = []
        for given in (("place", data), Place(**data)):
            try:
                await store.append(given)
            except InvalidPayloadError:
                stored.append(None)
            else:
                stored.append((await anext(store.events(store.seq))).data)
    by_name, typed = stored
    if by_name is not None:
        assert all(getattr(by_name, name) == given for name, given in data.items())
        assert typed in (None, by_name)


class TestWhatChangesOnItsWay:
    @pytest.mark.parametrize(
        ("given", "read", "path"),
        [
            ((1, 2), [1, 2], "$"),
            ({"legs": [(1,)]}, {"legs": [[1]]}, "$['legs'][0]"),
            ({Side.BUY: 1}, {"buy": 1}, "$ (a key)"),
            (bytearray(b"a"), b"a", "$"),
            (Leg("A"), {"symbol": "A", "stop_loss": 1.0}, "$.stop_loss"),
            (Leg("A"), {"symbol": "A"}, None),
            (Leg("A"), Leg("A"), None),
            (Leg("A", 1), Leg("A", 1.0), "$.stop_loss"),
            (immutables.Map({"a": (1,)}), {"a": [1]}, "$['a']"),
            (immutables.Map({"a": 1}), {"a": 1}, None),
            (immutables.Map({"a": Side.BUY}), immutables.Map({"a": "buy"}), "$['a']"),
            (immutables.Map({True: 1}), immutables.Map({1: 1}), "$ (a key)"),
            (immutables.Map({1: "a", 2: "b"}), immutables.Map({2: "b", 1: "a"}), None),
            (immutables.Map({"a": 1}), immutables.Map({"b": 1}), "$"),
            ({True, 2}, {1, 2}, "$[0]"),
            (frozenset({1}), frozenset({1.0}), "$[0]"),
            ({1, 2, 3}, {3, 2, 1}, None),
            ({1, 2}, {1, 3}, "$"),
            ([1, 2.0, "x", None, True], [1, 2.0, "x", None, True], None),
            (float("nan"), float("nan"), "$"),
            (1, True, "$"),
        ],
        ids=str,
    )
    def test_is_named_with_its_place(self, given: Any, read: Any, path: str | None) -> None:
        found = first_change(given, read, "$")
        assert (found is None) == (path is None)
        assert found is None or not are_unchanged([given], [read])
        assert found is None or not are_unchanged([Leg("A"), given, 7], [Leg("A"), read, 7])
        if path is not None:
            assert found is not None
            assert found.endswith(f" - at `{path}`")

    @pytest.mark.parametrize(
        "value",
        [
            *(1, None, "x", [1, 2.0, "x", None, True], {"a": {"b": [1]}}, (1, (2,)), Leg("A", 1)),
            *(Decimal("1.50"), {"a": Leg("A"), "b": (1,)}, []),
        ],
        ids=str,
    )
    def test_a_short_look_is_enough_for_most_values(self, value: Any) -> None:
        """The long way takes ten times as long, and an `EventLog` asks at each append."""
        assert are_unchanged([value], copy.deepcopy([value]))
        assert are_unchanged([Leg("A"), value, [7]], copy.deepcopy([Leg("A"), value, [7]]))

    def test_parts_that_move_to_the_next_value_are_noticed(self) -> None:
        assert not are_unchanged([[1, 2], [3]], [[1], [2, 3]])
        assert not are_unchanged([{"a": 1, "b": 2}, {}], [{"a": 1}, {"b": 2}])


def test_plain_data_needs_no_cure() -> None:
    assert foreign_cure({"a": [1, "x", (None, 2.5)], "b": {True}}) == ""
