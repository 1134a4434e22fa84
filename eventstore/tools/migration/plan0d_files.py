"""Plan 0D's files, read line by line: the good ones, and their content.

The plan keeps one folder::

    engine_state.json      the state, with `_meta`: checksum, time of saving, version
    engine_state.bak1 ...  earlier states, the newest first
    engine_state.tmp       a save that was not finished
    engine_state.wal       operations since the save, one JSON object a line

Theory of operation
-------------------
*The base.* The newest good state is taken: the saved state, else the first good backup. A file is
good if the file holds one JSON object with a right checksum. A file without a checksum is good,
too, as in the plan, and the report says so.

*The entries after the base.* A save clears the log. So the entries were logged after the save,
except where a crash came between the save and the clearing. Then the log still begins with the
entries before the save. Two facts tell these entries. A save logs the whole state first, as
`full_state`, so the last `full_state` entry with the checksum of the base ends the entries before.
Otherwise the first entries that are older than the time of saving are before.

*Bad lines.* Each entry has a checksum. A line without an entry, or with a wrong checksum, is set
aside with its number, and the other lines are used. The plan's own code forgets all of them.

*Backups and the log.* The log was cleared by the save whose file is damaged. So a backup and the
log may lack the operations between two saves. A `full_state` entry replaces the whole state, and
then nothing is lacking.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from eventstore.arguments import argument_error, checked_text
from eventstore.clock import to_ns
from eventstore.config_file import read_regular_file
from eventstore.errors import ConfigError, CorruptStoreError, StoreNotFoundError
from eventstore.os_errors import read_error
from eventstore.recovery_and_stats import printable
from eventstore.tools.staging import is_store

__all__ = [
    "FULL_STATE",
    "LegacyEntry",
    "LegacyFile",
    "LegacyFolder",
    "SetAside",
    "compute_checksum",
    "read_legacy",
    "verify_checksum",
]

STEM = "engine_state"
META = "_meta"
FULL_STATE = "full_state"
_BACKUP = re.compile(r"(?:\.json)?\.bak([0-9]+)")


def compute_checksum(data: Mapping[str, Any]) -> str:
    """Return plan 0D's checksum of a dictionary: 16 digits of the SHA-256 of sorted JSON.

    `state_digest` is the store's own, for states of any type.

    >>> compute_checksum({"a": 1, "b": "test"})
    'eb2d4c57ea9d6976'
    """
    if not isinstance(data, Mapping):
        raise argument_error("data", data, "expected a dictionary")
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def verify_checksum(data: Mapping[str, Any], expected: str) -> bool:
    """Whether plan 0D's checksum of `data` is `expected`.

    >>> verify_checksum({"a": 1}, "not a checksum")
    False
    """
    return compute_checksum(data) == checked_text("expected", expected)


class LegacyFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a whole state.

    * `checksum`: whether the checksum is right, `None` for a file without one.
    * `saved_at`: nanoseconds since the epoch, `None` if unknown.
    * `damage`: why the file cannot be used, `None` for a good file.
    * `data`: the state, `None` for a damaged file.
    """

    path: Path
    checksum: bool | None = None
    saved_at: int | None = None
    damage: str | None = None
    data: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The file's name, without the folder."""
        return self.path.name


class LegacyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the log. `line` counts from 1, and `time` is nanoseconds since the epoch."""

    line: int
    seq: int
    operation: str
    time: int
    data: dict[str, Any]


class SetAside(msgspec.Struct, frozen=True):
    """A line or a file that was not used, and the reason."""

    place: str
    reason: str


class LegacyFolder(msgspec.Struct, frozen=True, kw_only=True):
    """The findings in a folder.

    * `base`: the state to begin with, `None` where only the log can give one.
    * `files`: every file of a state, the newest first.
    * `wal`: the log's path, `None` without a log.
    * `before`: the entries contained in the base.
    * `after`: the entries to be applied, in order.
    * `bad`: the unusable lines.
    * `lacking`: why operations may be missing between base and entries, `None` if none can be.
    """

    base: LegacyFile | None
    files: tuple[LegacyFile, ...]
    wal: Path | None
    before: tuple[LegacyEntry, ...]
    after: tuple[LegacyEntry, ...]
    bad: tuple[SetAside, ...]
    lacking: str | None = None


def read_legacy(old: str | os.PathLike[str]) -> LegacyFolder:
    """Read plan 0D's files. `old` is the folder, or the path of the saved state. Changes nothing.

    Raises `StoreNotFoundError` where there is no such file, `CorruptStoreError` where no state and
    no entry is usable, and `StoreAccessError` and `ReadFailedError`.
    """
    place = Path(old)
    folder, stem = (place, STEM) if place.is_dir() else (place.parent, place.stem)
    try:
        files = tuple(map(_read_state, _state_files(folder, stem)))
        wal = folder / f"{stem}.wal"
        lines = read_regular_file(wal).splitlines() if wal.exists() else None
    except OSError as error:
        raise read_error(error, str(error.filename or folder)) from error
    if not files and lines is None:
        hint = ""
        if place.suffix.lower() in (".csv", ".tsv", ".jsonl"):
            file = shlex.quote(str(old))
            hint = f". A file of events: eventstore migrate --events {file} NEW"
        elif is_store(place):
            hint = ". It is a store: eventstore copy"
        raise StoreNotFoundError(
            f"{folder} has no {stem}.json, no backup of it and no {stem}.wal: name the folder of "
            f"plan 0D's files, or the path of the saved state{hint}",
            path=str(folder),
            what="state",
        )
    entries, bad = _read_log(f"{stem}.wal", lines or ())
    base = next((file for file in files if file.damage is None), None)
    before, after = _divided(base, entries)
    if base is None and not after:
        reasons = [f"{file.name}: {file.damage}" for file in files]
        reasons += [f"{one.place}: {one.reason}" for one in bad]
        raise CorruptStoreError(
            f"{folder}: no state and no entry can be used ({'; '.join(reasons) or 'all empty'}). "
            "Nothing was written. Restore the files from a copy",
            path=str(folder),
        )
    return LegacyFolder(
        base=base,
        files=files,
        wal=wal if lines is not None else None,
        before=tuple(before),
        after=tuple(after),
        bad=tuple(bad),
        lacking=_lacking(base, files, after),
    )


def _state_files(folder: Path, stem: str) -> list[Path]:
    """List the files of whole states, the newest first. An unfinished save comes last."""
    backups = []
    for path in folder.iterdir():
        found = _BACKUP.fullmatch(path.name.removeprefix(stem))
        if path.name.startswith(stem) and found:
            backups.append((int(found[1]), path))
    named = [folder / f"{stem}.json", *(path for _, path in sorted(backups))]
    return [path for path in (*named, folder / f"{stem}.tmp") if path.exists()]


def _read_state(path: Path) -> LegacyFile:
    try:
        data = json.loads(read_regular_file(path))
    except (ValueError, RecursionError) as error:
        return LegacyFile(path=path, damage=f"no valid JSON ({printable(str(error))})")
    if not isinstance(data, dict):
        return LegacyFile(path=path, damage="no JSON object")
    meta = data.pop(META, None)
    facts = meta if isinstance(meta, dict) else {}
    saved_at, expected = _time(facts.get("saved_at")), facts.get("checksum")
    if not expected:
        return LegacyFile(path=path, saved_at=saved_at, data=data)
    if not verify_checksum(data, str(expected)):
        reason = f"its checksum is {compute_checksum(data)}, not {printable(str(expected))}"
        return LegacyFile(path=path, checksum=False, saved_at=saved_at, damage=reason)
    return LegacyFile(path=path, checksum=True, saved_at=saved_at, data=data)


def _read_log(name: str, lines: Iterable[bytes]) -> tuple[list[LegacyEntry], list[SetAside]]:
    entries: list[LegacyEntry] = []
    bad: list[SetAside] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                entries.append(_read_entry(number, line))
            except (ValueError, RecursionError) as error:
                bad.append(SetAside(f"{name}, line {number}", printable(str(error))))
    return entries, bad


def _read_entry(number: int, line: bytes) -> LegacyEntry:
    """Read one line. Raises `ValueError` with the reason where the line is no sound entry."""
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise ValueError(f"no valid JSON ({error})") from error
    if not isinstance(fields, dict):
        raise ValueError("no JSON object")
    missing = [name for name in ("seq", "op", "ts", "data", "checksum") if name not in fields]
    if missing:
        raise ValueError(f"no {', '.join(missing)}")
    seq, data, time = fields["seq"], fields["data"], _time(fields["ts"])
    if not isinstance(data, dict) or not isinstance(fields["op"], str) or not isinstance(seq, int):
        raise ValueError("seq is a number, op a text and data an object, and here they are not")
    if time is None:
        raise ValueError(f"ts is no time: {fields['ts']!r}")
    if not verify_checksum(data, str(fields["checksum"])):
        raise ValueError(f"its checksum is {compute_checksum(data)}, not {fields['checksum']}")
    return LegacyEntry(line=number, seq=seq, operation=fields["op"], time=time, data=data)


def _time(text: Any) -> int | None:
    """Return the nanoseconds of an ISO time. A time without an offset is UTC, as the plan's are."""
    try:
        moment = datetime.fromisoformat(text)
        return to_ns(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (TypeError, ValueError, ConfigError):
        return None


def _divided(
    base: LegacyFile | None, entries: Sequence[LegacyEntry]
) -> tuple[Sequence[LegacyEntry], Sequence[LegacyEntry]]:
    """Divide the entries: first the ones contained in the base, then the ones after the base."""
    if base is None or base.data is None:
        return (), entries
    checksum = compute_checksum(base.data)
    for index in range(len(entries) - 1, -1, -1):
        entry = entries[index]
        if entry.operation == FULL_STATE and compute_checksum(entry.data) == checksum:
            return entries[: index + 1], entries[index + 1 :]
    index = 0
    if base.saved_at is not None:
        while index < len(entries) and entries[index].time < base.saved_at:
            index += 1
    return entries[:index], entries[index:]


def _lacking(
    base: LegacyFile | None, files: Sequence[LegacyFile], after: Sequence[LegacyEntry]
) -> str | None:
    if any(entry.operation == FULL_STATE for entry in after):
        return None
    damaged = [file.name for file in files if file.damage is not None]
    newer = damaged if base is None else [one.name for one in files[: files.index(base)]]
    if not newer:
        return None
    begin = "the beginning" if base is None else base.name
    return (
        f"the save in {newer[0]} cleared the log: operations between {begin} and that save are in "
        "no file. Compare positions and balances with the venue before trading"
    )
