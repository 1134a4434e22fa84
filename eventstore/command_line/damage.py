"""How damage is told: every fault, and what can be read in spite of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from eventstore.command_line.output import Output
from eventstore.tools.file_survey import Damage

__all__ = ["tell_damage"]


def tell_damage(
    faults: Sequence[Damage],
    path: Path,
    first: int,
    intact_up_to: int | None,
    word: str = "DAMAGED",
) -> None:
    """Name every fault, and say what can be read in spite of it, on standard error."""
    for damage in faults:
        Output.say(f"{word}: {damage.name}: {damage.reason}")
    if intact_up_to is not None and intact_up_to > first:
        begin = f" --start {first}" if first > 1 else ""
        command = f"eventstore events {shlex.quote(str(path))}{begin} --stop {intact_up_to}"
        Output.say(f"Every event before {intact_up_to} can be read: {command}")
