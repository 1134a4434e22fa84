"""Real system calls, seen and spoilt by strace, in the words of the simulated disk.

strace attaches to a child that waits for its first order. So a trace begins with the store and not
with the imports of Python. `when=` in an injection counts per thread.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from eventstore.testing import Call
from tests.real.children import Child
from tests.real.mounts import unchecked

__all__ = ["Syscall", "disk_calls", "merged", "read_trace", "traced"]

WATCHED = (
    "openat,pread64,pwrite64,fdatasync,fsync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,"
    "mkdir,mkdirat,flock"
)


class Syscall(NamedTuple):
    """One system call: `args` as strace prints them, `errno` the name of the error, if any."""

    thread: int
    name: str
    args: str
    errno: str
    injected: bool


@contextlib.contextmanager
def traced(child: Child, output: Path, promise: str, inject: str = "") -> Iterator[None]:
    """Trace `child` until its end, and start the child. Skips the test where tracing is
    impossible.
    """
    if shutil.which("strace") is None:
        unchecked(promise, "there is no strace")
    command = ["strace", "-f", "-y", "-s", "0", "-o", str(output), "-e", f"trace={WATCHED}"]
    command += ["-e", f"inject={inject}"] if inject else []
    with subprocess.Popen(
        [*command, "-p", str(child.pid)], stderr=subprocess.PIPE, text=True
    ) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        if "attached" not in said:
            strace.kill()
            unchecked(promise, f"strace cannot trace here ({said.strip()})")
        try:
            child.tell("begin")
            yield
        finally:
            child.kill()  # the child has ended, or the test has failed
            strace.communicate()


_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\w+)(?:<.*?>)?(?: (E[A-Z0-9]+) \(.*?\))?(.*)")
_UNFINISHED = re.compile(r"(\d+) +(\w+\(.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")


def read_trace(output: Path) -> list[Syscall]:
    """Return the system calls of a trace, in the order in which they ended."""
    begun: dict[str, str] = {}
    calls = []
    for line in output.read_text().splitlines():
        if match := _UNFINISHED.fullmatch(line):
            begun[match[1]] = match[2]
            continue
        if match := _RESUMED.fullmatch(line):
            line = f"{match[1]} {begun.pop(match[1])}{match[2]}"
        if match := _LINE.fullmatch(line):
            thread, name, args, result, errno, rest = match.groups()
            if result != "?":  # the process was killed in this call
                calls.append(Syscall(int(thread), name, args, errno or "", "INJECTED" in rest))
    return calls


NOTES = ("writer.pid", "frontier")


def disk_calls(syscalls: Iterable[Syscall], store: Path) -> list[Call]:
    """Return the calls on a `Disk` for these system calls.

    Three things are left out: calls that only look (names, sizes), the folders' own descriptors,
    and the present owner's notes for other processes.
    """
    found = (_disk_call(call, f"{store}") for call in syscalls)
    return [call for call in found if call is not None and call.name not in NOTES]


_AT = re.compile(r'(?:\d+|AT_FDCWD)<(.*?)>, "(.*?)"')
_FD = re.compile(r"\d+<(.*?)>")


def _disk_call(call: Syscall, store: str) -> Call | None:
    if match := _FD.match(call.args):
        path = match[1]
    else:
        return None
    numbers = [int(part) for part in re.findall(r", (\d+)(?=,|$)", call.args)]
    at = [f"{folder}/{base}" for folder, base in _AT.findall(call.args)]
    if not f"{path}/".startswith(f"{store}/"):
        return None

    def name(path: str) -> str:
        return path.removeprefix(store).removeprefix("/")

    match call.name:
        case "openat" if "O_DIRECTORY" in call.args:
            return None
        case "openat":
            return Call("create" if "O_EXCL" in call.args else "open", name(at[0]))
        case "pread64":
            return Call("read", name(path))
        case "pwrite64":
            length, offset = numbers[-2:]
            return Call("write", name(path), (offset, length))
        case "fdatasync":
            return Call("sync", name(path))
        case "fsync":
            return Call("sync_folder", name(path))
        case "ftruncate":
            return Call("truncate", name(path), (numbers[-1],))
        case "rename" | "renameat" | "renameat2":
            return Call("rename", name(at[0]), (name(at[1]),))
        case "unlink" | "unlinkat":
            return Call("remove", name(at[0]))
        case "mkdir" | "mkdirat":
            return Call("make_folder", name(at[0]))
        case "flock":
            return Call("lock", name(path))
    raise AssertionError(f"a system call that nobody expects: {call}")


def merged(calls: Iterable[Call]) -> list[Call]:
    """Merge reads of one file in a row into one call, without offsets."""
    result: list[Call] = []
    for call in calls:
        if call.kind == "read":
            call = Call("read", call.name)
            if result and result[-1] == call:
                continue
        result.append(call)
    return result
