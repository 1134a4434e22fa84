"""Exploring by the million: on several processes, with progress that outlives the run.

Theory of operation
-------------------
A run is a list of programs, in the order of `workload_kinds.program_at`. One process explores
each program whole, and only the program's name decides how. Programs end in any order. The result
is the shortest beginning of the list with as many states as were asked for. So a run comes to the
same programs and figures for any number of processes and after any number of stops.

`Progress` is the knowledge so far, and a small file. The file holds three things: how many
programs, from the first on, are done, with their sum; programs done ahead of their turn; and every
failure. Each finished program replaces the file atomically. So after any stop, at most the programs
in flight are done again. The file belongs to one version of the code, told by a digest of the
sources, because with another version the same names mean other calls.

The processes ignore Ctrl-C, which only the parent obeys, and end when the parent has died.
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

__all__ = ["Display", "Parameters", "Progress", "ResumeError", "run", "version"]

_PATIENCE = 0.25  # seconds between looks at Ctrl-C, and between two refreshed displays


class ResumeError(Exception):
    """There is no progress from which this run could go on."""


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The choices that decide which states a run explores: `kinds` of programs from number
    `seed` on.

    `what` says whether the programs are crashed, or have failing calls. `images` and `again`
    are the arguments of `cli.explore`.
    """

    what: Literal["states", "failures"]
    seed: int
    kinds: tuple[str, ...]
    images: int = 2
    again: float = 0.01

    def program(self, place: int) -> str:
        """Return the name of the program at a place, from 0."""
        return program_at(self.seed, place, self.kinds)

    def explored(self, place: int) -> Report:
        """Explore the program at a place. Failures are in the report."""
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
    """Progress of a run. `asked` is the number of states, or programs, to explore.

    `done` programs from the first on are finished, and `total` is their sum. `ahead` holds
    the programs that finished before their turn.
    """

    version: str
    parameters: Parameters
    asked: int
    done: int = 0
    total: Report = msgspec.field(default_factory=Report)
    ahead: dict[int, Report] = {}

    @property
    def reached(self) -> int:
        """Number of explored states or programs, out of `asked`."""
        return self.total.states if self.parameters.what == "states" else self.done

    @property
    def finished(self) -> bool:
        """Whether as much was explored as was asked for."""
        return self.reached >= self.asked

    @property
    def everything(self) -> Report:
        """Return the sum of all explored programs, ahead of their turn or not."""
        sums = Report()
        for report in (self.total, *self.ahead.values()):
            sums += report
        return sums

    def add(self, place: int, report: Report) -> None:
        """Note that the program at a place is done."""
        self.ahead[place] = report
        self.advance()

    def advance(self) -> None:
        """Count the next programs in turn, as long as they are asked for."""
        while not self.finished and self.done in self.ahead:
            self.total += self.ahead.pop(self.done)
            self.done += 1

    def places(self) -> Iterator[int]:
        """Yield the places of the programs still to be explored, without an end."""
        place = self.done
        while True:
            if place not in self.ahead:
                yield place
            place += 1

    def save(self, path: Path) -> None:
        """Replace the file. A kill in the meantime leaves the old file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Progress:
        """Read the file. Raises `ResumeError` for no file, or a file of another version."""
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
        """Raise `ResumeError` where the parameters are not the wanted ones."""
        for name in Parameters.__struct_fields__:
            there, here = getattr(self.parameters, name), getattr(wanted, name)
            if there != here:
                raise ResumeError(
                    f"{path} is of another run: its {name} is {there}, not {here}; ask for the "
                    "same, or begin anew"
                )


def version() -> str:
    """Return the digest of the sources: of the package, and of the programs here."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in (Path(eventstore.__file__).parent, Path(__file__).parent):
        for source in sorted(folder.rglob("*.py")):
            digest.update(source.relative_to(folder).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()


class Display(Protocol):
    """The display of a run."""

    def show(self, progress: Progress, seconds: float, since: int) -> None:
        """Show progress. The run has lasted `seconds`, and began with `since` states already
        done.
        """

    def tell(self, failure: str) -> None:
        """Tell of a broken promise."""


def run(progress: Progress, path: Path, jobs: int, shown: Display) -> bool:
    """Explore until enough is done, or Ctrl-C is pressed. Returns whether enough is done.

    The file at `path` is up to date whenever a program is done, and on return.
    """
    began, before = time.perf_counter(), progress.total.seconds
    since = progress.everything.states
    progress.advance()
    progress.save(path)
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(jobs, context, _prepare_process)
    places = progress.places()
    waiting: dict[concurrent.futures.Future[Report], int] = {}
    with _interrupt_sets() as interrupted:
        try:
            while not progress.finished and not interrupted.is_set():
                with _interrupts_deferred():  # and for ever in the processes started now
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
def _interrupt_sets() -> Iterator[threading.Event]:
    """Let the first Ctrl-C set the event, instead of stopping the work. A second one stops the
    work.
    """
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
def _interrupts_deferred() -> Iterator[None]:
    """Delay Ctrl-C until the block ends. Ignoring the signal in the block would lose a Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare_process() -> None:
    """Prepare a new process: no logging, and an end together with the parent."""
    logging.disable()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, args=(parent.sentinel,), daemon=True).start()
