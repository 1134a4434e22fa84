"""One run of a scenario, all from one seed, and the verdict on the run."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from eventstore.errors import EventStoreError
from eventstore.model.state_codec import state_digest
from eventstore.reading.replay import replay
from eventstore.testing.simulation.chance import Chance
from eventstore.testing.simulation.checks import Evidence, Finding
from eventstore.testing.simulation.faults import Faults
from eventstore.testing.simulation.lives import PATH, Lives
from eventstore.testing.simulation.loop import SimulationLoop, real_world_refused
from eventstore.testing.simulation.scenario import Scenario
from eventstore.testing.simulation.world import Entry, World

__all__ = ["Run", "run_seed", "steps_of_a_life"]

_PATIENCE = 1e9


@dataclass
class Run:
    """The record of one run.

    Attributes:
        seed: The seed.
        findings: The mistakes.
        faults: The names of the faults in the run, deaths included.
        steps: The steps of each life.
        steps_with_faults: The steps of the last life with an open store, until faults ended.
        story: The deeds of bot, venue and network, in order.
        evidence: The remains of the run, `None` where the history cannot be read.
        error: The exception at the end of the bot.
        notes: Errors of tasks and callbacks without anybody to look at them.
        digest: A digest of the story and of the history.
    """

    seed: int | str
    findings: list[Finding]
    faults: list[str]
    steps: list[int]
    steps_with_faults: int
    story: list[Entry]
    evidence: Evidence | None = None
    error: BaseException | None = None
    notes: list[str] = field(default_factory=list)
    digest: str = ""


def steps_of_a_life(scenario: Scenario) -> int:
    """Count the steps of a life without any fault, after the opening. The range of most deaths."""
    return _run(scenario, "undisturbed", Faults.none(), 1, None).steps_with_faults


def run_seed(scenario: Scenario, seed: int, steps: int, kept: Collection[str] | None = None) -> Run:
    """Run a scenario with a seed, with all faults or with the `kept` ones, by name.

    `steps` is the result of `steps_of_a_life`.
    """
    return _run(scenario, seed, scenario.faults, steps, kept)


def _run(
    scenario: Scenario, seed: int | str, faults: Faults, steps: int, kept: Collection[str] | None
) -> Run:
    loop = SimulationLoop(_PATIENCE)
    world = World(loop, Chance(seed, kept), faults)
    lives = Lives(scenario, world, steps)
    with _silent(), _seeded(seed), real_world_refused():
        try:
            _complete(loop, lives)
        finally:
            _close(loop)
    if world.failures:
        failure = world.failures[0]
        failure.add_note(f"raised by the venue of a simulation, in the run of seed {seed}")
        raise failure
    findings = [Finding("real world", message) for message in dict.fromkeys(loop.refused)]
    run = Run(
        seed, findings + lives.findings, world.chance.applied, lives.steps,
        lives.steps_with_faults, world.story,
        error=lives.error, notes=[_told(context) for context in loop.errors],
    )  # fmt: skip
    _judge(run, scenario, lives)
    run.digest = _digest(run)
    return run


def _complete(loop: SimulationLoop, lives: Lives) -> None:
    """Live all lives. A loop passes on a `SystemExit` of any task, and can be run on."""
    everything = loop.create_task(lives.run())
    while not everything.done():
        try:
            loop.run_until_complete(everything)
        except SystemExit as error:
            lives.exit(error)


def _judge(run: Run, scenario: Scenario, lives: Lives) -> None:
    """Read the history from the disk, and compare the events with the lives and the venue."""
    registry = scenario.registry
    try:
        history = list(replay(PATH, registry, disk=lives.disk.reopen()))
    except EventStoreError as error:
        run.findings.append(Finding("broken promise", f"the history cannot be read: {error}"))
        return
    evidence = Evidence(lives.venue, registry, history, lives.in_doubt)
    for seq, state in lives.seen:
        if seq > len(history):
            text = f"event {seq} was durable, and the history ends with event {len(history)}"
            run.findings.append(Finding("broken promise", text))
        elif state != (history[seq - 1][1] if seq else evidence.first):
            text = f"the state of event {seq} is another one when the history is folded"
            run.findings.append(Finding("broken promise", text, seq))
    run.evidence = evidence
    run.findings += scenario.checks.findings(evidence)


def _digest(run: Run) -> str:
    digest = hashlib.sha256()
    for entry in run.story:
        digest.update(f"{entry.time:.6f} {entry.seq} {entry.who} {entry.text}\n".encode())
    if run.evidence is not None:
        for event, _ in run.evidence.history:
            digest.update(f"{event.seq} {event.time} {event.operation}\n".encode())
        digest.update(state_digest(run.evidence.state).encode())
    return digest.hexdigest()[:16]


def _told(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return str(context["message"]) + ("" if error is None else f": {error!r}")


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the store's warnings out of the output: a death leaves torn ends and open intents."""
    logger = logging.getLogger("eventstore")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _seeded(seed: int | str) -> Iterator[None]:
    """Seed the module `random`, for the bot's use."""
    state = random.getstate()
    random.seed(str(seed))
    try:
        yield
    finally:
        random.setstate(state)


def _close(loop: SimulationLoop) -> None:
    """End the remaining tasks of a run, and close the loop."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        with suppress(SystemExit):
            loop.run_until_complete(asyncio.wait(left, timeout=0.001))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
