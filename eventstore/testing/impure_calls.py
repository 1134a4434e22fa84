"""Detection of impure calls: clocks, chance, and the outside world, asked by a handler.

Theory of operation
-------------------
A handler may use nothing but its arguments. The interpreter reports every function call to a
profiler, calls of C functions included. The report does not depend on the name of an import, nor on
the depth below the handler. So only the few functions are watched through which time, chance and
the outside world come in. Two dependencies show only in another interpreter
(`reading/hash_seed_fold.py`): on the order of a set, and on the time zone.

Seeded generators (`random.Random(event.seq)`) are deterministic, and not reported.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
import random
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

__all__ = ["place_of_call", "recording_impure_calls"]

_CLOCK_REMEDY = "use event.time"
_CHANCE_REMEDY = "let the caller of append put it into the payload"
_WORLD_REMEDY = "let the caller of append put what it says into the payload"

_CALLS: dict[str, dict[str, str]] = {
    "time": dict.fromkeys(
        "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time "
        "process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns localtime "
        "ctime sleep".split(),
        _CLOCK_REMEDY,
    ),
    "posix": {
        "urandom": _CHANCE_REMEDY,
        **dict.fromkeys(("getpid", "getcwd", "open", "read"), _WORLD_REMEDY),
    },
    "_uuid": {"generate_time_safe": _CHANCE_REMEDY},
    "_io": {"open": _WORLD_REMEDY},
    "io": {"open": _WORLD_REMEDY},
    "builtins": {"input": _WORLD_REMEDY},
    "_socket": dict.fromkeys(("gethostname", "getaddrinfo"), _WORLD_REMEDY),
}
_NOW = ("now", "utcnow", "today")
_GLOBAL_RANDOM = random.random.__self__  # type: ignore[attr-defined]  # a bound method
_ENVIRONMENT = type(os.environ).__getitem__.__code__


def _describe_call(name: str, remedy: str, frame: FrameType) -> str | None:
    return f"{name} at {place_of_call(frame)}: {remedy}"


@contextlib.contextmanager
def recording_impure_calls(
    seen: list[str], describe: Callable[[str, str, FrameType], str | None] = _describe_call
) -> Iterator[None]:
    """Append to `seen` an entry for each impure call in this thread.

    `describe` makes the entry of a function's name, the remedy and the calling frame, and returns
    `None` for a call that is not to be recorded. By default an entry has all three. A profiler that
    was set before is set again at the end. Garbage collection is off meanwhile.
    """

    def note(name: str, remedy: str, frame: FrameType) -> None:
        entry = describe(name, remedy, frame)
        if entry is not None:
            seen.append(entry)

    def report(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            found = _describe_impure_call(function)
            if found is not None:
                note(*found, frame)
        elif event == "call" and frame.f_code is _ENVIRONMENT:
            note("os.environ", _WORLD_REMEDY, frame.f_back or frame)

    before, collecting = sys.getprofile(), gc.isenabled()
    gc.disable()  # finalizers that a collection runs are not the handler's calls
    sys.setprofile(report)
    try:
        yield
    finally:
        sys.setprofile(before)
        if collecting:
            gc.enable()


def _describe_impure_call(function: Any) -> tuple[str, str] | None:
    """The name of a C function that lets the world in, and the remedy."""
    name: str = function.__name__
    owner = getattr(function, "__self__", None)
    if isinstance(owner, ModuleType):
        advice = _CALLS.get(owner.__name__, {}).get(name)
        return None if advice is None else (f"{owner.__name__}.{name}()", advice)
    if name in _NOW and isinstance(owner, type) and issubclass(owner, datetime.date):
        return f"{owner.__name__}.{name}()", _CLOCK_REMEDY
    if owner is _GLOBAL_RANDOM:
        return f"random.{name}()", _CHANCE_REMEDY
    return None


def place_of_call(frame: FrameType) -> str:
    """Return the file and line of a calling frame."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
