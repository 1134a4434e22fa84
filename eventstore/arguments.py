"""Refused arguments: a description, and the error with the cure.

The error of a public function names the argument, describes the given object, and says what to pass
instead. A description never fails, because an argument may be any object.
"""

from __future__ import annotations

import inspect
import math
import os
import reprlib
from typing import Any

from eventstore.errors import ConfigError
from eventstore.foreign_values import cure_for

__all__ = [
    "argument_error",
    "checked_count",
    "checked_flag",
    "checked_function",
    "checked_number",
    "checked_path",
    "checked_text",
    "describe",
]


def describe(value: Any) -> str:
    """Return a short text for any object, also where its `repr` raises."""
    try:
        if isinstance(value, type):
            return f"the class {value.__name__}"
        return f"{reprlib.repr(value)} ({type(value).__name__})"
    except Exception:  # noqa: BLE001  of any object, or of a repr, as of an int with 5,000 digits
        return f"a {type(value).__name__} that cannot be shown"


def argument_error(argument: str, value: Any, expected: str) -> ConfigError:
    """Make the error for an argument of a public function. `argument` becomes `.key`."""
    cure = cure_for(value)
    return ConfigError(
        f"{argument} = {describe(value)}: {expected}" + (f"; pass {cure}" if cure else ""),
        key=argument,
    )


def checked_flag(argument: str, value: Any) -> bool:
    """Return a bool. Raises `ConfigError` for anything else: a text such as `"no"` is true."""
    if type(value) is not bool:
        raise argument_error(argument, value, "expected True or False")
    return value


def checked_count(argument: str, value: Any, meaning: str) -> int:
    """Return a whole number of at least 1. Raises `ConfigError` for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 31:
        raise argument_error(argument, value, f"expected {meaning}, at least 1")
    return int(value)


def checked_number(argument: str, value: Any, expected: str, *, most: float = math.inf) -> float:
    """Return a number from 0 to `most`. Raises `ConfigError` for anything else, NaN included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise argument_error(argument, value, expected)
    return value


def checked_text(argument: str, value: Any) -> str:
    """Return a text. Raises `ConfigError` for anything else."""
    if not isinstance(value, str):
        raise argument_error(argument, value, "expected a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise argument_error(argument, value, f"no text of UTF-8 ({error.reason})") from error
    return str.__str__(value)  # of a subclass as well


def checked_function(argument: str, value: Any) -> Any:
    """Return a plain function. Raises `ConfigError` for anything else."""
    if not callable(value) or isinstance(value, type):
        raise argument_error(argument, value, "expected a function")
    if inspect.iscoroutinefunction(value) or inspect.isgeneratorfunction(value):
        raise argument_error(argument, value, "expected a plain function, without async and yield")
    return value


def checked_path(path: Any, argument: str = "path") -> str:
    """Return `path` as text. Raises `ConfigError` for any object that names no file."""
    if isinstance(path, bytes):
        raise argument_error(argument, path, "expected text; pass os.fsdecode(path)")
    try:
        text = os.fspath(path)
    except TypeError as error:
        raise argument_error(
            argument, path, "expected a path, as text or a pathlib.Path"
        ) from error
    if not isinstance(text, str) or not text or "\0" in text:
        raise argument_error(
            argument, path, "expected a path of at least one character and no NUL ('.' is here)"
        )
    if text.startswith("~"):
        raise argument_error(
            argument,
            path,
            "'~' is a name like any other here, and no home directory; pass "
            "os.path.expanduser(path), or './~...' for a name that begins so",
        )
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise argument_error(argument, path, f"no file has this name ({error.reason})") from error
    return str.__str__(text)  # of a subclass as well
