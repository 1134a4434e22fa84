"""Sabotages of the commands that look: a wrong owner, a wrong verdict, events left out."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["SEEING"]

ACCESS = "tools/access_problems.py"
MANIFEST = "disk/manifest.py"
OPENING = "tools/opening_outcome.py"
PAST_DAMAGE = "tools/events_around_damage.py"
PROCESSES = "disk/processes.py"

TEST_EVENTS = "tests/tools/test_events_command.py"
TEST_INFO = "tests/tools/test_info.py"
TEST_MANNER = "tests/tools/test_manner.py"
TEST_OWNER = "tests/disk/test_lock_owner.py"

IDENTIFIED = "no process is to be stopped that was not identified"
AGREES = "info and an opening agree"

SEEING = (
    Sabotage(
        name="a number of another PID namespace taken for a process here",
        breaks=IDENTIFIED,
        edits=(edit(PROCESSES, "if owner.namespace != namespace:", "if False:"),),
        caught_by=(f"{TEST_OWNER} -k namespace",),
    ),
    Sabotage(
        name="a number used again taken for the owner",
        breaks=IDENTIFIED,
        edits=(edit(PROCESSES, "int(fields[_STARTED]) != owner.started", "False"),),
        caught_by=(f"{TEST_OWNER} -k used_again",),
    ),
    Sabotage(
        name="an opening that needs lost keys is said to succeed",
        breaks=AGREES,
        edits=(
            edit(
                OPENING,
                "    for _ in LogReader(disk, manifest.store)"
                ".chunks(found.covered + 1, snapshot + 1):\n        pass\n",
                "",
            ),
        ),
        caught_by=(f"{TEST_MANNER} -k lost_keys",),
    ),
    Sabotage(
        name="the space of a rewrite forgotten",
        breaks=AGREES,
        edits=(edit(OPENING, "free is None or free >= needed:", "True:"),),
        caught_by=(f"{TEST_INFO} -k space",),
    ),
    Sabotage(
        name="a directory that others may write to passed over",
        breaks=AGREES,
        edits=(
            edit(
                ACCESS,
                "    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):\n        mode",
                "    if False:\n        mode",
            ),
        ),
        caught_by=(f"{TEST_INFO} -k modes_and_links",),
    ),
    Sabotage(
        name="a newer format told as damage",
        breaks="a store of a newer release is told as such",
        edits=(edit(MANIFEST, "        _check_format(path, data)\n", ""),),
        caught_by=(f"{TEST_INFO} -k newer",),
    ),
    Sabotage(
        name="reading behind damage ends with the first damaged record",
        breaks="every whole record can be read",
        edits=(
            edit(
                PAST_DAMAGE,
                " else damaged.chunks(seq, end):\n",
                " else damaged.chunks(seq, seq):\n",
            ),
        ),
        caught_by=(f"{TEST_EVENTS} -k gap",),
    ),
)
