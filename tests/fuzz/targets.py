"""Targets of the fuzzer: every function that takes bytes from a disk, and the store above.

A target is called with any bytes. The target may return, or raise a typed error. A returned value
has to make sense, as far as can be told without knowing the bytes. Disks are simulated, except
where a tool insists on a directory.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventstore import (
    EventStore,
    HandlerRegistry,
    SimulatedClock,
    StoreConfig,
    read_events,
    replay,
    state_at,
)
from eventstore.disk.listing import list_snapshots
from eventstore.disk.manifest import Manifest, load_manifest, save_manifest
from eventstore.log.archive import read_archive
from eventstore.log.format import (
    HEADER_SIZE,
    InvalidBytesError,
    SegmentHeader,
    closing_seal,
    read_record,
    read_seal,
)
from eventstore.log.reader import LogReader
from eventstore.log.tail_verdict import Clean, TornTail, classify_tail
from eventstore.model.codec import EventCodec, array_header, latest_time
from eventstore.snapshot.format import InvalidSnapshotError, parse
from eventstore.snapshot.snapshot_search import last_earlier
from eventstore.snapshot.vault import LoadedSnapshot, SnapshotVault
from eventstore.testing import Call, SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from eventstore.tools.file_survey import overview
from eventstore.tools.verify import verify
from tests.damage.golden_store import PATH, golden
from tests.fuzz.forging import unpacked_size
from tests.fuzz.inputs import GENERATORS, files
from tests.fuzz.limits import TYPED, EndlessError
from tests.torture.ledger import Deposit, Ledger, ledger_registry

__all__ = ["TARGETS", "Target"]

_REGISTRY = ledger_registry()
_LEDGER = _REGISTRY.codec
_PLAIN = EventCodec()
_COMMANDS = (
    "dump",
    "events --json --skip-damage",
    "info",
    "info --json",
    "stats",
    "state",
    "verify",
)
_CALLS = 3000  # calls on a disk; a sound life of the golden store takes some three hundred
_SEGMENT = "log/00000000000000000001.log"
_ARCHIVE = "archive/00000000000000000001.log.zst"
_SNAPSHOT = "snapshots/00000000000000000009.snap"


class Target(NamedTuple):
    """A function under test. `run` gets an input. The limits allow for `size` of the input, in
    bytes.
    """

    run: Callable[[bytes], None]
    size: Callable[[bytes], int] = len


def _manifest() -> Manifest:
    return msgspec.json.decode(files()["store.json"], type=Manifest)


def _limited(disk: SimulatedDisk) -> SimulatedDisk:
    left = iter(range(_CALLS))

    def count(call: Call) -> None:
        if next(left, None) is None:
            raise EndlessError(f"{_CALLS} calls on the disk and no end, at {call}")

    disk.add_rule(count)
    return disk


def _allow_typed(call: Callable[[], object]) -> bool:
    """Make a call that may raise a typed error. Returns whether the call raised nothing."""
    try:
        call()
    except TYPED:
        return False
    return True


# ---- pure functions ----------------------------------------------------------------------------


def _header(data: bytes) -> None:
    header = SegmentHeader.decode(data)
    assert SegmentHeader.decode(header.encode()) == header


def _segment(data: bytes) -> None:
    """Every function of a segment's bytes, and the reader over the whole file."""
    salt = data[48:56]
    for offset in {512, 513, max(0, len(data) - 48), len(data)}:
        with contextlib.suppress(InvalidBytesError):
            record = read_record(data, offset, salt)
            assert record.offset + 40 < record.end <= len(data)
            if record.events == 0:
                read_seal(data, record)
    closing_seal(data[-48:], len(data) - 48, salt)
    with contextlib.suppress(InvalidBytesError):
        header = SegmentHeader.decode(data[:HEADER_SIZE])
        tail = classify_tail(data, header)
        if isinstance(tail, Clean | TornTail):
            _check_records(tail, header, len(data))
    for manifest in (_manifest(), msgspec.structs.replace(_manifest(), archived=(), log_start=1)):
        disk = SimulatedDisk()
        disk.write_file(_SEGMENT, data)
        save_manifest(disk, manifest)
        _read(_limited(disk))


def _check_records(tail: Clean | TornTail, header: SegmentHeader, size: int) -> None:
    seq = header.first_seq
    end = HEADER_SIZE
    for record in tail.records:
        assert record.first_seq == seq
        assert end <= record.offset < record.end <= size
        seq, end = seq + record.events, record.end
    assert (seq, end) <= (tail.next_seq, size)
    assert end <= tail.end <= size


def _read(disk: SimulatedDisk) -> None:
    """Read a history in every way, from several starts."""
    for start in (1, 2, 12):
        _allow_typed(lambda start=start: list(LogReader(disk, _manifest().store).chunks(start)))  # type: ignore[misc]  # bound at once
        _allow_typed(lambda start=start: list(read_events(PATH, start=start, disk=disk)))  # type: ignore[misc]  # bound at once
    _allow_typed(lambda: list(read_events(PATH, _REGISTRY, disk=disk)))


def _events(data: bytes) -> None:
    """Decode a record's body as the number of events that the record claims."""
    if len(data) < 4:
        return
    (count,) = struct.unpack_from("<I", data)
    body = data[4:]
    for codec in (_LEDGER, _PLAIN):
        with contextlib.suppress(*TYPED):
            found = codec.decode(array_header(count) + body, count, 1)
            assert len(found) == count
    if count:
        latest_time(body, count)


def _snapshot(data: bytes) -> None:
    """A snapshot, verified and loaded as states of several types."""
    with contextlib.suppress(InvalidSnapshotError):
        _, _, _, slices = parse(data)
        for content in slices:
            assert len(content) <= len(data)
    disk = SimulatedDisk()
    disk.write_file(_SNAPSHOT, data)
    store = _manifest().store
    vault = SnapshotVault(disk, store, _REGISTRY)
    loaded = vault.load(9)
    assert not isinstance(loaded, LoadedSnapshot) or isinstance(loaded.state, Ledger)
    vault.load_newest(list_snapshots(disk))
    last_earlier(disk, _manifest().lineage(disk.path), list_snapshots(disk), 1 << 65)
    with contextlib.suppress(InvalidSnapshotError):
        _, about, _, _ = parse(data)
        for kind in (dict[str, Any], dict[str, int], list[int], tuple[int, str], int, Any):
            vault_of_kind = SnapshotVault[Any](disk, store, HandlerRegistry(state_type=kind))
            vault_of_kind.fingerprint = lambda: about.fingerprint
            vault_of_kind.load(9)


def _manifest_file(data: bytes) -> None:
    disk = SimulatedDisk()
    disk.write_file("store.json", data)
    manifest = load_manifest(disk)
    assert save_manifest(disk, manifest) == manifest
    # An editor may have changed spaces, order and the way to write letters, and nothing else.
    saved = disk.read_file("store.json")
    assert json.loads(saved) == json.loads(data.removeprefix(codecs.BOM_UTF8))


def _archive(data: bytes) -> None:
    disk = SimulatedDisk()
    disk.write_file(_ARCHIVE, data)
    _allow_typed(lambda: read_archive(disk, _ARCHIVE))
    save_manifest(disk, msgspec.structs.replace(_manifest(), archived=((1, 9, 1),), log_start=10))
    _read(_limited(disk))


# ---- names and configurations ------------------------------------------------------------------


def _names(data: bytes) -> None:
    """Open a sound store with files of these names: opening works, or says why not."""
    found = msgspec.msgpack.decode(data, type=list[str])
    disk = golden("archive").disk.clone()
    for name in found:
        if name not in disk.files() and name.partition("/")[0] not in disk.files():
            disk.write_file(name, b"not yours")
    _allow_typed(lambda: list(read_events(PATH, disk=_limited(disk.clone()))))
    run_in_virtual_time(_open(_limited(disk.clone()), read_only=False))
    with _directory(disk.contents()) as path:
        _allow_typed(lambda: verify(path))
        _allow_typed(lambda: _info(path))


def _config(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for suffix in (".yaml", ".toml"):
            path = Path(folder) / f"store{suffix}"
            path.write_bytes(data)
            if _allow_typed(lambda path=path: StoreConfig.load(path)):  # type: ignore[misc]  # bound at once
                assert isinstance(StoreConfig.load(path), StoreConfig)


# ---- whole stores ------------------------------------------------------------------------------


def _store(data: bytes) -> None:
    """Replace some files of the golden store, then open, use, read, check and dump the store."""
    disk = golden("archive").disk.clone()
    for name, content in _replaced(data).items():
        if content is not None:
            disk.write_file(name, content)
        elif name in disk.files():
            disk.remove_file(name)
    _lives(disk)


def _replaced(data: bytes) -> dict[str, bytes | None]:
    return msgspec.msgpack.decode(data, type=dict[str, bytes | None])


def _lives(disk: SimulatedDisk) -> None:
    reader = _limited(disk.clone())
    _read(reader)
    for at in (None, 1, 9, 10**18):
        _allow_typed(lambda at=at: state_at(PATH, _REGISTRY, at, disk=reader))  # type: ignore[misc]  # bound at once
    _allow_typed(lambda: list(replay(PATH, _REGISTRY, start=10**18, disk=reader)))
    before = disk.contents()
    run_in_virtual_time(_open(_limited(disk.clone()), read_only=True))
    writable = _limited(disk.clone())
    opened = run_in_virtual_time(_open(writable, read_only=False))
    if not opened:
        found = writable.contents()
        assert {name: found.get(name) for name in before} == before, "it was refused, and changed"
    _tools(before)


async def _open(disk: SimulatedDisk, *, read_only: bool) -> bool:
    """Live one life of a store, as far as possible. Returns whether the store opened."""
    config, clock = golden("archive").config, SimulatedClock()
    try:
        store = await EventStore.open(
            PATH, _REGISTRY, config, disk=disk, clock=clock, read_only=read_only
        )
    except TYPED:
        return False
    try:
        with contextlib.suppress(*TYPED):
            _ = [event async for event in store.events()]
        if not read_only:
            with contextlib.suppress(*TYPED):
                await store.append(Deposit(number=1, account="cash", amount=1))
                await store.snapshot()
                await store.append(Deposit(number=2, account="cash", amount=2))
                await store.snapshot()
            await asyncio.sleep(1)
    finally:
        with contextlib.suppress(*TYPED):
            await store.close()
    return True


def _tools(contents: dict[str, bytes]) -> None:
    """Run the tools that look at a directory."""
    with _directory(contents) as path:
        _allow_typed(lambda: verify(path))
        _allow_typed(lambda: verify(path, _REGISTRY))
        _allow_typed(lambda: _info(path))
        drawn = zlib.crc32(b"".join(contents.values()))
        _command(_COMMANDS[drawn % len(_COMMANDS)], path)  # one each time, because each takes long


def _info(path: Path) -> None:
    found = overview(path)
    assert found.created
    assert found.size >= 0
    assert found.last_seq >= 0


def _command(command: str, path: Path) -> None:
    """Run a command, which ends with a message unless the command succeeds."""
    from click.testing import CliRunner

    from eventstore.command_line.all_commands import commands

    result = CliRunner().invoke(commands, [*command.split(), str(path)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception


@contextlib.contextmanager
def _directory(contents: dict[str, bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for name, content in contents.items():
            path = Path(folder) / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.write_bytes(content)
        yield Path(folder)


def _archive_size(data: bytes) -> int:
    """Return the archive's size for the limits.

    A sound frame says how many bytes the frame holds, and may stand for thousands of times its
    size.
    """
    return len(data) + unpacked_size(data)


def _store_size(data: bytes) -> int:
    with contextlib.suppress(msgspec.DecodeError):
        found = {**files(), **_replaced(data)}
        return sum(_archive_size(content) for content in found.values() if content is not None)
    return 0


TARGETS: dict[str, Target] = {
    "header": Target(_header),
    "segment": Target(_segment),
    "events": Target(_events),
    "snapshot": Target(_snapshot),
    "manifest": Target(_manifest_file),
    "archive": Target(_archive, _archive_size),
    "names": Target(_names, lambda _: sum(map(len, files().values()))),
    "config": Target(_config),
    "store": Target(_store, _store_size),
}

assert TARGETS.keys() == GENERATORS.keys()
