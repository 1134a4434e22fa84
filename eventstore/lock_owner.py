"""The owner of a store's lock, as the owner describes itself in `writer.pid`.

The lock is on the directory, and the operating system frees the lock when its owner ends. The note
tells whom to ask. A number alone names no process: numbers are used again, and a container counts
its own. So the note has more facts, and a reader compares the facts with the processes at hand.

The note is text: the number in the first line, then a fact a line. A missing fact is not known.
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime

import msgspec

__all__ = ["LockOwner", "Standing", "refusal_text"]

_LONGEST = 200  # characters of a command line


class Standing(enum.Enum):
    """What became of an owner."""

    RUNNING = "running"
    STOPPED = "stopped"
    """The process exists, and a signal or a debugger stopped it."""
    ENDED = "ended"
    THIS_PROCESS = "this process"
    ELSEWHERE = "elsewhere"
    """The process counts in another PID namespace, so its number names no process here."""
    UNKNOWN = "unknown"


class LockOwner(msgspec.Struct, frozen=True, omit_defaults=True):
    """The process that has, or had, the lock of a store.

    Attributes:
        pid: The number of the process, in the namespace of the process.
        started: Start of the process, in the kernel's ticks since the boot. `None` if unknown.
        boot: Identity of the boot of the machine.
        namespace: Identity of the PID namespace.
        host: Name of the host.
        command: The command line.
        since: When the lock was taken, in nanoseconds since the epoch. `None` if unknown.
    """

    pid: int
    started: int | None = None
    boot: str = ""
    namespace: str = ""
    host: str = ""
    command: str = ""
    since: int | None = None

    def encode(self) -> bytes:
        """Return the note."""
        facts = {
            "started": self.started,
            "boot": self.boot,
            "namespace": self.namespace,
            "host": self.host,
            "command": " ".join(self.command.split())[:_LONGEST],
            "since": self.since,
        }
        lines = [f"{name} {fact}" for name, fact in facts.items() if fact not in (None, "")]
        return "\n".join([str(self.pid), *lines, ""]).encode(errors="replace")

    @classmethod
    def decode(cls, note: bytes) -> LockOwner | None:
        """Read a note. Returns `None` where the note has no number.

        >>> owner = LockOwner.decode(b"17\\nhost bot-7f9c\\n")
        >>> owner.pid, owner.host, owner.since
        (17, 'bot-7f9c', None)
        """
        first, *lines = note.decode(errors="replace").splitlines() or [""]
        if not (first.isascii() and first.strip().isdecimal()):
            return None
        facts = dict(line.partition(" ")[::2] for line in lines)
        return cls(
            pid=int(first),
            started=_number(facts.get("started")),
            boot=facts.get("boot", ""),
            namespace=facts.get("namespace", ""),
            host=facts.get("host", ""),
            command=facts.get("command", ""),
            since=_number(facts.get("since")),
        )

    @property
    def name(self) -> str:
        """The process in words, such as `process 6636 (python bot.py)`."""
        return f"process {self.pid} ({self.command})" if self.command else f"process {self.pid}"

    @property
    def since_text(self) -> str:
        """When the lock was taken, such as `, since 2026-03-02 19:02:11Z`, or nothing."""
        if self.since is None:
            return ""
        try:
            taken = datetime.fromtimestamp(self.since // 10**9, UTC)
        except (OverflowError, ValueError, OSError):
            return ""
        return f", since {taken:%Y-%m-%d %H:%M:%S}Z"


def refusal_text(path: str, owner: LockOwner | None, standing: Standing) -> str:
    """Return the message for a second writer of the store at `path`.

    Only a process that was identified is ever to be stopped.
    """
    read_only = "open this store read-only"
    look = f"`fuser -v {path}` shows the process"
    if owner is None:
        return f"{path} is in use by process (unknown): {look}, or {read_only}"
    if standing is Standing.THIS_PROCESS:
        return (
            f"{path} is in use by this process ({owner.pid}): a store of it is still open"
            f"{owner.since_text}. Close that one first, or {read_only}"
        )
    if standing is Standing.ELSEWHERE:
        host = f", host {owner.host}" if owner.host else ""
        return (
            f"{path} is in use by a process of another PID namespace, which calls itself "
            f"{owner.pid}{host}: look there, or {look}, or {read_only}"
        )
    if standing in (Standing.RUNNING, Standing.STOPPED):
        state = "running" if standing is Standing.RUNNING else "STOPPED (state T)"
        return (
            f"{path} is in use by {owner.name}, {state}{owner.since_text}: stop it, or {read_only}"
        )
    return (
        f"{path} is in use, and writer.pid names process {owner.pid}, which may not be the one: "
        f"{look}, or {read_only}"
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None
