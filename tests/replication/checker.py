"""Faults drawn at random against two machines and three servers, and what must hold afterwards.

One machine writes and one follows, under `acknowledge: quorum`. A fault is drawn every moment:
processes and servers are killed, or stopped as by a partition, for longer than the lease or not. A
power cut takes the record that the writer had sent and not synced. Machines change places.
Afterwards all is healed, and three histories are compared: the stream as a reader without this
package reads it, and the stores of both machines.

- Every acknowledged event is in each history exactly once, under the acknowledged number.
- Events acknowledged one after the other stand in that order.
- No two histories have different events under one number.

`python -m tests.replication.checker --seconds 600 --seed 1` goes on for as long as told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import nats.errors

from eventstore import StoreConfig, read_events
from eventstore.errors import EventStoreError, ReplicationError, ReplicationUnavailableError
from eventstore.replication import rejoin, trim
from tests.real.children import PATIENCE, Child
from tests.replication.cluster import Cluster
from tests.replication.machine import follow, write
from tests.replication.plain_reader import read_stream, repeat, without_repeats
from tests.replication.power_cut import lose_events

__all__ = ["Checker", "Violation"]

LEASE = 2.0
_LEVEL_SECONDS = 30.0
"""Seconds in which a standby has to get on."""
_CLOSINGS = 5


class Violation(AssertionError):
    """A promise was broken. The text says which, with seed and faults."""


class _Machine:
    """A directory, and the process that writes or follows there."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.child: Child | None = None
        self.writes = False
        self.frozen = False
        self.lives = 0
        self.said: tuple[Any, ...] = ()
        """The last report."""

    def start(self, replicate: dict[str, Any], *, writes: bool) -> None:
        self.lives += 1
        self.writes = writes
        program = write if writes else follow
        self.child = Child(program, self.path, replicate, f"{self.name}{self.lives}")

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()
        self.child, self.frozen = None, False


class Checker:
    """A run of faults against a cluster, from one seed."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int, *, stream: str) -> None:
        self.cluster = cluster
        self.random = Random(seed)
        self.seed = seed
        self.replicate: dict[str, Any] = {
            "servers": cluster.urls,
            "stream": stream,
            "acknowledge": "quorum",
            "lease": LEASE,
        }
        self.machines = [_Machine("a", folder / "a"), _Machine("b", folder / "b")]
        self.faults: list[str] = []
        self.acknowledged: dict[str, int] = {}
        self.order: list[str] = []
        self.adopted = 0
        self.last = 0

    # ---- the run ---------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Draw faults for so long, heal everything, and compare. Raises `Violation`."""
        one, other = self.machines
        one.start(self.replicate, writes=True)
        self._hear_until("writes", one)
        other.start(self.replicate, writes=False)
        self._hear_until("follows", other)
        end = time.monotonic() + seconds
        actions: list[Callable[[], None]] = [
            self._kill_writer,
            self._cut_power_of_writer,
            self._kill_standby,
            self._kill_node,
            self._freeze_node,
            self._kill_all_nodes,
            self._change_places,
            self._partition_writer,
            self._trim,
            self._begin_standby_anew,
            self._repeat_message,
        ]
        while time.monotonic() < end:
            self._listen(self.random.uniform(0.1, 0.6))
            action = self.random.choice(actions)
            self.faults.append(action.__name__.strip("_"))
            action()
            self._mend_nodes()
        self._heal()
        self._compare()

    @property
    def writer(self) -> _Machine:
        return next(machine for machine in self.machines if machine.writes)

    @property
    def standby(self) -> _Machine:
        return next(machine for machine in self.machines if not machine.writes)

    def _listen(self, seconds: float) -> None:
        """Take down what the machines say for some time, and start again what has ended."""
        for machine in self.machines:
            if machine.child is not None and not machine.frozen:
                for report in machine.child.reports(seconds / 2):
                    self._take(machine, report)

    def _hear_until(self, what: str, machine: _Machine) -> None:
        assert machine.child is not None
        end = time.monotonic() + 2 * PATIENCE
        report: tuple[Any, ...] = ()
        while True:
            try:
                report = machine.child.report()
            except TimeoutError:
                raise Violation(f"{machine.name} hangs after {report}; {self}") from None
            if time.monotonic() > end:
                raise Violation(f"{machine.name} does not get on: {report}; {self}")
            self._take(machine, report)
            if report[0] == what:
                return
            if report[0] in ("fenced", "failed"):
                raise Violation(f"{machine.name} cannot go on: {report}; {self}")

    def _take(self, machine: _Machine, report: tuple[Any, ...]) -> None:
        machine.said = report
        if report[0] == "adopted":
            self.adopted += report[1]
        if report[0] == "acknowledged":
            _, key, seq = report
            if key in self.acknowledged:
                raise Violation(f"{key} was acknowledged twice; {self}")
            self.acknowledged[key] = seq
            self.order.append(key)

    def __repr__(self) -> str:
        said = ", ".join(f"{machine.name} said {machine.said}" for machine in self.machines)
        return f"seed {self.seed}, after {', '.join(self.faults)}; {said}"

    # ---- faults ----------------------------------------------------------------------------

    def _kill_writer(self) -> None:
        machine = self.writer
        self._drain_and_kill(machine)
        machine.start(self.replicate, writes=True)
        self._hear_until("writes", machine)

    def _cut_power_of_writer(self) -> None:
        """Kill the writer, and take its last record off its disk unless a client was told of it."""
        machine = self.writer
        self._drain_and_kill(machine)
        lose_events(machine.path, max([*self.acknowledged.values(), _last(machine.path) - 1]))
        machine.start(self.replicate, writes=True)
        self._hear_until("writes", machine)

    def _kill_standby(self) -> None:
        machine = self.standby
        self._drain_and_kill(machine)
        machine.start(self.replicate, writes=False)

    def _trim(self) -> None:
        """Trim the stream with the directory of a machine, which need not be the writer's."""
        config = StoreConfig.of(None, replicate=self.replicate)
        path = self.random.choice(self.machines).path

        async def trims() -> None:
            async with asyncio.timeout(2 * LEASE):
                await trim(path, config)

        with contextlib.suppress(EventStoreError, TimeoutError):
            asyncio.run(trims())

    def _begin_standby_anew(self) -> None:
        """Kill the standby and lose its directory: another one begins with the copy, if any."""
        machine = self.standby
        self._drain_and_kill(machine)
        shutil.rmtree(machine.path, ignore_errors=True)
        machine.start(self.replicate, writes=False)

    def _drain_and_kill(self, machine: _Machine) -> None:
        assert machine.child is not None
        machine.child.kill()
        for report in machine.child.reports(0.0):
            self._take(machine, report)
        machine.child = None

    def _kill_node(self) -> None:
        self.random.choice(self.cluster.nodes).kill()
        self._listen(self.random.uniform(0.0, 1.0))

    def _freeze_node(self) -> None:
        node = self.random.choice(self.cluster.nodes)
        node.freeze()
        self._listen(self.random.uniform(0.2, 2 * LEASE))
        node.thaw()

    def _kill_all_nodes(self) -> None:
        for node in self.cluster.nodes:
            node.kill()
        self._listen(self.random.uniform(0.0, 0.5))

    def _repeat_message(self) -> None:
        with contextlib.suppress(nats.errors.Error):
            back = self.random.choice([0, 0, 1, 5, 20, None])
            asyncio.run(repeat(self.cluster.urls, self.replicate["stream"], back))

    def _mend_nodes(self) -> None:
        for node in self.cluster.nodes:
            node.thaw()
        self.cluster.start()

    def _change_places(self) -> None:
        """Kill the writer and promote the standby."""
        old, new = self.writer, self.standby
        self._drain_and_kill(old)
        self._promote(new, old)

    def _partition_writer(self) -> None:
        """Stop the writer for longer than its lease, promote, and let it go on as a zombie."""
        old, new = self.writer, self.standby
        assert old.child is not None
        old.child.stop()
        old.frozen = True
        time.sleep(self.random.uniform(0.0, LEASE * 1.5))
        self._promote(new, old, zombie=True)

    def _promote(self, new: _Machine, old: _Machine, *, zombie: bool = False) -> None:
        assert new.child is not None
        new.child.tell("promote")
        self._hear_until("writes", new)
        if zombie:
            assert old.child is not None
            os.kill(old.child.pid, signal.SIGCONT)
            old.frozen = False
            for report in old.child.reports():
                self._take(old, report)
                if report[0] in ("fenced", "failed", "closed"):
                    break
            old.kill()
        old.writes, new.writes = False, True
        self._rejoin(old)
        old.start(self.replicate, writes=False)

    def _rejoin(self, machine: _Machine) -> None:
        config = StoreConfig.of(None, replicate=self.replicate)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                asyncio.run(rejoin(machine.path, config))
                return
            except ReplicationUnavailableError:
                time.sleep(0.2)
            except ReplicationError as error:
                raise Violation(f"{machine.name} cannot rejoin: {error}; {self}") from error
            if time.monotonic() > end:
                raise Violation(f"{machine.name} cannot rejoin: no quorum; {self}")

    # ---- the comparison --------------------------------------------------------------------

    def _heal(self) -> None:
        self._mend_nodes()
        self._listen(1.0)
        self.last = seq = self._stop_writer()
        standby, before = self.standby, 0
        end = time.monotonic() + _LEVEL_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(EventStoreError):  # a standby may be opening
                last = _last(standby.path)
                if last >= seq:
                    break
                if last > before:  # it gets on
                    before, end = last, time.monotonic() + _LEVEL_SECONDS
            time.sleep(0.2)
        assert standby.child is not None
        for report in standby.child.reports(0.0):
            self._take(standby, report)
        standby.child.kill()

    def _stop_writer(self) -> int:
        """Stop the writer, and return its last event. Where it closed without a quorum, try again.

        The servers may still elect when they are asked.
        """
        writer = self.writer
        for _ in range(_CLOSINGS):
            assert writer.child is not None
            writer.child.tell("stop")
            for report in writer.child.reports():
                self._take(writer, report)
                if report[0] == "closed":
                    return int(report[1])
            self._drain_and_kill(writer)
            writer.start(self.replicate, writes=True)
            self._hear_until("writes", writer)
        raise Violation(f"{writer.name} does not close; {self}")

    def _compare(self) -> None:
        stream = asyncio.run(read_stream(self.cluster.urls, self.replicate["stream"]))
        histories = {
            "the stream": without_repeats(stream),
            **{machine.name: _history(machine.path) for machine in self.machines},
        }
        for name, history in histories.items():
            first = history[0][0] if name == "the stream" else 1  # the stream may be trimmed
            if [seq for seq, *_ in history] != list(range(first, first + len(history))):
                raise Violation(f"{name} has a gap or a number twice; {self}")
            last = history[-1][0]
            if last < self.last:
                raise Violation(f"{name} ends at {last}, not {self.last}; {self}")
            keys = {key: seq for seq, _, _, key, _ in history}
            if len(keys) != len(history):
                raise Violation(f"{name} has an event twice; {self}")
            for key, seq in self.acknowledged.items():
                if seq >= first and keys.get(key) != seq:
                    raise Violation(
                        f"{key} was acknowledged as event {seq} and is {keys.get(key)} in {name}; "
                        f"{self}"
                    )
        for (name, one), (other_name, other) in itertools.combinations(histories.items(), 2):
            by_number = {seq: [seq, *rest] for seq, *rest in other}
            for ours in one:  # an unacknowledged end may be extra
                theirs = by_number.get(ours[0], ours)
                if ours != theirs:
                    raise Violation(f"{name} has {ours}, and {other_name} {theirs}; {self}")
        numbers = [self.acknowledged[key] for key in self.order]
        if numbers != sorted(numbers):
            raise Violation(f"acknowledged in another order than recorded; {self}")


def _history(path: Path) -> list[list[Any]]:
    return [
        [event.seq, event.time, event.data, event.key, event.metadata]
        for event in read_events(path)
    ]


def _last(path: Path) -> int:
    return max((event.seq for event in read_events(path)), default=0)


def main() -> None:
    """Run for as long as told, and say what was seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start()
            checker = Checker(cluster, Path(folder), given.seed, stream=f"checked{given.seed}")
            checker.run(given.seconds)
        finally:
            cluster.stop()
    print(
        f"seed {given.seed}: {len(checker.acknowledged)} events acknowledged, "
        f"{len(checker.faults)} faults, {checker.adopted} events adopted, every promise kept"
    )


if __name__ == "__main__":
    main()
