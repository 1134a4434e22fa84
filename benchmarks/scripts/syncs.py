"""Equal durability, counted: `python -m benchmarks.scripts.syncs`.

Every contender appends a hundred events one by one and twenty groups of a hundred, under
`strace`. The script prints the number of syncs of the disk. Fewer syncs than appends would
acknowledge events that are not on the disk. More syncs are the contender's own affair.

Counted are `fdatasync`, `fsync` and `msync` of the process and its children, and writes to
files opened with `O_DSYNC` or `O_SYNC`. Calls to `access` with unused names mark the phases
in the trace.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Contender, by_name, loop_factory
from benchmarks.workload import payloads

__all__ = ["count", "main", "syncs_of"]

LONE, GROUPS, SIZE = 100, 20, 100
MARK = "/mark-of-the-benchmarks-"
TRACED = "fdatasync,fsync,msync,access,openat,write,writev,pwrite64,pwritev"


async def work(contender: Contender, folder: Path) -> None:
    """Append, telling the trace where each phase begins and ends."""
    peer = contender.load()(folder)
    await peer.open()
    group = payloads(SIZE)
    for payload in payloads(10):
        await peer.append((payload,))
    await peer.append(group)
    await peer.settle()
    mark("lone")
    for payload in payloads(LONE):
        await peer.append((payload,))
    mark("")
    mark("groups")
    for _ in range(GROUPS):
        await peer.append(group)
    mark("")
    await peer.close()


def mark(phase: str) -> None:
    """Leave a line in the trace."""
    os.access(MARK + phase, os.F_OK)


def count(trace: str) -> dict[str, Counter[str]]:
    """Return the syncs in each phase of a trace, by name."""
    found = {"lone": Counter[str](), "groups": Counter[str]()}
    durable: set[str] = set()
    phase = ""
    for line in trace.splitlines():
        if MARK in line:
            phase = line.partition(MARK)[2].partition('"')[0]
            continue
        call = re.match(r"\d+ +(\w+)\((\w+)", line)
        if call is None:
            continue
        name, first = call.groups()
        if name == "openat":
            number = line.rpartition("= ")[2].split(" ")[0]
            durable.discard(number)
            if "O_DSYNC" in line or "O_SYNC" in line:
                durable.add(number)
        elif phase and name in ("fdatasync", "fsync", "msync"):
            found[phase][name] += 1
        elif phase and "write" in name and first in durable:
            found[phase]["write to O_DSYNC"] += 1
    return found


def syncs_of(contender: Contender, where: Path) -> dict[str, Counter[str]]:
    """Return the syncs of one contender, under `strace`."""
    with tempfile.TemporaryDirectory(dir=where, prefix=".benchmarks-") as folder:
        trace = Path(folder) / "trace"
        arguments = ["strace", "-f", "-qq", "-e", f"trace={TRACED}", "-o", str(trace)]
        command = [sys.executable, "-m", "benchmarks.scripts.syncs", contender.name, folder]
        subprocess.run([*arguments, *command], check=True)
        return count(trace.read_text(encoding="utf-8", errors="replace"))


def main(arguments: list[str]) -> None:
    """Print a line for each contender. With a name and a folder, be the traced contender."""
    if arguments:
        contender = by_name(arguments[0])
        with asyncio.Runner(loop_factory=loop_factory(contender.loop)) as runner:
            runner.run(work(contender, Path(arguments[1])))
        return
    for contender in CONTENDERS:
        try:
            contender.load()
        except ImportError as error:
            print(f"{contender.name:24} left out: {error}")
            continue
        found = syncs_of(contender, Path())
        words = [
            f"{each} {phase}: " + ", ".join(f"{times} {name}" for name, times in calls.items())
            for (phase, calls), each in zip(found.items(), (LONE, GROUPS), strict=True)
        ]
        print(f"{contender.name:24} {'; '.join(words)}")


if __name__ == "__main__":
    main(sys.argv[1:])
