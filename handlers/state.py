"""The trading engine's state: exact books of balances, positions, profit, fees and flows.

Theory of operation
-------------------
A state is never changed. A handler makes the next state, and shares the unchanged parts. The fields
are persistent maps, so an update costs a few nodes of a tree and every older state stays valid.
Nothing in a state refers to the state, so no reference cycle can form. The garbage collector is
therefore told not to track these objects (`gc=False`).

Every amount is a `Decimal`, and sums are exact (`amounts.py`). What is zero is left out: no
position, no balance, no entry.

The sums of profit, fees and flows are kept by the finest key. The properties derive totals by
currency and by symbol, so no two totals can disagree.

Plain dictionaries
------------------
`from_dict` reads dictionaries from `to_dict`, and those of other programs in the same shape::

    {"cash": 50000.0, "positions": {"AAPL": {"shares": 100.0, "price": 150.0}}}

- *Nothing is dropped.* `extra` keeps unknown keys at the top. `extra["positions"][label]`
  keeps unknown keys of a position (no clash: `positions` is a known key at the top) until the
  position goes. `to_dict` puts each key back in its place.
- `to_dict` always writes `cash` and `positions`, and `shares` and `price` of a position. Any other
  known key is written where the value differs from the default. `from_dict(state.to_dict()) ==
  state` always holds, except for the notes of a position of zero shares, which is no position.
- Amounts are written as `Decimal`, and read from `int`, `float`, `Decimal` and text. The shape of
  every key is described in `write_plain.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from immutables import Map
from msgspec import Meta
from msgspec.structs import replace

from handlers.amounts import ONE, ZERO, Number, exact, exactly
from handlers.errors import AmountError, MissingPriceError, UnknownSymbolError
from handlers.instrument import Currency, Instrument, LastPrice, Side, share_in
from handlers.message_memory import Memory
from handlers.order import Order, OrderKey, OrderName
from handlers.position import (
    MAIN,
    NET,
    Position,
    PositionKey,
    position_key,
    position_label,
)
from handlers.read_plain import read_fields
from handlers.sums import nested, totals
from handlers.write_plain import write_plain

__all__ = ["BalanceKey", "EngineState", "balance_key", "drop_unknown_keys"]

BalanceKey = str | tuple[str, str]
"""The currency for the main account, else `(account, currency)`."""

FEE_FLOWS = ("fee", "rebate")


class EngineState(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """All knowledge that the trading engine needs again after a restart.

    Attributes:
        balances: Balances by currency, of other accounts by `(account, currency)`.
        positions: Positions by symbol, others than the net position of the main account by
            `(account, symbol, side)`.
        profit_sums: Realised profit by `(symbol, currency)`, gross of fees.
        fee_sums: Fees by `(symbol, currency)`, positive where paid. The symbol is empty for a fee
            that belongs to none.
        flow_sums: Movements of cash by `(type, symbol, currency)`.
        trade_count: Number of trades that are booked.
        instruments: Defined instruments by symbol.
        marks: Last prices by symbol.
        orders: Open orders by `(venue, account, engine's id, "")`, or `(venue, account, "", venue's
            id)` for an order without an engine's id.
        order_names: The keys of open orders by `(venue, account, venue's id)`.
        memory: What was told before, for duplicates and amendments.
        base_currency: The currency of `cash`, and of symbols without an instrument.
        strict: Whether a symbol without an instrument is refused.
        extra: Any other data of the engine, deeply frozen.

    >>> state = EngineState.from_dict({"cash": 1000.0})
    >>> state.cash
    Decimal('1000.0')
    >>> state.replace(base_currency="EUR").cash
    Decimal('0')
    """

    balances: Map[BalanceKey, Decimal] = Map()
    positions: Map[PositionKey, Position] = Map()
    profit_sums: Map[tuple[str, str], Decimal] = Map()
    fee_sums: Map[tuple[str, str], Decimal] = Map()
    flow_sums: Map[tuple[str, str, str], Decimal] = Map()
    trade_count: Annotated[int, Meta(ge=0)] = 0
    instruments: Map[str, Instrument] = Map()
    marks: Map[str, LastPrice] = Map()
    orders: Map[OrderKey, Order] = Map()
    order_names: Map[OrderName, OrderKey] = Map()
    memory: Memory = Memory()
    base_currency: Currency = "USD"
    strict: bool = False
    extra: Map[str, Any] = Map()

    def replace(self, **changes: Any) -> EngineState:  # any of the fields, with their own types
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    @property
    def cash(self) -> Decimal:
        """The balance of the base currency, over all accounts."""
        return exactly(self._total_of, self.base_currency)

    @property
    def realized_pnl(self) -> dict[str, Decimal]:
        """Realised profit by currency, gross of fees."""
        return exactly(totals, self.profit_sums, 1)

    @property
    def realized_by_symbol(self) -> dict[str, dict[str, Decimal]]:
        """Realised profit by symbol and currency, gross of fees."""
        return nested(self.profit_sums)

    @property
    def fees(self) -> dict[str, Decimal]:
        """Fees by currency, positive where paid."""
        return exactly(totals, self.fee_sums, 1)

    @property
    def fees_by_symbol(self) -> dict[str, dict[str, Decimal]]:
        """Fees by symbol and currency, without those that belong to no symbol."""
        return {symbol: sums for symbol, sums in nested(self.fee_sums).items() if symbol}

    @property
    def flows(self) -> dict[str, dict[str, Decimal]]:
        """Movements of cash by type and currency: deposits, funding, dividends and the like."""
        found: dict[tuple[str, str], Decimal] = exactly(self._flow_totals)
        return nested(found)

    @property
    def flows_by_symbol(self) -> dict[str, dict[str, dict[str, Decimal]]]:
        """Movements of cash by symbol, type and currency. Fees and rebates are in the fees."""
        found: dict[str, dict[str, dict[str, Decimal]]] = {}
        for type_, symbol, currency in sorted(self.flow_sums):
            if symbol and type_ not in FEE_FLOWS:
                amount = self.flow_sums[type_, symbol, currency]
                found.setdefault(symbol, {}).setdefault(type_, {})[currency] = amount
        return found

    def balance(self, currency: str, account: str = MAIN) -> Decimal:
        """Return one balance of one account."""
        return self.balances.get(balance_key(currency, account), ZERO)

    def balances_by_account(self) -> dict[str, dict[str, Decimal]]:
        """Return every balance that is not zero, by account and currency."""
        found = {
            ((MAIN, key) if isinstance(key, str) else key): amount
            for key, amount in self.balances.items()
        }
        return nested(found)

    def position(self, symbol: str, account: str = MAIN, side: Side = NET) -> Position | None:
        """Return a position, `None` where flat."""
        return self.positions.get(position_key(symbol, account, side))

    def instrument(self, symbol: str) -> Instrument:
        """Return what a symbol is. A symbol without an instrument is a share in the base currency.

        Raises `UnknownSymbolError` for such a symbol where the state is strict.
        """
        found = self.instruments.get(symbol)
        if found is not None:
            return found
        if self.strict:
            raise UnknownSymbolError(
                f"{symbol!r} has no instrument, and this state takes defined symbols only; nothing "
                "was written. Append define_instrument first"
            )
        return share_in(self.base_currency)

    def unrealized_by_symbol(self) -> dict[str, dict[str, Decimal]]:
        """Return unrealised profit by symbol and currency, for symbols with a position and a mark.

        Over all accounts and sides, zero left out.
        """
        return nested(exactly(self._unrealized))

    def equity(
        self, rates: Mapping[str, Number] | None = None, currency: str | None = None
    ) -> Decimal:
        """Return what everything is worth at the marks, in one currency.

        Balances, unrealised profit of contracts, and securities at their marks. `rates` tells what
        one unit of another currency is worth in `currency`, which is the base currency by default.
        A rate that is not given is taken from the mark of a spot instrument of both currencies, of
        several from the newest by venue time.

        Raises `MissingPriceError`, which names every missing rate and mark, and `AmountError` for a
        rate that is no number.
        """
        if rates is not None and not isinstance(rates, Mapping):
            raise AmountError(
                f"rates is a {type(rates).__name__}, and no mapping of currencies to rates; the "
                "currency of the total is `currency=`",
                operation="equity",
                field="$.rates",
            )
        return exactly(self._equity, rates or {}, currency or self.base_currency)

    def without(self, key: PositionKey) -> EngineState:
        """Return the state without a position and without the position's unknown keys."""
        return replace(
            self,
            positions=self.positions.delete(key),
            extra=drop_unknown_keys(self.extra, key),
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EngineState:
        """Build a state from a plain dictionary. `write_plain.py` describes the shape.

        Raises `msgspec.ValidationError` with the path of a value that does not fit.

        >>> plain = {"cash": 5, "positions": {"AAPL": {"shares": 2, "price": 1.5}}, "mode": "x"}
        >>> EngineState.from_dict(plain).position("AAPL").average_price
        Decimal('1.5')
        """
        return cls(**read_fields(data))

    def to_dict(self) -> dict[str, Any]:
        """Return the state as a plain dictionary of the caller's own, sorted.

        Raises `ValueError` where `extra` uses the name of a field. A dictionary could not express
        both.
        """
        return write_plain(self)

    def _repr_html_(self) -> str:
        from handlers.html_tables import books_tables

        return books_tables(self.positions.values(), self.balances_by_account())

    def _total_of(self, currency: str) -> Decimal:
        total = self.balances.get(currency, ZERO)
        for key, amount in self.balances.items():
            if key.__class__ is tuple and key[1] == currency:
                total += amount
        return total

    def _flow_totals(self) -> dict[tuple[str, str], Decimal]:
        found: dict[tuple[str, str], Decimal] = {}
        for (type_, _, currency), amount in self.flow_sums.items():
            found[type_, currency] = found.get((type_, currency), ZERO) + amount
        return {key: amount for key, amount in found.items() if amount}

    def _unrealized(self) -> dict[tuple[str, str], Decimal]:
        found: dict[tuple[str, str], Decimal] = {}
        for position in self.positions.values():
            mark = self.marks.get(position.symbol)
            if mark is not None:
                instrument = self.instrument(position.symbol)
                value = instrument.value(position.shares, mark.price)
                key = (position.symbol, instrument.settlement)
                profit = instrument.profit(position.cost, value)
                found[key] = found.get(key, ZERO) + profit
        return {key: amount for key, amount in found.items() if amount}

    def _equity(self, rates: Mapping[str, Number], currency: str) -> Decimal:
        worth: dict[str, Decimal] = {}
        missing: list[str] = []
        for key, amount in self.balances.items():
            held_in = key if isinstance(key, str) else key[1]
            worth[held_in] = worth.get(held_in, ZERO) + amount
        for position in self.positions.values():
            instrument = self.instrument(position.symbol)
            if instrument.kind == "spot":
                continue  # the coins are a balance
            mark = self.marks.get(position.symbol)
            if mark is None:
                missing.append(f"mark of {position.symbol}")
                continue
            value = instrument.value(position.shares, mark.price)
            if instrument.kind != "security":
                value = instrument.profit(position.cost, value)
            settlement = instrument.settlement
            worth[settlement] = worth.get(settlement, ZERO) + value
        total = ZERO
        for held_in in sorted(worth):
            rate = ONE if held_in == currency else self._rate(held_in, currency, rates)
            if rate is None:
                if worth[held_in]:
                    missing.append(f"rate of {held_in}")
                continue
            total += worth[held_in] * rate
        if missing:
            raise MissingPriceError(
                f"no total in {currency}: missing are {', '.join(sorted(missing))}; append mark, "
                "or pass rates=",
                tuple(sorted(missing)),
            )
        return total

    def _rate(self, of: str, currency: str, rates: Mapping[str, Number]) -> Decimal | None:
        given = rates.get(of)
        if given is not None:
            if isinstance(given, bool) or not isinstance(given, int | float | Decimal):
                raise AmountError(
                    f"rates: the rate of {of} is no number, but {given!r}",
                    operation="equity",
                    field=f"$.rates.{of}",
                )
            return exact(given, "equity", f"rates.{of}")
        marks = [
            (self.marks[symbol].time or 0, symbol)
            for symbol, instrument in self.instruments.items()
            if instrument.kind == "spot" and (instrument.base, instrument.quote) == (of, currency)
            if symbol in self.marks
        ]
        return self.marks[max(marks)[1]].price if marks else None


def balance_key(currency: str, account: str = MAIN) -> BalanceKey:
    """Return the key of a balance in `EngineState.balances`."""
    return currency if account == MAIN else (account, currency)


def drop_unknown_keys(extra: Map[str, Any], key: PositionKey) -> Map[str, Any]:
    """Return `extra` without the unknown keys of a closed position."""
    notes = extra.get("positions") if extra else None
    if notes is None:
        return extra
    label = position_label(key)
    if label not in notes:
        return extra
    remaining = notes.delete(label)
    return extra.set("positions", remaining) if remaining else extra.delete("positions")
