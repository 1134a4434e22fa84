"""The remedies that a command line asks for: a choice for each damaged place, and edits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from eventstore.repair import Choice, Place, Proposal
from eventstore.repair.prices import snapshots_for
from eventstore.repair.replaced_event import encode_replacement

__all__ = ["asks_for_something", "chosen_remedies", "edits_of"]

REMEDIES = ("restore", "mend", "skip", "cut", "snapshot", "drop", "rebuild", "set-aside")

_FOR_ALL = tuple(name for name in REMEDIES if name != "drop")
"""The remedies for every place that has them. `--drop` names one event."""

Asked = Mapping[str, Any]
"""The options of `eventstore repair`, by name."""


def edits_of(path: Path, asked: Asked) -> list[Choice]:
    """Return the events to drop and to replace. Raises `click.BadParameter`."""
    edits = [Choice("drop", seq) for seq in asked["drop"]]
    for seq, text in asked["replace"]:
        try:
            data = json.loads(text)
            edits.append(Choice("replace", seq, encode_replacement(path, seq, data)))
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            raise click.BadParameter(str(error), param_hint="'--replace'") from error
    return edits


def asks_for_something(asked: Asked) -> bool:
    """Whether a remedy or an edit was asked for."""
    return bool(asked["choose"]) or any(_is_asked(asked, name) for name in (*REMEDIES, "replace"))


def chosen_remedies(proposal: Proposal, asked: Asked, *, filled: bool = False) -> dict[int, Choice]:
    """Return a remedy for every place.

    A place without a choice takes the recommended remedy, if `filled`. Otherwise such a place is
    refused with `click.UsageError`, unless only one remedy loses nothing.
    """
    numbered = _by_number(proposal, asked)
    edited = {*asked["drop"], *(seq for seq, _ in asked["replace"])}
    choices: dict[int, Choice] = {}
    for index, place in enumerate(proposal.diagnosis.places):
        offered = {price.choice.remedy: price.choice for price in proposal.prices[index]}
        if not offered:  # the repair says why no remedy helps
            continue
        if place.kind == "poison" and place.first in edited:
            choices[index] = Choice("edit")
            continue
        wanted = numbered.get(index) or next(
            (name for name in _FOR_ALL if _is_asked(asked, name) and name in offered), None
        )
        if wanted is None and not place.harmless:
            wanted = _only_free(proposal, index)
        if wanted is not None and wanted in offered:
            choices[index] = _of_snapshot(proposal, place, offered[wanted], asked["snapshot"])
        elif filled and index in proposal.recommended:
            choices[index] = proposal.recommended[index]
        elif not place.harmless:
            raise click.UsageError(
                f"place {index + 1}, {place.name}: choose a remedy ({', '.join(offered)}). "
                "Nothing was written"
            )
    return choices


def _by_number(proposal: Proposal, asked: Asked) -> dict[int, str]:
    """Return the remedies of `--choose`, by index. Raises `click.BadParameter`."""
    found: dict[int, str] = {}
    for pair in (asked["choose"] or "").split(","):
        if not pair:
            continue
        number, _, remedy = pair.strip().partition("=")
        right = number.isdecimal() and 1 <= int(number) <= len(proposal.diagnosis.places)
        if not right or remedy not in REMEDIES:
            raise click.BadParameter(f"{pair!r} is not a place=remedy", param_hint="'--choose'")
        offered = [price.choice.remedy for price in proposal.prices[int(number) - 1]]
        if offered and remedy not in offered:
            raise click.BadParameter(
                f"{pair!r}: this place has the remedies {', '.join(offered)}",
                param_hint="'--choose'",
            )
        found[int(number) - 1] = remedy
    return found


def _of_snapshot(proposal: Proposal, place: Place, choice: Choice, wanted: int | None) -> Choice:
    """Return the choice, with the snapshot of `--snapshot` where it goes back to one."""
    if choice.remedy != "snapshot" or wanted is None:
        return choice
    usable = snapshots_for(proposal.diagnosis, place)
    if wanted not in usable:
        named = ", ".join(f"{seq:,}" for seq in usable)
        raise click.BadParameter(
            f"no sound snapshot of event {wanted:,} stands in front of {place.name}. There is: "
            f"{named}",
            param_hint="'--snapshot'",
        )
    return Choice("snapshot", wanted)


def _only_free(proposal: Proposal, index: int) -> str | None:
    """Return the one remedy that loses nothing, `None` where there is not exactly one."""
    own = proposal.diagnosis.places[index]
    free = [
        price.choice.remedy
        for price in proposal.prices[index]
        if price.choice.remedy in ("mend", "restore", "rebuild", "set-aside")
        or (price.choice.remedy == "skip" and not own.lost)
    ]
    return free[0] if len(free) == 1 or (free and not own.lost) else None


def _is_asked(asked: Asked, name: str) -> bool:
    value = asked[name.replace("-", "_")]
    return value is not None and value is not False and value != ()
