"""Processes, as the kernel's `/proc` shows them: this one, and the owner of a lock.

Where there is no `/proc`, facts are missing and a process is not identified.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time

import msgspec

from eventstore.lock_owner import LockOwner, Standing

__all__ = ["standing_of", "this_process"]

_STATE, _STARTED = 0, 19  # fields of /proc/PID/stat, counted behind the name in parentheses


def this_process() -> LockOwner:
    """Describe this process, as the owner of a lock that was taken now."""
    return msgspec.structs.replace(_facts(os.getpid()), since=time.time_ns())


@functools.lru_cache(maxsize=1)
def _facts(pid: int) -> LockOwner:
    fields = _stat("self")
    return LockOwner(
        pid=pid,
        started=int(fields[_STARTED]) if fields else None,
        boot=_boot(),
        namespace=_namespace(),
        host=os.uname().nodename,
        command=_read("/proc/self/cmdline").replace("\0", " ").strip(),
    )


os.register_at_fork(after_in_child=_facts.cache_clear)


def standing_of(owner: LockOwner) -> Standing:
    """Find out what became of an owner. Number, start, boot and namespace have to agree."""
    boot, namespace = _boot(), _namespace()
    if owner.started is None or not (owner.boot and boot):
        return Standing.THIS_PROCESS if owner.pid == os.getpid() else Standing.UNKNOWN
    if owner.boot != boot:
        return Standing.ENDED
    if owner.namespace != namespace:
        return Standing.ELSEWHERE
    fields = _stat(str(owner.pid))
    if not fields or int(fields[_STARTED]) != owner.started or fields[_STATE] in "ZX":
        return Standing.ENDED
    if owner.pid == os.getpid():
        return Standing.THIS_PROCESS
    return Standing.STOPPED if fields[_STATE] in "Tt" else Standing.RUNNING


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id").strip()


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _stat(process: str) -> list[str]:
    """Return the fields of a process behind its name, which may hold spaces. Empty if it ended."""
    return _read(f"/proc/{process}/stat").rpartition(")")[2].split()


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(1 << 14).decode(errors="replace")
    return ""
