"""Make the golden files in this folder: `python tests/golden/make.py` from the project's root.

The golden files hold the log format on disk. A test reads the files without this package's code. A
change needs a new version of the format. Times, store ids and salts in the files are fixed.

A segment is a hex dump, 32 bytes a line. `*` stands for the zeros up to the next offset.
"""

from __future__ import annotations

import sys
import uuid
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from eventstore.disk.manifest import Manifest, save_manifest
from eventstore.log.format import SealKind, SegmentHeader, encode_record, encode_seal
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.testing import SimulatedDisk
from eventstore.timelines import first_timeline

FOLDER = Path(__file__).resolve().parent
LINE = 32

STORE = uuid.UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
TIME = 1_705_311_000_000_000_000
SIZE = 4096


def dump(data: bytes) -> str:
    """The hex dump of `data`."""
    lines: list[str] = []
    for offset in range(0, len(data), LINE):
        line = data[offset : offset + LINE]
        if offset + LINE < len(data) and not any(line):
            if lines[-1:] != ["*"]:
                lines.append("*")
        else:
            lines.append(f"{offset:08x}  {line.hex(' ', 8)}")
    return "\n".join([*lines, f"{len(data):08x}", ""])


def undump(text: str) -> bytes:
    """The bytes of a hex dump."""
    data = bytearray()
    for line in text.splitlines():
        if line != "*":
            offset, _, digits = line.partition("  ")
            data.extend(bytes(int(offset, 16) - len(data)))
            data += bytes.fromhex(digits)
    return bytes(data)


def golden(name: str) -> bytes:
    """The bytes of a golden file."""
    data = (FOLDER / name).read_bytes()
    return undump(data.decode("ascii")) if name.endswith(".hex") else data


def make() -> dict[str, bytes]:
    """Every golden file by its name."""
    codec = EventCodec()
    first_header = SegmentHeader(
        store=STORE, size=SIZE, first_seq=1, salt=bytes.fromhex("a1a2a3a4a5a6a7a8")
    )
    first = first_header.encode()
    groups: list[list[Event[object]]] = [
        [Event(1, TIME, b"one")],
        [Event(2, TIME + 1, {"op": "pay_dividend", "symbol": "AAPL", "amount": 12.5}, "k")],
        [Event(3, TIME + 2, [1, 2, 3]), Event(4, TIME + 2, None, None, {"source": "tape"})],
    ]
    salt = first_header.salt
    for group in groups[:2]:
        first += encode_record(
            salt, len(first), group[0].seq, len(group), codec.encode_all(group), len(first)
        )
    first += encode_seal(salt, len(first), 3, SealKind.IDLE, zlib.crc32(first))
    first += encode_record(salt, len(first), 3, 2, codec.encode_all(groups[2]), len(first))
    end, crc = len(first), zlib.crc32(first)
    continued = first + encode_seal(salt, end, 5, SealKind.CONTINUED, crc)

    last_header = SegmentHeader(
        store=STORE,
        size=SIZE,
        first_seq=5,
        salt=bytes.fromhex("b1b2b3b4b5b6b7b8"),
        previous_first=1,
        previous_end=end,
        previous_crc=crc,
    )
    last = last_header.encode()
    event: Event[object] = Event(5, TIME + 3, "the last")
    last += encode_record(last_header.salt, len(last), 5, 1, codec.encode_all([event]), len(last))
    closed = last + encode_seal(last_header.salt, len(last), 6, SealKind.CLOSED, zlib.crc32(last))

    disk = SimulatedDisk()
    save_manifest(
        disk, Manifest(kind="log", store=STORE, created=TIME, timelines=first_timeline(STORE))
    )
    return {
        "segment-continued.hex": continued,
        "segment-open.hex": last.ljust(SIZE, b"\0"),
        "segment-closed.hex": closed,
        "store.json": disk.read_file("store.json"),
    }


if __name__ == "__main__":
    for name, data in make().items():
        (FOLDER / name).write_bytes(dump(data).encode("ascii") if name.endswith(".hex") else data)
