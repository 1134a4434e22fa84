"""The books of a trading engine over time: equity, drawdown, profit, positions and fills.

Theory of operation
-------------------
The library imports no handlers, so a state is known by attributes (`is_books`). `EngineState` of
the installed trading handlers is such a state.

A state is immutable and shares unchanged parts with the state before. So each part is looked at
only after an event with a new part.

Equity is what the state says, at its marks. Where a position has no mark, the price of the last
fill is marked, by folding the operation `mark` onto a copy. Nothing is recorded.

Drawdown is how far equity is below its highest value so far. Deposits and withdrawals in the
currency of the equity are taken out before, so a withdrawal is no loss.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from immutables import Map

from eventstore.analysis.report.chart_data import label, number_text
from eventstore.analysis.report.thinned_series import Curve, Intervals
from eventstore.errors import EventStoreError
from eventstore.model.map_changes import ABSENT, changed_entries
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry

__all__ = ["Books", "Fill", "FillMarks", "TradingState", "is_books"]

FILL, MARK = "record_trade", "mark"
_OUTSIDE = ("deposit", "withdrawal")
_MOST_POSITIONS = 200
"""Positions with a curve of their own, so that memory is flat."""
_LAST_FILLS = 25


class TradingState(Protocol):
    """The attributes of the state of a trading engine."""

    @property
    def balances(self) -> Mapping[Any, Decimal]: ...
    @property
    def positions(self) -> Any: ...
    @property
    def marks(self) -> Any: ...
    @property
    def profit_sums(self) -> Any: ...
    @property
    def fee_sums(self) -> Any: ...
    @property
    def flow_sums(self) -> Any: ...
    @property
    def trade_count(self) -> int: ...
    @property
    def base_currency(self) -> str: ...
    @property
    def realized_pnl(self) -> dict[str, Decimal]: ...
    @property
    def realized_by_symbol(self) -> dict[str, dict[str, Decimal]]: ...
    @property
    def fees(self) -> dict[str, Decimal]: ...
    @property
    def fees_by_symbol(self) -> dict[str, dict[str, Decimal]]: ...
    @property
    def flows(self) -> dict[str, dict[str, Decimal]]: ...
    def unrealized_by_symbol(self) -> dict[str, dict[str, Decimal]]: ...
    def equity(self, rates: Any = None, currency: str | None = None) -> Decimal: ...
    def replace(self, **changes: Any) -> Any: ...


_MEMBERS = tuple(name for name in vars(TradingState) if not name.startswith("_"))


def is_books(state: Any) -> bool:
    """Tell whether a state is the state of a trading engine."""
    kind = type(state)
    return (
        all(hasattr(kind, name) for name in _MEMBERS)
        and callable(kind.equity)
        and isinstance(state.positions, Map)
        and isinstance(state.marks, Map)
    )


class Fill(NamedTuple):
    """A fill as recorded."""

    seq: int
    time: int
    symbol: str
    side: str
    shares: Any
    price: Any
    fee: Any

    @property
    def text(self) -> str:
        """The fill in words."""
        price = number_text(self.price)
        return f"{self.side} {number_text(self.shares)} {label(self.symbol)} at {price}"


class SideMarks(NamedTuple):
    """The fills of one side in one interval: how many, the last one, and the curve there."""

    fills: int
    last: Fill
    value: float


class FillMarks(Intervals[dict[str, SideMarks]]):
    """The fills by interval and side, to be drawn on a curve."""

    def add(self, fill: Fill, value: float) -> None:
        """Add a fill, at a value of the curve."""
        index = fill.time // self.width
        sides = self._found.get(index)
        new = SideMarks(1, fill, value)
        if sides is None:
            self._begin(index, {fill.side: new})
            return
        before = sides.get(fill.side)
        sides[fill.side] = new if before is None else new._replace(fills=before.fills + 1)

    def _merged(
        self, early: dict[str, SideMarks], late: dict[str, SideMarks]
    ) -> dict[str, SideMarks]:
        merged = {**early, **late}
        for side in early.keys() & late.keys():
            merged[side] = late[side]._replace(fills=early[side].fills + late[side].fills)
        return merged


class Totals:
    """The fills of one symbol, added up."""

    def __init__(self) -> None:
        self.bought = self.sold = 0
        self.bought_shares = self.sold_shares = Decimal(0)

    def add(self, fill: Fill) -> None:
        """Add one fill."""
        shares = Decimal(str(fill.shares))
        if fill.side == "buy":
            self.bought += 1
            self.bought_shares += shares
        else:
            self.sold += 1
            self.sold_shares += shares


class Books:
    """The curves of a trading engine. `see` takes each event with the state behind it.

    `currency` and `rates` are those of `EngineState.equity`.

    Attributes:
        equity: The equity after each event that could change it.
        drawdown: Distance of the equity from the highest value before, as a negative number.
        realised: Realised profit by currency, gross and less fees of the same currency.
        positions: Quantity of each position, by account, symbol and side.
        unfollowed: The positions that came after so many that no more are followed.
        marks: The fills on the equity curve.
        last_fills: The last fills.
        totals: The fills by symbol.
        state: The last state.
        last_equity: The equity after the last event, `None` where it was never known.
        made: The change of the equity since the first event, less deposits and withdrawals.
        worst: The largest drawdown, the share of the highest equity, and the time.
        unpriced: The events after which the equity is not known, and the last reason.
    """

    def __init__(
        self,
        registry: HandlerRegistry[Any],
        currency: str | None = None,
        rates: Mapping[str, Decimal] | None = None,
    ) -> None:
        self.equity, self.drawdown = Curve(), Curve()
        self.realised: dict[str, Curve] = {}
        self.positions: dict[Any, Curve] = {}
        self.marks = FillMarks(250)
        self.last_fills: deque[Fill] = deque(maxlen=_LAST_FILLS)
        self.totals: dict[str, Totals] = {}
        self.state: TradingState | None = None
        self.last_equity: Decimal | None = None
        self.made = Decimal(0)
        self.worst: tuple[Decimal, Decimal, int] = (Decimal(0), Decimal(0), 0)
        self.unpriced, self.unpriced_reason = 0, ""
        self.unfollowed: set[Any] = set()
        self._registry = registry
        self._currency = currency
        self._rates = dict(rates or {})
        self._fill_prices: dict[str, Any] = {}
        self._profits: dict[str, Decimal] = {}
        self._fees: dict[str, Decimal] = {}
        self._outside = Decimal(0)
        self._first_made: Decimal | None = None
        self._highest: Decimal | None = None
        self._open: set[Any] = set()

    @property
    def currency(self) -> str:
        """The currency of the equity."""
        return self._currency or ("" if self.state is None else self.state.base_currency)

    def see(self, event: Event[Any], state: TradingState) -> None:
        """Take an event, and the state behind the event."""
        before, self.state = self.state, state
        if state is before:
            return
        fill = None
        if state.trade_count > (0 if before is None else before.trade_count):  # no duplicate
            fill = self._fill(event, state)
        self._see_sums(event.time, before, state)
        if before is None or state.positions is not before.positions:
            self._see_positions(event.time, before, state)
        if (
            before is None
            or fill is not None
            or state.balances is not before.balances
            or state.positions is not before.positions
            or state.marks is not before.marks
        ):
            self._see_equity(event, state)
        if fill is not None and self.last_equity is not None:
            self.marks.add(fill, float(self.last_equity))

    def _fill(self, event: Event[Any], state: TradingState) -> Fill | None:
        data = event.data
        if event.operation != FILL or getattr(data, "side", None) not in ("buy", "sell"):
            return None
        fill = Fill(
            event.seq, event.time, data.symbol, data.side, data.shares, data.price, data.fee
        )
        self.last_fills.append(fill)
        if fill.symbol not in self.totals:
            self.totals[fill.symbol] = Totals()
        self.totals[fill.symbol].add(fill)
        if fill.symbol not in state.marks and MARK in self._registry.operations:
            with contextlib.suppress(EventStoreError):  # a `mark` of another plugin may be another
                self._fill_prices[fill.symbol] = self._marked(fill, state)
        return fill

    def _marked(self, fill: Fill, state: TradingState) -> Any:
        """Return the entry of `marks` for the price of a fill."""
        told = self._registry.payload(MARK, {"symbol": fill.symbol, "price": fill.price})
        marked: TradingState = self._registry.fold(state, [Event(fill.seq, fill.time, told)])
        return marked.marks[fill.symbol]

    def _see_sums(self, time: int, before: TradingState | None, state: TradingState) -> None:
        profited = before is None or state.profit_sums is not before.profit_sums
        charged = before is None or state.fee_sums is not before.fee_sums
        if profited:
            self._profits = state.realized_pnl
        if charged:
            self._fees = state.fees
        if profited or charged:
            profits, fees = self._profits, self._fees
            for currency, profit in profits.items():
                self._realised(f"{currency}, gross", time, profit)
                self._realised(f"{currency}, less fees", time, profit - fees.get(currency, 0))
            for currency in fees.keys() - profits.keys():
                self._realised(f"{currency}, less fees", time, -fees[currency])
        if before is None or state.flow_sums is not before.flow_sums:
            flows = state.flows
            self._outside = sum(
                (flows.get(kind, {}).get(self.currency, Decimal(0)) for kind in _OUTSIDE),
                Decimal(0),
            )

    def _realised(self, name: str, time: int, value: Decimal) -> None:
        if name not in self.realised:
            self.realised[name] = Curve(300)
        self.realised[name].add(time, float(value))

    def _see_positions(self, time: int, before: TradingState | None, state: TradingState) -> None:
        now = state.positions
        if before is None:
            changed = [(key, position, ABSENT) for key, position in now.items()]
        else:
            changed = changed_entries(before.positions, now)
        for key, position, _ in changed:
            self._open.add(key)
            self._position(key, time, float(position.shares))
        if len(self._open) > len(now):
            for key in [key for key in self._open if key not in now]:
                self._open.discard(key)
                self._position(key, time, 0.0)

    def _position(self, key: Any, time: int, shares: float) -> None:
        curve = self.positions.get(key)
        if curve is None:
            if len(self.positions) == _MOST_POSITIONS:
                self.unfollowed.add(key)
                return
            curve = self.positions[key] = Curve(200)
        curve.add(time, shares)

    def _see_equity(self, event: Event[Any], state: TradingState) -> None:
        equity = self._equity(state)
        if equity is None:
            return
        self.equity.add(event.time, float(equity))
        self.last_equity = equity
        made = equity - self._outside
        if self._first_made is None:
            self._first_made = made
        self.made = made - self._first_made
        if self._highest is None or made > self._highest:
            self._highest = made
        down = self._highest - made
        self.drawdown.add(event.time, float(-down))
        if down > self.worst[0]:
            top = equity + down
            self.worst = down, down / top if top > 0 else Decimal(0), event.time

    @property
    def valued_at_fills(self) -> list[str]:
        """The symbols without a mark whose positions are valued at the price of the last fill."""
        return [] if self.state is None else self._without_mark(self.state)

    def valued(self, state: TradingState) -> TradingState:
        """Return a state with the price of the last fill in place of each missing mark."""
        missing = self._without_mark(state)
        if not missing:
            return state
        marks = state.marks.update({name: self._fill_prices[name] for name in missing})
        found: TradingState = state.replace(marks=marks)
        return found

    def _without_mark(self, state: TradingState) -> list[str]:
        missing = {symbol for symbol in self._fill_prices if symbol not in state.marks}
        if not missing:
            return []
        return sorted(missing & {position.symbol for position in state.positions.values()})

    def _equity(self, state: TradingState) -> Decimal | None:
        try:
            return self.valued(state).equity(self._rates, self._currency)
        except EventStoreError as error:
            self.unpriced += 1
            self.unpriced_reason = str(error)
            return None
