"""The command ``eventstore``, which needs the extra ``[cli]`` and says so where it is missing."""

from __future__ import annotations

import sys

__all__ = ["main"]

EXTRA = frozenset({"click", "rich"})


def main() -> int:
    """Run the command line. Exit status 2 where the extra is missing or usage is wrong."""
    try:
        from eventstore.tools.commands import commands
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        print(
            f"the eventstore command needs {error.name}, which is not installed: "
            "pip install 'eventstore[cli]'",
            file=sys.stderr,
        )
        return 2
    commands(prog_name="eventstore")
    return 0


if __name__ == "__main__":
    sys.exit(main())
