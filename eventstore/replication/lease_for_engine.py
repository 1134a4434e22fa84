"""The lease between the end of a command that promoted a directory and the start of its engine.

A store that closes gives the lease back, so that the next writer need not wait. The command that
promotes closes the store, too. Another automatic standby would then be promoted at once.
"""

from __future__ import annotations

import asyncio
import os

from eventstore.arguments import checked_path
from eventstore.config import StoreConfig
from eventstore.disk.local import LocalDisk
from eventstore.os_errors import recovery_write_error
from eventstore.replication.connecting import connect, settings_in
from eventstore.replication.identity import Identity, identity_of
from eventstore.replication.lease import Lease, holder_of

__all__ = ["hold_lease"]


async def hold_lease(path: str | os.PathLike[str], config: StoreConfig) -> None:
    """Take the lease for the directory `path`, and keep it for one span of the lease.

    Raises `LeaseHeldError` where another machine was faster, and the other errors of replication.
    """
    where = checked_path(path)
    identity = await asyncio.to_thread(_identity, where)
    connection = await connect(where, settings_in(config, "to hold the lease"))
    try:
        lease = await Lease.of(connection, holder_of(identity))
        await lease.acquire()
    finally:
        await connection.close()


def _identity(path: str) -> Identity:
    disk = LocalDisk(path, create=False)
    try:
        return identity_of(disk)
    except OSError as error:
        raise recovery_write_error(error, path) from error
    finally:
        disk.close()
