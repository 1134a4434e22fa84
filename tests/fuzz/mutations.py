"""Changes to valid files: blind changes, and changes at a known number or event."""

from __future__ import annotations

import struct
from random import Random

import msgspec

__all__ = ["changed_blindly", "changed_names", "changed_numbers", "changed_text", "packed", "text"]

EXTREMES = (
    *(0, 1, 2, 7, 8, 39, 40, 41, 511, 512, 513, 4095, 4096),
    *(2**15, 2**16 - 1, 2**16, 2**30, 2**30 + 1, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1),
    *(2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1),
)
_TEXTS = ("", "0", "\0", "ü", "٣" * 20, "../../etc", "x" * 300, "\N{FULLWIDTH DIGIT ONE}")


def changed_blindly(random: Random, data: bytes) -> bytes:
    """Bits flipped, bytes set, runs removed, doubled, moved, zeroed or cut off."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        if not changed:
            changed += random.randbytes(random.randrange(64))
            continue
        at = random.randrange(len(changed))
        run = min(random.choice((1, 2, 4, 8, 40, 48, 512)), len(changed) - at)
        match random.randrange(8):
            case 0:
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                changed[at] = random.choice((0, 1, 0x7F, 0x80, 0xC1, 0xDD, 0xDF, 0xFF))
            case 2:
                del changed[at : at + run]
            case 3:
                changed[at:at] = changed[at : at + run]
            case 4:
                other = random.randrange(len(changed))
                changed[at : at + run] = changed[other : other + run]
            case 5:
                changed[at : at + run] = bytes(run)
            case 6:
                changed[at:at] = random.randbytes(run)
            case _:
                del changed[at:]
    return bytes(changed)


def changed_numbers(random: Random, data: bytes, places: list[tuple[int, str]]) -> bytes:
    """Numbers at known `places` (offset and code of `struct`) set to extremes, or to near."""
    changed = bytearray(data)
    for offset, code in random.sample(places, min(len(places), random.choice((1, 1, 2, 3)))):
        size = struct.calcsize(code)
        if offset + size > len(changed):
            continue
        value = struct.unpack_from(f"<{code}", changed, offset)[0]
        value = random.choice((random.choice(EXTREMES), value + random.choice((-8, -1, 1, 8))))
        struct.pack_into(f"<{code}", changed, offset, value % (1 << 8 * size))
    return bytes(changed)


def packed(random: Random, depth: int = 0) -> bytes:
    """Something like MessagePack: valid, or lying about lengths, or deep, or not text at all."""
    kind = random.randrange(17)
    if depth > 3:
        kind %= 8
    match kind:
        case 0:
            return msgspec.msgpack.encode(random.choice(EXTREMES[:-1]))
        case 1:
            return msgspec.msgpack.encode(random.choice((None, True, 0.0, float("nan"), -1, b"")))
        case 2:
            return msgspec.msgpack.encode(random.choice(_TEXTS))
        case 3:
            return random.choice(
                (b"\xa2\xff\xfe", b"\xd9\x01\x80", b"\xa3\xed\xa0\x80")
            )  # no UTF-8
        case 4:  # lengths without the bytes
            head = random.choice((0xDD, 0xDF, 0xDB, 0xC6, 0xC9))
            return struct.pack(">BI", head, random.choice((2**32 - 1, 2**31, 2**20, 5)))
        case 5:  # extensions, with times among them
            return random.choice(
                (
                    b"\xd6\xff\xff\xff\xff\xff",
                    b"\xc7\x0c\xff" + b"\xff" * 12,
                    b"\xd4\x05\x00",
                    b"\xc7\x00\x01",
                )
            )
        case 6:
            return random.choice((b"\xc1", b"", b"\x92\x01", b"\x81", random.randbytes(9)))
        case 7:
            return msgspec.msgpack.encode(random.choice(("deposit", "transfer", "op", "number")))
        case 8:  # deep
            opening = random.choice((b"\x91", b"\x81\x01", b"\x81\xa1a", b"\xdd\x00\x00\x00\x01"))
            inner = random.choice((b"", b"\xc0"))
            return opening * random.choice((10, 500, 1100, 5000, 20000)) + inner
        case 9:  # many
            count = random.choice((16, 300, 5000))
            item = random.choice((b"\x90", b"\x80", b"\xc0", b"\xa0", b"\xa1a"))
            return struct.pack(">BI", 0xDD, count) + item * count
        case 10 | 11:  # a payload, nearly
            fields = {
                b"\xa2op": random.choice((b"\xa7deposit", b"\xa8transfer", b"\xa4nope")),
                b"\xa6number": b"\x01",
                b"\xa7account": b"\xa4cash",
                b"\xa6amount": b"\x05",
            }
            for key in random.sample(list(fields), random.choice((0, 1, 1, 2))):
                fields[key] = packed(random, depth + 1)
            if random.random() < 0.2:
                fields[packed(random, depth + 1)] = packed(random, depth + 1)
            body = b"".join(key + value for key, value in fields.items())
            if random.random() < 0.2:  # a key twice
                return (
                    bytes([0x80 | len(fields) + 1]) + body + b"\xa2op" + packed(random, depth + 1)
                )
            return bytes([0x80 | len(fields)]) + body
        case 12 | 13:
            return b"\x92" + packed(random, depth + 1) + packed(random, depth + 1)
        case 14:
            return b"\x82" + b"".join(packed(random, depth + 1) for _ in range(4))
        case _:  # an event, nearly
            parts = [
                random.choice((b"\x01", b"\x02", b"\xcf" + b"\xff" * 8)),
                random.choice((b"\x00", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7))),
                packed(random, depth + 1),
                random.choice((b"\xc0", b"\xa1k", packed(random, depth + 1))),
                random.choice((b"\xc0", b"\x81\xa1a\x01", packed(random, depth + 1))),
            ]
            return b"\x95" + b"".join(parts)


def changed_names(random: Random) -> list[str]:
    """Return names that files in a store's folders might have."""
    digits = random.choice(("0123456789", "٠١٢٣٤٥٦٧٨٩", "0", "9", "01"))
    names = []
    for _ in range(random.choice((1, 2, 5))):
        folder = random.choice(("", "log/", "snapshots/", "archive/", "quarantine/"))
        number = "".join(random.choice(digits) for _ in range(random.choice((20, 20, 20, 19, 21))))
        if random.random() < 0.3:
            number = f"{random.choice((0, 1, 2, 5, 12, 99)):020d}"
        tail = random.choice((".log", ".snap", ".log.zst", ".log.512", ".log.560-1", "", ".tmp"))
        names.append(folder + random.choice((number + tail, text(random), number + tail + "\n")))
    return [name for name in names if _possible(name)]


def _possible(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base not in ("", ".", "..") and "\0" not in base and len(base.encode()) < 200


def text(random: Random) -> str:
    """A short word, often a strange one."""
    return random.choice((*_TEXTS, str(random.choice(EXTREMES)), "-1", "nan")).replace("/", "")


def changed_text(random: Random, data: bytes, words: list[bytes]) -> bytes:
    """Return a text with words of its language put in, doubled or taken out, and nested deeply."""
    changed = data
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(changed) + 1)
        word = random.choice(words)
        if random.random() < 0.1:
            word *= random.choice((10, 300, 3000))
        upto = at + random.choice((0, 0, 1, 5))
        changed = changed[:at] + word + changed[upto:]
    return changed
