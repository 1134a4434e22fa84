"""The mutation gate: break the product in every way of the catalogue, and see the suite notice each.

Theory of operation
-------------------
Work happens in copies of the project in a temporary directory, one for each job; the project itself is
only read. First the tests that are to notice are run on a copy that nobody has sabotaged: a suite
that fails anyway notices nothing. Then each sabotage is applied in turn, the tests that it names are run
up to the first that fails, and the text is put back. Tests that never end have noticed something too.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.mutants.catalogue import SABOTAGES
from tests.mutants.sabotage import Sabotage, StaleError

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("eventstore", "handlers", "tests", "pyproject.toml")
TIMEOUT = 180.0  # seconds for one run of tests
FALLBACK = ("tests/test_sabotage_power.py tests/damage", "tests -m 'not slow'")
"""What is run when the tests that were named notice nothing; the last is the whole suite."""

_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class Outcome(NamedTuple):
    """What became of a sabotage. ``caught_by`` is ``None`` where nobody noticed."""

    sabotage: Sabotage
    caught_by: str | None
    seconds: float
    expected: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate; 0 if everything was noticed, 1 if not, 2 if the gate itself is out of order."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="sabotages, or parts of their names")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--list", action="store_true", help="list the sabotages and end")
    parser.add_argument("--quick", action="store_true", help="run only the tests that are named")
    parser.add_argument("--deselect", action="append", default=[], help="leave out a test")
    options = parser.parse_args(arguments)
    chosen = [
        sabotage
        for sabotage in SABOTAGES
        if not options.names or any(part in sabotage.name for part in options.names)
    ]
    if options.list:
        for sabotage in chosen:
            print(f"{sabotage.name:34} {sabotage.breaks}")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [_copy(Path(folder) / str(number)) for number in range(options.jobs)]
        try:
            for sabotage in chosen:
                with sabotage.applied(copies[0]):
                    pass
        except StaleError as stale:
            print(f"a sabotage is stale: write its snippet anew\n{stale}", file=sys.stderr)
            return 2
        return _run(chosen, copies, () if options.quick else FALLBACK, options.deselect)


def _run(
    chosen: list[Sabotage], copies: list[Path], fallback: Sequence[str], deselected: Sequence[str]
) -> int:
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)
    width = max(len(sabotage.name) for sabotage in chosen)

    def sound(selection: str) -> str | None:
        copy = free.get()
        try:
            return _first_failure(copy, selection, deselected)
        finally:
            free.put(copy)

    def outcome(sabotage: Sabotage) -> Outcome:
        copy = free.get()
        try:
            found = _outcome(sabotage, copy, fallback, deselected)
        finally:
            free.put(copy)
        caught = found.caught_by or "NOBODY NOTICED"
        print(f"{sabotage.name:{width}}  {found.seconds:5.1f} s  {caught}", flush=True)
        return found

    began = time.perf_counter()
    with ThreadPoolExecutor(len(copies)) as pool:
        selections = sorted({named for sabotage in chosen for named in sabotage.caught_by})
        print(f"{len(selections)} selections of tests, without any sabotage ...", flush=True)
        unsound = [failed for failed in pool.map(sound, selections) if failed is not None]
        if unsound:
            print("the suite fails without any sabotage:", *unsound, sep="\n  ", file=sys.stderr)
            return 2
        outcomes = list(pool.map(outcome, chosen))
    return _report(outcomes, time.perf_counter() - began)


def _report(outcomes: list[Outcome], seconds: float) -> int:
    rows = [("sabotage", "what it breaks", "caught by", "seconds")]
    for found in outcomes:
        caught = found.caught_by or "NOBODY"
        if found.caught_by is not None and not found.expected:
            caught += " (not the tests named)"
        rows.append((found.sabotage.name, found.sabotage.breaks, caught, f"{found.seconds:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print()
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]
        )
    survivors = [found.sabotage.name for found in outcomes if found.caught_by is None]
    print(f"\n{len(outcomes) - len(survivors)} of {len(outcomes)} caught in {seconds:.0f} s")
    if survivors:
        print(f"nobody noticed: {', '.join(survivors)}", file=sys.stderr)
    return 1 if survivors else 0


def _copy(target: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    target.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        else:
            shutil.copy2(source, target / name)
    return target


def _outcome(
    sabotage: Sabotage, copy: Path, fallback: Sequence[str], deselected: Sequence[str]
) -> Outcome:
    began = time.perf_counter()
    with sabotage.applied(copy):
        for selection in dict.fromkeys((*sabotage.caught_by, *fallback)):
            failed = _first_failure(copy, selection, deselected)
            if failed is not None:
                expected = selection in sabotage.caught_by
                return Outcome(sabotage, failed, time.perf_counter() - began, expected)
    return Outcome(sabotage, None, time.perf_counter() - began, False)


def _first_failure(copy: Path, selection: str, deselected: Sequence[str]) -> str | None:
    """Run tests in a copy; the first one that fails, if any does."""
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["--tb=no", "--no-header", *shlex.split(selection)]
    command += [f"--deselect={test}" for test in deselected]
    environment = os.environ | {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / "hypothesis"),
    }
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{selection}: no end after {TIMEOUT:.0f} s"
    if done.returncode == 0:
        return None
    if done.returncode not in (1, 2):  # no such tests: that says nothing about the product
        raise RuntimeError(f"pytest {selection}: {done.stdout}{done.stderr}")
    failed = _FAILED.search(done.stdout)
    if failed is not None:
        return failed[1]
    lines = (done.stdout + done.stderr).strip().splitlines()
    return f"{selection}: pytest ended with {done.returncode}: {lines[-1] if lines else ''}"
