"""Sabotages of the simulation: a mistake there would let a bot's mistakes through."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["SIMULATION"]

CHANCE = "testing/simulation/chance.py"
CHECKS = "testing/simulation/checks.py"
CLIENT = "testing/simulation/client.py"
LIVES = "testing/simulation/lives.py"
LOOP = "testing/simulation/loop.py"
PROCESS = "testing/simulation/process.py"
VENUE = "testing/simulation/venue.py"
TESTS = "tests/testing/simulation"

SIMULATION = (
    Sabotage(
        name="a draw that depends on the draws before",
        breaks="one fault can be left out, and all others stay",
        edits=(edit(CHANCE, "_prefix + name)", "_prefix + name + '.' * len(self.applied))"),),
        caught_by=(f"{TESTS}/test_chance.py",),
    ),
    Sabotage(
        name="a request that dies with its sender",
        breaks="a message that was sent arrives though its sender is dead",
        edits=(
            edit(
                CLIENT,
                "            answer: T | None = None\n",
                "            answer: T | None = None\n            if process.dead:\n"
                "                return\n",
            ),
        ),
        caught_by=(f"{TESTS}/test_lives.py -k sender",),
    ),
    Sabotage(
        name="a reply to the dead",
        breaks="nothing of a dead process reaches disk or venue",
        edits=(
            edit(
                PROCESS,
                "        if self.dead:\n            await",
                "        if False:\n            await",
            ),
        ),
        caught_by=(f"{TESTS}/test_lives.py -k dead",),
    ),
    Sabotage(
        name="a power cut that takes nothing",
        breaks="a power cut takes what was not synced",
        edits=(edit(PROCESS, "        if self.power_cut:\n", "        if not death:\n"),),
        caught_by=(f"{TESTS}/test_lives.py -k does_not_sync",),
    ),
    Sabotage(
        name="a lost durable event that nobody misses",
        breaks="the store's own promises are checked along",
        edits=(edit(LIVES, "if store.seq < self._durable:", "if store.seq < 0:"),),
        caught_by=(f"{TESTS}/test_lives.py -k durable_events",),
    ),
    Sabotage(
        name="events without a sync demanded back",
        breaks="no store is accused of what it did not promise",
        edits=(edit(LIVES, "self._store.stats().synced_seq", "self._store.seq"),),
        caught_by=(f"{TESTS}/test_lives.py -k accused",),
    ),
    Sabotage(
        name="queries that are never late",
        breaks="an order is shown after the lag of the queries",
        edits=(edit(VENUE, "return since + self.query_lag <=", "return since <="),),
        caught_by=(f"{TESTS}/test_venue.py -k late",),
    ),
    Sabotage(
        name="an old request that is accepted",
        breaks="the venue refuses a request older than its receive window",
        edits=(edit(VENUE, "> self.receive_window * 1e9", "> self.receive_window * 1e12"),),
        caught_by=(f"{TESTS}/test_venue.py -k old_request",),
    ),
    Sabotage(
        name="an old revision taken for the newest",
        breaks="a bust that was not booked is a missed fill",
        edits=(
            edit(CHECKS, "            true = revisions[-1]\n", "            true = revisions[0]\n"),
        ),
        caught_by=(f"{TESTS}/test_checks.py -k revision",),
    ),
    Sabotage(
        name="a refusal that a bot can hide",
        breaks="a use of the real world is in the report",
        edits=(edit(LOOP, "        self.refused.append(message)\n", ""),),
        caught_by=(f"{TESTS}/test_loop.py -k real_world",),
    ),
    Sabotage(
        name="a real thread in a simulation",
        breaks="real threads are refused",
        edits=(edit(LOOP, '(threading.Thread, ("start",)', "(threading.Thread, ()"),),
        caught_by=(f"{TESTS}/test_loop.py -k real_world",),
    ),
    Sabotage(
        name="timers of an ended bot",
        breaks="nothing of an ended process reaches the venue",
        edits=(edit(LIVES, "            process.retire()\n", ""),),
        caught_by=(f"{TESTS}/test_lives.py -k timers",),
    ),
    Sabotage(
        name="a bot's exit without a word",
        breaks="a status other than 0 is a mistake",
        edits=(edit(LIVES, "if error.code in (None, 0):", "if True:"),),
        caught_by=(f"{TESTS}/test_lives.py -k exits",),
    ),
    Sabotage(
        name="a group of errors told as one",
        breaks="every error of a task group is told",
        edits=(edit(LIVES, "in error.exceptions for", "in error.exceptions[:1] for"),),
        caught_by=(f"{TESTS}/test_lives.py -k task_group",),
    ),
)
