"""Executions and commissions are joined, in either order, told once or again."""

from __future__ import annotations

import itertools
from decimal import Decimal
from sys import float_info
from typing import Any

import pytest

from eventstore import Operation
from handlers import EngineState, trading_registry
from handlers.correct_trade import CorrectTrade
from handlers.errors import VenueMessageError
from handlers.record_trade import RecordTrade
from handlers.trade_fee import TradeFee
from handlers.venues.interactive_brokers import InteractiveBrokers
from tests.handlers.venues.cases import comparable, load_cases, meant

CASE = next(case for case in load_cases() if case.venue == "interactive-brokers")
EXECUTION = CASE.messages[0].raw
COMMISSION = CASE.messages[3].raw
BASE = "0000e215.5f7e7752.01"


def execution(exec_id: str, price: float = 200.5, **contract: Any) -> dict[str, Any]:
    told = {**EXECUTION["execution"], "execId": exec_id, "price": price}
    return {**EXECUTION, "contract": {**EXECUTION["contract"], **contract}, "execution": told}


def commission(exec_id: str, **report: Any) -> dict[str, Any]:
    told = {**COMMISSION["commissionReport"], "execId": exec_id, **report}
    return {**COMMISSION, "commissionReport": told}


def kinds(operations: list[Operation]) -> list[tuple[str, str]]:
    """Return fills and fees by the version they name."""
    found = []
    for one in operations:
        assert isinstance(one, RecordTrade | TradeFee)
        found.append((type(one).__name__, one.trade_id.rpartition(".")[2]))
    return found


def test_the_recorded_callbacks_mean_what_they_say_once_joined() -> None:
    adapter = InteractiveBrokers(gateway_zone="UTC")
    told = [adapter.operations(message.raw) for message in CASE.messages]
    means = [list(map(meant, message.means or [])) for message in CASE.messages]
    early = means[1]
    means[1] = []
    means[2] = means[2] + early
    assert [list(map(comparable, one)) for one in told] == [
        list(map(comparable, one)) for one in means
    ]
    assert not adapter.waiting


def test_any_order_gives_the_same_operations() -> None:
    messages = [message.raw for message in CASE.messages[:6]]
    expected: set[str] | None = None
    for order in itertools.permutations(messages):
        adapter = InteractiveBrokers(gateway_zone="UTC")
        found = {repr(one) for raw in order for one in adapter.operations(raw)}
        expected = expected or found
        assert found == expected
        assert len(found) == 6
        assert not adapter.waiting


def test_a_commission_waits_for_its_execution() -> None:
    adapter = InteractiveBrokers()
    early = commission(f"{BASE}.01")
    assert adapter.operations(early) == []
    assert adapter.operations(early) == []
    assert list(adapter.waiting) == [early]
    assert kinds(adapter.operations(execution(f"{BASE}.01"))) == [
        ("RecordTrade", "01"),
        ("TradeFee", "01"),
    ]
    assert not adapter.waiting
    assert kinds(adapter.operations(execution(f"{BASE}.01"))) == [("RecordTrade", "01")]
    assert kinds(adapter.operations(early)) == [("TradeFee", "01")]


def test_later_versions_of_the_api_name_the_commission_otherwise() -> None:
    adapter, later = InteractiveBrokers(), commission(f"{BASE}.01")["commissionReport"]
    later["commissionAndFees"] = later.pop("commission")
    adapter.operations(EXECUTION)
    told = adapter.operations(
        {"callback": "commissionAndFeesReport", "commissionAndFeesReport": later}
    )
    assert told == adapter.operations(COMMISSION)
    with pytest.raises(VenueMessageError, match="unknown fields: commission"):
        adapter.operations({"callback": "commissionReport", "commissionReport": later})


@pytest.mark.parametrize(
    ("raw", "inside"),
    [(EXECUTION, "execution"), (EXECUTION, "contract"), (COMMISSION, "commissionReport")],
)
def test_a_field_outside_the_documentation_is_refused_or_ignored(
    raw: dict[str, Any], inside: str
) -> None:
    added = {**raw, inside: {**raw[inside], "added": 1}}
    with pytest.raises(VenueMessageError, match="added") as refused:
        InteractiveBrokers().operations(added)
    assert refused.value.message is added
    ignoring = InteractiveBrokers(unknown_fields="ignore")
    assert ignoring.operations(added) == InteractiveBrokers().operations(raw)


def test_no_more_commissions_wait_than_the_limit() -> None:
    adapter = InteractiveBrokers(waiting_limit=1)
    adapter.operations(commission("a.b.01"))
    adapter.operations(commission("a.b.01"))
    with pytest.raises(VenueMessageError, match="reqExecutions"):
        adapter.operations(commission("a.c.01"))
    adapter.operations(execution("a.b.01"))
    assert adapter.operations(commission("a.c.01")) == []


@pytest.mark.parametrize(
    "unset", [float_info.max, "1.7976931348623157E308", Decimal("1.7976931348623157e308")]
)
def test_a_commission_that_is_unset_is_no_commission(unset: Any) -> None:
    adapter = InteractiveBrokers()
    assert adapter.operations(commission("a.b.01", commission=unset)) == []
    assert not adapter.waiting


@pytest.mark.parametrize("unset", [Decimal(2**127 - 1), float(2**127 - 1)])
def test_a_quantity_that_is_unset_is_refused(unset: Any) -> None:
    told = {**EXECUTION, "execution": {**EXECUTION["execution"], "shares": unset}}
    with pytest.raises(VenueMessageError, match="unset"):
        InteractiveBrokers().operations(told)


def test_the_memory_of_executions_is_bounded() -> None:
    adapter = InteractiveBrokers(remembered=2)
    for number in range(4):
        adapter.operations(execution(f"a.{number}.01"))
    assert adapter.operations(commission("a.0.01")) == []
    assert kinds(adapter.operations(commission("a.3.01"))) == [("TradeFee", "01")]
    assert kinds(adapter.operations(execution("a.0.01"))) == [
        ("RecordTrade", "01"),
        ("TradeFee", "01"),
    ]


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ("1", "fill 1"),
        ("1 1", "fill 1, fill 1"),
        ("1 2", "fill 1, 2 for 1"),
        ("1 2 3", "fill 1, 2 for 1, 3 for 1"),
        ("1 3", "fill 1, 3 for 1"),
        ("1 3 2", "fill 1, 3 for 1, 2 for 1"),
        ("1 2 1 2", "fill 1, 2 for 1, fill 1, 2 for 1"),
        ("1 2 3 2", "fill 1, 2 for 1, 3 for 1, 2 for 1"),
        ("2", "2 for 1"),
        ("2 1", "2 for 1, fill 1"),
        ("2 1 2", "2 for 1, fill 1, 2 for 1"),
        ("3 1 2", "3 for 1, fill 1, 2 for 1"),
        ("2 3", "2 for 1, 3 for 1"),
    ],
)
def test_a_later_version_replaces_all_earlier_ones(versions: str, expected: str) -> None:
    adapter = InteractiveBrokers()
    found = []
    for version in versions.split():
        for one in adapter.operations(execution(f"{BASE}.0{version}", float(version))):
            assert isinstance(one, RecordTrade | CorrectTrade)
            assert one.price == int(version)
            if isinstance(one, CorrectTrade):
                found.append(f"{one.new_trade_id[-1]} for {one.trade_id[-1]}")
            else:
                found.append(f"fill {one.trade_id[-1]}")
    assert ", ".join(found) == expected


def test_the_number_of_the_first_version_is_as_long_as_that_of_the_later_one() -> None:
    (correct,) = InteractiveBrokers().operations(execution("a.b.002"))
    assert isinstance(correct, CorrectTrade)
    assert (correct.trade_id, correct.new_trade_id) == ("a.b.001", "a.b.002")


def test_a_correction_does_not_depend_on_the_memory() -> None:
    raw = execution(f"{BASE}.03")
    before = InteractiveBrokers()
    for version in (1, 2):
        before.operations(execution(f"{BASE}.0{version}"))
    assert before.operations(raw) == InteractiveBrokers().operations(raw)


def test_versions_and_their_commissions_in_any_order_make_the_same_books() -> None:
    """The last version has no commission of its own, and so that of the version before."""
    messages = [
        *(execution(f"{BASE}.0{version}", float(version)) for version in (1, 2, 3)),
        commission(f"{BASE}.01", commission=1.0),
        commission(f"{BASE}.02", commission=2.0),
    ]
    registry = trading_registry()
    for order in itertools.permutations(messages):
        adapter, state = InteractiveBrokers(accounts={"DU1234567": "main"}), EngineState()
        operations = [one for message in order * 2 for one in adapter.operations(message)]
        for number, operation in enumerate(operations, 1):
            (event,), _ = registry.record(number, number, [operation], None, None)
            state = registry.apply(state, event)
        (position,) = state.positions.values()
        assert position.average_price == 3
        assert state.fees == {"USD": 2}
        assert not adapter.waiting


def test_of_a_combination_the_legs_are_booked() -> None:
    adapter = InteractiveBrokers()
    adapter.operations(commission("a.b.01"))
    assert adapter.operations(execution("a.b.01", secType="BAG")) == []
    assert adapter.operations(commission("a.b.01")) == []
    assert not adapter.waiting
    assert kinds(adapter.operations(execution("a.c.01"))) == [("RecordTrade", "01")]


def test_names_of_the_user() -> None:
    adapter = InteractiveBrokers(
        accounts={"DU1234567": "paper"}, symbols={265598: "AAPL.US"}, venue="ib-2"
    )
    fill, fee = (*adapter.operations(EXECUTION), *adapter.operations(COMMISSION))
    for one in (fill, fee):
        assert isinstance(one, RecordTrade | TradeFee)
        assert (one.account, one.symbol, one.venue) == ("paper", "AAPL.US", "ib-2")


def test_a_refused_message_leaves_nothing_behind() -> None:
    adapter = InteractiveBrokers()
    for raw in (execution("a.b.01", secType="BOND"), commission("a.b.01", commission="NaN")):
        with pytest.raises(VenueMessageError):
            adapter.operations(raw)
    assert not adapter.waiting
    assert adapter.operations(commission("a.b.01")) == []


def test_a_time_without_a_zone_is_left_out_unless_the_zone_is_told() -> None:
    raw = CASE.messages[6].raw
    (fill,) = InteractiveBrokers().operations(raw)
    assert isinstance(fill, RecordTrade)
    assert fill.time is None
    (fill,) = InteractiveBrokers(gateway_zone="UTC").operations(raw)
    assert isinstance(fill, RecordTrade)
    assert fill.time == 1_772_462_161_000_000_000


def test_other_callbacks() -> None:
    adapter = InteractiveBrokers()
    assert adapter.operations({"callback": "execDetailsEnd", "reqId": 7}) == []
    with pytest.raises(VenueMessageError, match="unknown callback"):
        adapter.operations({"callback": "tickPrice"})


@pytest.mark.parametrize("settings", [{"venue": ""}, {"unknown_fields": "warn"}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        InteractiveBrokers(**settings)
