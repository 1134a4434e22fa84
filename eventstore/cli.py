"""The `eventstore` command. Without the `cli` extra it says which package is missing."""

from __future__ import annotations

import sys

__all__ = ["main"]

EXTRA = frozenset({"click", "rich"})


def main() -> int:
    """Run the command line. Returns exit status 2 if the extra is missing or usage is wrong."""
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
    commands(prog_name="eventstore")
    return 0


if __name__ == "__main__":
    sys.exit(main())
