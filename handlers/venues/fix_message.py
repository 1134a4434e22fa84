"""The frame of a FIX 4.4 message: tags and values, checked by length and checksum.

```
8=FIX.4.4 | 9=length | 35=type | ... | 10=checksum |        each | is SOH, the byte 0x01
            |<---- `length` bytes ---->|
|<---- the sum of these bytes modulo 256 is the checksum --->|
```

The frame is checked before any field is read, since a message that was changed on the way may say
anything. A value may hold SOH only where the field before it tells the length of the value.
"""

from __future__ import annotations

__all__ = ["EXECUTION_REPORT_TAGS", "parse"]

_LENGTHS = {
    90: 91, 93: 89, 212: 213, 348: 349, 350: 351, 354: 355, 362: 363, 364: 365, 618: 619, 621: 622
}  # fmt: skip
"""The tag of a value that may hold SOH, by the tag that tells its length."""


def _tags(text: str) -> frozenset[str]:
    """Return the tags of ranges, such as `1 6 11-15`, as texts."""
    tags: set[str] = set()
    for part in text.split():
        first, _, last = part.partition("-")
        tags.update(map(str, range(int(first), int(last or first) + 1)))
    return frozenset(tags)


EXECUTION_REPORT_TAGS = _tags(
    "1 6 8-15 17-19 21-22 29-32 34-35 37-41 43-44 48-50 52 54-60 63-66 75 77 89-91 93 97 99 103 "
    "106-107 110-111 113 115-116 118-120 122 126 128-129 136-139 142-145 150-152 155-159 167-168 "
    "192-195 198 200-202 206-207 210-213 218 220-260 305-313 315-318 336-337 347-351 354-355 "
    "362-365 369 375-378 381-382 388-389 423-427 432 435-438 442 447-448 452-463 468-472 479-481 "
    "483-485 494 497 513 515-516 518-521 523-529 538-539 541-545 548-549 551 555-556 564-566 "
    "581-584 587-625 627-630 635-639 641 651-652 654-655 660 662-663 667 669 683 687-691 693 "
    "696-699 701 711 738-740 761-764 775 788 790 797 802-805 810 835-851 854 864-868 873-879 "
    "882-889 891 898 911-922 941-943 947 955-956 "
)
"""The tags of an ExecutionReport in FIX 4.4, with those of header, trailer and groups."""


def parse(message: bytes) -> list[tuple[int, bytes]]:
    """Return the tags and values of one message, in their order.

    Raises `ValueError` with the reason for a frame that is not that of FIX 4.4, for a wrong length
    or checksum, and for a field without tag or value.

    >>> parse(b"8=FIX.4.4\\x019=5\\x0135=0\\x0110=163\\x01")
    [(8, b'FIX.4.4'), (9, b'5'), (35, b'0'), (10, b'163')]
    """
    begin, length, rest = (*message.split(b"\x01", 2), b"", b"")[:3]
    if begin != b"8=FIX.4.4":
        raise ValueError("does not begin with 8=FIX.4.4")
    if not length.startswith(b"9=") or not length[2:].isdigit() or len(length) > 12:
        raise ValueError("has no body length (9) behind its beginning")
    if len(rest) < 7 or not (rest[-7:-4] == b"10=" and rest[-4:-1].isdigit() and rest[-1] == 1):
        raise ValueError("does not end with a checksum (10) of three digits")
    body = rest[:-7]
    if len(body) != int(length[2:]):
        raise ValueError(f"has a body of {len(body)} bytes, and says {length[2:].decode()} (9)")
    checksum = sum(message[:-7]) % 256
    if checksum != int(rest[-4:-1]):
        raise ValueError(f"has the checksum {checksum:03d}, and says {rest[-4:-1].decode()} (10)")
    fields = [(8, begin[2:]), (9, length[2:]), *_fields(body), (10, rest[-4:-1])]
    if fields[2][0] != 35:
        raise ValueError("has no message type (35) behind its body length")
    return fields


def _fields(body: bytes) -> list[tuple[int, bytes]]:
    fields: list[tuple[int, bytes]] = []
    at = 0
    while at < len(body):
        equals = body.find(b"=", at)
        tag_text = body[at:equals] if equals > at else b""
        if not tag_text.isdigit() or tag_text.startswith(b"0") or len(tag_text) > 9:
            raise ValueError(f"has a field without a tag at byte {at} of its body")
        tag = int(tag_text)
        start = equals + 1
        end = body.find(b"\x01", start)
        if fields and _LENGTHS.get(fields[-1][0]) == tag:
            if not fields[-1][1].isdigit() or len(fields[-1][1]) > 9:
                raise ValueError(f"has no length in {fields[-1][0]}")
            end = start + int(fields[-1][1])
        if end <= start or body[end : end + 1] != b"\x01":
            raise ValueError(f"has no value in {tag}")
        fields.append((tag, body[start:end]))
        at = end + 1
    return fields
