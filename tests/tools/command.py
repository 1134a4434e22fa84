"""The command, run in this process as a pipe sees it, or in a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from click.testing import CliRunner, Result

from eventstore.command_line.all_commands import commands

__all__ = ["eventstore", "in_terminal", "rows"]


def eventstore(*arguments: str | int | Path) -> Result:
    """Run a command as in a pipe."""
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def rows(result: Result) -> list[list[str]]:
    """Return the rows below the header line."""
    return [line.split("\t") for line in result.stdout.splitlines()[1:]]


def in_terminal(
    *arguments: str | int | Path, width: int = 120, keep: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Run a command as a process on a terminal. Returns its status, and the answer, then errors.

    Standard error is a file, so a busy machine shows no progress between the lines of the answer.
    Variables that would decide in the terminal's place are taken away, but those in `keep`.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):  # the terminal decides
        if name not in keep:
            environment.pop(name, None)
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-m", "eventstore", *map(str, arguments)],
            stdin=follower,
            stdout=follower,
            stderr=errors,
            env=environment,
        ) as process,
    ):
        os.close(follower)
        output = b""
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # EIO: the other end is closed
                break
            if not piece:
                break
            output += piece
        process.wait()
        errors.seek(0)
        output += errors.read()
    os.close(leader)
    return process.returncode, output.decode().replace("\r\n", "\n")
