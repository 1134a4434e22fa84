"""Folding a stretch of history and noting the state's digest on the way, here or elsewhere.

Theory of operation
-------------------
Two folds of the same events from the same state must give the same digests. Where they do not, the
first digest that differs names the event. So that a large state is not digested after each of
thousands of events, digests are first noted at a few marks, and then after every event between the
last mark that agrees and the first that does not.

:func:`trace_elsewhere` folds in another process, with another ``PYTHONHASHSEED``, because the order
of a set is settled when an interpreter starts. What the other process needs is named, not sent:
the handlers by module and name. Handlers that have no such name (made in a function, or in the
script that was started) cannot be folded elsewhere.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state import StateCodec, StateDigest
from eventstore.reading.replay import recorded_batches

__all__ = ["EventRange", "TraceError", "digest", "handlers_by_name", "trace", "trace_elsewhere"]

Digests = dict[int, str]


class TraceError(Exception):
    """The other process could not fold; the message is what it said."""


class EventRange(msgspec.Struct, frozen=True):
    """The events after ``base`` up to ``end``, and the state after event ``base``, in slices."""

    base: int
    end: int
    slices: list[bytes]


class _Request(msgspec.Struct, frozen=True):
    """What the other process is asked for. ``handlers``: ``module:name`` of each."""

    path: str
    handlers: list[str]
    event_range: EventRange
    marks: list[int]


def digest(codec: StateCodec[Any], state: Any) -> str:
    """The digest that a snapshot of ``state`` carries."""
    found = StateDigest()
    for _ in codec.slices(state, found):
        pass
    return found.hexdigest()


def trace(
    disk: Disk, registry: HandlerRegistry[Any], event_range: EventRange, marks: Sequence[int]
) -> Digests:
    """Fold a stretch from its own state; the digest after each event that ``marks`` names."""
    codec: StateCodec[Any] = StateCodec(registry.state_type)
    state, found, rest = codec.load(event_range.slices), {}, sorted(marks)
    for events in recorded_batches(disk, registry.codec, event_range.base + 1, event_range.end + 1):
        while rest and rest[0] <= events[-1].seq:
            count = rest[0] - events[0].seq + 1
            state = registry.fold(state, registry.upcast(events[:count]))
            found[rest.pop(0)] = digest(codec, state)
            events = events[count:]
            if not events:
                break
        state = registry.fold(state, registry.upcast(events))
    return found


def handlers_by_name(registry: HandlerRegistry[Any]) -> list[str] | None:
    """``module:name`` of every handler and upcaster, ``None`` where one cannot be found so."""
    names = []
    for item in registry.items:
        name = f"{item.__module__}:{item.__name__}"
        if item.__module__ == "__main__" or _found(name) is not item:
            return None
        names.append(name)
    return names


def _found(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return None


def trace_elsewhere(
    path: str, handlers: list[str], event_range: EventRange, marks: Sequence[int], seed: int
) -> Digests:
    """:func:`trace` in a process of its own with ``PYTHONHASHSEED=seed``. Raises TraceError."""
    request = _Request(os.path.abspath(path), handlers, event_range, list(marks))
    paths = [os.path.abspath(entry) for entry in sys.path]
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(seed),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    ended = subprocess.run(
        [sys.executable, "-c", "from eventstore.tools.fold_digests import serve; serve()"],
        input=msgspec.msgpack.encode(request),
        capture_output=True,
        env=environment,
        check=False,
    )
    if ended.returncode:
        raise TraceError(ended.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    return msgspec.msgpack.decode(ended.stdout, type=Digests)


def serve() -> None:
    """In the other process: answer the request on standard input."""
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    answers = os.dup(1)
    os.dup2(2, 1)  # what a handler prints is no part of the answer
    registry: HandlerRegistry[Any] = HandlerRegistry(*map(_found, request.handlers))
    disk = LocalDisk(request.path, read_only=True)
    found = trace(disk, registry, request.event_range, request.marks)
    with os.fdopen(answers, "wb") as output:
        output.write(msgspec.msgpack.encode(found))
