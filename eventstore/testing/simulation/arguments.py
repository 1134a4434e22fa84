"""The arguments of a simulation, checked before the first run.

A number may be an `int`, a `float` or a `Decimal`. A float stands for the shortest decimal that
gives the float back, as in the trading state: 0.1 is one tenth.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from eventstore.arguments import argument_error

__all__ = [
    "checked_bot",
    "checked_items",
    "checked_seconds",
    "checked_seeds",
    "exact",
]


def exact(argument: str, value: Any, *, positive: bool = False) -> Decimal:
    """Return a number as a `Decimal`, without rounding.

    Raises `ConfigError` for any other object, for NaN and the infinities, and with `positive` for a
    number that is not above 0.
    """
    number: Decimal | None = None
    if isinstance(value, float):
        number = Decimal(float.__repr__(value))
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
    if number is None or not number.is_finite():
        raise argument_error(argument, value, "expected a number, such as Decimal('0.25')")
    if positive and number <= 0:
        raise argument_error(argument, value, "expected a number above 0")
    return number


def checked_seconds(argument: str, value: Any, *, positive: bool = False) -> float:
    """Return a number of seconds. Raises `ConfigError` for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise argument_error(argument, value, "expected seconds, as an int or a float")
    if value < 0 or (positive and not value):
        raise argument_error(
            argument, value, f"expected {'more than' if positive else 'at least'} 0"
        )
    return value


def checked_seeds(seeds: Any) -> list[int]:
    """Return the numbers of the runs. Raises `ConfigError` for anything but whole numbers."""
    expected = "whole numbers, such as range(200)"
    chosen = checked_items("seeds", seeds, expected)
    if not chosen or not all(type(seed) is int for seed in chosen):
        raise argument_error("seeds", seeds, f"expected {expected}")
    return list(chosen)


def checked_items(argument: str, items: Any, expected: str) -> tuple[Any, ...]:
    """Return the items of a collection that can be keys. Raises `ConfigError` for others."""
    if isinstance(items, Iterable) and not isinstance(items, str | bytes):
        with contextlib.suppress(TypeError):  # an array without a dimension, an item without a hash
            found = tuple(items)
            hash(found)
            return found
    raise argument_error(argument, items, f"expected {expected}")


def checked_bot(bot: Any) -> Any:
    """Return a bot. Raises `ConfigError` for an object that cannot be called for each life."""
    if inspect.iscoroutine(bot):
        bot.close()  # else Python warns that the coroutine was never awaited
        advice = "expected the function itself, without parentheses: it is called for each life"
    elif not callable(bot) or isinstance(bot, type):
        advice = "expected a function, such as `async def bot(store, venue)`"
    elif inspect.isasyncgenfunction(bot) or inspect.isgeneratorfunction(bot):
        advice = "expected a coroutine function, and this one yields"
    else:
        return bot
    raise argument_error("bot", bot, advice)
