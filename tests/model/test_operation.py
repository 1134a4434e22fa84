"""Payload classes, events and receipts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from eventstore import Event, Operation, Receipt, RegistrationError, StoreFailedError
from eventstore.model.operation import OPERATION_FIELD, operation_name, tag_of

MAKE: Any = type(Operation)
"""Make a class as a class statement does."""


class PayDividend(Operation, tag="pay_dividend"):
    symbol: str
    amount: float
    note: str | None = None


class PayDividendGross(Operation, tag="pay_dividend", version=2):
    symbol: str
    gross: float


class RecordHTTPError(Operation):
    code: int


class Nested(PayDividend):
    extra: int = 0


class TestPayloadClass:
    def test_it_is_frozen(self) -> None:
        payload: Any = PayDividend(symbol="A", amount=1.0)
        with pytest.raises(AttributeError, match="immutable"):
            payload.amount = 2.0

    def test_the_decorator_of_dataclasses_is_refused(self) -> None:
        with pytest.raises(RegistrationError, match="Leave the decorator out"):
            dataclass(Nested)
        Nested.remark = "set as on any class"

    def test_it_is_hashable_and_compares_by_value(self) -> None:
        one, other = (PayDividend(symbol="A", amount=1.0) for _ in range(2))
        assert one == other
        assert hash(one) == hash(other)
        assert one != PayDividend(symbol="A", amount=2.0)

    def test_it_takes_keywords_only(self) -> None:
        make: Any = PayDividend
        with pytest.raises(TypeError, match="positional"):
            make("A", 1.0)

    def test_a_required_field_may_follow_an_optional_one(self) -> None:
        class Odd(Operation):
            first: int = 1
            second: int

        assert Odd(second=2).first == 1

    def test_the_tag_is_the_name(self) -> None:
        assert tag_of(PayDividend) == operation_name(PayDividend) == "pay_dividend"

    @pytest.mark.parametrize(
        ("name", "tag"),
        [
            ("Deposit", "deposit"),
            ("UpdatePosition", "update_position"),
            ("RecordHTTPError", "record_http_error"),
            ("RollV2", "roll_v2"),
            ("X", "x"),
        ],
    )
    def test_without_a_tag_it_is_the_class_name_in_snake_case(self, name: str, tag: str) -> None:
        made = MAKE(name, (Operation,), {"__annotations__": {}})
        assert tag_of(made) == tag

    def test_a_version_is_in_the_tag_but_not_in_the_name(self) -> None:
        assert tag_of(PayDividendGross) == "pay_dividend@2"
        assert operation_name(PayDividendGross) == "pay_dividend"

    def test_subclasses_of_a_payload_are_as_strict_and_have_a_tag_of_their_own(self) -> None:
        made: Any = Nested(symbol="A", amount=1.0)
        assert tag_of(Nested) == "nested"
        with pytest.raises(AttributeError, match="immutable"):
            made.extra = 1

    @pytest.mark.parametrize("option", ["frozen", "kw_only"])
    def test_nobody_can_opt_out(self, option: str) -> None:
        with pytest.raises(TypeError, match=f"always {option}"):
            MAKE("Loose", (Operation,), {}, **{option: False})

    @pytest.mark.parametrize("tag", ["a@2", 7])
    def test_a_tag_that_would_be_misread_is_refused(self, tag: object) -> None:
        with pytest.raises(TypeError, match="tag"):
            MAKE("Odd", (Operation,), {}, tag=tag)

    @pytest.mark.parametrize("version", [0, -1, "2", 1.5])
    def test_an_impossible_version_is_refused(self, version: object) -> None:
        with pytest.raises(TypeError, match="version"):
            MAKE("Odd", (Operation,), {}, version=version)

    def test_it_is_recorded_with_field_names(self) -> None:
        plain = msgspec.msgpack.decode(msgspec.msgpack.encode(PayDividend(symbol="A", amount=1.0)))
        assert plain == {
            OPERATION_FIELD: "pay_dividend",
            "symbol": "A",
            "amount": 1.0,
            "note": None,
        }


class TestFromMapping:
    def test_builds_the_payload(self) -> None:
        made = PayDividend.from_mapping({"symbol": "A", "amount": 2})
        assert made == PayDividend(symbol="A", amount=2.0)
        assert type(made.amount) is float

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"symbol": "A"}, "missing required field `amount`"),
            ({"symbol": 1, "amount": 1.0}, r"Expected `str`, got `int` - at `\$.symbol`"),
            ({"symbol": "A", "amount": "1"}, r"Expected `float`, got `str` - at `\$.amount`"),
            ({"symbol": "A", "amount": True}, r"Expected `float`, got `bool`"),
            ({"symbol": "A", "amount": 1.0, "nto": "x"}, "unknown field `nto`"),
            ({"symbol": "A", "amount": 1.0, 5: "x"}, "unknown field `5`"),
            ("text", "Expected `object`, got `str`"),
            (None, "Expected `object`, got `null`"),
        ],
    )
    def test_is_strict(self, data: object, message: str) -> None:
        with pytest.raises(msgspec.ValidationError, match=message):
            PayDividend.from_mapping(data)


class TestEvent:
    EVENT = Event(7, 1_705_311_000_123_456_789, PayDividend(symbol="A", amount=1.0), "k", {"by": 1})

    def test_knows_its_operation_and_its_moment(self) -> None:
        assert self.EVENT.operation == "pay_dividend"
        assert self.EVENT.datetime == datetime(2024, 1, 15, 9, 30, 0, 123456, UTC)

    def test_the_operation_of_an_old_version_is_the_same(self) -> None:
        assert Event(1, 0, PayDividendGross(symbol="A", gross=1.0)).operation == "pay_dividend"

    def test_of_a_value_that_is_no_operation_it_is_the_type(self) -> None:
        assert Event(1, 0, {"a": 1}).operation == "dict"

    def test_it_is_an_array_on_disk(self) -> None:
        plain = msgspec.msgpack.decode(msgspec.msgpack.encode(self.EVENT))
        assert plain[:2] == [7, 1_705_311_000_123_456_789]
        assert plain[3:] == ["k", {"by": 1}]

    def test_it_cannot_be_changed(self) -> None:
        event: Any = self.EVENT
        with pytest.raises(AttributeError, match="immutable"):
            event.seq = 8


class TestReceipt:
    @pytest.mark.asyncio
    async def test_every_waiter_gets_the_receipt_itself(self) -> None:
        receipt = Receipt(3, 5, 42)
        waiters = [asyncio.ensure_future(_result(receipt)) for _ in range(3)]
        await asyncio.sleep(0)
        assert (receipt.done, repr(receipt)) == (False, "<Receipt seq=3..5 pending>")
        receipt.resolve()
        assert await asyncio.gather(*waiters) == [receipt] * 3
        assert await receipt is receipt
        assert (receipt.first_seq, receipt.seq, receipt.time) == (3, 5, 42)
        assert (receipt.done, receipt.error) == (True, None)
        assert repr(receipt) == "<Receipt seq=3..5 acknowledged>"

    @pytest.mark.asyncio
    async def test_cancelling_one_waiter_leaves_the_others_waiting(self) -> None:
        receipt = Receipt(1, 1, 0)
        gone, stays = (asyncio.ensure_future(_result(receipt)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        assert gone.cancelled()
        assert not stays.done()
        receipt.resolve()
        assert await stays is receipt
        assert await receipt is receipt

    @pytest.mark.asyncio
    async def test_a_failure_is_told_to_everyone_also_afterwards(self) -> None:
        receipt = Receipt(1, 1, 0)
        waiter = asyncio.ensure_future(_result(receipt))
        await asyncio.sleep(0)
        failure = ValueError("no")
        receipt.resolve(failure)
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                await receipt
        with pytest.raises(ValueError, match="no"):
            await waiter
        assert receipt.error is failure
        assert repr(receipt) == "<Receipt seq=1 failed: ValueError>"

    @pytest.mark.asyncio
    async def test_a_failure_that_is_told_often_keeps_no_frames(self) -> None:
        receipt = Receipt(1, 1, 0)
        waiters = [asyncio.ensure_future(_result(receipt)) for _ in range(3)]
        await asyncio.sleep(0)
        receipt.resolve(StoreFailedError("no", path="p", errno=5))
        told = await asyncio.gather(*waiters, return_exceptions=True)
        for _ in range(3):
            for ask in (lambda: _result(receipt), lambda: _state(receipt)):
                with pytest.raises(StoreFailedError, match="no") as raised:
                    await ask()
                assert raised.value.errno == 5
                told.append(raised.value)
        assert len(set(map(id, told))) == len(told), "each has an error of its own"
        assert receipt.error is not None
        assert receipt.error.__traceback__ is None


async def _state(receipt: Receipt) -> Any:
    return receipt.state


async def _result(receipt: Receipt) -> Receipt:
    return await receipt
