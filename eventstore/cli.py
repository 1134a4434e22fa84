"""The `eventstore` command. Without the `cli` extra it says which package is missing."""

from __future__ import annotations

import io
import os
import sys

__all__ = ["main"]

EXTRA = frozenset({"click", "rich"})


def main() -> int:
    """Run the command line, and exit with the status of the command (`command_line/exits.py`).

    Returns exit status 2 if the extra is missing, 5 if standard output is closed, and 130 if Ctrl-C
    was pressed before the command began.
    """
    if sys.stdout is None:
        print("Error: standard output is closed", file=sys.stderr)
        return 5
    if sys.stderr is None:  # closed: else the next file would be opened in its place
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for the whole process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not know every character
            stream.reconfigure(errors="backslashreplace")
    try:
        from eventstore.command_line.all_commands import commands
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        print(
            f"the eventstore command needs {error.name}, which is not installed: "
            "pip install 'asyncio-eventstore[cli]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    commands(prog_name="eventstore")
    return 0


if __name__ == "__main__":
    sys.exit(main())
