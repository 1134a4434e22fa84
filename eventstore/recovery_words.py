"""The report of an opening, in words for an operator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest
from eventstore.intents.warning import in_doubt_warning
from eventstore.log.recovery import RecoveredLog
from eventstore.model.state_codec import StateAt
from eventstore.operator_log import operator_log
from eventstore.recovery_and_stats import RecoveryReport, printable
from eventstore.snapshot.vault import LoadedSnapshot, Rejected

__all__ = ["recovery_report", "report_with_tail", "tell"]

_logger = operator_log("eventstore.recovery")


def recovery_report(
    manifest: Manifest,
    listing: Listing,
    snapshot: LoadedSnapshot[Any] | None,
    rejected: Sequence[Rejected],
    found: Iterable[str],
    opened: RecoveredLog,
    at: StateAt[Any],
    *,
    seconds: float,
    now: int,
    created: bool,
    follows: bool,
) -> RecoveryReport:
    """Return the report of an opening that ended with the state `at`.

    `manifest` is that of before the opening. `found` are the warnings of the parts of a store.
    `now` is the time in nanoseconds. `follows` is that of `recover`.
    """
    snapshot_seq = 0 if snapshot is None else snapshot.seq
    unknown = tuple(listing.unknown(manifest))
    warnings = [f"{item.name} was passed over: {item.reason}" for item in rejected]
    warnings += found
    warnings += [
        f"{printable(name)} is none of the store's files and was left alone" for name in unknown
    ]
    if opened.torn_bytes:
        aside = f" and set aside in {opened.quarantined}" if opened.quarantined else ""
        warning = f"{opened.torn_bytes} bytes of an unfinished commit were found{aside}"
        if opened.torn_events is not None:
            first, last = opened.torn_events
            warning += (
                f". One turned bit makes the bytes whole: events {first:,} to {last:,}. Before "
                "anything is appended, `eventstore repair --mend --apply` puts these back"
            )
        warnings.append(warning)
    if _went_back(manifest, at.seq) and not follows:
        warnings.append(f"events after {at.seq:,} are not in this store: reconcile before trading")
    if at.intents:
        warnings.append(in_doubt_warning(at.intents, now))
    return RecoveryReport(
        created=created,
        seq=at.seq,
        snapshot=snapshot.name if snapshot is not None else None,
        snapshot_seq=snapshot_seq,
        snapshot_time=0 if snapshot is None else snapshot.created,
        events_folded=at.seq - snapshot_seq,
        seconds=seconds,
        clean=opened.clean,
        torn_bytes=opened.torn_bytes,
        quarantined=opened.quarantined,
        rewritten=opened.rewritten,
        segments=len(opened.segments),
        snapshots_rejected=tuple(f"{item.name}: {item.reason}" for item in rejected),
        unknown_files=unknown,
        warnings=tuple(warnings),
    )


def _went_back(manifest: Manifest, last: int) -> bool:
    """Tell whether a restored, copied or promoted store has no event of its own yet.

    The store that goes on may have had later events, which the venue knows. A branch is no such
    store.
    """
    begun = manifest.timelines[-1]
    own = begun.number == 1 or manifest.branched is not msgspec.UNSET
    return not own and begun.left_at == last > 0


def report_with_tail(
    path: str, found: RecoveryReport, again: RecoveryReport, *, intents: bool
) -> RecoveryReport:
    """Return the report of an opening that took events over from the cluster, and log a warning.

    `found` is the report before, whose last warning is about intents where `intents` is true.
    `again` is the report of the recovery afterwards.
    """
    before = found.warnings[:-1] if intents else found.warnings
    warning = (
        f"events {found.seq + 1:,} to {again.seq:,} were in the cluster and not on this disk, and "
        "were taken over: after a power cut, or in an older copy of the directory"
    )
    _logger.warning("%s: %s", printable(path), warning)
    return replace(
        found,
        seq=again.seq,
        events_folded=again.events_folded,
        seconds=found.seconds + again.seconds,
        segments=again.segments,
        adopted=again.seq - found.seq,
        warnings=(*dict.fromkeys((*before, *again.warnings)), warning),
    )


def tell(path: str, report: RecoveryReport) -> None:
    """Log the outcome for an operator: one line of information, and each warning."""
    path = printable(path)
    _logger.info(
        "%s: recovered to event %d in %.3f s (snapshot of %d, %d events folded)",
        path,
        report.seq,
        report.seconds,
        report.snapshot_seq,
        report.events_folded,
    )
    for warning in report.warnings:
        _logger.warning("%s: %s", path, warning)
