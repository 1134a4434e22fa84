"""A question to the servers' HTTP ports: does the cluster sync before it acknowledges?

By default a server syncs its files every two minutes. When all servers lose power at once, such a
cluster loses acknowledged messages. No client of NATS can ask for the setting, so the HTTP ports
are asked, where `replicate.monitor` names any.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

from eventstore.operator_log import operator_log
from eventstore.replication_config import ReplicationConfig
from eventstore.standing_warnings import StandingWarnings

__all__ = ["watch_syncs"]

_logger = operator_log("eventstore.replication")

_WARNING = "replication-sync"
_EVERY = 300.0
"""Seconds between two questions: a server may come back with another file of configuration."""


async def watch_syncs(config: ReplicationConfig, warnings: StandingWarnings) -> None:
    """Let a warning stand while a server of `config.monitor` does not sync. Ends never."""
    while True:
        found = await asyncio.gather(*(_warning_of(url) for url in config.monitor))
        told = [warning for warning in found if warning is not None]
        if told:
            warnings.begin(_WARNING, told[0], _logger)
        else:
            warnings.end(_WARNING, "the cluster syncs before it acknowledges")
        await asyncio.sleep(_EVERY)  # nobody tells of a restarted server


async def _warning_of(monitor: str) -> str | None:
    url = f"{monitor.rstrip('/')}/varz"

    def ask() -> dict[str, Any]:
        with urllib.request.urlopen(url, timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    try:
        found = await asyncio.to_thread(ask)
    except (OSError, ValueError) as error:
        return f"{url} does not say whether the cluster syncs before it acknowledges: {error}"
    settings = found.get("jetstream", {}).get("config", {})
    if settings.get("sync_always") is True:
        return None
    return (
        f"the server of {url} does not sync before it acknowledges (sync_interval is not "
        "`always`): when all servers lose power, acknowledged events are lost there. Set "
        "`jetstream {sync_interval: always}` on every server"
    )
