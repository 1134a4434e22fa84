"""`eventstore repair`: what is damaged, what each remedy costs, and the repair itself."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
import msgspec

from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.output import Output
from eventstore.command_line.registries import REGISTRY_HINT, load_registry
from eventstore.command_line.remedy_tables import (
    mended_object,
    price_object,
    remedy_rows,
    show_place,
)
from eventstore.errors import RegistrationError
from eventstore.model.registry import HandlerRegistry
from eventstore.repair import Choice, Proposal, Repaired, propose
from eventstore.repair import repair as repair_store
from eventstore.repair.damaged_places import place_object
from eventstore.repair.replaced_event import encode_replacement
from eventstore.tools.backup.entrance import open_copy

__all__ = ["repair"]

REMEDIES = ("restore", "mend", "skip", "cut", "snapshot", "drop", "rebuild", "set-aside")


@command(
    "repair",
    examples=[
        "eventstore repair engine-state         # what is wrong, and the price of each remedy",
        "eventstore repair engine-state --mend --apply",
        "eventstore repair engine-state --restore --from /mnt/backup/engine-state --apply",
        "eventstore repair engine-state --choose 1=mend,2=skip --to fixed --apply",
        "eventstore repair engine-state --drop 4444 --reason 'a bust' --apply",
    ],
)
@path_argument
@click.option("--mend", is_flag=True, help="Turn the flipped bits back.")
@click.option("--skip", is_flag=True, help="Leave the damaged middle out. Numbers stay.")
@click.option("--cut", is_flag=True, help="End the history in front of the damage.")
@click.option("--snapshot", type=int, metavar="N", help="Go back to the snapshot of event N.")
@click.option("--restore", is_flag=True, help="Take the file from the backup of --from.")
@click.option("--from", "backup", help="A backup of `eventstore backup`, or an older directory.")
@click.option("--drop", type=int, multiple=True, metavar="SEQ", help="Leave an event out.")
@click.option(
    "--replace",
    type=(int, str),
    multiple=True,
    metavar="SEQ JSON",
    help="Put another event in the place of one. JSON has `op` and the fields.",
)
@click.option("--rebuild", is_flag=True, help="Make store.json and snapshots anew.")
@click.option("--set-aside", is_flag=True, help="Move files out that are no part of the log.")
@click.option("--choose", metavar="1=mend,2=skip", help="A remedy for each place, by its number.")
@click.option("--reason", default="", help="A reason, for the event that records the repair.")
@click.option("--to", type=click.Path(path_type=Path), help="The new directory.")
@click.option("--in-place", is_flag=True, help="Change the store itself. Takes the lock.")
@click.option("--apply", "applying", is_flag=True, help="Write. Without it nothing is written.")
@registry_option
def repair(
    out: Output,
    path: Path,
    backup: str | None,
    applying: bool,
    in_place: bool,
    to: Path | None,
    reason: str,
    registry_name: str | None,
    **asked: Any,
) -> None:
    """Say what is damaged in the store at PATH, price each remedy, and repair with --apply.

    Prices are folded: the states are those that the repaired store will have. Without --apply no
    byte is written, and the exit status is 1 where something is damaged. With --apply a new store
    is written beside the old one, verified, and named last.
    """
    registry = _registry(out, registry_name)
    source = None if backup is None else open_copy(backup)
    if source is not None:
        click.get_current_context().call_on_close(source.close)
    proposal = propose(path, registry, source)
    more = _edits(path, asked)
    if proposal.healthy and not more and not (asked["mend"] and proposal.diagnosis.places):
        _show_healthy(out, path, proposal)
        return
    if not applying:
        _by_number(asked["choose"], proposal)  # a wrong one is told at once
        _show(out, path, proposal)
        raise click.exceptions.Exit(FINDINGS)
    choices = _chosen(proposal, asked)
    result = repair_store(
        path,
        choices,
        registry,
        more=more,
        backup=source,
        to=to,
        in_place=in_place,
        reason=reason,
    )
    _show_result(out, path, result, in_place)


def _registry(out: Output, name: str | None) -> HandlerRegistry[Any] | None:
    try:
        return load_registry(name)
    except RegistrationError as error:
        if name is not None:
            raise
        out.say(f"states are not folded: {error}. {REGISTRY_HINT}")
        return None


def _edits(path: Path, asked: dict[str, Any]) -> list[Choice]:
    edits = [Choice("drop", seq) for seq in asked["drop"]]
    for seq, text in asked["replace"]:
        try:
            data = json.loads(text)
            edits.append(Choice("replace", seq, encode_replacement(path, seq, data)))
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            raise click.BadParameter(str(error), param_hint="'--replace'") from error
    return edits


def _chosen(proposal: Proposal, asked: dict[str, Any]) -> dict[int, Choice]:
    """Return a remedy for every place. Raises `click.UsageError` where none was chosen."""
    by_number = _by_number(asked["choose"], proposal)
    edited = {*asked["drop"], *(seq for seq, _ in asked["replace"])}
    choices: dict[int, Choice] = {}
    for index, place in enumerate(proposal.diagnosis.places):
        offered = {price.choice.remedy: price.choice for price in proposal.prices[index]}
        if not offered:  # the repair says why no remedy helps
            continue
        wanted = by_number.get(index) or next(
            (name for name in REMEDIES if _is_asked(asked, name) and name in offered), None
        )
        if place.kind == "poison" and place.first in edited:
            choices[index] = Choice("edit")
            continue
        if wanted is None:
            if place.harmless:
                continue
            wanted = _only_free(proposal, index)
        if wanted is None or wanted not in offered:
            names = ", ".join(offered) or "none"
            raise click.UsageError(
                f"place {index + 1}, {place.name}: choose a remedy ({names}). Nothing was written"
            )
        choice = offered[wanted]
        if wanted == "snapshot" and asked["snapshot"]:
            choice = Choice("snapshot", asked["snapshot"])
        choices[index] = choice
    return choices


def _is_asked(asked: dict[str, Any], name: str) -> bool:
    return bool(asked.get(name.replace("-", "_")))


def _by_number(text: str | None, proposal: Proposal) -> dict[int, str]:
    found: dict[int, str] = {}
    for pair in (text or "").split(","):
        if not pair:
            continue
        number, _, remedy = pair.partition("=")
        right = number.isdecimal() and 1 <= int(number) <= len(proposal.diagnosis.places)
        if not right or remedy not in REMEDIES:
            raise click.BadParameter(f"{pair!r} is not a place=remedy", param_hint="'--choose'")
        found[int(number) - 1] = remedy
    return found


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


def _show_healthy(out: Output, path: Path, proposal: Proposal) -> None:
    if out.json:
        out.object(_object(proposal))
        return
    out.line(f"{path}: nothing to repair")
    for place in proposal.diagnosis.places:
        out.line(
            f"{place.name}: {place.reason}: events {place.first:,} … {place.last:,}. "
            f"eventstore repair {shlex.quote(str(path))} --mend --apply puts them back"
        )


def _show(out: Output, path: Path, proposal: Proposal) -> None:
    if out.json:
        out.object(_object(proposal))
        return
    count = len(proposal.diagnosis.places)
    out.line(f"{path}: {count} damaged place{'s' if count > 1 else ''}. Nothing was changed.")
    for fact in proposal.diagnosis.unknown:
        out.line(f"not known any more: {fact}")
    for index in range(count):
        out.line("")
        if count > 1:
            out.line(f"{index + 1}.")
        show_place(out, proposal, index)
    if proposal.total is not None:
        out.line("")
        columns, rows = remedy_rows([proposal.total], None)
        out.rows(columns, rows, right=columns[2:3] + columns[4:])
    out.say(f"next: {_next(path, proposal)}")


def _next(path: Path, proposal: Proposal) -> str:
    command = f"eventstore repair {shlex.quote(str(path))}"
    chosen = [
        (index + 1, choice)
        for index, choice in sorted(proposal.recommended.items())
        if proposal.prices[index]
    ]
    if len(chosen) == 1:
        choice = chosen[0][1]
        option = f"--{choice.remedy}"
        if choice.remedy in ("snapshot", "drop"):
            option += f" {choice.seq}"
        return f"{command} {option} --apply"
    pairs = ",".join(f"{number}={choice.remedy}" for number, choice in chosen)
    return f"{command} --choose {pairs} --apply"


def _object(proposal: Proposal) -> dict[str, Any]:
    diagnosis = proposal.diagnosis
    return {
        "path": diagnosis.path,
        "healthy": proposal.healthy,
        "first": diagnosis.first_seq,
        "last": diagnosis.last_seq,
        "readable": diagnosis.readable,
        "unknown": diagnosis.unknown,
        "together": None if proposal.total is None else price_object(proposal.total),
        "places": [
            {
                **place_object(place),
                "mended": [mended_object(one) for one in proposal.mended.get(index, ())],
                "remedies": [price_object(price) for price in proposal.prices[index]],
                "recommended": None
                if index not in proposal.recommended
                else str(proposal.recommended[index].remedy),
            }
            for index, place in enumerate(diagnosis.places)
        ],
    }


def _show_result(out: Output, path: Path, result: Repaired, in_place: bool) -> None:
    if out.json:
        fields = msgspec.structs.asdict(result)
        out.object({**fields, "price": price_object(result.price)})
        return
    out.line(
        f"wrote {result.path}: events {result.first_seq:,} … {result.last_seq:,}, timeline "
        f"{result.timeline} (from timeline {result.timeline - 1} at {result.left_at:,}), verified"
    )
    for name in result.changed:
        count = result.differing.get(name, 0)
        many = f" ({count:,} byte{'s' if count > 1 else ''})" if count else ""
        out.line(f"  changed   {name}{many}")
    out.line(f"  kept      the bytes of before are in {result.kept}")
    if in_place:
        return
    old, new = shlex.quote(str(path)), shlex.quote(result.path)
    out.line(f"  {path} is as it was")
    out.say(f"next: mv {old} {old}.damaged && mv {new} {old}")
