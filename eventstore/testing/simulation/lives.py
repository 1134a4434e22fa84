"""The lives of one run: each opens the store, runs the bot, and dies at a planned step or lives on.

Theory of operation
-------------------
A run has one event loop, one venue, and one process after another. Each life opens the store on the
disk that the life before left behind, and runs the bot. The deaths are planned before: each is a
number of a step, drawn from the steps of an undisturbed life with an open store. Some fall into the
first steps of all, and so into the recovery of the store.

With the end of the scenario, faults end. The last life goes on until every question is answered, is
cancelled as a shutdown would do, and closes its store.

The store's own promises are checked along. A life finds every event that was durable in the life
before. After a power cut, these are the synced events. `seen` has the states of the lives, to be
found again in the history.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import Any

from eventstore.arguments import argument_error
from eventstore.errors import EventStoreError
from eventstore.store import EventStore
from eventstore.testing.simulated_disk import SimulatedDisk
from eventstore.testing.simulation.checks import Finding
from eventstore.testing.simulation.client import VenueClient
from eventstore.testing.simulation.process import Death, Process
from eventstore.testing.simulation.scenario import Scenario
from eventstore.testing.simulation.venue import Venue
from eventstore.testing.simulation.world import World

__all__ = ["PATH", "Lives", "leaves_of"]

PATH = "simulated"
_FIRST_STEPS = 60
_FIRST = 0.3
"""The share of deaths within the first steps of a life."""

_DOWNTIMES = (0.05, 0.5, 4.0)
_STOPPING = 5.0
"""Seconds that a cancelled bot gets to end."""


class Lives:
    """The processes of one run, one after another.

    Attributes:
        venue: The venue of the run.
        disk: The disk that the latest life has, or left behind.
        findings: Broken promises of the store, and failures of the bot.
        steps: The steps of each life.
        steps_with_faults: The steps of the last life with an open store, until faults ended.
        seen: Numbers of durable events, each with the state that a life saw after it.
        in_doubt: The ids of the open intents at the end.
        error: The exception that ended the bot.
    """

    def __init__(self, scenario: Scenario, world: World, steps: int) -> None:
        self.venue: Venue = scenario.venue.started(world)
        self.disk = SimulatedDisk(world.chance.below(1 << 30, "disk"), PATH)
        self.findings: list[Finding] = []
        self.steps: list[int] = []
        self.steps_with_faults: int = 1
        self.seen: list[tuple[int, Any]] = []
        self.in_doubt: list[str] = []
        self.error: BaseException | None = None
        self._scenario = scenario
        self._world = world
        self._deaths = self._planned(steps)
        self._durable = 0
        self._store: EventStore[Any] | None = None
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Lives: {len(self.steps)} ended, {len(self.findings)} findings>"

    async def run(self) -> None:
        """Live, die, and live again until the scenario is over."""
        world = self._world
        world.later(self._scenario.duration, self._calm_down)
        while True:
            number = len(self.steps) + 1
            self._stopping = False
            death = self._deaths.pop(0) if self._deaths and not world.chance.calm else None
            self._process = process = Process(world, self.disk, number, death, self._see_last)
            end = max(world.now(), self._scenario.duration) + self._scenario.quiet
            task = process.start(self._live(process))
            await _first_of(task, process.died, end - world.now())
            self.steps.append(process.steps)
            if process.dead:
                await self._bury(process)
                continue
            await self._end(process, task)
            process.retire()
            await asyncio.sleep(max(0.0, end - world.now()))  # the venue goes on without the bot
            return

    def exit(self, error: SystemExit) -> None:
        """Note that the bot has called `sys.exit`, and end its life: every task is cancelled."""
        process = self._process
        if process.dead or self._stopping:
            return
        self._stopping = True
        if error.code in (None, 0):
            self._world.say("bot", "exits")
        else:
            self._note(error)
        for task in list(process.tasks):
            task.cancel()

    def _planned(self, steps: int) -> list[Death]:
        chance, (fewest, most) = self._world.chance, self._world.faults.deaths
        planned = []
        count = fewest + chance.below(most - fewest + 1, "deaths")
        longest = max(1, 2 * steps // (count + 1))  # so that there is room for all of them
        for number in range(1, count + 1):
            name = f"death {number}"
            early = chance.fraction(f"{name} is early") < _FIRST
            step = 1 + chance.below(_FIRST_STEPS if early else longest, f"step of {name}")
            if chance.keeps(name):
                planned.append(Death(step, name, opened=not early))
        return planned

    def _calm_down(self) -> None:
        self._world.chance.calm = True
        self._process.spare()
        self.steps_with_faults = max(1, self._process.steps - self._process.opening)
        self._world.say("network", "no more faults from here on")

    async def _live(self, process: Process) -> None:
        """Live one life: open the store, and run the bot."""
        scenario, world = self._scenario, self._world
        self._store = None
        async with EventStore.open(
            PATH, scenario.registry, scenario.settings, disk=self.disk, clock=world.clock
        ) as store:
            if process.dead:  # died within the opening
                return
            self._begin(process, store)
            try:
                life: Any = scenario.bot(store, VenueClient(self.venue, process))
                if not inspect.isawaitable(life):
                    raise argument_error("bot", scenario.bot, "expected a coroutine function")
                await life
            finally:
                if not process.dead:
                    self.in_doubt = [doubt.id for doubt in store.in_doubt]
                    self._see(store)

    def _begin(self, process: Process, store: EventStore[Any]) -> None:
        self._store = store
        process.store_is_open()
        world = self._world
        world.seq = lambda: store.seq
        doubts = f", {len(store.in_doubt)} in doubt" if store.in_doubt else ""
        world.say("bot", f"life {process.number} opens the store: event {store.seq}{doubts}")
        if store.seq < self._durable:
            text = f"life {process.number} found {store.seq} events of {self._durable} durable ones"
            self.findings.append(Finding("broken promise", text))
        self.seen = [(seq, state) for seq, state in self.seen if seq <= store.seq]

    def _see(self, store: EventStore[Any]) -> None:
        seq = store.seq
        self.seen.append((seq, store.state))
        self._world.seq = lambda: seq

    def _see_last(self) -> None:
        """Note what is durable at the death of the process. In limbo the store goes on."""
        if self._store is not None:
            self._see(self._store)
            if self._process.power_cut:  # may take what was acknowledged without a sync
                self._durable = self._store.stats().synced_seq
            else:
                self._durable = self._store.seq

    async def _bury(self, process: Process) -> None:
        """Take over what the dead process left behind, and wait for the next life."""
        world = self._world
        self.disk = process.remains()
        await _stop(process, self._store, 0.001)
        name = "" if process.death is None else process.death.name
        choice = world.chance.below(len(_DOWNTIMES), f"downtime behind {name}")
        await asyncio.sleep(_DOWNTIMES[choice])

    async def _end(self, process: Process, task: asyncio.Task[None]) -> None:
        """End a life as a shutdown does, and note how the bot ended."""
        running = not task.done() and not self._stopping
        self._stopping = True
        if running:
            self._world.say("bot", f"life {process.number} is stopped")
        await _stop(process, self._store, _STOPPING)
        if not task.done():
            text = f"the bot did not end within {_STOPPING:g} s of its cancellation"
            self.findings.append(Finding("bot failed", text))
        elif not task.cancelled():
            error = task.exception()
            if error is not None and not isinstance(error, SystemExit):  # told by `exit`
                self._note(error)

    def _note(self, error: BaseException) -> None:
        self.error = error
        told = "; ".join(
            f"{type(leaf).__name__}: {leaf}" if str(leaf) else type(leaf).__name__
            for leaf in leaves_of(error)
        )
        self._world.say("bot", f"raises {told}")
        if self._store is None:
            self.findings.append(Finding("broken promise", f"the store does not open: {told}"))
        else:
            self.findings.append(Finding("bot failed", told))


def leaves_of(error: BaseException) -> list[BaseException]:
    """Return the exceptions in a group, as a task group raises one, or the exception itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in leaves_of(part)]


async def _first_of(task: asyncio.Task[None], died: asyncio.Future[None], seconds: float) -> None:
    await asyncio.wait((task, died), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


async def _stop(process: Process, store: EventStore[Any] | None, seconds: float) -> None:
    """Cancel every task of a process, and wait for their ends. The store is closed in any case."""
    tasks = list(process.tasks)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # retrieved: a dead process tells nobody
    if store is not None:
        with contextlib.suppress(EventStoreError):
            await store.close()
