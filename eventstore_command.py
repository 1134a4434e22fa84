"""The script `eventstore`, outside of the package, whose import Ctrl-C may interrupt."""

from __future__ import annotations

import sys

__all__ = ["main"]

INTERRUPTED = 130


def main() -> int:
    """Run the command line, and return the exit status. Nothing is imported before."""
    try:
        from eventstore.cli import main as run
    except KeyboardInterrupt:
        return INTERRUPTED
    return run()


if __name__ == "__main__":
    sys.exit(main())
