"""`eventstore repair`: what is damaged, what each remedy costs, and the repair itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import msgspec

from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.output import Output
from eventstore.command_line.progress import progress_of_tasks
from eventstore.command_line.registries import REGISTRY_HINT, registry_or_none
from eventstore.command_line.remedy_choices import (
    asks_for_something,
    chosen_remedies,
    edits_of,
)
from eventstore.command_line.remedy_tables import (
    mended_object,
    price_object,
    show_place,
    show_prices,
)
from eventstore.repair import Price, Proposal, Repaired, propose
from eventstore.repair import repair as repair_store
from eventstore.repair.damaged_places import Kind, place_object
from eventstore.repair.progress import READING, WRITING
from eventstore.repair.proposing import MOST_POISON, price_choices
from eventstore.tools.backup.entrance import open_copy
from eventstore.tools.staging import refuse_within

__all__ = ["repair"]


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
@click.option("--rebuild", is_flag=True, help="Make store.json, snapshots and keys anew.")
@click.option("--set-aside", is_flag=True, help="Move files out that are no part of the log.")
@click.option("--choose", metavar="1=mend,2=skip", help="A remedy for each place, by its number.")
@click.option("--reason", default="", help="A reason, for the event that records the repair.")
@click.option("--to", type=click.Path(readable=False, path_type=Path), help="The new directory.")
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
    registry = registry_or_none(registry_name, "states are not folded")
    source = None if backup is None else open_copy(backup)
    if source is not None:
        click.get_current_context().call_on_close(source.close)
    with progress_of_tasks({READING: "kB"}) as advance:
        proposal = propose(path, registry, source, advance)
    more = edits_of(path, asked)
    if proposal.healthy and not more and not (asked["mend"] and proposal.diagnosis.places):
        _show_healthy(out, path, proposal)
        if proposal.diagnosis.unfolded and registry_name is not None:
            raise click.exceptions.Exit(FINDINGS)
        return
    if not applying:
        prices = None
        if asks_for_something(asked):
            choices = chosen_remedies(proposal, asked, filled=True)
            with progress_of_tasks() as advance:
                prices = price_choices(
                    path, proposal, choices, registry, more=more, backup=source, advance=advance
                )
        _show(out, path, proposal, prices)
        if not out.json:
            out.say(_next(proposal, asked))
        raise click.exceptions.Exit(FINDINGS)
    choices = chosen_remedies(proposal, asked)
    if to is not None:
        refuse_within(to)
    with progress_of_tasks({READING: "kB", WRITING: "files"}) as advance:
        result = repair_store(
            path,
            choices,
            registry,
            more=more,
            backup=source,
            to=to,
            in_place=in_place,
            reason=reason,
            advance=advance,
        )
    _show_result(out, path, result, in_place)


def _show_healthy(out: Output, path: Path, proposal: Proposal) -> None:
    if out.json:
        out.object(_object(proposal))
        return
    out.line(f"{path}: nothing to repair")
    _show_unfolded(out, proposal)
    for place in proposal.diagnosis.places:
        out.line(
            f"{place.name}: {place.reason}: events {place.first:,} … {place.last:,}. "
            f"eventstore repair {shlex.quote(str(path))} --mend --apply puts them back"
        )


def _show_unfolded(out: Output, proposal: Proposal) -> None:
    if proposal.diagnosis.unfolded:
        out.line(f"states were not folded: {proposal.diagnosis.unfolded}. Or {REGISTRY_HINT}")


def _show(out: Output, path: Path, proposal: Proposal, asked: tuple[Price, Price] | None) -> None:
    """Show every place, and the prices without and with the remedies on the command line."""
    if out.json:
        out.object(_object(proposal, asked))
        return
    count = len(proposal.diagnosis.places)
    places = f"{count or 'no'} damaged place{'' if count == 1 else 's'}"
    out.line(f"{path}: {places}. Nothing was changed.")
    for fact in proposal.diagnosis.unknown:
        out.line(f"not known any more: {fact}")
    if proposal.diagnosis.more_poison:
        out.line(
            f"handlers refuse more than {MOST_POISON} events, and these are the first: with the "
            "handlers that recorded these events, nothing is lost"
        )
    _show_unfolded(out, proposal)
    if count > 1:
        out.line("a price counts what the first remedies of the other places lose, too")
    for index in range(count):
        out.line("")
        if count > 1:
            out.line(f"{index + 1}.")
        show_place(out, proposal, index)
    together = () if proposal.total is None else (proposal.total,)
    if asked or together:
        out.line("")
        show_prices(out, asked or together)


def _next(proposal: Proposal, asked: dict[str, Any]) -> str:
    """Return the line that says what to type next: the words as typed, and what is missing."""
    typed = click.get_current_context().obj
    for index, place in enumerate(proposal.diagnosis.places):
        if not proposal.prices[index] and not place.harmless:
            keys = place.kind is Kind.KEYS
            word = "no repair gives these keys back" if keys else "no repair gives a state back"
            return f"{place.name}: {word}; next: eventstore restore BACKUP NEW"
    if asks_for_something(asked):
        try:
            chosen_remedies(proposal, asked)
        except click.UsageError as error:
            return error.format_message()
        return f"next: {shlex.join(['eventstore', *typed, '--apply'])}"
    chosen = [
        (index + 1, choice)
        for index, choice in sorted(proposal.recommended.items())
        if proposal.prices[index]
    ]
    if len(chosen) == 1:
        choice = chosen[0][1]
        remedy = [f"--{choice.remedy}"]
        if choice.remedy in ("snapshot", "drop"):
            remedy.append(str(choice.seq))
    else:
        remedy = ["--choose", ",".join(f"{number}={choice.remedy}" for number, choice in chosen)]
    return f"next: {shlex.join(['eventstore', *typed, *remedy, '--apply'])}"


def _object(proposal: Proposal, asked: tuple[Price, Price] | None = None) -> dict[str, Any]:
    diagnosis = proposal.diagnosis
    return {
        "path": diagnosis.path,
        "healthy": proposal.healthy,
        "first": diagnosis.first_seq,
        "last": diagnosis.last_seq,
        "readable": diagnosis.readable,
        "unknown": diagnosis.unknown,
        "more_poison": diagnosis.more_poison,
        "unfolded": diagnosis.unfolded,
        "together": None if proposal.total is None else price_object(proposal.total),
        "asked": None if asked is None else price_object(asked[1]),
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
    opens = "" if result.price.state is None else ", opens"  # every event was folded
    out.line(
        f"wrote {result.path}: events {result.first_seq:,} … {result.last_seq:,}, timeline "
        f"{result.timeline} (from timeline {result.timeline - 1} at {result.left_at:,}), "
        f"verified{opens}"
    )
    if result.noted:
        out.line(f"  event {result.noted:,} store_repaired says so")
    for name in result.changed:
        count = result.differing.get(name, 0)
        many = f" ({count:,} byte{'s' if count > 1 else ''})" if count else ""
        out.line(f"  changed   {name}{many}")
    out.line(f"  kept      the bytes of before are in {result.kept}")
    if in_place:
        return
    named = path if path.name not in ("", "..") else path.resolve()
    old, new = shlex.quote(str(named)), shlex.quote(result.path)
    out.line(f"  {path} is as it was")
    out.say(f"next: mv {old} {old}.damaged && mv {new} {old}")
