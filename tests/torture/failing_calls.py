"""Every call on the disk failed in turn: the errors that the program gets, and the remains
afterwards.

Theory of operation
-------------------
A workload runs once to count its calls, and then again for each call and each fault. Faults are of
three kinds:

- The call fails once.
- The call and all later ones of its kind fail.
- From the call on, all calls fail that the errno stops (a device gone, remounted read-only, full).

The workload goes on like a `tolerant` program, with the oracle holding at each opening. Then the
fault is healed. The store must open, hold all owed events and take another event. A power cut
afterwards must take nothing back, as would happen if the store had believed a failed sync.

The function `expected` is the table of errors that a program may get. One interruption of a write
or of a sync is invisible. Endless interruptions, and those of other calls, are errors like any
other. (On a real disk, Python restarts such other calls.) Nothing ever hangs. The event loop
notices a program that waits for an impossible event, or goes on for ever.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from typing import NamedTuple, get_args

from eventstore import (
    CorruptStoreError,
    CursorNotSavedError,
    EventStoreError,
    StoreAccessError,
    StoreClosedError,
    StoreFailedError,
    StoreFullError,
)
from eventstore.testing.faults import Call, Effect, Fault
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.torture.crash_points import CrashError, Crashes, Report
from tests.torture.oracle import OracleError
from tests.torture.workload_kinds import program_named

__all__ = ["Failure", "calls_of", "fail_every_call", "failures", "play", "replay_failure"]

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
SHORT, NOTHING = 0, -1
"""Codes that are no errno: a write of seven bytes, and one of none, without an error."""

_CODES = {name: code for code, name in errno.errorcode.items()} | {
    "short": SHORT,
    "nothing": NOTHING,
}
_NAMES = {code: name for name, code in _CODES.items()}
_SYNCS = ("sync", "sync_folder")
_WHOLE = (*_SYNCS, "lock")
_LOOKS = ("read", "size", "list", "close", "close_disk")
_OPENS = frozenset({"open", "create", "list", "make_folder"})
"""Kinds of calls that need a file descriptor, and change nothing without one."""
_GROWS = frozenset({"create", "make_folder", "write"})
_CALLS_STOPPED = {
    errno.EROFS: _GROWS | {"rename", "remove", "truncate"},
    errno.ENOSPC: _GROWS,
    errno.EDQUOT: _GROWS,
    errno.EMFILE: _OPENS,
}
"""Kinds of calls that an errno stops when everything possible stops. Any other errno stops all."""


class Failure(NamedTuple):
    """One fault at one call of one workload: an errno, `SHORT` or `NOTHING`.

    `forever` means the call and all later ones of its kind. `everything` means all later ones
    that the errno can stop.
    """

    workload: int | str
    number: int
    code: int
    effect: Effect = "none"
    forever: bool = False
    everything: bool = False

    @property
    def fault(self) -> Fault:
        """Return the effect on a call that the failure hits."""
        if self.code > 0:
            return Fault(errno=self.code, effect=self.effect)
        return Fault(short=0 if self.code == NOTHING else 7)

    def goes_on(self, first: Call, call: Call) -> bool:
        """Tell whether the failure hits `call` too, after `first`."""
        if self.everything:
            stopped = _CALLS_STOPPED.get(self.code)
            return stopped is None or call.kind in stopped
        return self.forever and call.kind == first.kind

    def __str__(self) -> str:
        kind = "all" if self.everything else "from" if self.forever else "at"
        name = _NAMES[self.code]
        return f"workload={self.workload} fail={name}:{self.effect}:{kind}:{self.number}"

    @classmethod
    def parse(cls, workload: int | str, text: str) -> Failure:
        """Return the failure of a case's text, such as `EIO:none:at:57`."""
        name, effect, kind, number = text.split(":")
        extent = next(known for known in get_args(Effect) if known == effect)
        code = _CODES[name]
        return cls(workload, int(number), code, extent, kind == "from", kind == "all")


def calls_of(workload: int | str) -> list[Call]:
    """Return the calls of a workload where nothing fails."""
    calls: list[Call] = []
    program = program_named(workload, tolerant=True)
    program.watch = calls.append
    run_in_virtual_time(program.run())
    return calls


def failures(
    workload: int | str, calls: list[Call], *, every: int = 1, first: int = 0
) -> Iterator[Failure]:
    """Yield all faults that `calls` can meet, or each `every`-th of them from `first` on."""

    def found() -> Iterator[Failure]:
        for number, call in enumerate(calls, 1):
            for code in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                if call.kind in _LOOKS and code != errno.EIO:
                    continue
                for forever in (False, True):
                    yield Failure(workload, number, code, "none", forever)
                    if call.kind == "write" or (call.kind in _WHOLE and code == errno.EIO):
                        effect: Effect = "partial" if call.kind == "write" else "whole"
                        yield Failure(workload, number, code, effect, forever)
                if code != errno.EDQUOT and call.kind in _CALLS_STOPPED[errno.EROFS]:
                    yield Failure(workload, number, code, everything=True)
            if call.kind in _OPENS:
                yield Failure(workload, number, errno.EMFILE)
                yield Failure(workload, number, errno.EMFILE, everything=True)
            if call.kind == "write":
                for code in (SHORT, NOTHING):
                    yield Failure(workload, number, code)
                    yield Failure(workload, number, code, forever=True)
            if call.kind not in _LOOKS:
                yield Failure(workload, number, errno.EINTR)
                yield Failure(workload, number, errno.EINTR, forever=True)

    yield from itertools.islice(found(), first, None, every)


def expected(failure: Failure, call: Call, error: EventStoreError, opening: bool) -> bool:
    """Tell whether a program may get `error` when `call` fails so."""
    once = not failure.forever and not failure.everything
    endured = call.kind == "write" or call.kind in _SYNCS
    if isinstance(error, CorruptStoreError) or failure.code == SHORT:
        return False
    if failure.code == errno.EINTR and once and endured:
        return False
    if isinstance(error, CursorNotSavedError | StoreClosedError):
        return True  # of the latter, a snapshot that was waited for when the program was closed
    if failure.code == errno.EMFILE:
        return opening or not isinstance(error, StoreFailedError)
    if failure.everything:
        return True
    if opening or (failure.forever and isinstance(error, StoreFailedError)):
        return True  # nothing was served, or the written bytes could not be cut back either
    if call.kind in _SYNCS:
        return isinstance(error, StoreFailedError)
    if call.kind == "write" and failure.code in NO_SPACE:
        return isinstance(error, StoreFullError)
    if call.kind == "write":
        return isinstance(error, StoreFailedError | StoreAccessError)
    return True


async def play(failure: Failure, images: int = 2) -> None:
    """Run the workload with the failure. Raises `OracleError` where a promise is broken."""
    program = program_named(failure.workload, tolerant=True)
    made = itertools.count(1)
    failed: list[tuple[Call, bool]] = []

    def watch(call: Call) -> Fault | None:
        number = next(made)
        if number != failure.number and not (failed and failure.goes_on(failed[0][0], call)):
            return None
        failed.append((call, program.store is None))
        return failure.fault

    program.watch = watch
    await program.run()
    for error in program.errors:
        opening = any(during for _, during in failed)
        if not failed or not expected(failure, failed[0][0], error, opening):
            raise OracleError(f"told {type(error).__name__} ({error}) when {failed[0]} failed")
    program.watch = None
    program.errors.clear()
    if not await program.open():
        raise OracleError(f"it does not open afterwards: {program.errors}") from program.errors[0]
    await program.step("group")
    await program.step("append")
    claim = program.claim()
    await program.end("close")
    if program.errors:
        raise OracleError(f"it does not work afterwards: {program.errors}") from program.errors[0]
    crashes = Crashes(failure.workload, program.config)
    for number in range(images):
        image = program.disk.after_power_cut(failure.number * images + number)
        await crashes.check(image, claim, claim.length)


def replay_failure(workload: int | str, text: str) -> None:
    """Play the failure of a case's text, such as `EIO:none:at:57`."""
    run_in_virtual_time(play(Failure.parse(workload, text)))


def fail_every_call(
    workload: int | str, *, every: int = 1, first: int = 0, keep_going: bool = False
) -> Report:
    """Play every fault at every call of a workload, or each `every`-th from `first` on.

    Raises `CrashError` at the first broken promise, or with `keep_going` lists every one.
    """
    report = Report(workloads=1)
    calls = calls_of(workload)
    report.calls = len(calls)
    for failure in failures(workload, calls, every=every, first=first):
        report.states += 1
        try:
            run_in_virtual_time(play(failure))
        except Exception as error:  # reported with its case
            wrapped = CrashError(str(failure), error)
            if not keep_going:
                raise wrapped from error
            report.failures.append(str(wrapped))
    return report
