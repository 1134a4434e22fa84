"""The books of an account in the words of the account cases, and what differs between two books.

Every figure is a `Fraction`, so a comparison rounds nothing. Figures of zero are left out: a
position that is flat has no entry. A comparison allows a difference only where the caller says how
much, and why, for each figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, NamedTuple

__all__ = [
    "Books",
    "Figure",
    "Holding",
    "PositionKey",
    "differences",
    "exact",
    "finite",
    "read_books",
    "without_split",
]

PositionKey = tuple[str, str, str]
"""Account, symbol and side."""
Figure = tuple[str, ...]
"""The path of a number in the books, such as `("balances", "main", "USD")`."""
ByCurrency = dict[str, Fraction]


class Holding(NamedTuple):
    quantity: Fraction
    cost: Fraction
    average_price: Fraction


@dataclass(kw_only=True)
class Books:
    balances: dict[str, ByCurrency] = field(default_factory=dict)
    positions: dict[PositionKey, Holding] = field(default_factory=dict)
    realised: dict[str, ByCurrency] = field(default_factory=dict)
    fees: ByCurrency = field(default_factory=dict)
    fees_by_symbol: dict[str, ByCurrency] = field(default_factory=dict)
    flows: dict[str, ByCurrency] = field(default_factory=dict)
    flows_by_symbol: dict[str, dict[str, ByCurrency]] = field(default_factory=dict)
    unrealised: dict[str, ByCurrency] = field(default_factory=dict)
    open_orders: dict[str, dict[str, Fraction]] = field(default_factory=dict)

    def figures(self) -> dict[Figure, Fraction]:
        """Return every number by its path."""
        found: dict[Figure, Fraction] = {}
        for section, entries in vars(self).items():
            if section == "positions":
                for key, holding in self.positions.items():
                    for name, number in holding._asdict().items():
                        found["positions", *key, name] = number
            else:
                _flatten(found, (section,), entries)
        return found


def _flatten(found: dict[Figure, Fraction], path: Figure, entries: Mapping[str, Any]) -> None:
    for name, value in entries.items():
        if isinstance(value, Mapping):
            _flatten(found, (*path, name), value)
        else:
            found[(*path, name)] = value


def read_books(plain: Mapping[str, Any]) -> Books:
    """Read the books of an account case, in which numbers are text."""
    sections = {name: _numbers(entries) for name, entries in plain.items() if name != "positions"}
    positions = {
        (account, symbol, side): Holding(*map(Fraction, numbers))
        for account, symbol, side, *numbers in plain.get("positions", ())
    }
    return Books(positions=positions, **sections)


def _numbers(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _numbers(value) if isinstance(value, Mapping) else Fraction(value)
        for name, value in entries.items()
    }


def exact(figure: Figure, expected: Fraction) -> Fraction:
    """Allow no difference."""
    return Fraction(0)


def finite(number: Fraction, digits: int | None = None) -> bool:
    """Tell whether a decimal holds the number, of at most so many significant digits."""
    rest = number.denominator
    twos = (rest & -rest).bit_length() - 1
    rest >>= twos
    fives = 0
    while rest % 5 == 0:
        rest //= 5
        fives += 1
    if rest != 1:
        return False
    if digits is None:
        return True
    scaled = abs(number.numerator) * 10 ** max(twos, fives) // number.denominator
    return len(str(scaled).rstrip("0")) <= digits


def differences(
    expected: Books,
    got: Books,
    allowed: Callable[[Figure, Fraction], Fraction | None] = exact,
) -> list[str]:
    """Return a line for each figure that differs by more than `allowed(figure, expected)`.

    A figure for which `allowed` returns `None` is not compared. A zero that is spelled out where
    it should be left out is a difference.
    """
    wanted, found = expected.figures(), got.figures()
    lines = []
    for figure in sorted(wanted.keys() | found.keys()):
        want = wanted.get(figure, Fraction(0))
        slack = allowed(figure, want)
        if slack is None:
            continue
        have = found.get(figure, Fraction(0))
        surplus_zero = figure in found and figure not in wanted and not slack
        missing = figure in wanted and figure not in found and not slack
        if abs(have - want) > slack or surplus_zero or missing:
            lines.append(
                f"{'.'.join(figure)}: expected {_shown(wanted.get(figure))}, "
                f"got {_shown(found.get(figure))}"
            )
    return lines


def _shown(number: Fraction | None) -> str:
    if number is None:
        return "nothing"
    if finite(number):
        with localcontext(prec=1000):
            return f"{(Decimal(number.numerator) / Decimal(number.denominator)).normalize():f}"
    text = str(number)
    return f"{text if len(text) < 60 else 'a fraction'} (about {float(number)!r})"


def without_split(books: Books, inverse: frozenset[str] = frozenset()) -> Books:
    """Return the books without the split between cost and realised profit.

    What stands under `realised` then is realised less cost, which no order of telling changes. The
    value of an inverse contract falls as the price rises, so there the sum stays the same.
    """
    surplus = {symbol: dict(amounts) for symbol, amounts in books.realised.items()}
    for (_, symbol, _), holding in books.positions.items():
        amounts = surplus.setdefault(symbol, {})
        sign = 1 if symbol in inverse else -1
        currency = next(iter(amounts), "")
        amounts[currency] = amounts.get(currency, Fraction(0)) + sign * holding.cost
    flat = {
        key: Holding(holding.quantity, Fraction(0), Fraction(0))
        for key, holding in books.positions.items()
    }
    totals = {
        symbol: {"": sum(amounts.values(), Fraction(0))} for symbol, amounts in surplus.items()
    }
    return Books(
        **{
            **vars(books),
            "positions": flat,
            "realised": {symbol: total for symbol, total in totals.items() if total[""]},
            "unrealised": {},
        }
    )
