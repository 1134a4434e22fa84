"""The demonstration: start and kill a worker, examine the store, start the next worker, compare.

A *life* is one worker process, from its start to its death or to the end of the tape. A seed draws
the end of each life: an acknowledged event, and a delay after the event. Now and then the end falls
into the opening of the store. The seed fixes the plan and not the instant. Chance decides the
instruction that the kill interrupts, on purpose.

A second process follows the store all the while, without the lock, and must end with the same
state.

After each kill the promise is checked first: every event that the worker reported as acknowledged
must be there for the next worker. An unacknowledged event may be there or not.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from eventstore.demo.errors import DemoError
from eventstore.demo.events_to_record import Journal
from eventstore.demo.following_process import SecondProcess
from eventstore.demo.messages import (
    Acknowledged,
    Failed,
    Finished,
    Message,
    Opening,
    Progress,
    Ready,
    Sent,
    decode,
)
from eventstore.demo.registry import trading_registry
from eventstore.demo.tape_reader import read_moments, shipped_tape
from eventstore.demo.verify import Verification, verify
from eventstore.disk.layout import MANIFEST
from eventstore.errors import EventStoreError
from eventstore.recovery_and_stats import RecoveryReport, StoreStats

__all__ = ["DemoOptions", "Kill", "Life", "Result", "Tape", "View", "plan_kills", "run", "survey"]

LONGEST_DELAY = 0.004
"""The longest delay in seconds between an acknowledgement and the kill that follows."""

SHORTER = 0.05
"""Part of such a delay for a kill between an order and its fill."""

LONGEST_OPENING = 0.010
"""The longest delay in seconds between the start of an opening and a kill during the opening."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The user's choices. `store=None` is a temporary directory, removed at the end."""

    tape: Path = field(default_factory=shipped_tape)
    store: Path | None = None
    kills: int = 5
    seed: int = field(default_factory=lambda: secrets.randbelow(1_000_000))
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Tape:
    """The size of a tape and of its trading, found by running the journal over the tape once."""

    path: Path
    prints: int
    moments: int
    fills: int
    events: int


@dataclass(frozen=True, slots=True)
class Kill:
    """The time of a kill: `delay` seconds after `after_seq` is acknowledged.

    With `at_order`, the delay begins when the next order is durable, and its fill is not. With
    `after_seq=0` the delay begins with the opening of the store.
    """

    after_seq: int
    delay: float
    at_order: bool = False


@dataclass(slots=True)
class Life:
    """One worker process, seen from outside. `trading` is in seconds, without start-up.

    `in_doubt` counts the orders of earlier lives that had no fill at the beginning of this life.
    `told_again` counts the fills that were told more than once, as the life last reported.
    """

    number: int
    recovery: RecoveryReport | None = None
    in_doubt: int = 0
    acknowledged: int = 0
    stats: StoreStats | None = None
    told_again: int = 0
    trading: float = 0.0
    killed: bool = False

    @property
    def found(self) -> int:
        """The last event in the store at the beginning of this life."""
        return self.recovery.seq if self.recovery else 0

    @property
    def recorded(self) -> int:
        """How many events were acknowledged in this life."""
        return max(0, self.acknowledged - self.found) if self.recovery else 0


@dataclass(frozen=True, slots=True)
class Result:
    """All lives, and the comparison at the end.

    `seconds` is the time of the whole run. `kept` says whether the store is still there.
    """

    tape: Tape
    store: Path
    kept: bool
    lives: tuple[Life, ...]
    verification: Verification
    seconds: float


class View(Protocol):
    """An observer of the run."""

    def begin(self, options: DemoOptions, tape: Tape, store: Path) -> None: ...
    def advance(self, life: Life) -> None: ...
    def recovered(self, life: Life) -> None: ...
    def ended(self, life: Life) -> None: ...
    def verifying(self) -> None: ...


def survey(path: Path) -> Tape:
    """Read and count the whole tape. Raises `TapeError` before anything is started."""
    journal = Journal()
    prints = moments = 0
    for moment in read_moments(path):
        prints += len(moment)
        moments += 1
        for _ in journal.moment(moment):
            pass
    return Tape(path, prints, moments, journal.ledger.trade_count, journal.seq)


def plan_kills(kills: int, events: int, seed: int) -> list[Kill]:
    """Plan `kills` moments, one in each part of the events and random within the part.

    About one in five, but never the first, hits an opening instead of the trading. Every other one
    of the rest waits for an order without its fill.
    """
    dice = random.Random(seed)
    planned: list[Kill] = []
    for part in range(kills):
        after = int(events * dice.uniform(part + 0.1, part + 0.9) / kills)
        in_opening = dice.random() < 0.2 and part > 0
        delay = dice.uniform(0.0, LONGEST_OPENING if in_opening else LONGEST_DELAY)
        if in_opening:
            planned.append(Kill(0, delay))
        elif part % 2:
            planned.append(Kill(max(1, after), delay))
        else:
            planned.append(Kill(max(1, after), delay * SHORTER, at_order=True))
    return planned


def run(options: DemoOptions, view: View) -> Result:
    """Run the demonstration. The result says whether every check passed.

    A temporary store is removed, except after a fault, so that the store can be examined.

    Raises `DemoError` when a worker fails by itself, when an acknowledged event is gone after a
    kill, and when the store's directory cannot be used. Raises `TapeError` for the tape.
    """
    started = time.perf_counter()
    tape = survey(options.tape)
    store = _store_directory(options)
    temporary = options.store is None and not options.keep
    try:
        view.begin(options, tape, store)
        with SecondProcess(store, tape.events) as second:
            lives = _run_lives(options, tape, store, view)
            view.verifying()
            followed = second.outcome()
        verification = asyncio.run(verify(store, options.tape, trading_registry(), followed))
        temporary = temporary and verification.passed
    except EventStoreError:
        temporary = False
        raise
    finally:
        if temporary:
            shutil.rmtree(store, ignore_errors=True)
    return Result(
        tape, store, not temporary, tuple(lives), verification, time.perf_counter() - started
    )


def _store_directory(options: DemoOptions) -> Path:
    """Return the store's directory: new, empty, or with a store to continue."""
    if options.store is None:
        return Path(tempfile.mkdtemp(prefix="eventstore-demo-"))
    try:
        names = {entry.name for entry in options.store.iterdir()}
    except FileNotFoundError:
        return options.store
    except OSError as error:
        raise DemoError(f"{options.store} cannot be used: {error.strerror}") from error
    if names and MANIFEST not in names:
        raise DemoError(f"{options.store} is neither empty nor a store; name another directory")
    return options.store


def _run_lives(options: DemoOptions, tape: Tape, store: Path, view: View) -> list[Life]:
    """Run one worker after the other, until one gets to the end of the tape."""
    planned = plan_kills(options.kills, tape.events, options.seed)
    lives: list[Life] = []
    acknowledged = 0
    while not lives or lives[-1].killed:
        kill = planned[len(lives)] if len(lives) < len(planned) else None
        life = Life(len(lives) + 1)
        lives.append(life)
        _run_life(life, store, tape.path, kill, acknowledged, view)
        acknowledged = max(acknowledged, life.acknowledged, life.found)
    return lives


def _run_life(
    life: Life, store: Path, tape: Path, kill: Kill | None, acknowledged: int, view: View
) -> None:
    """Run one worker from start to end. The worker must find `acknowledged` events."""
    module = ["-m", "eventstore.demo.worker", str(store), "--tape", str(tape)]
    command = [sys.executable, "-P", *module]  # -P: a folder `handlers` here hides nothing
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints
        ) as worker,
    ):
        try:
            finished = _follow(worker, life, kill, acknowledged, view)
        except BaseException:
            worker.kill()
            raise
        code = worker.wait()
        if code != (-signal.SIGKILL if life.killed else 0) or finished is life.killed is False:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()
            raise DemoError(f"the worker ended by itself, with exit status {code}. {said[-2000:]}")
    view.ended(life)


def _follow(
    worker: subprocess.Popen[bytes], life: Life, kill: Kill | None, acknowledged: int, view: View
) -> bool:
    """Read a worker's messages to the end, and kill the worker when due.

    Returns whether the worker finished.
    """
    assert worker.stdin is not None
    assert worker.stdout is not None
    finished = False
    ready_at = time.perf_counter()
    for line in worker.stdout:
        if not line.endswith(b"\n"):
            break  # the kill came in the middle of a message, so the message does not count
        message = decode(line)
        match message:
            case Ready(recovery=recovery, in_doubt=in_doubt):
                life.recovery, life.in_doubt = recovery, in_doubt
                ready_at = time.perf_counter()
                if recovery.seq < acknowledged:
                    raise DemoError(
                        f"LOST: event {acknowledged} had been acknowledged before the kill, but "
                        f"the store was recovered up to event {recovery.seq} only"
                    )
                view.recovered(life)
            case Acknowledged(seq=seq) | Sent(seq=seq):
                life.acknowledged = seq
                life.trading = time.perf_counter() - ready_at
                view.advance(life)
            case Progress(stats=stats, told_again=told_again):
                life.stats, life.told_again = stats, told_again
            case Finished(stats=stats, told_again=told_again):
                life.stats, life.told_again = stats, told_again
                finished = True
            case Failed(reason=reason):
                raise DemoError(reason)
        if kill is not None and not life.killed and _is_due(kill, message, life):
            time.sleep(kill.delay)
            worker.kill()
            life.killed = True
        elif finished and not life.killed:
            worker.stdin.write(b"close\n")
            worker.stdin.flush()
    return finished


def _is_due(kill: Kill, message: Message, life: Life) -> bool:
    if isinstance(message, Opening):
        return kill.after_seq == 0
    if isinstance(message, Finished):
        return True
    if kill.at_order and not isinstance(message, Sent):
        return False
    return 0 < kill.after_seq <= max(life.acknowledged, life.found)
