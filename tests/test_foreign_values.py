"""Scalars of numpy and pandas are recorded as equal plain values, or refused with a cure."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from eventstore import (
    ConfigError,
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    InvalidPayloadError,
    Operation,
    SimulatedClock,
    handler,
    read_events,
    state_at,
)
from eventstore.foreign_values import with_plain_scalars
from eventstore.keys.key_text import key_text
from eventstore.moment import AtTime, place_of, seq_of

numpy: Any = pytest.importorskip("numpy")
pandas: Any = pytest.importorskip("pandas")

MOMENT = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
TIME = 1_772_461_800_000_000_000
DAY = TIME - 52_200 * 10**9

EQUAL: list[tuple[Any, Any]] = [
    (numpy.float64(0.1), 0.1),
    (numpy.float32(0.1), 0.10000000149011612),
    (numpy.float16(0.5), 0.5),
    (numpy.longdouble(0.5), 0.5),
    (numpy.int64(-(2**63)), -(2**63)),
    (numpy.uint64(2**64 - 1), 2**64 - 1),
    (numpy.bool_(True), True),
    (numpy.str_("Ä"), "Ä"),
    (numpy.bytes_(b"x"), b"x"),
    (numpy.datetime64("2026-03-02T14:30"), MOMENT),
    (numpy.datetime64(TIME, "ns"), MOMENT),
    (pandas.Timestamp(MOMENT), MOMENT),
    (pandas.Timestamp("2026-03-02 15:30", tz="Europe/Berlin"), MOMENT),
]
"""Scalars, and the plain values that they are recorded as."""

UNEQUAL: list[tuple[Any, str]] = [
    (numpy.longdouble("0.1"), "pass float(value)"),
    (numpy.longdouble("1e400"), "pass float(value)"),
    (numpy.float64("nan"), "read back as nan"),
    (numpy.complex128(1), "pass value.item()"),
    (numpy.datetime64("NaT", "us"), "pass None"),
    (numpy.datetime64(1, "ns"), 'pass value.astype("datetime64[us]")'),
    (numpy.datetime64("300000"), "cannot be recorded"),
    (numpy.timedelta64(1, "s"), 'pass value.astype("timedelta64[us]").item()'),
    (numpy.array(1.0), "pass float(value)"),
    (numpy.array([1.0]), "pass value.tolist()"),
    (pandas.Series([1.0]), "pass value.tolist()"),
    (pandas.Timestamp(1, tz="UTC"), 'pass value.floor("us")'),
    (pandas.Timestamp("2026-03-02"), "because it has no time zone"),
    (pandas.Timedelta(1), "pass value.to_pytimedelta()"),
    (pandas.NaT, "pass None"),
    (pandas.NA, "pass None"),
]
"""Values without an equal plain value, and what the error says."""


class Note(Operation, key="id"):
    id: Any = None
    value: Any = None
    price: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    count: int = 0
    text: str = ""
    flag: bool = False
    when: datetime | None = None


class Notes(msgspec.Struct, frozen=True):
    seen: tuple[Any, ...] = ()


@handler
def note(state: Notes, event: Event[Note]) -> Notes:
    return Notes((*state.seen, event.data.value))


REGISTRY = HandlerRegistry(note)


def exact(value: Any) -> tuple[Any, type[Any]]:
    return value, type(value)


@pytest.mark.asyncio
@pytest.mark.parametrize(("given", "plain"), EQUAL, ids=repr)
async def test_a_scalar_is_recorded_as_the_equal_plain_value(
    given: Any, plain: Any, tmp_path: Path
) -> None:
    """In payloads, mappings and metadata alike, and live as in recovery."""
    async with EventStore.open(tmp_path, REGISTRY) as store:
        one = await store.append(Note(value=given), metadata={"deep": [{"m": given}]})
        await store.append("note", {"value": given})
        await store.append(Note(value={"deep": [given]}), ("note", {"value": given}))
        live = store.state
    assert exact(one.events[0].data.value) == exact(plain)
    assert one.events[0].metadata == {"deep": [{"m": plain}]}
    assert list(map(exact, live.seen[:2])) == [exact(plain)] * 2
    assert live.seen[2:] == ({"deep": [plain]}, plain)
    assert state_at(tmp_path, REGISTRY, 4) == live
    read = [event.data.value for event in read_events(tmp_path, REGISTRY)]
    assert list(map(exact, read[:2])) == [exact(plain)] * 2


@pytest.mark.asyncio
@pytest.mark.parametrize(("given", "says"), UNEQUAL, ids=repr)
async def test_any_other_is_refused_with_the_cure(given: Any, says: str) -> None:
    async with EventStore.in_memory(REGISTRY) as store:
        for arguments, metadata, field in (
            ((Note(value=given),), None, "$.value"),
            ((Note(), Note(value=given)), None, "$.value"),
            (("note", {"value": given}), None, "$.value"),
            ((Note(value=[given]),), None, "$.value[0]"),
            ((Note(),), {"m": given}, "$metadata['m']"),
        ):
            with pytest.raises(InvalidPayloadError) as caught:
                await store.append(*arguments, metadata=metadata)
            assert says in str(caught.value)
            assert caught.value.field == field
        assert store.seq == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("field", "given", "plain"),
    [
        ("price", numpy.float64(1.5), 1.5),
        ("price", numpy.int64(2), 2.0),
        ("count", numpy.int64(2), 2),
        ("text", numpy.str_("x"), "x"),
        ("flag", numpy.bool_(True), True),
        ("when", numpy.datetime64("2026-03-02T14:30"), MOMENT),
        ("when", pandas.Timestamp(MOMENT), MOMENT),
    ],
)
async def test_typed_fields_take_scalars(field: str, given: Any, plain: Any) -> None:
    async with EventStore.in_memory(REGISTRY) as store:
        for operation in (Note(**{field: given}), ("note", {field: given})):
            recorded = (await store.append(operation)).events[0].data
            assert exact(getattr(recorded, field)) == exact(plain)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("field", "given", "says"),
    [
        ("count", numpy.float64(2), "Expected `int`, got `float`"),
        ("price", numpy.bool_(True), "Expected `float`, got `bool`"),
        ("price", numpy.float64(0), "Expected `float` > 0"),
        ("price", pandas.Timestamp(MOMENT), "Expected `float`, got"),
    ],
)
async def test_typed_fields_refuse_the_plain_value_of_another_type(
    field: str, given: Any, says: str
) -> None:
    async with EventStore.in_memory(REGISTRY) as store:
        for operation in (Note(**{field: given}), ("note", {field: given})):
            with pytest.raises(InvalidPayloadError, match=says) as caught:
                await store.append(operation)
            assert "pass" not in str(caught.value)


@pytest.mark.asyncio
async def test_a_log_of_plain_values_takes_scalars(tmp_path: Path) -> None:
    async with EventLog.open(tmp_path) as log:
        for given, _ in EQUAL:
            await log.append(given, metadata={"m": given})
        await log.append({numpy.str_("k"): [numpy.int64(1)]})
        with pytest.raises(InvalidPayloadError, match="float"):
            await log.append([numpy.longdouble("0.1")])
        read = [event async for event in log.read()]
    plain = [*(value for _, value in EQUAL), {"k": [1]}]
    assert [exact(event.data) for event in read] == list(map(exact, plain))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "plain"),
    [(numpy.int64(7), 7), (numpy.str_("t"), "t"), (pandas.Timestamp(MOMENT), MOMENT)],
)
async def test_told_with_a_scalar_and_with_the_plain_value_is_told_twice(
    given: Any, plain: Any
) -> None:
    async with EventStore.in_memory(REGISTRY) as store:
        await store.append(Note(id=given, value=numpy.float64(0.1)))
        assert (await store.append(Note(id=plain, value=0.1))).duplicate
        assert (await store.append(Note(id=given, value=numpy.float64(0.1)))).duplicate
        assert store.state == Notes((0.1,))
    assert key_text(given, "note") == key_text(plain, "note")


def test_a_set_of_moments_has_no_equal_that_is_looked_for() -> None:
    payload = Note(value={numpy.datetime64("2026-03-02")})
    with pytest.raises(InvalidPayloadError, match=r"at `\$\.value`"):
        REGISTRY.record(1, 0, [payload], None, None)


def test_a_list_within_itself_stays() -> None:
    endless: list[Any] = [numpy.int64(1)]
    endless.append(endless)
    made = with_plain_scalars(endless)
    assert type(made[0]) is int
    with pytest.raises(InvalidPayloadError):
        REGISTRY.payload("note", {"price": numpy.float64(1), "value": endless, "text": 5})


class TestMoments:
    @pytest.mark.parametrize(
        ("given", "place"),
        [
            (numpy.int64(3), 3),
            (numpy.uint64(TIME), AtTime(TIME, TIME)),
            (numpy.datetime64("2026-03-02T14:30"), AtTime(TIME, TIME + 999)),
            (numpy.datetime64(TIME // 1000, "us"), AtTime(TIME, TIME + 999)),
            (numpy.datetime64(TIME, "ns"), AtTime(TIME, TIME)),
            (numpy.datetime64(TIME + 1, "ns"), AtTime(TIME + 1, TIME + 1)),
            (numpy.datetime64(7000, "ps"), AtTime(7, 7)),
            (numpy.datetime64("2026-03-02"), AtTime(DAY, DAY + 999)),
            (numpy.str_("2026-03-02T14:30:00Z"), AtTime(TIME, TIME + 999)),
        ],
        ids=repr,
    )
    def test_of_numpy(self, given: Any, place: Any) -> None:
        assert place_of(given, "at") == place
        if type(place) is AtTime and not isinstance(given, str):
            assert SimulatedClock(given).time_ns() == place.first

    @pytest.mark.parametrize(
        "given",
        [
            numpy.float64(3),
            numpy.bool_(True),
            numpy.datetime64("NaT", "us"),
            numpy.datetime64("NaT", "ns"),
            numpy.datetime64(7001, "ps"),
            numpy.datetime64("300000"),
            numpy.array(3),
        ],
        ids=repr,
    )
    def test_that_are_none(self, given: Any) -> None:
        with pytest.raises(ConfigError, match="is no moment"):
            place_of(given, "at")
        with pytest.raises(ConfigError, match="is no moment"):
            SimulatedClock(given)

    def test_a_sequence_number_of_numpy(self) -> None:
        assert exact(seq_of(numpy.int64(5), "start")) == exact(5)
        for given in (numpy.int64(10**15), numpy.float64(5), numpy.datetime64(5, "ns")):
            with pytest.raises(ConfigError, match="sequence number"):
                seq_of(given, "start")

    def test_a_timestamp_without_a_time_zone_is_refused_with_the_cure(self) -> None:
        with pytest.raises(ConfigError, match=r'pass value.tz_localize\("UTC"\)'):
            place_of(pandas.Timestamp("2026-03-02"), "at")
