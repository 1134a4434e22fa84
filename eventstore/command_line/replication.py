"""`eventstore standby` and `eventstore replication`: following a stream, and failover."""

from __future__ import annotations

import asyncio
import importlib
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click

from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.output import Output
from eventstore.command_line.registries import load_registry
from eventstore.config import StoreConfig
from eventstore.errors import ConfigError, StoreNotFoundError

__all__ = ["replication", "standby"]

_TOLD = 1.0
"""Seconds between two looks at the lag."""
_DISTRIBUTION = "pip install 'asyncio-eventstore[nats]'"


@command(
    "standby",
    examples=[
        "eventstore standby nats://10.0.0.1:4222/bot /data/standby",
        "eventstore standby nats://10.0.0.1:4222/bot /data/standby --automatic --lease 10",
        "eventstore standby cluster.yaml /data/standby",
    ],
    json=False,
)
@click.argument("url")
@path_argument
@registry_option
@click.option("--automatic", is_flag=True, help="Promote once the writer's lease has run out.")
@click.option(
    "--lease", type=float, default=10.0, show_default=True, help="Seconds, as the writer's."
)
@click.option("--replicas", type=click.Choice(["1", "3", "5"]), default="3", show_default=True)
@click.option(
    "--credentials",
    type=click.Path(readable=False, path_type=Path),
    help="NATS's file of credentials.",
)
@click.option("--backup", metavar="BACKUP", help="Begin a new PATH with the newest copy there.")
def standby(
    out: Output,
    url: str,
    path: Path,
    registry_name: str | None,
    backup: str | None,
    automatic: bool,
    lease: float,
    replicas: str,
    credentials: Path | None,
) -> None:
    """Follow the stream at URL with a store of its own at PATH, until interrupted.

    URL is the server and the name of the stream, or a file of configuration with the key
    `replicate`. With --automatic, the command ends with status 0 once this machine is the writer:
    then start the engine on PATH, within the seconds of the lease.
    """
    config = _config_of(url, lease, int(replicas), credentials)
    registry = load_registry(registry_name)
    asyncio.run(_follow(out, path, registry, config, backup, automatic=automatic))


@command(
    "replication",
    examples=[
        "eventstore replication status /data/engine --config bot.yaml",
        "eventstore replication promote /data/standby --config bot.yaml",
        "eventstore replication rejoin /data/engine --config bot.yaml",
        "eventstore replication trim /data/engine --config bot.yaml",
    ],
)
@click.argument("action", type=click.Choice(["status", "promote", "rejoin", "trim"]))
@path_argument
@click.option("--config", "file", required=True, help="Configuration with the key replicate.")
@registry_option
def replication(out: Output, action: str, path: Path, file: str, registry_name: str | None) -> None:
    """Look at a stream, make a stopped standby the writer, bring a fenced writer back, or trim.

    status compares PATH with the stream, and names the holder of the lease, the newest copy in the
    cluster and the places of the standbys. promote begins a timeline in the stream: from then on
    the old writer is refused. rejoin sets aside what only PATH has, event by event, and makes PATH
    a standby's directory. trim copies the writer's store at PATH into the cluster, beside the
    engine, and removes from the stream what the copy has and no standby lacks. promote and rejoin
    take the writer's lock.
    """
    config = StoreConfig.load(file)
    room = _room()
    if action == "rejoin":
        found = asyncio.run(room.rejoin(path, config))
        _tell_rejoined(out, path, found)
    elif action == "trim":
        trimmed = asyncio.run(room.trim(path, config))
        _answer(
            out,
            {"path": str(path), **trimmed._asdict()},
            f"the cluster has a copy up to event {trimmed.copied:,}; the stream had "
            f"{trimmed.bytes_before:,} bytes, and has {trimmed.bytes:,}",
        )
    elif action == "promote":
        if not path.exists():  # a standby makes its directory: not here, at a slip of the pen
            raise StoreNotFoundError(f"there is no store at {path}", path=str(path))
        seq, timeline = asyncio.run(_promote(path, load_registry(registry_name), config))
        _answer(
            out,
            {"path": str(path), "seq": seq, "timeline": timeline},
            f"{path} is the writer: timeline {timeline} begins behind event {seq:,}. Start the "
            "engine there; next, on the old machine: eventstore replication rejoin",
        )
    else:
        status = asyncio.run(room.stream_status(path, config))
        _answer(out, status._asdict(), status.told)
        if not status.level:
            raise click.exceptions.Exit(FINDINGS)


def _room() -> Any:
    try:
        return importlib.import_module("eventstore.replication")
    except ModuleNotFoundError as error:
        raise ConfigError(f"replication needs {error.name}: {_DISTRIBUTION}", key="nats") from error


def _config_of(url: str, lease: float, replicas: int, credentials: Path | None) -> StoreConfig:
    """Return the configuration that a URL with a stream means, or the one in a file."""
    if "://" not in url:
        return StoreConfig.load(url)
    parts = urlsplit(url)
    stream = parts.path.strip("/")
    if not stream:
        raise ConfigError(
            "URL: the name of the stream is missing, as in nats://10.0.0.1:4222/bot", key="url"
        )
    server = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
    replicate = {"servers": [server], "stream": stream, "lease": lease, "replicas": replicas}
    if credentials is not None:
        replicate["credentials"] = str(credentials)
    return StoreConfig.of({"replicate": replicate})


async def _follow(
    out: Output,
    path: Path,
    registry: Any,
    config: StoreConfig,
    backup: str | None,
    *,
    automatic: bool,
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with _room().Standby.open(path, registry, config, backup=backup) as follower:
        out.line(f"{path} follows, with the events up to {follower.seq:,}")
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(ended.wait())]
        if automatic:
            waits.append(asyncio.ensure_future(_promoted(follower, path, config)))
        waits.append(asyncio.ensure_future(_tell(follower)))
        done, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in left:
            wait.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for wait in done:
            wait.result()
        if automatic and waits[1] in done:
            out.line(f"{path} is the writer now: start the engine there")
        else:
            out.line(f"{path} stopped at event {follower.seq:,}")


async def _promoted(follower: Any, path: Path, config: StoreConfig) -> None:
    store = await follower.promote_when_free()
    await store.close()
    await _hold_lease(path, config)


async def _hold_lease(path: Path, config: StoreConfig) -> None:
    """Keep other standbys from a promotion until the engine is started."""
    await importlib.import_module(f"{_room().__name__}.lease_for_engine").hold_lease(path, config)


async def _tell(follower: Any) -> None:
    """Tell the place whenever it has moved, and end with the error that ended the following."""
    told = None
    while True:
        if follower.failure is not None:
            raise follower.failure
        seq, lag = follower.seq, follower.lag
        if (seq, lag.messages) != told:
            told = seq, lag.messages
            behind = f", {lag.messages:,} messages behind" if lag.messages else ""
            Output.say(f"event {seq:,}{behind}")
        await asyncio.sleep(_TOLD)  # a line for each event would flood a terminal


async def _promote(path: Path, registry: Any, config: StoreConfig) -> tuple[int, int]:
    follower = await _room().Standby.open(path, registry, config)
    try:
        async with follower.promote() as store:
            found = store.seq, store.log.lineage.timelines[-1].number
        await _hold_lease(path, config)
        return found
    finally:
        await follower.close()


def _tell_rejoined(out: Output, path: Path, found: Any) -> None:
    events = found.set_aside
    if not events:
        text = (
            f"{path}: nothing to set aside; the stream has every event up to {found.last_shared:,}"
        )
    else:
        text = (
            f"{path}: {len(events):,} events behind event {found.last_shared:,} were set aside in "
            f"{found.quarantine}; next: eventstore standby"
        )
    members = {
        "path": str(path),
        "last_shared": found.last_shared,
        "quarantine": found.quarantine,
        "set_aside": [{"seq": one.seq, "key": one.key, "data": one.data} for one in events],
    }
    _answer(out, members, text)
    if not out.json:
        for one in events:
            out.line(f"set aside: event {one.seq:,} {one.key or ''} {one.data}")


def _answer(out: Output, members: dict[str, Any], text: str) -> None:
    if out.json:
        out.object(members)
    else:
        out.line(text)
