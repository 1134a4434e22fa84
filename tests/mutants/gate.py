"""The mutation gate: break the product in every way of the catalogue. The suite must notice each.

Theory of operation
-------------------
Work happens in copies of the project in a temporary directory, one for each job. The project itself
is only read. First, the chosen tests run on a copy without a sabotage, because a suite that fails
anyway notices nothing. Then the gate applies each sabotage in turn, runs the named tests up to the
first failure, and puts the text back. Tests that never end have told nobody what is wrong: the gate
counts such a sabotage as not noticed. A process ends with its tests, whatever threads a sabotage
leaves behind.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.mutants.catalogue import SABOTAGES
from tests.mutants.sabotage import Sabotage, StaleError

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    *"eventstore handlers tests benchmarks docs examples".split(),
    *"pyproject.toml README.md CHANGELOG.md LICENSE Makefile".split(),
)
CATALOGUE_TEST = "tests/mutants/test_catalogue.py"
"""Test of whether the product is as the catalogue expects. A sabotaged product never is."""
TIMEOUT = 180.0  # seconds for the tests of one sabotage
NO_END = "no end after"
RUN_TESTS = "import os, pytest, sys; code = pytest.main(); sys.stdout.flush(); os._exit(code)"
FALLBACK = ("tests/mutants/test_power.py tests/damage tests/log", "tests")
"""Tests to run when the named ones notice nothing. The last entry is the whole suite."""

_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class Outcome(NamedTuple):
    """The end of a sabotage. `caught_by` is `None` where no test noticed."""

    sabotage: Sabotage
    caught_by: str | None
    seconds: float
    expected: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate. Returns 0 if all was noticed, 1 if not, 2 if the gate is out of order."""
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
    if not chosen:
        parser.error(f"no sabotage is named like {' or '.join(options.names)}; see --list")
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


class _Gate:
    """Runs tests in copies of the project, each used by one job at a time."""

    def __init__(self, copies: list[Path], deselected: Sequence[str]) -> None:
        self._free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for copy in copies:
            self._free.put(copy)
        self._jobs = len(copies)
        self._deselected = deselected

    def unsound(self, selections: Sequence[str]) -> list[str]:
        """Return the tests that fail without any sabotage."""
        print(f"{len(selections)} selections of tests, without any sabotage ...", flush=True)
        with ThreadPoolExecutor(self._jobs) as pool:
            return [
                failed
                for failed in pool.map(self._failure_without_sabotage, selections)
                if failed is not None
            ]

    def outcomes(self, chosen: Sequence[Sabotage], fallback: Sequence[str]) -> list[Outcome]:
        """Yield the outcome of each sabotage, with the named tests or those of `fallback`."""
        with ThreadPoolExecutor(self._jobs) as pool:
            return list(pool.map(lambda sabotage: self._outcome(sabotage, fallback), chosen))

    def _failure_without_sabotage(self, selection: str) -> str | None:
        with self._copy() as copy:
            return _first_failure(copy, selection, self._deselected)

    def _outcome(self, sabotage: Sabotage, fallback: Sequence[str]) -> Outcome:
        began = time.perf_counter()
        caught = found = None
        with self._copy() as copy, sabotage.applied(copy):
            for selection in fallback or sabotage.caught_by:
                found = _first_failure(copy, selection, self._deselected)
                if found is not None and NO_END not in found:
                    caught = found
                    break
        seconds = time.perf_counter() - began
        told = caught or found or "not noticed"
        print(f"{sabotage.name:42} {seconds:6.1f} s  {told}", flush=True)
        return Outcome(sabotage, caught, seconds, not fallback)

    @contextmanager
    def _copy(self) -> Iterator[Path]:
        copy = self._free.get()
        try:
            yield copy
        finally:
            self._free.put(copy)


def _run(
    chosen: list[Sabotage], copies: list[Path], fallback: Sequence[str], deselected: Sequence[str]
) -> int:
    began = time.perf_counter()
    gate = _Gate(copies, deselected)
    unsound = gate.unsound(sorted({named for item in chosen for named in item.caught_by}))
    outcomes = {} if unsound else {item.sabotage: item for item in gate.outcomes(chosen, ())}
    unnoticed = [item.sabotage for item in outcomes.values() if item.caught_by is None]
    if unnoticed and fallback:
        unsound = gate.unsound(fallback)
        if not unsound:
            outcomes |= {item.sabotage: item for item in gate.outcomes(unnoticed, fallback)}
    if unsound:
        print("the suite fails without any sabotage:", *unsound, sep="\n  ", file=sys.stderr)
        return 2
    return _report(list(outcomes.values()), time.perf_counter() - began)


def _report(outcomes: list[Outcome], seconds: float) -> int:
    rows = [("sabotage", "what it breaks", "caught by", "seconds")]
    for found in outcomes:
        caught = found.caught_by or "NOBODY"
        if found.caught_by is not None and not found.expected:
            caught += " (not by the tests named)"
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
        elif source.exists():
            shutil.copy2(source, target / name)
    return target


def _first_failure(copy: Path, selection: str, deselected: Sequence[str]) -> str | None:
    """Run tests in a copy. Returns the first failure, if any."""
    command = [sys.executable, "-B", "-c", RUN_TESTS, "-x", "-q", "-p", "no:cacheprovider"]
    command += ["--tb=no", "--no-header", *shlex.split(selection)]
    command += [f"--ignore={CATALOGUE_TEST}", *(f"--deselect={test}" for test in deselected)]
    environment = os.environ | {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / "hypothesis"),
    }
    limit = TIMEOUT * (10 if selection in FALLBACK else 1)
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{selection}: {NO_END} {limit:.0f} s"
    if done.returncode == 0:
        return None
    if done.returncode not in (1, 2):  # no such tests: an outcome without meaning for the product
        raise RuntimeError(f"pytest {selection}: {done.stdout}{done.stderr}")
    failed = _FAILED.search(done.stdout)
    if failed is not None:
        return failed[1]
    lines = (done.stdout + done.stderr).strip().splitlines()
    return f"{selection}: pytest ended with {done.returncode}: {lines[-1] if lines else ''}"
