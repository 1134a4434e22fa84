"""An operator, an account and users of NATS, signed here: what a server in earnest asks for."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import nkeys

__all__ = ["Accounts"]

_UNLIMITED = dict.fromkeys(
    ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "consumer"), -1
)
_JETSTREAM = {"mem_storage": -1, "disk_storage": -1, "streams": -1}


class _Key:
    def __init__(self, prefix: int) -> None:
        self.seed = bytes(nkeys.encode_seed(os.urandom(32), prefix))
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public: str = self._pair.public_key.decode()

    def token(self, subject: str, kind: str, claims: dict[str, Any], **more: Any) -> str:
        """Return a token (JWT) about `subject`, signed with this key."""
        told = {"type": kind, "version": 2, **claims}
        payload = {"jti": os.urandom(8).hex(), "iat": int(time.time()), "iss": self.public}
        payload |= {"name": kind, "sub": subject, "nats": told, **more}
        parts = {"typ": "JWT", "alg": "ed25519-nkey"}, payload
        signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_base64(self._pair.sign(signed.encode()))}"


class Accounts:
    """One operator with an account that has JetStream."""

    def __init__(self) -> None:
        self._operator, self._system, self._account = (
            _Key(prefix)
            for prefix in (
                nkeys.PREFIX_BYTE_OPERATOR,
                nkeys.PREFIX_BYTE_ACCOUNT,
                nkeys.PREFIX_BYTE_ACCOUNT,
            )
        )

    def settings(self, *revoked: str) -> str:
        """Return text for a server's file of configuration. The server refuses `revoked` users."""
        operator = self._operator.token(self._operator.public, "operator", {})
        limits: dict[str, Any] = {**_UNLIMITED, "wildcards": True}
        system = self._operator.token(self._system.public, "account", {"limits": limits})
        revocations = dict.fromkeys(revoked, int(time.time()))
        told = {"limits": limits | _JETSTREAM, "revocations": revocations}
        account = self._operator.token(self._account.public, "account", told)
        return (
            f"operator: {operator}\nsystem_account: {self._system.public}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self._system.public}: {system}, "
            f"{self._account.public}: {account} }}\n"
        )

    def write_credentials(
        self, file: Path, may: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Write the file of credentials of a new user, and return the user's public key.

        `may` is the user's part of the token: `pub` and `sub`. `claims` are the rest, as `exp`.
        """
        user = _Key(nkeys.PREFIX_BYTE_USER)
        limits = {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, **(may or {})}
        token = self._account.token(user.public, "user", limits, **claims)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n"
            "------END USER NKEY SEED------\n"
        )
        return user.public


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
