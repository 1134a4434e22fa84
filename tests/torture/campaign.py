"""Exploring by the million: on several processes, with progress that outlives the run.

Theory of operation
-------------------
A run is a list of programs, in the order of :func:`~tests.torture.workload_kinds.program_at`, and
each is explored whole, by one process, in a way that only its name decides. Programs end in any
order; but what counts is the shortest beginning of the list that holds as many states as were asked
for. So a run comes to the same programs and figures however many processes it has, and however
often it is stopped and resumed.

:class:`Progress` is what is known so far, and a small file: how many programs, from the first on,
are done, with their sum; those done ahead of their turn; and every failure. It is replaced
atomically after each program. So whatever stops a run, at most the programs in flight are done
again. It belongs to one version of the code, told by a digest of its sources, since with another
the same names mean other calls.

The processes do not hear Ctrl-C, which is the parent's to obey, and end when the parent has died.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Literal, Protocol

import msgspec

import eventstore
from tests.torture.crash_points import CrashError, Crashes, Report
from tests.torture.failing_calls import fail_every_call
from tests.torture.workload_kinds import program_at

__all__ = ["Parameters", "Progress", "ResumeError", "Shown", "run", "version"]

_PATIENCE = 0.25  # seconds between looks at Ctrl-C, and between two refreshed displays


class ResumeError(Exception):
    """There is no progress that this run could go on from."""


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides which states a run explores: ``kinds`` of programs from number ``seed`` on.

    ``what`` is whether they are crashed, or have their calls fail. ``images`` and ``again`` are
    those of :func:`~tests.torture.cli.explore`.
    """

    what: Literal["states", "failures"]
    seed: int
    kinds: tuple[str, ...]
    images: int = 2
    again: float = 0.01

    def program(self, place: int) -> str:
        """The name of the program in that place, from 0."""
        return program_at(self.seed, place, self.kinds)

    def explored(self, place: int) -> Report:
        """Explore the program in that place. Failures are in the report."""
        name = self.program(place)
        if self.what == "failures":
            return fail_every_call(name, keep_going=True)
        crashes = Crashes(name)
        try:
            crashes.explore(self.images, self.again)
        except CrashError as error:
            crashes.report.failures.append(str(error))
        return crashes.report


class Progress(msgspec.Struct, forbid_unknown_fields=True):
    """How far a run has come. ``asked`` is how many states, or programs, it is to have.

    ``done`` programs from the first on are finished, and ``total`` is their sum; ``ahead`` are
    those that finished before their turn.
    """

    version: str
    parameters: Parameters
    asked: int
    done: int = 0
    total: Report = msgspec.field(default_factory=Report)
    ahead: dict[int, Report] = {}

    @property
    def reached(self) -> int:
        """How much of ``asked`` there is."""
        return self.total.states if self.parameters.what == "states" else self.done

    @property
    def finished(self) -> bool:
        """Whether there is as much as was asked for."""
        return self.reached >= self.asked

    @property
    def everything(self) -> Report:
        """The sum of all that was explored, ahead of its turn or not."""
        sums = Report()
        for report in (self.total, *self.ahead.values()):
            sums += report
        return sums

    def add(self, place: int, report: Report) -> None:
        """The program in that place is done."""
        self.ahead[place] = report
        self.advance()

    def advance(self) -> None:
        """Count what is next in turn, as long as it is asked for."""
        while not self.finished and self.done in self.ahead:
            self.total += self.ahead.pop(self.done)
            self.done += 1

    def places(self) -> Iterator[int]:
        """The places of the programs that are still to be explored, without an end."""
        place = self.done
        while True:
            if place not in self.ahead:
                yield place
            place += 1

    def save(self, path: Path) -> None:
        """Replace the file; whoever is killed meanwhile leaves the one before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Progress:
        """Read the file. Raises :class:`ResumeError` where none of this version can be read."""
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            raise ResumeError(f"there is nothing to resume: {path} does not exist") from None
        except (OSError, msgspec.DecodeError) as error:
            raise ResumeError(f"{path} holds no progress of this kind: {error}") from error
        if found.version != version():
            raise ResumeError(
                f"{path} was written by another version of the code ({found.version}, this is "
                f"{version()}), in which the same numbers are other programs: begin anew"
            )
        return found

    def check(self, wanted: Parameters, path: Path) -> None:
        """Raise :class:`ResumeError` where its parameters are not the ones wanted."""
        for name in Parameters.__struct_fields__:
            there, here = getattr(self.parameters, name), getattr(wanted, name)
            if there != here:
                raise ResumeError(
                    f"{path} is of another run: its {name} is {there}, not {here}; ask for the "
                    "same, or begin anew"
                )


def version() -> str:
    """The digest of the package's sources."""
    digest = hashlib.blake2b(digest_size=8)
    folder = Path(eventstore.__file__).parent
    for source in sorted(folder.rglob("*.py")):
        digest.update(source.relative_to(folder).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()


class Shown(Protocol):
    """Where a run is watched."""

    def show(self, progress: Progress, seconds: float, since: int) -> None:
        """``seconds`` into this run, which began with ``since`` states done before it."""

    def tell(self, failure: str) -> None:
        """A promise was broken."""


def run(progress: Progress, path: Path, jobs: int, shown: Shown) -> bool:
    """Go on until there is as much as was asked for, or Ctrl-C is pressed; whether there is.

    The file at ``path`` is up to date whenever a program is done, and when this returns.
    """
    began, before = time.perf_counter(), progress.total.seconds
    since = progress.everything.states
    progress.advance()
    progress.save(path)
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(jobs, context, _begin)
    places = progress.places()
    waiting: dict[concurrent.futures.Future[Report], int] = {}
    with _interrupts() as interrupted:
        try:
            while not progress.finished and not interrupted.is_set():
                with _held_back():  # and for ever in the processes that are started now
                    while len(waiting) < jobs:
                        place = next(places)
                        waiting[pool.submit(progress.parameters.explored, place)] = place
                ended, _ = concurrent.futures.wait(
                    waiting, _PATIENCE, concurrent.futures.FIRST_COMPLETED
                )
                for future in ended:
                    report = future.result()
                    for failure in report.failures:
                        shown.tell(failure)
                    progress.add(waiting.pop(future), report)
                seconds = time.perf_counter() - began
                progress.total.seconds = before + seconds
                if ended:
                    progress.save(path)
                shown.show(progress, seconds, since)
        finally:
            for process in multiprocessing.active_children():
                process.terminate()
            # Waiting takes no time now, and the pool's thread is not at work while Python ends.
            pool.shutdown(cancel_futures=True)
    return progress.finished


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, instead of stopping whatever goes on; a second one does stop it."""
    pressed = threading.Event()

    def press(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Ctrl-C comes when this ends. To ignore it meanwhile would lose one pressed meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """In a new process: nothing is logged, and it does not outlive its parent."""
    logging.disable()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, args=(parent.sentinel,), daemon=True).start()
