"""States read from plain dictionaries, strictly. `write_plain.py` describes the shape.

Every number is checked to be finite and within bounds, and every error names the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from immutables import Map

from handlers.amounts import ZERO, exactly
from handlers.frozen import freeze_map
from handlers.instrument import Instrument, LastPrice, share_in
from handlers.message_memory import Amendment, Identity, Memory, Told
from handlers.order import Order, OrderKey, OrderName
from handlers.position import MAIN, Position, cost_at, position_label
from handlers.write_plain import KNOWN_KEYS, POSITION_KEYS

__all__ = ["read_fields"]

_MAGNITUDE = 500
_DIGITS = 1_500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_FRACTION = re.compile(r"(?<=:\d\d)[.,](\d{1,9})(?!\d)")
_POSITION_AMOUNTS = ("shares", "price", "cost", "multiplier", "weight")


def read_fields(data: Any) -> dict[str, Any]:
    """Return the fields of the state that a plain dictionary describes.

    Raises `msgspec.ValidationError` with the path of a value that does not fit.
    """
    data = _mapping(data, "$")
    base = _convert(data.get("base_currency", "USD"), str, "$.base_currency")
    if not base:
        raise msgspec.ValidationError(
            "Expected a currency, got an empty text - at `$.base_currency`"
        )
    instruments = dict(_read_instruments(data.get("instruments", {})))
    positions: dict[Any, Position] = {}
    unknown: dict[str, Any] = {}
    for label, plain in _mapping(data.get("positions", {}), "$.positions").items():
        position, rest = _read_position(label, plain, instruments, base)
        if not position.shares:
            continue
        if position.key in positions:
            raise msgspec.ValidationError(
                f"Expected one entry for each position, got two of {position.key!r} - at "
                f"`$.positions[{label!r}]`"
            )
        positions[position.key] = position
        if rest:
            unknown[position_label(position.key)] = rest
    extra = {key: value for key, value in data.items() if key not in KNOWN_KEYS}
    if unknown:
        extra["positions"] = unknown
    orders = _read_orders(data.get("orders", ()))
    return {
        "balances": Map(_read_balances(data, base)),
        "positions": Map(positions),
        "profit_sums": Map(_read_sums(data.get("realized_pnl", {}), base, "$.realized_pnl")),
        "fee_sums": Map(_read_sums(data.get("fees", {}), base, "$.fees")),
        "flow_sums": Map(_read_flows(data.get("flows", {}))),
        "trade_count": _read_count(data.get("trade_count", 0)),
        "instruments": Map(instruments),
        "marks": Map(_read_marks(data.get("marks", {}))),
        "orders": Map(orders),
        "order_names": Map(_order_names(orders.values())),
        "memory": _read_memory(data["memory"]) if data.get("memory") else Memory(),
        "base_currency": base,
        "strict": _convert(data.get("strict", False), bool, "$.strict"),
        "extra": freeze_map(extra),
    }


def _read_balances(data: Mapping[str, Any], base: str) -> Iterator[tuple[Any, Decimal]]:
    cash = _amount(data.get("cash", 0), "$.cash")
    if cash:
        yield base, cash
    for account, sums in _mapping(data.get("balances", {}), "$.balances").items():
        for currency, given in _mapping(sums, f"$.balances.{account}").items():
            amount = _amount(given, f"$.balances.{account}.{currency}")
            if account == MAIN and currency == base:
                raise msgspec.ValidationError(
                    f"Expected the balance of {base} as `cash` - at `$.balances.{account}"
                    f".{currency}`"
                )
            if amount:
                yield (currency if account == MAIN else (account, currency)), amount


def _read_sums(data: Any, base: str, path: str) -> Iterator[tuple[tuple[str, str], Decimal]]:
    if not isinstance(data, Mapping):
        amount = _amount(data, path)
        if amount:
            yield ("", base), amount
        return
    for symbol, sums in data.items():
        for currency, given in _mapping(sums, f"{path}.{symbol}").items():
            amount = _amount(given, f"{path}.{symbol}.{currency}")
            if amount:
                yield (symbol, currency), amount


def _read_flows(data: Any) -> Iterator[tuple[tuple[str, str, str], Decimal]]:
    for type_, by_symbol in _mapping(data, "$.flows").items():
        path = f"$.flows.{type_}"
        for key, amount in _read_sums(_mapping(by_symbol, path), "", path):
            yield (type_, *key), amount


def _read_count(given: Any) -> int:
    if type(given) is float and given.is_integer():
        given = int(given)
    count: int = _convert(given, int, "$.trade_count")
    if count < 0:
        raise msgspec.ValidationError("Expected `int` >= 0 - at `$.trade_count`")
    return count


def _read_instruments(data: Any) -> Iterator[tuple[str, Instrument]]:
    for symbol, plain in _mapping(data, "$.instruments").items():
        path = f"$.instruments.{symbol}"
        instrument: Instrument = _convert(plain, Instrument, path)
        _check_numbers(instrument, ("multiplier", "price_step", "quantity_step"), path)
        for name in ("quote", "settlement", "base"):
            needed = name != "base" or instrument.kind in ("spot", "inverse")
            if needed and not getattr(instrument, name):
                raise msgspec.ValidationError(f"Expected a currency - at `{path}.{name}`")
        yield symbol, instrument


def _read_marks(data: Any) -> Iterator[tuple[str, LastPrice]]:
    for symbol, plain in _mapping(data, "$.marks").items():
        plain = _mapping(plain, f"$.marks.{symbol}")
        price = _amount(plain.get("price"), f"$.marks.{symbol}.price")
        mark: LastPrice = _convert({**plain, "price": price}, LastPrice, f"$.marks.{symbol}")
        yield symbol, mark


def _read_orders(data: Any) -> dict[OrderKey, Order]:
    orders: dict[OrderKey, Order] = {}
    for index, order in enumerate(_convert(data, list[Order], "$.orders")):
        path = f"$.orders[{index}]"
        _check_numbers(order, ("shares",), path)
        for name in ("price", "filled"):
            if getattr(order, name) is not None:
                _amount(getattr(order, name), f"{path}.{name}")
        if not (order.client_order_id or order.order_id) or order.key in orders:
            raise msgspec.ValidationError(f"Expected an order with an id of its own - at `{path}`")
        orders[order.key] = order
    return orders


def _order_names(orders: Iterable[Order]) -> Iterator[tuple[OrderName, OrderKey]]:
    for order in orders:
        for name in order.names:
            yield name, order.key


def _check_numbers(value: msgspec.Struct, names: Iterable[str], path: str) -> None:
    """Refuse a number that is not finite and above zero. `None` stands for none."""
    for name in names:
        number = getattr(value, name)
        if number is not None and _amount(number, f"{path}.{name}") <= 0:
            raise msgspec.ValidationError(f"Expected a number above zero - at `{path}.{name}`")


def _read_memory(data: Any) -> Memory:
    plain = _mapping(data, "$.memory")
    for key in plain:
        if key not in Memory.__struct_fields__:
            raise msgspec.ValidationError(f"Object contains unknown field `{key}` - at `$.memory`")
    limit: int = _convert(plain.get("limit", Memory().limit), int, "$.memory.limit")
    if limit < 1:
        raise msgspec.ValidationError("Expected `int` >= 1 - at `$.memory.limit`")
    pairs = list[tuple[Identity, Told]]
    return Memory(
        Map(_convert(plain.get("recent", ()), pairs, "$.memory.recent")),
        Map(_convert(plain.get("older", ()), pairs, "$.memory.older")),
        Map(_convert(plain.get("forgotten", ()), list[tuple[Identity, int]], "$.memory.forgotten")),
        Map(
            _convert(
                plain.get("waiting", ()),
                list[tuple[Identity, tuple[Amendment, ...]]],
                "$.memory.waiting",
            )
        ),
        limit,
        _convert(plain.get("since", 0), int, "$.memory.since"),
        _convert(plain.get("count", 0), int, "$.memory.count"),
    )


def _read_position(
    label: Any, plain: Any, instruments: Mapping[str, Instrument], base: str
) -> tuple[Position, dict[str, Any]]:
    """Return a position, and the items of `plain` that no field knows."""
    path = f"$.positions[{label!r}]"
    plain = _mapping(plain, path)
    for name in ("shares", "price"):
        if plain.get(name) is None:
            raise msgspec.ValidationError(f"Object missing required field `{name}` - at `{path}`")
    amounts = {
        name: _amount(plain[name], f"{path}.{name}")
        for name in _POSITION_AMOUNTS
        if plain.get(name) is not None
    }
    price = amounts.pop("price")
    fields = {
        key: value
        for key, value in plain.items()
        if key in POSITION_KEYS and key not in _POSITION_AMOUNTS
    }
    if isinstance(fields.get("updated"), str):
        fields["updated"] = _parse_time(fields["updated"], f"{path}.updated")
    fields.setdefault("symbol", label)
    position: Position = _convert({"cost": ZERO, **fields, **amounts}, Position, path)
    instrument = instruments.get(position.symbol) or share_in(base)
    units = {"multiplier": instrument.multiplier, "inverse": instrument.kind == "inverse"}
    for name, unit in units.items():
        if plain.get(name) is not None and getattr(position, name) != unit:
            raise msgspec.ValidationError(
                f"Expected {unit}, as the instrument of {position.symbol} in `instruments` has it, "
                f"got {getattr(position, name)} - at `{path}.{name}`"
            )
    position = position.replace(**units)
    if position.inverse and price <= 0 and position.shares:
        raise msgspec.ValidationError(f"Expected a number above zero - at `{path}.price`")
    if "cost" not in amounts:
        position = position.replace(cost=exactly(cost_at, position, price))
    if position.symbol != label and position_label(position.key) != label:
        raise msgspec.ValidationError(
            f"Expected `{label}`, the key of the position, got `{position.symbol}` - at "
            f"`{path}.symbol`"
        )
    return position, {key: value for key, value in plain.items() if key not in POSITION_KEYS}


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise msgspec.ValidationError(
            f"Expected `object`, got `{type(value).__name__}` - at `{path}`"
        )
    for key in value:
        if not isinstance(key, str):
            raise msgspec.ValidationError(
                f"Expected `str` keys, got `{type(key).__name__}` - at `{path}[{key!r}]`"
            )
    return value


def _amount(given: Any, path: str) -> Decimal:
    """Return the finite decimal that a number or its text stands for."""
    if isinstance(given, bool) or not isinstance(given, int | float | Decimal | str):
        raise msgspec.ValidationError(
            f"Expected a number, got `{type(given).__name__}` - at `{path}`"
        )
    try:
        amount = Decimal(float.__repr__(given)) if isinstance(given, float) else Decimal(given)
    except InvalidOperation as error:
        raise msgspec.ValidationError(f"Expected a number, got {given!r} - at `{path}`") from error
    if not amount.is_finite():
        raise msgspec.ValidationError(f"Expected a finite number, got {given!r} - at `{path}`")
    if not amount:
        return ZERO
    if not -_MAGNITUDE <= amount.adjusted() <= _MAGNITUDE or len(str(amount)) > _DIGITS:
        raise msgspec.ValidationError(f"Expected a number within 1e±{_MAGNITUDE} - at `{path}`")
    return amount


def _convert(data: Any, kind: Any, path: str) -> Any:
    """Convert plain data, and name the whole path in the error."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        reason, _, inner = str(error).partition(" - at `$")
        raise msgspec.ValidationError(f"{reason} - at `{path}{inner.rstrip('`')}`") from error
    except ValueError as error:  # a signalling NaN
        raise msgspec.ValidationError(f"{error} - at `{path}`") from error


def _parse_time(text: str, path: str) -> int:
    """Return the time in ISO 8601 text, to the nanosecond (`datetime` holds microseconds)."""
    fraction = _FRACTION.search(text)
    whole = text if fraction is None else text[: fraction.start()] + text[fraction.end() :]
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError as error:
        raise msgspec.ValidationError(f"{error} - at `{path}`") from error
    if moment.tzinfo is None or moment.microsecond:
        raise msgspec.ValidationError(
            f"Expected a time with its offset and at most nanoseconds, got `{text}` - at `{path}`"
        )
    nanoseconds = int(fraction.group(1).ljust(9, "0")) if fraction is not None else 0
    return (moment - _EPOCH) // _SECOND * 1_000_000_000 + nanoseconds
