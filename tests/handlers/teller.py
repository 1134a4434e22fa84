"""From the steps of a random tape to messages that make sense in the ledger as it is.

The teller looks at the ledger for what a step refers to: the quantity that closes a position, the
fill that is busted. A message may be held back for some messages, so amendments come before the
fill that they amend.

The teller leaves out what the rules leave open: a fill with two busts, a version of a fill with two
corrections, a second fee for one fill, an order that opens again after the close, a ratio of a
split that makes a quantity without a finite decimal.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from typing import Any, Literal, NamedTuple, TypeVar

from tests.handlers.fraction_ledger import Ledger
from tests.handlers.messages import (
    Bust,
    Cash,
    Correct,
    Fill,
    FillFee,
    Mark,
    Message,
    Order,
    PositionSide,
    Settlement,
    Side,
    Split,
    Transfer,
)
from tests.handlers.tape_steps import (
    ACCOUNTS,
    RATIOS,
    SETTLED,
    SPLITS,
    SPLITTING,
    SPOT,
    VENUES,
    AgainStep,
    AmendStep,
    CashStep,
    CloseStep,
    FeeOf,
    FillStep,
    InKindStep,
    MarkStep,
    OrderStep,
    OtherwiseStep,
    Place,
    SettleStep,
    SplitStep,
    Step,
    Tape,
    TransferStep,
)

__all__ = ["Spoken", "Teller"]

T = TypeVar("T")


class Spoken(NamedTuple):
    """A message, and the form in which its numbers are recorded."""

    message: Message
    form: int


@dataclass
class _Known:
    """A fill that was made up, told already or not: its versions, and what may still be said."""

    versions: list[Fill]
    busted: bool = False
    fee_given: bool = False

    def is_open(self, to_fee: bool) -> bool:
        return not self.busted and not (to_fee and self.fee_given)


@dataclass
class Teller:
    """Turn steps into messages that make sense in the ledger as it is."""

    ledger: Ledger
    symbols: tuple[str, ...]
    held_back: deque[tuple[int, Spoken]] = field(default_factory=deque)
    told: list[Spoken] = field(default_factory=list)
    known: list[_Known] = field(default_factory=list)
    ids: Counter[Any] = field(default_factory=Counter)
    closed_orders: set[tuple[Any, ...]] = field(default_factory=set)

    def tell(self, tape: Tape) -> Iterator[Spoken]:
        """Yield message by message. The caller tells each to the ledger before the next."""
        for step in tape.steps:
            yield from self._take(step)
        while self.held_back:
            yield from self._release()

    def _take(self, step: Step) -> Iterator[Spoken]:
        with localcontext(prec=1000):
            message = self._message(step)
        if message is not None:
            spoken = Spoken(message, step.place.form)
            self.held_back.append((step.place.held_back, spoken))
        yield from self._release()

    def _release(self) -> Iterator[Spoken]:
        due = [spoken for wait, spoken in self.held_back if wait <= 0]
        self.held_back = deque((wait - 1, spoken) for wait, spoken in self.held_back if wait > 0)
        for message, form in due:
            spoken = Spoken(replace(message, time=self._time(message, form)), form)
            self.told.append(spoken)
            yield spoken

    def _time(self, message: Message, form: int) -> str | None:
        """Return a venue's time, which decides nothing. What is told again has another time, and
        times are in no order. Only last prices and the states of an order come in their order.
        """
        if form == 2:
            return None
        seconds = len(self.told)
        if not isinstance(message, Mark | Order):
            seconds = seconds * 29 % 97
        return f"2026-03-02T14:{30 + seconds // 60}:{seconds % 60:02}.{self.ids.total():06}Z"

    def _message(self, step: Step) -> Message | None:
        match step:
            case FillStep():
                return self._fill(step)
            case CloseStep():
                return self._close(step)
            case AmendStep():
                return self._amend(step)
            case AgainStep():
                return self._again(step)
            case OtherwiseStep():
                return self._otherwise(step)
            case OrderStep():
                return self._order(step)
            case _:
                return self._without_fill(step)

    def _without_fill(
        self, step: CashStep | InKindStep | TransferStep | SplitStep | SettleStep | MarkStep
    ) -> Message | None:
        venue, account = VENUES[step.place.venue], ACCOUNTS[step.place.account]
        match step:
            case CashStep():
                symbol = None if step.symbol is None else self._symbol(step.symbol)
                if step.type in ("fee", "rebate") and symbol in SPOT:
                    return None  # in coins by `InKindStep` only
                return Cash(
                    venue=venue,
                    account=account,
                    type=step.type,
                    id=self._id(step.type),
                    currency=step.currency,
                    amount=step.amount,
                    symbol=symbol,
                )
            case InKindStep():
                return self._in_kind(step, venue, account)
            case TransferStep():
                return Transfer(
                    venue=venue,
                    account=account,
                    to_account=ACCOUNTS[1 - step.place.account],
                    id=self._id("transfer"),
                    currency=step.currency,
                    amount=abs(step.amount),
                )
            case SplitStep():
                symbol = self._symbol(step.symbol)
                if self.ids["split"] == SPLITS or symbol not in SPLITTING:
                    return None
                numerator, denominator = RATIOS[step.ratio]
                return Split(
                    venue=venue,
                    account=account,
                    symbol=symbol,
                    id=self._id("split"),
                    numerator=numerator,
                    denominator=denominator,
                )
            case SettleStep():
                if (symbol := self._symbol(step.symbol)) not in SETTLED:
                    return None
                return Settlement(
                    venue=venue,
                    account=account,
                    symbol=symbol,
                    id=self._id("settlement"),
                    price=step.price,
                    final=step.final,
                )
            case MarkStep():
                return Mark(
                    venue=venue, account=account, symbol=self._symbol(step.symbol), price=step.price
                )

    def _symbol(self, number: int) -> str:
        return self.symbols[number % len(self.symbols)]

    def _id(self, *names: Any) -> str:
        """Return the next id of this kind. Ids of different kinds repeat each other."""
        self.ids[names if len(names) > 1 else names[0]] += 1
        return str(self.ids[names if len(names) > 1 else names[0]])

    def _in_kind(self, step: InKindStep, venue: str, account: str) -> Message | None:
        symbol = self._symbol(step.symbol)
        if symbol not in SPOT:
            return None
        held = self.ledger.holding(account, symbol)
        base = self.ledger.instrument(symbol).base
        if not held or base is None:
            return None
        amount = abs(_decimal(held)) * step.rate
        kind: Literal["fee", "rebate"] = "fee" if amount < 0 else "rebate"
        return Cash(
            venue=venue,
            account=account,
            type=kind,
            id=self._id(kind),
            currency=base,
            amount=amount,
            symbol=symbol,
        )

    def _fill(self, step: FillStep) -> Fill:
        symbol = self._symbol(step.symbol)
        hedge: Literal["long", "short"] = "long" if step.order % 2 else "short"
        fill = Fill(
            venue=VENUES[step.place.venue],
            account=ACCOUNTS[step.place.account],
            symbol=symbol,
            trade_id="",
            side=step.side,
            quantity=step.quantity,
            price=self._price(symbol, step.price),
            order_id=self._order_id(step.place, step.symbol, step.side, step.order),
            position_side=hedge if step.hedge and symbol not in SPOT else None,
        )
        return self._make_known(fill, step.fee)

    def _close(self, step: CloseStep) -> Fill | None:
        positions = self.ledger.books.positions
        if not positions:
            return None
        keys = sorted(positions)
        account, symbol, side = keys[step.position % len(keys)]
        quantity = _decimal(positions[account, symbol, side].quantity)
        sides: dict[str, PositionSide] = {"long": "long", "short": "short"}
        fill = Fill(
            venue=VENUES[step.place.venue],
            account=account,
            symbol=symbol,
            trade_id="",
            side="sell" if quantity > 0 else "buy",
            quantity=abs(quantity) + step.beyond,
            price=self._price(symbol, step.price),
            position_side=sides.get(side),
        )
        return self._make_known(fill, step.fee)

    def _make_known(self, fill: Fill, fee: FeeOf) -> Fill:
        trade_id = self._id("fill", fill.venue, fill.account, fill.symbol, fill.side)
        fill = replace(fill, trade_id=trade_id)
        fill = replace(fill, **self._fee(fill, fee))
        self.known.append(_Known([fill], fee_given=fill.fee is not None))
        return fill

    def _price(self, symbol: str, price: Decimal) -> Decimal:
        """Only what is settled by difference may have a price of zero or less."""
        if self.ledger.instrument(symbol).kind in ("linear", "security"):
            return price
        return abs(price) or Decimal(1)

    def _fee(self, fill: Fill, fee: FeeOf) -> dict[str, Any]:
        instrument = self.ledger.instrument(fill.symbol)
        amount, currency = fee.amount, instrument.settle
        if fee.currency == "unknown":
            return {"fee": None, "fee_currency": None}
        if fee.currency == "none":
            amount = Decimal(0)
        elif fee.currency == "third":
            currency = "BNB"
        elif fee.currency == "base" and instrument.kind == "spot" and instrument.base is not None:
            amount, currency = fill.quantity * fee.rate, instrument.base
        return {"fee": amount, "fee_currency": currency}

    def _order_id(self, place: Place, symbol: int, side: Side, order: int) -> str:
        return f"{place.venue}{place.account}{symbol}{side}{order}" if order else ""

    def _order(self, step: OrderStep) -> Order | None:
        order_id = self._order_id(step.place, step.symbol, step.side, step.order)
        order = Order(
            venue=VENUES[step.place.venue],
            account=ACCOUNTS[step.place.account],
            order_id=order_id,
            symbol=self._symbol(step.symbol),
            side=step.side,
            quantity=step.quantity,
            status=step.status,
        )
        key = (order.venue, order.account, order_id)
        if key in self.closed_orders or step.place.held_back:
            return None
        if not order.is_open:
            self.closed_orders.add(key)
        return order

    def _amend(self, step: AmendStep) -> Message | None:
        telling_fee = step.kind in ("fee", "complete")
        known = self._pick([known for known in self.known if known.is_open(telling_fee)], step.fill)
        if known is None:
            return None
        if telling_fee:
            return self._tell_fee(known, step)
        last = known.versions[-1]
        about: dict[str, Any] = {
            "venue": last.venue,
            "account": last.account,
            "symbol": last.symbol,
            "side": last.side,
            "ref_trade_id": last.trade_id,
        }
        if step.kind == "bust":
            known.busted = True
            return Bust(**about, id=self._id("bust"))
        changed = replace(
            last,
            trade_id=f"{last.trade_id}c",
            quantity=step.quantity,
            price=self._price(last.symbol, step.price),
        )
        told = self._fee(changed, step.fee)
        correction = Correct(
            **about,
            id=changed.trade_id,
            trade_id=changed.trade_id,
            quantity=changed.quantity,
            price=changed.price,
            **told,
        )
        if correction.fee is not None:
            changed = replace(changed, **told)
            known.fee_given = True
        known.versions.append(changed)
        return correction

    def _pick(self, candidates: list[_Known], number: int) -> _Known | None:
        """Pick one of the last few in half of the cases: those may be held back."""
        if not candidates:
            return None
        return _from_the_end(candidates, number % 3 if number & 4 else number % 16)

    def _tell_fee(self, known: _Known, step: AmendStep) -> Message | None:
        """Tell the fee of a fill of which no fee was told, by itself or with the fill."""
        version = known.versions[step.version % len(known.versions)]
        told = self._fee(version, step.fee)
        if told["fee"] is None:
            return None
        known.fee_given = True
        if step.kind == "complete":
            return replace(known.versions[0], **told)
        return FillFee(
            venue=version.venue,
            account=version.account,
            symbol=version.symbol,
            side=version.side,
            ref_trade_id=version.trade_id,
            id=self._id("fill_fee"),
            **told,
        )

    def _again(self, step: AgainStep) -> Message | None:
        if not self.told:
            return None
        message = _from_the_end(self.told, step.message % 24).message
        if isinstance(message, Mark | Order):
            return None
        if isinstance(message, Fill) and step.form == "without fee":
            return replace(message, fee=None, fee_currency=None)
        if isinstance(message, Fill) and step.form == "corrected":
            for fill in self.ledger.fills():
                if fill.version(message.key) is not None and not fill.busted:
                    return fill.last
        return message

    def _otherwise(self, step: OtherwiseStep) -> Message | None:
        if not self.told:
            return None
        message = _from_the_end(self.told, step.message % 24).message
        more = step.amount
        match message:
            case Fill():
                return replace(message, **self._other_fill(message, step))
            case Correct():
                if step.what % 2:
                    return replace(message, price=message.price + more)
                return replace(message, quantity=message.quantity + more)
            case FillFee():
                return replace(message, fee=message.fee + more)
            case Bust():
                return replace(message, ref_trade_id=f"{message.ref_trade_id}?")
            case Cash() | Transfer():
                if step.what % 2:
                    return replace(message, currency="JPY")
                return replace(message, amount=message.amount + more)
            case Split():
                return replace(message, numerator=message.numerator + 1)
            case Settlement():
                if step.what % 2:
                    return replace(message, final=not message.final)
                return replace(message, price=message.price + more)
            case _:
                return None

    def _other_fill(self, fill: Fill, step: OtherwiseStep) -> dict[str, Any]:
        if fill.fee is not None and step.what == 2:
            return {"fee": fill.fee + step.amount}
        if fill.fee and step.what == 3:
            return {"fee_currency": "JPY"}
        if step.what == 1:
            return {"price": fill.price + step.amount}
        return {"quantity": fill.quantity + step.amount}


def _from_the_end(items: Sequence[T], number: int) -> T:
    """Pick by distance from the end, so what was before can be left out of a failing tape."""
    return items[-1 - min(number, len(items) - 1)]


def _decimal(number: Any) -> Decimal:
    """Return the decimal for a fraction that has one."""
    scale = 0
    while (number * 10**scale).denominator != 1:
        scale += 1
    return Decimal((number * 10**scale).numerator).scaleb(-scale)
