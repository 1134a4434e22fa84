"""The warning about foreign messages: another client publishes to the subjects of a stream."""

from __future__ import annotations

from eventstore.operator_log import operator_log
from eventstore.replication.connection import Connection
from eventstore.standing_warnings import StandingWarnings

__all__ = ["tell_foreign"]

_logger = operator_log("eventstore.replication")

_WARNING = "replication-foreign"


def tell_foreign(connection: Connection, warnings: StandingWarnings) -> None:
    """Let a warning stand while a connection has met a foreign message (`messages.py`)."""
    if connection.foreign:
        name = connection.config.stream
        text = (
            f"message {connection.foreign} of the stream {name!r} is of another client, and is "
            f"passed over: let nobody else publish to eventstore.{name}.*"
        )
        warnings.begin(_WARNING, text, _logger)
    else:
        warnings.end(_WARNING, "no message of another client is met any more")
