"""A crew of processes that work on parts of one store at the same time: fold, check, make rows.

Theory of operation
-------------------
Folding and decoding are work of the interpreter. Threads gain nothing, so processes are needed. A
*member* is a fresh interpreter: a copy of this process would inherit locks that other threads hold.
A member gets names in place of objects: the store's path, and every handler by module and name. The
state before the first event is sent in slices.

Work is a function at the top of a module of this library: `work(disk, registry, part, advance)`,
where `part` names the events. Parts and results are pickled. Members take the parts in order. A
result may end the work, as the first found event does. Later parts then do not matter: a part not
begun is left out, and a member busy with a later part is killed.

Work may also be a generator (`stream`). Then a member sends everything that the generator gave for
a part, and only some parts ahead of the caller are begun, so memory does not grow with the parts.

A part without a result from a member is worked on again in this process. So an error of a handler,
or of a damaged file, is raised here with a traceback of its own, and a killed member costs time
alone.

All work is done in this process where one member is enough, where the store is no directory, and
where a handler is only in this process: in the script that was started, or inside of a function.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.errors import RegistrationError
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.hash_seed_fold import Source, find_source, sources_of

__all__ = ["Advance", "FoldCrew", "Work", "processors"]

PartT = TypeVar("PartT")
ResultT = TypeVar("ResultT")

Advance = Callable[[int], None]
"""Called with the number of events folded since the last call."""

Work = Callable[[Disk, HandlerRegistry[Any], PartT, Advance], ResultT]
"""The work of a member on one part."""

WORTH = 250_000
"""Events for which one more member is begun, if the caller gives no number."""

_PARTS_EACH = 4
"""Parts for each process, so that no process waits long for the last part of another."""

_AHEAD = 2
"""Parts for each process that are begun, or wait for the caller of `stream`."""

_PERIOD = 0.2  # seconds between two messages about progress
_PROGRAM = "from eventstore.reading.fold_crew import serve; serve()"
_LOST = object()


class _Setting(NamedTuple):
    """The needs of every member: the store, the handlers, the slices of the first state."""

    path: str
    sources: list[Source]
    initial: list[bytes]


def processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


class FoldCrew:
    """Processes that fold parts of the store on `disk`. To be used in a `with` statement.

    `jobs` is the number of processes, at least 1. `None` begins one for each 250,000 of the
    `events`, at most one for each processor. Afterwards the attribute tells the number in use, and
    `alone` the reason for a single one where more were asked for. `events` is the number of events
    as told.
    """

    def __init__(
        self,
        disk: Disk,
        registry: HandlerRegistry[Any],
        *,
        jobs: int | None,
        events: int,
        functions: Sequence[Any] = (),
    ) -> None:
        """`functions` are further functions of the caller's that members need."""
        self.alone: str | None = None
        self.events = events
        self._disk = disk
        self._registry = registry
        self._members: dict[int, _Member] = {}
        self.jobs = max(1, min(processors(), events // WORTH)) if jobs is None else jobs
        self._setting: _Setting | None = None
        if self.jobs > 1:
            self._setting = self._set(functions)
            self.jobs = self.jobs if self._setting is not None else 1

    def _set(self, functions: Sequence[Any]) -> _Setting | None:
        registry = self._registry
        sources = sources_of(*registry.items)
        if not isinstance(self._disk, LocalDisk):
            self.alone = "the store is no directory"
        elif sources is None or sources_of(*functions) is None:
            self.alone = "not every handler and function is found by module and name"
        else:
            try:
                first = registry.initial() if registry.items else None
                initial = list(registry.states.slices(first))
            except RegistrationError as error:
                self.alone = f"another process cannot be given the first state: {error}"
                return None
            return _Setting(str(Path(self._disk.path).absolute()), sources, initial)
        return None

    @property
    def pieces(self) -> int:
        """The number of parts to divide a history into."""
        return self.jobs * _PARTS_EACH if self.jobs > 1 else 1

    def __enter__(self) -> FoldCrew:
        return self

    def __exit__(self, *exception: object) -> None:
        for member in self._members.values():
            member.end()

    def each(
        self,
        work: Work[PartT, ResultT],
        parts: Sequence[PartT],
        advance: Advance = lambda count: None,
        ends: Callable[[ResultT], bool] = lambda result: False,
    ) -> list[ResultT]:
        """Do `work` for each part, and return the results in the order of the parts.

        `advance` is called by one thread at a time. `ends` tells of a result whether later parts
        matter. Raises the error of the first part whose work failed.
        """
        results: list[ResultT] = []
        with _Round(self, work, parts, advance, ends) as round_:
            for index, part in enumerate(parts):
                result = round_.result(index)
                if result is _LOST:
                    result = work(self._disk, self._registry, part, round_.advance)
                results.append(result)
                if ends(result):
                    break
        return results

    def stream(
        self,
        work: Work[PartT, Iterator[ResultT]],
        parts: Sequence[PartT],
        advance: Advance = lambda count: None,
    ) -> Generator[ResultT, None, None]:
        """Do `work`, a generator, for each part, and yield what it gives in the order of the parts.

        Memory holds the results of some parts for each process. To close the iterator stops the
        work. Raises the error of the first part whose work failed, behind the results before.
        """
        with _Round(self, work, parts, advance, ahead=self.jobs * _AHEAD) as round_:
            for index, part in enumerate(parts):
                results = round_.result(index)
                if results is _LOST:
                    results = work(self._disk, self._registry, part, round_.advance)
                yield from results

    def member(self, number: int) -> _Member:
        """Return a member, begun anew where it was stopped."""
        assert self._setting is not None
        found = self._members.get(number)
        if found is not None and not found.stopped:
            return found
        if found is not None:
            found.end()
        self._members[number] = _Member(self._setting)
        return self._members[number]


class _Round(Generic[PartT, ResultT]):
    """One list of parts, given to the members."""

    def __init__(
        self,
        crew: FoldCrew,
        work: Work[PartT, ResultT],
        parts: Sequence[PartT],
        advance: Advance,
        ends: Callable[[ResultT], bool] = lambda result: False,
        ahead: int | None = None,
    ) -> None:
        """`ahead` is the number of parts to begin before the first result is taken, or all."""
        self._crew = crew
        self._parts = parts
        self._advance = advance
        self._telling = threading.Lock()
        self._work = f"{work.__module__}:{work.__qualname__}"
        self._ends = ends
        self._bound = len(parts)  # of parts that matter
        self._busy: dict[int, _Member] = {}
        self._changing = threading.Lock()
        self._free = list(range(crew.jobs))
        self._threads = ThreadPoolExecutor(crew.jobs)
        self._futures: dict[int, Future[Any]] = {}
        self._begun = 0 if crew.jobs > 1 and len(parts) > 1 else len(parts)
        self._begin(len(parts) if ahead is None else ahead)

    def __enter__(self) -> _Round[PartT, ResultT]:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_behind(-1)
        self._threads.shutdown(cancel_futures=True)

    def result(self, index: int) -> Any:
        """Return a part's result, `_LOST` where the part is left to this process."""
        future = self._futures.pop(index, None)
        if future is None:
            return _LOST
        result = future.result()
        self._begin(1)
        return result

    def _begin(self, count: int) -> None:
        """Let the members begin some more parts."""
        for index in range(self._begun, min(self._begun + count, len(self._parts))):
            self._futures[index] = self._threads.submit(self._do, index, self._parts[index])
            self._begun = index + 1

    def advance(self, count: int) -> None:
        """Tell the caller of progress."""
        with self._telling:
            self._advance(count)

    def _do(self, index: int, part: PartT) -> Any:
        with self._changing:
            if index > self._bound:
                return _LOST
            number = self._free.pop()
            member = self._busy[index] = self._crew.member(number)
        try:
            result = member.ask(self._work, part, self.advance)
        finally:
            with self._changing:
                del self._busy[index]
                self._free.append(number)
        if result is not _LOST and self._ends(result):
            self._end_behind(index)
        return result

    def _end_behind(self, index: int) -> None:
        """Stop the work on every part behind a part."""
        with self._changing:
            self._bound = min(self._bound, index)
            for busy, member in self._busy.items():
                if busy > self._bound:
                    member.stop()


class _Member:
    """One interpreter. Messages are pickled, in both directions."""

    def __init__(self, setting: _Setting) -> None:
        self.stopped = False
        paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what fails there is done again here
            env={**os.environ, "PYTHONPATH": paths},
        )
        with contextlib.suppress(OSError):  # it ended: `ask` finds out
            self._send(setting)

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        pickle.dump(message, self._process.stdin)
        self._process.stdin.flush()

    def ask(self, work: str, part: Any, advance: Advance) -> Any:
        """Return the result of work on a part, `_LOST` where the member failed."""
        assert self._process.stdout is not None
        try:
            self._send((work, part))
            while True:
                kind, content = pickle.load(self._process.stdout)
                if kind != "advanced":
                    return content if kind == "done" else _LOST
                advance(content)
        except (OSError, EOFError, pickle.UnpicklingError):
            self.stopped = True
            return _LOST

    def stop(self) -> None:
        """Stop whatever the member does."""
        self.stopped = True
        self._process.kill()

    def end(self) -> None:
        """End the process and wait for its end."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


# ---- in a member ---------------------------------------------------------------------------


def serve() -> None:
    """Read parts from standard input and write results to standard output, until the input ends."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints of handlers, also from C, go to standard error

    def send(kind: str, content: Any) -> None:
        pickle.dump((kind, content), output, protocol=5)  # no copy of the bytes of Arrow
        output.flush()

    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        setting: _Setting = pickle.load(sys.stdin.buffer)
        registry: HandlerRegistry[Any] = HandlerRegistry(*map(find_source, setting.sources))
        codec = registry.states
        registry = HandlerRegistry(*registry.items, initial=lambda: codec.load(setting.initial))
        disk = LocalDisk(setting.path, read_only=True)
        while True:
            work, part = pickle.load(sys.stdin.buffer)
            told = _Throttle(send)
            try:
                result = perform(disk, registry, work, part, told)
            except Exception as error:  # noqa: BLE001  it is raised again where the part came from
                send("failed", repr(error))
            else:
                told.flush()
                send("done", result)


def perform(
    disk: Disk, registry: HandlerRegistry[Any], work: str, part: Any, advance: Advance
) -> Any:
    """Do the work of a name on a part. The result can be pickled."""
    module, _, name = work.partition(":")
    function: Work[Any, Any] = getattr(importlib.import_module(module), name)
    result = function(disk, registry, part, advance)
    return list(result) if isinstance(result, Iterator) else result


class _Throttle:
    """Progress, gathered: a part of many batches sends few messages."""

    def __init__(self, send: Callable[[str, Any], None]) -> None:
        self._send = send
        self._count = 0
        self._due = time.monotonic() + _PERIOD

    def __call__(self, count: int) -> None:
        self._count += count
        if time.monotonic() >= self._due:
            self.flush()
            self._due = time.monotonic() + _PERIOD

    def flush(self) -> None:
        if self._count:
            self._send("advanced", self._count)
            self._count = 0
