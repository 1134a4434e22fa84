"""Folding events in another interpreter, under another hash seed.

Theory of operation
-------------------
An interpreter fixes the order of sets of strings, and of persistent maps, when it starts. A handler
whose state shows such an order gives another state under another hash seed. Only an interpreter
with another seed can show the difference.

The other interpreter is given names, not objects. A `Source` names a handler or an upcaster by
module and name. A `Case` holds a start state in the slices of a snapshot, and the events that
follow: inline, encoded as in a log, or as a range of the history of a store on disk. `marks` are
sequence numbers. The other interpreter answers with the digest of the state after each mark.

Inline events may be events that a handler refuses. A refusal leaves the state as it is, and stands
in place of the digest. Recorded events were accepted once. An exception there ends the other
interpreter, and the caller gets an `OtherInterpreterError`.

A handler of a script is found by running the script's file again under another name than
`__main__`. A script that folds elsewhere without asking for `__name__ == "__main__"` would start
interpreters without end. Folding elsewhere is therefore refused inside of another interpreter.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.model.codec import array_header
from eventstore.model.handler import Handler, Upcaster
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateCodec
from eventstore.model.user_code import fold_context
from eventstore.reading.fold_intervals import cut_at
from eventstore.reading.replay import recorded_batches

__all__ = [
    "Case",
    "Digests",
    "EventRange",
    "Fold",
    "OtherInterpreterError",
    "Source",
    "digests_at",
    "find_source",
    "fold_in_other_interpreter",
    "source_of",
    "sources_of",
]

Digests = dict[int, str]
"""The digest of the state after each event that was asked for, by sequence number."""

_CHILD_PROGRAM = "from eventstore.reading.hash_seed_fold import answer; answer()"

_answering = False


class OtherInterpreterError(RuntimeError):
    """The other interpreter failed. The message has its whole output, `reason` the last line."""

    def __init__(self, output: str) -> None:
        super().__init__(f"the handlers could not be run in another interpreter:\n{output}")
        self.reason = output.rpartition("\n")[2]


class Source(msgspec.Struct, frozen=True):
    """Where another interpreter finds a handler or an upcaster.

    `name` is the qualified name in the module. `file` is the module's file, absolute, for a module
    that cannot be imported by its name: a script, or a test module.
    """

    module: str
    name: str
    file: str | None


class EventRange(msgspec.Struct, frozen=True):
    """The events `first` to `last` of the store in directory `path`, both included."""

    path: str
    first: int
    last: int


class Case(msgspec.Struct, frozen=True):
    """A start state, the events that follow, and the marks at which digests are wanted.

    `start` are the slices of a snapshot. `events` are inline, one encoded event each, or a range of
    a store's history. `wants_state` asks for the state after the last inline event as well.
    """

    start: list[bytes]
    events: list[bytes] | EventRange
    marks: list[int]
    wants_state: bool = False


class Fold(msgspec.Struct, frozen=True):
    """The result of one case.

    `digests` has the digest of the state after each mark, or `!` and the name of the exception with
    which an inline event was refused. `state` are the slices of the last state, if wanted.
    """

    digests: Digests
    state: list[bytes] | None = None


class _Request(msgspec.Struct, frozen=True):
    sources: list[Source]
    cases: list[Case]


def source_of(item: Any) -> Source | None:
    """Return where to find a handler, an upcaster or a function again.

    `None` stands for an item that only this process has. Another interpreter finds an item at the
    top of a module, or in a class there, under the name of the item's function.
    """
    function: Any = item.function if isinstance(item, Handler | Upcaster) else item
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", None) or ""
    home = sys.modules.get(module)
    found: Any = home
    for part in name.split("."):
        found = getattr(found, part, None)
    file = getattr(home, "__file__", None)
    if found is not item or (module == "__main__" and file is None):
        return None
    return Source(module, name, None if file is None else str(Path(file).absolute()))


def sources_of(*items: Any) -> list[Source] | None:
    """Return where another process finds each item, `None` if one is only in this process.

    The script that was started is not run again, since it may do more than define handlers.
    """
    found = list(map(source_of, items))
    if any(source is None or source.module == "__main__" for source in found):
        return None
    return [source for source in found if source is not None]


def fold_in_other_interpreter(
    sources: Sequence[Source],
    cases: Sequence[Case],
    *,
    hash_seed: int,
    time_zone: str | None = None,
    timeout: float | None = None,
) -> list[Fold]:
    """Fold every case in one new interpreter, and return the results in the order of the cases.

    Args:
        sources: All handlers and upcasters of one registry.
        cases: The cases, which the interpreter folds one after the other.
        hash_seed: The interpreter's `PYTHONHASHSEED`.
        time_zone: The interpreter's `TZ`. The default is the time zone of this process.
        timeout: The seconds after which the interpreter is killed. The default is to wait.

    Raises:
        OtherInterpreterError: A handler was not found there, or a recorded event was refused.
        subprocess.TimeoutExpired: The interpreter took longer than `timeout`.
    """
    if _answering:
        raise RuntimeError(
            "another interpreter was asked to start one more: a script that folds in other "
            "interpreters does so behind `if __name__ == '__main__':`"
        )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
    }
    if time_zone is not None:
        environment["TZ"] = time_zone
    ended = subprocess.run(
        [sys.executable, "-c", _CHILD_PROGRAM],
        input=msgspec.msgpack.encode(_Request(list(sources), list(cases))),
        capture_output=True,
        env=environment,
        timeout=timeout,
        check=False,
    )
    if ended.returncode:
        raise OtherInterpreterError(ended.stderr.decode(errors="replace").strip())
    return msgspec.msgpack.decode(ended.stdout, type=list[Fold])


def digests_at(
    disk: Disk,
    registry: HandlerRegistry[Any],
    start: Sequence[bytes],
    events: EventRange,
    marks: Sequence[int],
) -> Digests:
    """Fold a range of the history on `disk` in this interpreter, from a state in slices.

    Returns the digest of the state after each event that `marks` names. Raises what `replay`
    raises.
    """
    codec = registry.states
    state, digests = codec.load(start), {}
    batches = recorded_batches(disk, registry.codec, events.first, events.last + 1)
    for batch, marked in cut_at(batches, sorted(marks)):
        state = registry.fold(state, registry.upcast(batch))
        if marked:
            digests[batch[-1].seq] = codec.digest(state)
    return digests


# ---- in the other interpreter --------------------------------------------------------------


def answer() -> None:
    """Read a request from standard input, and write the results to standard output."""
    global _answering
    _answering = True
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    output = os.dup(1)
    os.dup2(2, 1)  # prints of handlers, also from C, go to standard error
    registry: HandlerRegistry[Any] = HandlerRegistry(*map(find_source, request.sources))
    folds = [_fold_case(registry, case) for case in request.cases]
    with os.fdopen(output, "wb") as stream:
        stream.write(msgspec.msgpack.encode(folds))


def _fold_case(registry: HandlerRegistry[Any], case: Case) -> Fold:
    if isinstance(case.events, EventRange):
        disk = LocalDisk(case.events.path, read_only=True)
        return Fold(digests_at(disk, registry, case.start, case.events, case.marks))
    codec = registry.states
    state, digests = codec.load(case.start), {}
    for body in case.events:
        seq: int = msgspec.msgpack.decode(body)[0]
        state, outcome = _fold_inline(registry, codec, state, body, seq)
        if seq in case.marks:
            digests[seq] = outcome
    return Fold(digests, list(codec.slices(state)) if case.wants_state else None)


def _fold_inline(
    registry: HandlerRegistry[Any], codec: StateCodec[Any], state: Any, body: bytes, seq: int
) -> tuple[Any, str]:
    events = registry.upcast(registry.codec.decode(array_header(1) + body, 1, seq))
    try:
        for event in events:
            state = fold_context().run(registry.functions[type(event.data)], state, event)
        return state, codec.digest(state)
    except Exception as error:  # noqa: BLE001  the caller compares it with its own
        return state, f"!{type(error).__name__}"


def find_source(source: Source) -> Any:
    """Return the object that a source names, in this interpreter."""
    found: Any = _import_source(source)
    for part in source.name.split("."):
        found = getattr(found, part)
    return found


def _import_source(source: Source) -> Any:
    if source.module == "__main__" and source.file is not None:
        name = "__eventstore_main__"
        if name not in sys.modules:
            module = ModuleType(name)
            sys.modules[name] = module
            vars(module).update(runpy.run_path(source.file, run_name=name))
        return sys.modules[name]
    try:
        return importlib.import_module(source.module)
    except ModuleNotFoundError:
        if source.file is None:
            raise
    spec = importlib.util.spec_from_file_location(source.module, source.file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{source.file} is no module", name=source.module)
    module = importlib.util.module_from_spec(spec)
    sys.modules[source.module] = module
    spec.loader.exec_module(module)
    return module
