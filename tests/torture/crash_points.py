"""The crashes of a workload: where the program can die, the possible remains, and the duty to
recover.

Theory of operation
-------------------
A program dies at most once, but need not run again to die elsewhere. While a workload runs, the
whole simulated disk is cloned at each call (a clone shares all unchanged bytes), together with the
claim of what recovery would owe at that instant. Each such `Point` is a crash. The next process
finds one of many images. If only the process died, the image holds all written bytes. After a power
cut, the image is any of those that the simulated disk may have left.

The real store opens each image as the workload opens a store, and the result is held against the
claim. Then the power is cut, so that everything served and not durable is gone. The image is opened
again, and must give the same and change nothing. A read-only process reads some images first. For
some images, the recovery and two appends are watched in the same way and crashed at each call.

Calls without a change on the disk make no new crash. The calls after a change, up to the next
change, share one point with the number of the first call.

Nothing is done twice. An image that was checked before, with the same things in doubt and the same
duty, is no other state, and is passed over. Recovery makes equal files of many images, and an
opening without a power cut depends on the files alone: equal files are opened again once, and what
that opening served is held against each claim.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from eventstore import (
    Durability,
    Event,
    EventStore,
    EventStoreError,
    HistoryUnavailableError,
    RecoveryReport,
    SimulatedClock,
    StoreConfig,
    StoreNotFoundError,
)
from eventstore.disk.layout import FRONTIER, MANIFEST, WRITER_PID
from eventstore.following.log_follower import LogFollower
from eventstore.log.format import InvalidBytesError
from eventstore.log.frontier_file import Frontier
from eventstore.testing.faults import Call
from eventstore.testing.power_cut import extremes
from eventstore.testing.simulated_disk import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.torture.ledger import Deposit, ledger_after
from tests.torture.oracle import (
    Claim,
    OracleError,
    Served,
    Submitted,
    recovered_as_claimed,
    state_as_claimed,
    written_once,
)
from tests.torture.store_or_log import Opened
from tests.torture.workload_kinds import program_named

__all__ = ["CrashError", "Crashes", "Point", "Reopened", "Report", "Watcher"]

_CHANGING = frozenset(
    "lock create make_folder rename remove sync_folder sync_path write sync truncate "
    "close_disk".split()
)
_READERS = 0.05
"""Share of images that are opened read-only first."""


class CrashError(AssertionError):
    """A promise was broken after a crash. `case` replays the crash."""

    def __init__(self, case: str, reason: BaseException) -> None:
        super().__init__(f"{reason}\n  replay: python -m tests.torture --case {case!r}")
        self.case = case


@dataclass
class Report:
    """Amount of exploration. `states` are images that were recovered and checked.

    No two states of a workload are equal. `repeated` are images that were drawn and left out,
    because an equal one was checked. `shared` are second openings of files that were opened before.
    """

    workloads: int = 0
    calls: int = 0
    points: int = 0
    states: int = 0
    repeated: int = 0
    shared: int = 0
    recoveries: int = 0
    crashed_recoveries: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def __iadd__(self, other: Report) -> Report:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    def __str__(self) -> str:
        return (
            f"{self.states} crash states of {self.points} crash points in {self.calls} calls of "
            f"{self.workloads} workloads; {self.recoveries} recoveries, {self.crashed_recoveries} "
            f"of them crashed at every call; left out were {self.repeated} equal states and "
            f"{self.shared} openings of equal files; "
            f"{self.states / max(self.seconds, 1e-9):.0f} states/s; {len(self.failures)} failures"
        )


class Point(NamedTuple):
    """An instant at which everything stops: at call `number`, `before` or `during` the call.

    `disk` is the disk at the instant. `claim` is owed to any process that opens the disk.
    """

    number: int
    when: str
    disk: SimulatedDisk
    claim: Claim

    def images(self, random: Random, count: int) -> Iterator[tuple[str, SimulatedDisk, int]]:
        """Draw `count` images that the crash may leave: name, image, required events."""
        if not self.disk.in_doubt and self.claim.after_kill >= self.claim.after_power_cut:
            yield self.image("kill")
            return
        for name in dict.fromkeys(_drawn_image(random) for _ in range(count)):
            yield self.image(name)

    def image(self, name: str) -> tuple[str, SimulatedDisk, int]:
        """Return the image of a name, and how many events must be recovered from the image."""
        kind, _, number = name.partition(":")
        if kind == "kill":
            return name, self.disk.after_kill(), self.claim.after_kill
        if kind == "random":
            image = self.disk.after_power_cut(int(number))
        else:
            *_, image = itertools.islice(self.disk.images(), int(number) + 1)  # the last if fewer
        return name, image, self.claim.after_power_cut

    def __str__(self) -> str:
        return f"crash={self.number}:{self.when}"


class Watcher:
    """A rule for a disk, which makes a `Point` of every call after a change.

    `claim` and `disk` return the claim, and the disk, at the time of the call.
    """

    def __init__(self, disk: Callable[[], SimulatedDisk], claim: Callable[[], Claim]) -> None:
        self.points: list[Point] = []
        self.calls = 0
        self._disk = disk
        self._claim = claim
        self._changed = True
        self._writing: tuple[Point, Call] | None = None

    def __call__(self, call: Call) -> None:
        self.look()
        self.calls += 1
        if call.kind == "write":
            last = self.points[-1]
            self._writing = Point(self.calls, "during", last.disk, last.claim), call
        self._changed = call.kind in _CHANGING

    def look(self) -> None:
        """Make a point of this instant, unless the last point is of the same instant."""
        claim = self._claim()
        if not self._changed and self.points and claim == self.points[-1].claim:
            return
        disk = self._disk().clone()
        self._changed = False
        if self._writing is not None:
            self._partial_write(*self._writing, disk)
            self._writing = None
        self.points.append(Point(self.calls + 1, "before", disk, claim))

    def _partial_write(self, point: Point, call: Call, after: SimulatedDisk) -> None:
        """Make the point at which only a part of a write had been made."""
        offset, length = map(int, call.args)
        part = 1 + (point.number * 2_654_435_761) % length
        if part < length:
            disk = point.disk.clone()
            content = after.read_file(call.name)[offset : offset + part]
            disk.open(call.name, writable=True).write(offset, content)
            self.points.append(point._replace(disk=disk))


def _drawn_image(random: Random) -> str:
    chosen = random.random()
    if chosen < 0.2:
        return "kill"
    if chosen < 0.6:
        return f"extreme:{int(random.random() ** 2 * 20)}"
    return f"random:{random.getrandbits(20)}"


def _point_of_case(points: list[Point], crash: str) -> Point:
    """Return the point with a case's name for a `crash`, such as `203:before`."""
    number, _, when = crash.partition(":")
    reached = [point for point in points if point.number <= int(number) and point.when == when]
    if not reached or (when == "during" and reached[-1].number != int(number)):
        raise ValueError(f"there is no crash={crash}")
    return reached[-1]


def _lasting_contents(disk: SimulatedDisk) -> dict[str, bytes]:
    """Return the contents of all files, without temporary files."""
    contents = disk.contents().items()
    return {
        name: content
        for name, content in contents
        if not (name.endswith(".tmp") or name in (WRITER_PID, FRONTIER))
    }


def _told_to_others(disk: SimulatedDisk) -> int:
    """Return the last event that the writer told other processes of, 0 for none."""
    try:
        return Frontier.decode(disk.contents().get(FRONTIER, b"")).seq
    except InvalidBytesError:
        return 0


def _followed_by_others(disk: SimulatedDisk) -> int:
    """Follow a store from its first event. Returns the number of the last event that came."""
    follower = LogFollower(disk.reopen)
    try:
        follower.begin(0)
        while (found := follower.next_chunk(idle=True)) is not None:
            follower.advance(found)
    except HistoryUnavailableError:  # discarded, or never logged
        return 0
    finally:
        follower.close()
    return follower.next_seq - 1


class Reopened(NamedTuple):
    """What a second opening of recovered files served, told and left behind."""

    served: Served
    report: RecoveryReport
    left: dict[str, bytes]


class Crashes:
    """The crashes of one workload: exploration, and replay of one case."""

    def __init__(self, workload: int | str, config: StoreConfig | None = None) -> None:
        self.report = Report(workloads=1)
        self._name = workload
        self._case = f"workload={workload}"
        program = program_named(workload)
        self._subject = program.subject
        self._random = Random(f"crashes of {workload}")
        self._config = config if config is not None else program.config
        self.tells_unsynced = self._config.durability is Durability.NONE
        self._checked: set[object] = set()
        self._reopened: dict[frozenset[tuple[str, bytes]], Reopened] = {}

    async def points(self) -> list[Point]:
        """Run the workload, and collect the points at which the workload can die."""
        workload = program_named(self._name)
        watcher = Watcher(lambda: workload.disk, workload.claim)
        workload.watch = watcher
        await workload.run()
        watcher.look()
        self.report.calls += watcher.calls
        return watcher.points

    def explore(self, images: int, again: float, states: int = sys.maxsize) -> Report:
        """Check `images` images of each point, up to `states` in all, on an event loop of its
        own.

        `again` is the share of recoveries that are crashed everywhere in turn. Raises
        `CrashError`, also where something hangs.
        """
        try:
            return run_in_virtual_time(self._explore_all(images, again, states))
        except CrashError:
            raise
        except AssertionError as error:
            raise CrashError(self._case, error) from error

    async def _explore_all(self, images: int, again: float, states: int) -> Report:
        case = self._case
        try:
            points = await self.points()
        except Exception as error:  # reported with its case
            raise CrashError(case, error) from error
        self._random.shuffle(points)
        for point in points:
            await self._explore(point, f"{case} {point}", images, again)
            if self.report.states >= states:
                break
        return self.report

    async def _explore(self, point: Point, case: str, images: int, again: float) -> None:
        self.report.points += 1
        for name, image, required in point.images(self._random, images):
            inner = self._case = f"{case} image={name}"
            crashed_again = self._random.random() < again
            read = self._random.random() < _READERS
            if not self._is_new(image, point.claim, required):
                self.report.repeated += 1
                continue
            try:
                if crashed_again:
                    self.report.crashed_recoveries += 1
                    points = await self.recovery(image.clone(), point.claim, required)
                    for crash in points:
                        await self._explore(crash, f"{inner} {crash}", 1, 0.0)
                if read:
                    await self.check_reader(image, point.claim, required)
                await self.check(image, point.claim, required)
            except CrashError:
                raise
            except Exception as error:  # reported with its case
                raise CrashError(inner, error) from error

    def _is_new(self, image: SimulatedDisk, claim: Claim, required: int) -> bool:
        """Tell whether no equal image was met with the same duty.

        The state after the last event stands for all events: its chain depends on each of them.
        """
        state = claim.states[claim.length]
        duty = (required, claim.length, state, claim.keeps_history, claim.kept, claim.saved)
        known = len(self._checked)
        self._checked.add((image.identity(), duty))
        return len(self._checked) > known

    async def recovery(self, image: SimulatedDisk, claim: Claim, required: int) -> list[Point]:
        """Recover an image, append, close, and collect the points at which all this can die."""
        clock = SimulatedClock()
        store: Opened | None = None
        owed = claim._replace(
            after_kill=required, after_power_cut=min(required, claim.after_power_cut)
        )

        def claimed() -> Claim:
            nonlocal owed
            if claim.logged and store is not None and store.seq > owed.after_kill:
                synced = store.seq if self._config.durability is Durability.COMMIT else count
                owed = owed._replace(after_kill=store.seq, after_power_cut=synced)
            return owed

        watcher = Watcher(lambda: image, claimed)
        image.add_rule(watcher)
        self.report.recoveries += 1
        opened = await self._subject(image, self._config, clock=clock)
        count = opened.seq
        owed = Claim(
            claim.submitted[:count],
            claim.states[: count + 1],
            count,
            count,
            count,
            claim.keeps_history,
            claim.logged,
            claim.cursors,
            claim.kept,
            claim.saved,
        )
        store = opened
        for group in (-1, -2):
            payload = Deposit(number=group, account="after", amount=1, memo="x" * 700)
            event = Event(owed.length + 1, clock.time_ns(), payload)
            owed = owed._replace(
                submitted=[*owed.submitted, Submitted(event, group)],
                states=[*owed.states, ledger_after(owed.states[-1], payload)],
                length=owed.length + 1,
            )
            await store.append(payload)
        claimed()
        store = None
        await opened.close()
        owed = owed._replace(after_kill=owed.length, after_power_cut=owed.length)
        watcher.look()
        return watcher.points

    async def check(self, image: SimulatedDisk, claim: Claim, required: int) -> None:
        """Recover an image, hold the result against the claim, and open the image again."""
        self.report.states += 1
        self.report.recoveries += 1
        told = _told_to_others(image)
        config, clock = self._config, SimulatedClock()
        try:
            store = await self._subject(image, config, clock=clock)
        except EventStoreError as error:
            raise OracleError(f"it does not open: {type(error).__name__}: {error}") from error
        try:
            await recovered_as_claimed(store, claim, required)
            if isinstance(store, EventStore):
                await written_once(store, claim)
        finally:
            await store.close()
        count, report = store.seq, store.recovery
        if told > count and not self.tells_unsynced:
            raise OracleError(f"others were told of {told} events, and {count} were recovered")
        if report.torn_bytes and report.quarantined not in image.files():
            raise OracleError(f"{report.torn_bytes} torn bytes are not in {report.quarantined}")
        if report.snapshots_rejected or report.unknown_files:
            raise OracleError(f"a crash is no reason for {report}")
        claim = claim._replace(length=count)
        before = _lasting_contents(image)
        # Served events must not depend on anything unsynced, so the power cut loses all unsynced
        # bytes.
        cut = image.after_cut(next(extremes(0, 0)))
        left = _lasting_contents(cut)
        if left.get(MANIFEST) != before[MANIFEST]:
            raise OracleError("a power cut takes back the store.json that an opening has read")
        if left != before:
            await self._check_again(cut, claim)
            cut = image.reopen()
        again = await self._check_again(cut, claim)
        if again.left != before or not again.report.clean:
            raise OracleError(f"opening it a second time changed it: {again.report}")

    async def check_reader(self, image: SimulatedDisk, claim: Claim, required: int) -> None:
        """Hold a reader's result against the claim, before any writer has repaired the image."""
        self.report.recoveries += 1
        config, before = self._config, image.contents()
        try:
            store = await self._subject(image.reopen(), config, read_only=True)
        except EventStoreError as error:
            if isinstance(error, StoreNotFoundError) and not required:
                return
            raise OracleError(f"read-only, it does not open: {error}") from error
        try:
            await recovered_as_claimed(store, claim, required)
        finally:
            await store.close()
        followed = _followed_by_others(image)
        if followed > store.seq:
            raise OracleError(f"{followed} events were followed, and {store.seq} were read")
        if image.contents() != before:
            raise OracleError("reading it changed it")

    async def _check_again(self, disk: SimulatedDisk, claim: Claim) -> Reopened:
        """Open recovered files once more, and check that all served events are there."""
        contents = disk.contents()
        contents.pop(WRITER_PID, None)  # no opening reads it
        files = frozenset(contents.items())
        again = self._reopened.get(files)
        if again is None:
            again = self._reopened[files] = await self._reopen(disk)
        else:
            self.report.shared += 1
        state_as_claimed(again.served, claim, claim.length)
        return again

    async def _reopen(self, disk: SimulatedDisk) -> Reopened:
        self.report.recoveries += 1
        try:
            store = await self._subject(disk, self._config, clock=SimulatedClock())
        except EventStoreError as error:
            raise OracleError(
                f"opened again, it does not open: {type(error).__name__}: {error}"
            ) from error
        try:
            served = Served.by(store)
        finally:
            await store.close()
        return Reopened(served, store.recovery, _lasting_contents(disk))

    async def replay(self, steps: list[tuple[str, str]]) -> None:
        """Check one image: of each crash in `steps`, at its call, the image of that name."""
        points = await self.points()
        for number, (crash, name) in enumerate(steps, 1):
            point = _point_of_case(points, crash)
            _, image, required = point.image(name)
            if number == len(steps):
                await self.check_reader(image, point.claim, required)
                await self.check(image, point.claim, required)
            else:
                points = await self.recovery(image, point.claim, required)
