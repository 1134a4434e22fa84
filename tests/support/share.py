"""The share of the cases that a run of the suite tries where a seed or a loop makes many.

`EVENTSTORE_SHARE=8` tries one case of eight: failing calls, schedules, seeds, examples, forged
bytes. `.ci/run` asks for that, for the sake of its time. By default all cases are tried.
"""

from __future__ import annotations

import os

__all__ = ["SHARE", "share"]

SHARE = int(os.environ.get("EVENTSTORE_SHARE", "1"))


def share(cases: int) -> int:
    """Return how many of `cases` are tried: at least one."""
    return max(1, cases // SHARE)
