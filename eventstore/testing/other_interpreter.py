"""Folding the same events in another interpreter, under another hash seed and in another time zone.

Theory of operation
-------------------
The order of a set of strings, and of a persistent map, is another one under another hash seed; so
a handler that lets such an order show in its state gives another state there. The only way to see
it is to run the handler in an interpreter that was started with another seed. That one is given
names, not objects: module and name of each handler and upcaster, the start states as snapshots
hold them, and the events as the log holds them. It answers with the digest after each event.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import msgspec

from eventstore.model.codec import array_header
from eventstore.model.handler import Handler, Upcaster
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state import StateCodec, StateDigest

__all__ = ["Case", "Source", "fold_elsewhere", "source_of"]

_PATIENCE = 600.0  # seconds for all cases
_CHILD = "from eventstore.testing.other_interpreter import answer; answer()"
_ZONES = ("UTC+11", "UTC-13")


class Source(msgspec.Struct, frozen=True):
    """Where another interpreter finds a handler or an upcaster."""

    module: str
    name: str
    file: str | None


class Case(msgspec.Struct, frozen=True):
    """A start state, as slices of a snapshot, and the events that follow it, as in the log."""

    start: list[bytes]
    events: list[bytes]


class _Request(msgspec.Struct, frozen=True):
    sources: list[Source]
    cases: list[Case]
    wanted: tuple[int, int] | None = None


class _Answer(msgspec.Struct, frozen=True):
    outcomes: list[list[str]]
    state: list[bytes] | None = None


def source_of(item: Handler[Any, Any] | Upcaster[Any, Any]) -> Source:
    """How to find ``item`` again. Raises ``ValueError`` for one that only this process has."""
    function: Any = item.function
    module, name = function.__module__, function.__qualname__
    home = sys.modules.get(module)
    found: Any = home
    for part in name.split("."):
        found = getattr(found, part, None)
    file = getattr(home, "__file__", None)
    if found is not item or (module == "__main__" and file is None):
        raise ValueError(
            f"{item!r} cannot be imported by another interpreter, which is how order that depends "
            "on hash seeds is found: define it at the top of a module, under the name of its "
            "function, or pass hash_seeds=() to go without that check"
        )
    return Source(module, name, None if file is None else os.path.abspath(file))


def fold_elsewhere(
    sources: Sequence[Source],
    cases: Sequence[Case],
    seed: int,
    wanted: tuple[int, int] | None = None,
) -> tuple[list[list[str]], list[bytes] | None]:
    """What becomes of the cases under hash seed ``seed``: a digest, or ``!Error``, for each event.

    ``wanted``: the case and event after which the state itself is asked for, as slices. Raises
    ``RuntimeError`` where the other interpreter fails.
    """
    request = msgspec.msgpack.encode(_Request(list(sources), list(cases), wanted))
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(seed),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TZ": _ZONES[seed % len(_ZONES)],
    }
    run = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=request,
        capture_output=True,
        env=environment,
        timeout=_PATIENCE,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(
            "the handlers could not be run in another interpreter:\n"
            + run.stderr.decode(errors="replace").strip()
        )
    answered = msgspec.msgpack.decode(run.stdout, type=_Answer)
    return answered.outcomes, answered.state


# ---- in the other interpreter --------------------------------------------------------------


def answer() -> None:
    """Read a request from standard input, and answer it on standard output."""
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    output = sys.stdout.buffer
    sys.stdout = sys.stderr  # what plugins print is no part of the answer
    registry: HandlerRegistry[Any] = HandlerRegistry(*[_find(source) for source in request.sources])
    codec = StateCodec[Any](registry.state_type)
    outcomes, state = [], None
    for number, case in enumerate(request.cases):
        folded = codec.load(case.start)
        steps = []
        for step, body in enumerate(case.events):
            folded, outcome = _fold(registry, codec, folded, body)
            steps.append(outcome)
            if request.wanted == (number, step):
                state = list(codec.slices(folded, StateDigest()))
        outcomes.append(steps)
    output.write(msgspec.msgpack.encode(_Answer(outcomes, state)))
    output.flush()


def _fold(
    registry: HandlerRegistry[Any], codec: StateCodec[Any], state: Any, body: bytes
) -> tuple[Any, str]:
    first: int = msgspec.msgpack.decode(body)[0]
    events = registry.upcast(registry.codec.decode(array_header(1) + body, 1, first))
    digest = StateDigest()
    try:
        for event in events:
            state = registry.functions[type(event.data)](state, event)
        for _ in codec.slices(state, digest):
            pass
    except Exception as error:  # noqa: BLE001  whatever it is, the caller compares it with its own
        return state, f"!{type(error).__name__}"
    return state, digest.hexdigest()


def _find(source: Source) -> Any:
    found: Any = _module(source)
    for part in source.name.split("."):
        found = getattr(found, part)
    return found


def _module(source: Source) -> Any:
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
