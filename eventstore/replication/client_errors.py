"""The meaning of an error of the client library: a lasting fault, or trouble that may pass.

A lasting fault is told at the opening, also with `acknowledge: local`. Trouble is waited for.
"""

from __future__ import annotations

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from eventstore.errors import EventStoreError, ReplicationError, ReplicationUnavailableError

__all__ = ["is_transient", "may_pass", "meaning_of"]

# Codes of the server.
_ACCOUNT_FULL = 10002
_NO_PEERS = 10005  # too few servers are there, or not yet
_NO_JETSTREAM = frozenset((10039, 10076))  # for this account, or at all
_STANDS_ALONE = 10074  # several replicas, on a server that is in no cluster
_PERMISSIONS = "permissions violation"


def is_transient(error: nats.js.errors.APIError) -> bool:
    """Tell whether the servers may answer otherwise later: no quorum, an election, a full disk."""
    if error.err_code == _STANDS_ALONE:
        return False
    unavailable = isinstance(error, nats.js.errors.ServiceUnavailableError)  # perhaps without code
    return unavailable or (error.code or 0) >= 500 or error.err_code == _NO_PEERS


def meaning_of(client: Client, error: Exception) -> tuple[type[ReplicationError], str]:
    """Return the kind of the package's error for an error of the client library, and the reason."""
    nobody = nats.js.errors.ServiceUnavailableError | nats.errors.NoRespondersError
    if isinstance(error, nobody):
        # The words of the server at the beginning: the library gives these to nobody.
        offers = client._server_info.get("jetstream")  # noqa: SLF001  see above
        if not offers or getattr(error, "err_code", None) in _NO_JETSTREAM:
            return ReplicationError, "the server has no JetStream, or none for this account"
        return ReplicationUnavailableError, "JetStream does not answer: is there a quorum?"
    if isinstance(error, nats.js.errors.APIError) and error.description:
        reason = error.description
        if error.err_code == _ACCOUNT_FULL:
            reason += ". Raise the account's limits, or trim the stream"
        return ReplicationUnavailableError, reason
    refused = str(client.last_error)  # told to the connection: the request gets no answer
    if _PERMISSIONS in refused:
        return ReplicationError, f"the server refuses it to this user: {refused}"
    if isinstance(error, TimeoutError):
        return ReplicationUnavailableError, "no answer in time: is there a quorum?"
    return ReplicationUnavailableError, f"{type(error).__name__} {error}".rstrip()


def may_pass(error: EventStoreError) -> bool:
    """Tell whether a connected server may answer otherwise in a moment, behind an election.

    An unreachable server, or one without JetStream, is told at once.
    """
    cause = error.__cause__  # none where no server answers
    told = nats.js.errors.ServiceUnavailableError | nats.errors.NoRespondersError
    return cause is not None and not isinstance(cause, told)
