"""One life of the bot's process: numbered steps, and the death at one of them.

Theory of operation
-------------------
The outside world can tell two deaths apart only by the disk, by the sent messages, and by the
moment. So the numbered steps of a process are the calls on its disk, and the points of its
conversations. A death at any other await is the same as a death at the next step, for everybody
else.

At the fatal step the disk is copied: every written byte for a kill, one of the possible images for
a power cut. The next life opens the copy. The process itself is in limbo from then on. The store
works on a disk without readers, and conversations wait for ever. The tasks are cancelled soon, and
a `finally` reaches nobody. An exception in place of limbo was rejected: a bot with a bare `except`
in a loop would never end.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from eventstore.testing.faults import Call
from eventstore.testing.simulated_disk import SimulatedDisk
from eventstore.testing.simulation.world import World

__all__ = ["Death", "Process", "track_task"]

_OWNER: contextvars.ContextVar[Process] = contextvars.ContextVar("process of a simulation")


class Death(NamedTuple):
    """A planned death: the number of the fatal step, and the name of the death as a fault.

    With `opened`, steps count from the moment at which the store is open.
    """

    step: int
    name: str
    opened: bool = False


class Process:
    """One life. `number` counts the lives of a run from 1. `on_death` is called at the death.

    Attributes:
        steps: The steps so far.
        death: The planned death, or the past one.
        opening: The steps until the store was open.
        dead: Whether the process has died.
        died: A future that is resolved at the death.
        power_cut: Whether the power was cut at the death.
        tasks: The running tasks, in the order of their begin.
    """

    def __init__(
        self,
        world: World,
        disk: SimulatedDisk,
        number: int,
        death: Death | None,
        on_death: Callable[[], None],
    ) -> None:
        self.number: int = number
        self.steps: int = 0
        self.opening: int = 0
        self.dead: bool = False
        self.died: asyncio.Future[None] = world.loop.create_future()
        self.power_cut: bool = False
        self.tasks: dict[asyncio.Task[Any], None] = {}  # a set has no order
        self._world = world
        self._disk = disk
        self.death: Death | None = death
        self._fatal = 0 if death is None or death.opened else death.step
        self._on_death = on_death
        self._copy = disk
        self._last_call: Call | None = None
        disk.add_rule(self._on_call)

    def __repr__(self) -> str:
        return f"<Process {self.number}, {'dead' if self.dead else 'alive'} at step {self.steps}>"

    def step(self, what: str) -> None:
        """Take a step. The process may die here."""
        if not self.dead:
            self.steps += 1
            if self.steps == self._fatal:
                self._die(what)

    async def gone_if_dead(self) -> None:
        """Wait for ever if the process is dead: nobody answers the dead."""
        if self.dead:
            await self._world.loop.create_future()

    def store_is_open(self) -> None:
        """Count the steps of a death from here on, if the death is planned so."""
        self.opening = self.steps
        if self.death is not None and self.death.opened:
            self._fatal = self.steps + self.death.step

    def spare(self) -> None:
        """Give up the planned death."""
        self._fatal = 0
        self.death = None

    def retire(self) -> None:
        """Note that the process has ended by itself: its timers reach nobody any more."""
        self.dead = True

    def start(self, life: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin to live. Every task of the life belongs to this process."""
        context = contextvars.copy_context()
        context.run(_OWNER.set, self)
        return self._world.loop.create_task(life, context=context)

    def remains(self) -> SimulatedDisk:
        """Return the disk for the next life. A write under way at a kill is partly done."""
        call, death = self._last_call, self.death
        if death is not None and call is not None and call.kind == "write" and not self.power_cut:
            offset, length = map(int, call.args)
            part = self._world.chance.below(length, f"last write at {death.name}")
            with contextlib.suppress(OSError):  # the file has another name by now
                written = self._disk.read_file(call.name)[offset : offset + part]
                self._copy.open(call.name, writable=True).write(offset, written)
        return self._copy

    def _on_call(self, call: Call) -> None:
        if self.dead:
            return
        self.steps += 1
        if self.steps == self._fatal:
            self._last_call = call
            self._die(f"disk call: {call}")

    def _die(self, what: str) -> None:
        world, death = self._world, self.death
        assert death is not None
        self.dead = True
        chance = world.chance
        chance.applied.append(death.name)
        self.power_cut = chance.strikes(f"power cut at {death.name}", world.faults.power)
        if self.power_cut:
            seed = chance.below(1 << 30, f"image at {death.name}")
            self._copy = self._disk.after_power_cut(seed)
        else:
            self._copy = self._disk.after_kill()
        how = "power cut" if self.power_cut else "kill"
        world.say(how, f"life {self.number} ends at step {self.steps}: {what}")
        self._on_death()
        self.died.set_result(None)


def track_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """Make a task, and list the task with the current process: a task factory."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    context = options.get("context")
    owner = _OWNER.get(None) if context is None else context.get(_OWNER)
    if owner is not None:
        owner.tasks[task] = None
        task.add_done_callback(owner.tasks.pop)
    return task
