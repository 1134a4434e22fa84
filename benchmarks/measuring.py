"""Running the cells: workers, histories, and rounds in shuffled order.

Theory of operation
-------------------
One worker works at a time, and the others wait for a line. A worker that dies or takes too long is
replaced. The cell then has no figure in the round. The report says so, and nothing else suffers.
Every measurement gets a fresh folder on the measured disk. The folder is removed afterwards, and
the removal is synced before the next measurement. So no contender waits for another's writes.

Cells that want a process of their own, and histories that end in a crash, get throwaway workers.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from benchmarks.cases import Cell, History
from benchmarks.contenders import Contender, by_name
from benchmarks.figures import Figures
from benchmarks.worker import Answer, Order

__all__ = ["Found", "Measuring", "Worker"]

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 600.0


class Found(msgspec.Struct):
    """All measurements of a run."""

    versions: dict[str, str] = {}
    left_out: dict[str, str] = {}
    rounds: dict[str, list[Figures | None]] = {}
    failures: dict[str, str] = {}
    seconds: dict[str, float] = {}
    """Seconds of the run by case."""


class Worker:
    """The process of one contender."""

    def __init__(self, contender: Contender) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", contender.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
        )
        self.greeting = self._read_answer()

    def ask(self, order: Order) -> Answer:
        """Return the answer to an order. If the process died meanwhile, the answer has an error."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return Answer(error="the worker was gone")
        return self._read_answer()

    def _read_answer(self) -> Answer:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(PATIENCE):
                self.end(at_once=True)
                return Answer(error=f"no answer in {PATIENCE:.0f} seconds")
        line = self._process.stdout.readline()
        if not line:
            return Answer(error=f"the worker ended with {self._process.wait()}")
        return msgspec.json.decode(line, type=Answer)

    @property
    def alive(self) -> bool:
        """Whether the worker can get another order."""
        return self._process.poll() is None

    def end(self, *, at_once: bool = False) -> None:
        """End the process, and every process started by the worker."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not at_once:
            self._process.stdin.close()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                at_once = True
        if at_once:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()


class Measuring:
    """One run: the present contenders, their histories, and the rounds."""

    def __init__(
        self, scratch: Path, contenders: Sequence[Contender], tell: Callable[[str], None]
    ) -> None:
        self._scratch = scratch
        self._tell = tell
        self._workers: dict[str, Worker] = {}
        self._histories: dict[tuple[str, History], Path | None] = {}
        self._builds: dict[tuple[str, History], Figures] = {}
        self.found = Found()
        self.present: list[Contender] = []
        for contender in contenders:
            worker = Worker(contender)
            greeting = worker.greeting
            if greeting.missing or greeting.error:
                self.found.left_out[contender.name] = greeting.missing or greeting.error
                worker.end()
            else:
                self.found.versions[contender.name] = greeting.version
                self._workers[contender.name] = worker
                self.present.append(contender)

    def close(self, *, at_once: bool = False) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.end(at_once=at_once or not worker.alive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close(at_once=kind is not None)

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Make the histories for the cells, each once."""
        wanted = {
            (by_name(cell.contender).adapter, cell.history): cell
            for cell in reversed(cells)
            if cell.history is not None
        }
        for number, ((adapter, history), cell) in enumerate(wanted.items(), 1):
            began = time.perf_counter()
            folder = Path(tempfile.mkdtemp(prefix="history-", dir=self._scratch))
            apart = history.crash  # otherwise no worker would be left to go on
            worker = Worker(by_name(cell.contender)) if apart else self._workers[cell.contender]
            told = worker.ask(Order("build", str(folder), history))
            if apart:
                worker.end()
            os.sync()
            failed = bool(told.error)
            self._histories[adapter, history] = None if failed else folder
            self._builds[adapter, history] = told.figures
            if failed:
                self.found.failures[f"history of {cell.key}"] = told.error
            self._tell(
                f"history {number} of {len(wanted)}: {cell.contender}, {history.events:,} events, "
                f"{time.perf_counter() - began:.1f} s"
            )

    def measure(
        self, cells: Sequence[Cell], rounds: int, seed: int, until: float = math.inf
    ) -> Found:
        """Measure every cell once in every round, in an order shuffled anew.

        No round begins that would end after `until` (as `time.perf_counter` counts), if as long
        as the round before. The first round always begins.
        """
        shuffled = random.Random(seed)
        self.found.rounds |= {cell.key: [] for cell in cells}
        took = 0.0
        for number in range(rounds):
            began = time.perf_counter()
            if number and began + took > until:
                self._tell(f"no time for round {number + 1} of {rounds}")
                break
            order = [cell for cell in cells if not (cell.once and number)]
            shuffled.shuffle(order)
            for cell in order:
                started = time.perf_counter()
                self.found.rounds[cell.key].append(self._run(cell))
                spent = self.found.seconds.get(cell.case, 0.0) + time.perf_counter() - started
                self.found.seconds[cell.case] = spent
            took = time.perf_counter() - began
            self._tell(f"round {number + 1} of {rounds}: {len(order)} cells, {took:.0f} s")
        return self.found

    def _run(self, cell: Cell) -> Figures | None:
        contender = by_name(cell.contender)
        source: Path | None = None
        if cell.history is not None:
            source = self._histories.get((contender.adapter, cell.history))
            if source is None:
                return None
            if cell.options.get("of build"):
                return self._builds[contender.adapter, cell.history]
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self._scratch))
        try:
            place = folder
            if source is not None and cell.copied:
                shutil.copytree(source, folder, dirs_exist_ok=True)
                os.sync()
            elif source is not None:
                place = source
            return self._ask(cell, contender, Order("run", str(place), cell=cell))
        finally:
            shutil.rmtree(folder)
            if cell.history is not None and cell.copied:
                os.sync()

    def _ask(self, cell: Cell, contender: Contender, order: Order) -> Figures | None:
        worker = Worker(contender) if cell.fresh else self._workers[contender.name]
        if not cell.fresh and not worker.alive:
            worker = self._workers[contender.name] = Worker(contender)
        told = worker.ask(order)
        if cell.fresh:
            worker.end()
        if told.error:
            self.found.failures[cell.key] = told.error
            return None
        return told.figures
