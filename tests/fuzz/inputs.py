"""Sources of inputs: valid files, changed, with their checksums made right again.

An input is bytes for every target, and each target reads the bytes in its own way. The `n`-th
input of a seed is always the same.
"""

from __future__ import annotations

import functools
import json
import struct
import uuid
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from eventstore import StoreConfig
from eventstore.log.format import SealKind, SegmentHeader, encode_record, encode_seal
from tests.damage.golden_store import golden
from tests.fuzz.forging import (
    archived,
    bomb,
    forged_archive,
    forged_manifest,
    forged_segment,
    forged_snapshot,
    with_index,
)
from tests.fuzz.mutations import (
    EXTREMES,
    changed_blindly,
    changed_names,
    changed_numbers,
    changed_text,
    packed,
    text,
)

__all__ = ["GENERATORS", "files"]

_SALT = b"\1salted!"
_HEADER = [(8, "H"), (10, "H"), (32, "Q"), (40, "Q"), (56, "Q"), (64, "Q"), (72, "I")]
_RECORD = [(8, "Q"), (16, "I"), (20, "I"), (24, "Q")]
_SNAPSHOT = [(8, "H"), (10, "H"), (28, "Q"), (36, "Q"), (44, "Q"), (64, "I")]

_JSON = [
    *b'{ } [ ] : , " -1 0 1e400 null true "" \\ud800 "crc" "seq" \xff \xc3\xbc'.split(),
    *(b'{"a":', b"[[", b"1" + b"0" * 30, b"9" * 5000, b'"path":', b'"archived": [[1,2,3]],'),
]
_YAML = [
    *b"segment_size: history: durability: live_trading: persistence: use_wal: \n :\t - ? | >".split(
        b" "
    ),
    *(b"[", b"{", b"&a ", b"*a", b"!!int ''", b"!!float ''", b"!!bool x", b"!!timestamp x"),
    *(b"<<: *a", b"0x" + b"f" * 5000, b"9" * 5000, b".inf", b".nan", b"2020-99-99", b"190:20:30"),
    *(
        b"!!set {a}",
        b"!!binary x",
        b"--- ",
        b"\xff",
        b"\0",
        b"\n  ",
        b"'",
        b'"',
        b"!!python/none x",
    ),
]
_CONFIGS = (
    b"backup_count: 3\nwal_max_entries: 500\ndurability: interval\n",
    b"live_trading:\n  persistence:\n    auto_save_interval: 60\n    use_wal: true\n",
    b"base: &a {backup_count: 2}\n<<: *a\nhistory: keep\n",
    b'backup_count = 3\ndurability = "none"\n',
    b"[live_trading.persistence]\nsegment_size = 4096\n",
)


@functools.cache
def files() -> dict[str, bytes]:
    """Return the files of a small store that has everything."""
    return golden("archive").disk.contents()


def _file_under(random: Random, prefix: str) -> bytes:
    names = [name for name in files() if name.startswith(prefix)]
    return files()[random.choice(names)]


def header(random: Random) -> bytes:
    """The first bytes of a segment."""
    data = _file_under(random, "log/0")[: random.choice((512, 512, 512, 520, 100))]
    if random.random() < 0.7:
        data = changed_numbers(random, data, _HEADER)
    else:
        data = changed_blindly(random, data)
    return forged_segment(data) if random.random() < 0.7 else data


def segment(random: Random) -> bytes:
    """A segment: one of a real store changed, or one made of forged records."""
    if random.random() < 0.6:
        return _forged_records(random)
    data = _file_under(random, "log/0")
    if random.random() < 0.6:
        places = list(_HEADER)
        for offset in _offsets(data):
            places += [(offset + field, code) for field, code in _RECORD]
        data = changed_numbers(random, data, places)
    else:
        data = changed_blindly(random, data)
    return forged_segment(data) if random.random() < 0.7 else data


def _offsets(data: bytes) -> list[int]:
    """Where the records of a valid segment begin."""
    offset, found = 512, []
    while offset + 40 <= len(data) and any(data[offset : offset + 8]):
        found.append(offset)
        (length,) = struct.unpack_from("<I", data, offset + 20)
        offset += 40 + length + -length % 8
    return found


def _forged_records(random: Random) -> bytes:
    """Return a segment of records with right checksums and any contents."""
    manifest = json.loads(files()["store.json"])
    first = random.choice((1, 1, 1, manifest["log_start"], 2**63))
    store = uuid.UUID(manifest["store"])
    size = random.choice((4096, 4096, 8192, 512, 2**40))
    data = SegmentHeader(store=store, size=size, first_seq=first, salt=_SALT).encode()
    seq = first
    for _ in range(random.choice((1, 1, 2, 5, 40))):
        shape = random.random()
        if shape < 0.15:
            kind = random.choice(list(SealKind))
            data += encode_seal(_SALT, len(data), seq, kind, zlib.crc32(data))
            continue
        count = random.choice((1, 1, 1, 2, 3))
        body = b"".join(event(random, seq + number) for number in range(count))
        claimed = count if shape < 0.8 else random.choice((0, 2**16, 2**31, 2**32 - 1, count + 1))
        synced = len(data) if random.random() < 0.9 else random.choice((0, 512, len(data) + 8))
        data += encode_record(_SALT, len(data), seq, claimed, body or b"\xc0", synced)
        seq = (seq + claimed) % 2**64
    if random.random() < 0.5:
        kind = random.choice(list(SealKind))
        return data + encode_seal(_SALT, len(data), seq, kind, zlib.crc32(data))
    if random.random() < 0.3:
        data += random.choice((_SALT, _SALT * 10, b"\1", data[512:600]))
    return data.ljust(min(size, 8192), b"\0")


def event(random: Random, seq: int) -> bytes:
    """Return the bytes of an event, or of something close to an event."""
    number = msgspec.msgpack.encode(seq % 2**64)
    time = msgspec.msgpack.encode(random.choice((0, 10**18, 2**64 - 1, -(2**63))))
    shape = random.random()
    if shape < 0.3:
        data = {"op": "deposit", "number": seq, "account": "cash", "amount": 1}
        return b"\x93" + number + time + msgspec.msgpack.encode(data)
    if shape < 0.8:
        return b"\x93" + number + time + packed(random)
    if shape < 0.95:
        return b"\x95" + number + time + packed(random) + packed(random) + packed(random)
    return packed(random)


def events(random: Random) -> bytes:
    """Return the body of a record, and the number of events that the record claims."""
    count = random.choice((1, 1, 2, 3))
    body = b"".join(event(random, 1 + number) for number in range(count))
    if random.random() < 0.1:
        count = random.choice((0, 2**16, 2**32 - 1, count + 1))
    if random.random() < 0.2:
        body = changed_blindly(random, body)
    return struct.pack("<I", count) + body


def snapshot(random: Random) -> bytes:
    """Return a snapshot: a real one changed, or with new slices."""
    data = _file_under(random, "snapshots/")
    shape = random.random()
    if shape < 0.3:
        data = changed_blindly(random, data)
    elif shape < 0.5:
        data = changed_numbers(random, data, [*_SNAPSHOT, (len(data) - 88, "I")])
    else:
        slices = _slices(data)
        if random.random() < 0.3:
            slices[0] = packed(random)
        for _ in range(random.choice((0, 1, 2))):
            name = random.choice((b"\xa0", b"\xa5count", b"\xa5chain", b"\xa8balances"))
            content = random.choice((b"\x92" + name + packed(random), packed(random)))
            slices[random.randrange(1, len(slices)) :] = [content]
        if random.random() < 0.2:
            del slices[1:]
        body = b"".join(struct.pack("<II", len(content), 0) + content for content in slices)
        footer = bytearray(data[-96:])
        struct.pack_into("<I", footer, 8, len(slices))
        data = data[:64] + body + bytes(footer)
    return forged_snapshot(data) if random.random() < 0.8 else data


def _slices(data: bytes) -> list[bytes]:
    offset, found = 64, []
    while offset < len(data) - 96:
        (length,) = struct.unpack_from("<I", data, offset)
        found.append(data[offset + 8 : offset + 8 + length])
        offset += 8 + length
    return found


def manifest(random: Random) -> bytes:
    """A `store.json`."""
    data = files()["store.json"]
    shape = random.random()
    if shape < 0.4:
        facts = json.loads(data)
        for name in random.sample(list(facts), random.choice((1, 1, 2))):
            facts[name] = _odd_value(random)
        if random.random() < 0.2:
            facts["branched"] = {
                "path": text(random),
                "store": facts["store"],
                "seq": _odd_value(random),
            }
        data = json.dumps(facts, ensure_ascii=random.random() < 0.5).encode("utf-8", "replace")
    elif shape < 0.7:
        data = changed_text(random, data, _JSON)
    else:
        data = changed_blindly(random, data)
    return forged_manifest(data) if random.random() < 0.8 else data


def _odd_value(random: Random) -> Any:
    numbers = (-1, 0, 1, 2, 5, 12, 13, 10**19, 10**30, 10**300, 1.5)
    return random.choice(
        (
            random.choice(numbers),
            random.choice(numbers),
            random.choice(EXTREMES),
            text(random),
            None,
            [],
            [[random.choice(numbers[:-1]) for _ in range(3)] for _ in range(3)],
            [[1, 3, 10**19], [4, 6, 0]],
        )
    )


def archive(random: Random) -> bytes:
    """Return an archive of any kind of segment, or a bomb."""
    shape = random.random()
    if shape < 0.4:
        return archived(segment(random))
    if shape < 0.6:
        return _bomb(random)
    data = changed_blindly(random, _file_under(random, "archive/"))
    return forged_archive(data) if random.random() < 0.8 else data


def _bomb(random: Random) -> bytes:
    first = random.choice((b"", _file_under(random, "log/0")[:512]))
    blocks = random.choice((1, 10, 200))
    size = len(first) + (blocks << 17)
    if first:
        told = random.choice((size, 4096, 2**63, 2**40))
        first = forged_segment(first[:32] + struct.pack("<Q", told) + first[40:])
    claimed = random.choice((None, None, size, 512, 2**40))
    told_size = random.choice((size, 512, 2**31))
    return with_index([bomb(blocks, first, told=claimed)], first, told_size)


def names(random: Random) -> bytes:
    """Names of files, to be put into a store's folders."""
    return msgspec.msgpack.encode(changed_names(random))


def config(random: Random) -> bytes:
    """A configuration, in YAML or TOML."""
    if random.random() < 0.4:
        words = (*StoreConfig.__struct_fields__, "retain_snapshots", "live_trading", "persistence")
        keys = [random.choice((*map(str.encode, words), random.choice(_YAML))) for _ in range(3)]
        sign = random.choice((b": ", b" = "))
        return b"".join(key + sign + random.choice(_YAML) + b"\n" for key in keys)
    return changed_text(random, random.choice(_CONFIGS), _YAML)


_MAKERS: dict[str, Callable[[Random], bytes]] = {
    "log/0": segment,
    "snapshots/": snapshot,
    "archive/": archive,
    "store.json": manifest,
}


def store(random: Random) -> bytes:
    """Return files of a store to be replaced, or removed: their names and new contents."""
    if random.random() < 0.4:
        return msgspec.msgpack.encode(_one_segment_store(random))
    changed: dict[str, bytes | None] = {}
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        prefix = random.choice(list(_MAKERS))
        name = random.choice([name for name in files() if name.startswith(prefix)])
        changed[name] = _MAKERS[prefix](random)
    if random.random() < 0.1:
        changed |= dict.fromkeys(changed_names(random), random.choice(list(files().values())))
    return msgspec.msgpack.encode(changed)


def _one_segment_store(random: Random) -> dict[str, bytes | None]:
    """Return a store of one forged segment, so that the events inside are read and folded."""
    changed: dict[str, bytes | None] = dict.fromkeys(files())
    data = _forged_records(random)
    (first,) = struct.unpack_from("<Q", data, 40)
    facts = json.loads(files()["store.json"])
    facts |= {"log_start": first, "history_start": first, "archived": []}
    changed["store.json"] = forged_manifest(json.dumps(facts).encode())
    changed[f"log/{first:020d}.log"] = data
    if random.random() < 0.2:
        changed["snapshots/00000000000000000001.snap"] = snapshot(random)
    return changed


GENERATORS: dict[str, Callable[[Random], bytes]] = {
    "header": header,
    "segment": segment,
    "events": events,
    "snapshot": snapshot,
    "manifest": manifest,
    "archive": archive,
    "names": names,
    "config": config,
    "store": store,
}
"""How each target's inputs are made."""
