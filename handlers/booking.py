"""Effects of fills and messages on the books: balances, positions, profit, fees, open orders.

Theory of operation
-------------------
`book_fill` makes the next state for one fill, and `effect_changes` computes the changes by another
effect on a position. Handlers call both for new messages. `rebook` calls both again for everything
told of a position since an amended fill, once with the old terms and once with the new terms. The
difference of the two results is the amendment. So a busted fill leaves no trace, in the split
between cost and realised profit either.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from immutables import Map

from handlers.amounts import ZERO
from handlers.instrument import Instrument
from handlers.message_memory import (
    Effect,
    Fill,
    Identity,
    InKind,
    Memory,
    SettledFor,
    SplitBy,
    Told,
)
from handlers.order import Closing
from handlers.order_lookup import orders_filled
from handlers.position import (
    MAIN,
    SIDES,
    Position,
    PositionKey,
    place_of,
    position_key,
    settled,
    split,
    take_in_kind,
    trade,
)
from handlers.state import EngineState, balance_key, drop_unknown_keys
from handlers.sums import added, minus, plus

__all__ = ["book_fill", "effect_changes", "on_every_side", "position_changes", "rebook"]

replace = msgspec.structs.replace


def book_fill(
    state: EngineState, fill: Fill, key: PositionKey, instrument: Instrument, memory: Memory
) -> EngineState:
    """Return the state after a fill of the position `key`, with another memory.

    A busted fill changes the memory only.
    """
    if fill.busted:
        return replace(state, memory=memory)
    symbol, account = fill.symbol, fill.account
    quantity, price, fee = fill.quantity, fill.price, fill.fee
    kind, settlement = instrument.kind, instrument.settlement
    positions = state.positions
    held = positions.get(key)
    currency = fill.fee_currency
    if fee and kind == "spot" and currency == instrument.base:
        position, profit, value = _trade_in_kind(held, fill, fee, instrument)
    else:
        position, profit, value = trade(
            held, symbol, account, fill.side, fill.recorded, quantity, price, instrument
        )

    balances, fee_sums, profit_sums = state.balances, state.fee_sums, state.profit_sums
    paid = -value if kind in ("security", "spot") else profit
    if kind == "spot":
        balances = added(balances, balance_key(instrument.base or "", account), quantity)
    if fee:
        fee_sums = added(fee_sums, (symbol, currency), fee)
        if currency == settlement:
            paid -= fee
        else:
            balances = added(balances, balance_key(currency, account), -fee)
    if profit:
        profit_sums = added(profit_sums, (symbol, settlement), profit)
    orders, order_names = state.orders, state.order_names
    if orders:
        orders, order_names = orders_filled(state, fill, fill.counted, memory)
    extra = state.extra
    if extra and held is not None and not _goes_on(held, position):
        extra = drop_unknown_keys(extra, key)
    if position is not None:
        positions = positions.set(key, position)
    elif held is not None:
        positions = positions.delete(key)
    return replace(
        state,
        balances=added(balances, settlement if account == MAIN else (account, settlement), paid),
        positions=positions,
        profit_sums=profit_sums,
        fee_sums=fee_sums,
        trade_count=state.trade_count + 1,
        orders=orders,
        order_names=order_names,
        memory=memory,
        extra=extra,
    )


def _trade_in_kind(
    held: Position | None, fill: Fill, fee: Decimal, instrument: Instrument
) -> tuple[Position | None, Decimal, Decimal]:
    """Trade a spot pair with a fee in the base.

    A buy adds so much less, at the traded price. After a sale the fee leaves the position.
    """
    place = (fill.symbol, fill.account, fill.side, fill.recorded)
    quantity, price = fill.quantity, fill.price
    value = quantity * price
    if not quantity.is_signed():
        arrived = quantity - fee
        if not arrived:
            return held, ZERO, value
        position, profit, _ = trade(held, *place, arrived, price, instrument)
        return position, profit, value
    position, profit, _ = trade(held, *place, quantity, price, instrument)
    return take_in_kind(position, *place, fee, price), profit, value


def effect_changes(
    state: EngineState, key: PositionKey, effect: Effect, symbol: str, time: int
) -> dict[str, Any]:
    """Return the fields of `state` changed by an effect on the position `key`.

    `time` is the time of the event, nanoseconds since the epoch.
    """
    held = state.positions.get(key)
    account, side = place_of(key)
    instrument = state.instrument(symbol)
    if isinstance(effect, InKind):
        after = take_in_kind(held, symbol, account, side, time, effect.quantity, None)
        return position_changes(state, key, held, after)
    profit_key = (symbol, instrument.settlement)
    if isinstance(effect, SettledFor):
        changes = (
            {}
            if held is None
            else position_changes(
                state,
                key,
                held,
                held.replace(cost=held.cost + instrument.profit(ZERO, effect.amount), updated=time),
            )
        )
        return changes | {"profit_sums": added(state.profit_sums, profit_key, effect.amount)}
    if held is None:
        return {}
    if isinstance(effect, SplitBy):
        after = split(held, effect.numerator, effect.denominator, time)
        return position_changes(state, key, held, after)
    position, profit = settled(held, effect.price, instrument, time, final=effect.final)
    paid = profit
    if instrument.kind == "security":
        paid = instrument.value(held.shares, effect.price)
    balance = balance_key(instrument.settlement, account)
    return position_changes(state, key, held, position) | {
        "profit_sums": added(state.profit_sums, profit_key, profit),
        "balances": added(state.balances, balance, paid),
    }


def on_every_side(
    state: EngineState, effect: Effect, symbol: str, account: str, time: int
) -> EngineState:
    """Return the state after an effect on every position of a symbol in an account."""
    for side in SIDES:
        key = position_key(symbol, account, side)
        state = replace(state, **effect_changes(state, key, effect, symbol, time))
    return state


def position_changes(
    state: EngineState, key: PositionKey, held: Position | None, position: Position | None
) -> dict[str, Any]:
    """Return the fields changed with a position. Notes go when the position ends."""
    if held is None and position is None:
        return {}
    extra = state.extra
    if extra and held is not None and not _goes_on(held, position):
        extra = drop_unknown_keys(extra, key)
    return {"positions": _with_position(state.positions, key, position), "extra": extra}


def _goes_on(held: Position, position: Position | None) -> bool:
    return position is not None and position.shares.is_signed() == held.shares.is_signed()


def _with_position(
    positions: Map[PositionKey, Position], key: PositionKey, position: Position | None
) -> Map[PositionKey, Position]:
    if position is not None:
        return positions.set(key, position)
    return positions.delete(key) if key in positions else positions


# ---- booking again -------------------------------------------------------------------------


def rebook(state: EngineState, identity: Identity, fill: Fill) -> EngineState:
    """Return the state with the remembered fill `identity` booked by the terms of `fill`.

    Everything told of the position since the fill is folded again, up to an outside count of the
    position (`update_position`). The count stands. A count is noticed where a fill met another
    position than the fold gives. The cost is one pass over the memory, and two folds of everything
    told of the position after the fill.
    """
    was = state.memory.get(identity)
    assert isinstance(was, Fill), "only a fill that is remembered is booked again"
    later = sorted(
        (
            (told.number, other, told)
            for other, told in state.memory.told()
            if told.number > was.number and _changes_position(told, was)
        ),
        key=lambda entry: entry[0],
    )
    blank = EngineState(
        positions=Map() if was.before is None else Map({was.key: was.before}),
        instruments=state.instruments,
        base_currency=state.base_currency,
    )
    old, new = _booked(blank, was, was.key), _booked(blank, fill, was.key)
    changed: dict[Identity, Told] = {identity: fill}
    position = state.positions.get(was.key)
    counted = False
    for _, other, told in later:
        before = new.positions.get(was.key)
        if isinstance(told, Fill):
            counted = told.before != old.positions.get(was.key)
            if counted:
                break
            changed[other] = replace(told, before=before)
        old, new = _booked(old, told, was.key), _booked(new, told, was.key)
    counted = counted or position != old.positions.get(was.key)
    changes: dict[str, Any] = {}
    if not counted:
        changes = position_changes(state, was.key, position, new.positions.get(was.key))
    memory = state.memory.change(changed)
    orders, order_names = orders_filled(state, fill, fill.counted - was.counted, memory)
    changes |= {
        "balances": plus(minus(state.balances, old.balances), new.balances),
        "profit_sums": plus(minus(state.profit_sums, old.profit_sums), new.profit_sums),
        "fee_sums": plus(minus(state.fee_sums, old.fee_sums), new.fee_sums),
        "trade_count": state.trade_count + new.trade_count - old.trade_count,
        "memory": memory,
        "orders": orders,
        "order_names": order_names,
    }
    return replace(state, **changes)


def _changes_position(told: Told, fill: Fill) -> bool:
    """Whether a fill or message changed the position of a fill."""
    if isinstance(told, Closing) or told.account != fill.account or told.symbol != fill.symbol:
        return False
    if isinstance(told, Fill):
        return told.side == fill.side
    return told.effect is not None and told.side in (None, fill.side)


def _booked(state: EngineState, told: Told, key: PositionKey) -> EngineState:
    """Book a fill or message of the position `key` again."""
    if isinstance(told, Fill):
        return book_fill(state, told, key, state.instrument(told.symbol), state.memory)
    if isinstance(told, Closing) or told.effect is None:
        return state
    changes = effect_changes(state, key, told.effect, told.symbol, told.recorded)
    return replace(state, **changes)
