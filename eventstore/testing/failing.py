"""Every call on the disk failed in turn: what the program is told, and what is left afterwards.

Theory of operation
-------------------
A workload is run once to count its calls, and then again for each of them and each fault: the call
fails once, or it and all later ones of its kind do. The workload goes on as a program would (see
``tolerant``), with the oracle holding at each of its openings; then the fault is healed, the store
must open, hold what it owes and take another event; and a power cut after that must take nothing
back, which is what a sync that was wrongly believed would do.

What the program may be told is the table in :func:`expected`. Interruptions are played only where
system calls are not restarted by Python itself: for writes and syncs.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from typing import NamedTuple, get_args

from eventstore import (
    CorruptStoreError,
    EventStoreError,
    StoreAccessError,
    StoreFailedError,
    StoreFullError,
)
from eventstore.testing.crash_points import CrashError, Crashes, Report
from eventstore.testing.faults import Call, Effect, Fault
from eventstore.testing.oracle import OracleError
from eventstore.testing.virtual_time import run_in_virtual_time
from eventstore.testing.workload import Workload

__all__ = ["Failure", "calls_of", "fail_every_call", "failures", "play", "replay_failure"]

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_SYNCS = ("sync", "sync_folder")


class Failure(NamedTuple):
    """One fault at one call of one workload; ``code`` 0 is a short write."""

    workload: int
    number: int
    code: int
    effect: Effect = "none"
    forever: bool = False

    def __str__(self) -> str:
        name = errno.errorcode[self.code] if self.code else "short"
        kind = "from" if self.forever else "at"
        return f"workload={self.workload} fail={name}:{self.effect}:{kind}:{self.number}"


def calls_of(workload: int) -> list[Call]:
    """The calls that a workload makes where nothing fails."""
    calls: list[Call] = []
    program = Workload(workload, tolerant=True)
    program.watch = calls.append
    run_in_virtual_time(program.run())
    return calls


def failures(
    workload: int, calls: list[Call], *, every: int = 1, first: int = 0
) -> Iterator[Failure]:
    """All faults that ``calls`` can meet, or each ``every``-th of them from ``first`` on."""

    def found() -> Iterator[Failure]:
        for number, call in enumerate(calls, 1):
            if call.kind in ("close_disk", "lock"):
                continue
            for code in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                if call.kind in ("read", "size", "list", "close") and code != errno.EIO:
                    continue
                for forever in (False, True):
                    yield Failure(workload, number, code, "none", forever)
                    if call.kind == "write" or (call.kind in _SYNCS and code == errno.EIO):
                        effect: Effect = "partial" if call.kind == "write" else "whole"
                        yield Failure(workload, number, code, effect, forever)
            if call.kind == "write":
                yield Failure(workload, number, 0)
                yield Failure(workload, number, 0, forever=True)
            if call.kind == "write" or call.kind in _SYNCS:
                yield Failure(workload, number, errno.EINTR)

    yield from itertools.islice(found(), first, None, every)


def expected(failure: Failure, call: Call, error: EventStoreError, opening: bool) -> bool:
    """Whether a program may be told ``error`` when ``call`` fails so."""
    if failure.code in (0, errno.EINTR) or isinstance(error, CorruptStoreError):
        return False
    if opening or (failure.forever and isinstance(error, StoreFailedError)):
        return True  # nothing was served; or what was written could not be cut back either
    if call.kind in _SYNCS:
        return isinstance(error, StoreFailedError)
    if call.kind == "write" and failure.code in NO_SPACE:
        return isinstance(error, StoreFullError)
    if call.kind == "write":
        return isinstance(error, StoreFailedError | StoreAccessError)
    return True


async def play(failure: Failure, images: int = 2) -> None:
    """Let it happen. Raises :class:`OracleError` where a promise is broken."""
    program = Workload(failure.workload, tolerant=True)
    made = itertools.count(1)
    failed: list[tuple[Call, bool]] = []
    fault = Fault(
        errno=failure.code or errno.EIO,
        effect=failure.effect,
        short=None if failure.code else 7,
    )

    def watch(call: Call) -> Fault | None:
        number = next(made)
        hit = number == failure.number or (
            failure.forever
            and failed
            and number > failure.number
            and call.kind == failed[0][0].kind
        )
        if not hit:
            return None
        failed.append((call, program.store is None))
        return fault

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


def replay_failure(workload: int, text: str) -> None:
    """Play the failure of that text, as a case says it: ``EIO:none:at:57``."""
    name, effect, kind, number = text.split(":")
    code = getattr(errno, name, 0)
    extent = next(known for known in get_args(Effect) if known == effect)
    run_in_virtual_time(play(Failure(workload, int(number), code, extent, kind == "from")))


def fail_every_call(
    workload: int, *, every: int = 1, first: int = 0, keep_going: bool = False
) -> Report:
    """Play every fault at every call of a workload, or each ``every``-th from ``first`` on.

    Raises :class:`CrashError` at the first broken promise, or with ``keep_going`` lists them all.
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
