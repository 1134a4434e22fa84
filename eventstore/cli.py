"""The `eventstore` command. Without the `cli` extra it says which package is missing."""

from __future__ import annotations

import contextlib
import io
import os
import sys

__all__ = ["main"]

EXTRA = frozenset({"click", "rich"})


def main() -> int:
    """Run the command line. Returns exit status 2 if the extra is missing or usage is wrong.

    Output that cannot be written is one message and exit status 1. A closed pipe is exit status 1
    without a message, which is how click ends a command.
    """
    if sys.stdout is None:
        print("Error: standard output is closed", file=sys.stderr)
        return 1
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not know every character
            stream.reconfigure(errors="backslashreplace")
    try:
        from eventstore.tools.commands import commands
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        print(
            f"the eventstore command needs {error.name}, which is not installed: "
            "pip install 'asyncio-eventstore[cli]'",
            file=sys.stderr,
        )
        return 2
    try:
        commands(prog_name="eventstore")
    except OSError as error:
        what = error.filename or "the output cannot be written"
        print(f"Error: {what}: {error.strerror}", file=sys.stderr)
        return 1
    finally:
        _discard_unwritten()
    return 0


def _discard_unwritten() -> None:
    """Write out the output. Give up what cannot be written, for the interpreter tries once more."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
