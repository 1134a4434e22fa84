"""Hashes of keys, and digests of the payloads that came with the keys.

A key is an operation's name and a text. The hash finds the key, and the digest tells whether the
payload is the same too. Both are 64 bits of BLAKE2b, keyed with the store's seed, so nobody can
prepare texts with equal hashes. Equal digests are proof of equal payloads. Different digests prove
nothing. Equal payloads may have different bytes, such as `1` and `1.0`, and are then compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

__all__ = ["KeyHasher"]


class KeyHasher:
    """Makes the hashes of one store. `seed` are the 16 bytes in the headers of the store's runs."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self._hash = hashlib.blake2b(digest_size=8, key=seed, person=b"key")
        self._digest = hashlib.blake2b(digest_size=8, key=seed, person=b"payload")

    def hash(self, operation: str, text: str) -> int:
        """Return the hash of a key."""
        found = self._hash.copy()
        found.update(_encoded(f"{operation}\0{text}"))
        return int.from_bytes(found.digest(), "big")

    def digest(self, text: str, payloads: Iterable[bytes]) -> int:
        """Return the digest of a key's text and the encoded payloads under the key."""
        found = self._digest.copy()
        found.update(_encoded(text))
        for payload in payloads:
            found.update(b"%d\0" % len(payload))
            found.update(payload)
        return int.from_bytes(found.digest(), "big")


def _encoded(text: str) -> bytes:
    if text.isascii():
        return text.encode()  # without a look for the handler of errors, which takes longer
    return text.encode("utf-8", "surrogatepass")
