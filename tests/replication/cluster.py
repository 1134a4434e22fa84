"""A NATS cluster on loopback, whose servers can be killed, stopped and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nats
import nats.errors
import nats.js.errors

__all__ = ["Cluster", "Node", "free_ports", "server_path"]

_READY_SECONDS = 60.0


def server_path() -> str:
    """Return the path of `nats-server`, which a package of the test extra brings."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found is not None, "nats-server is missing: install the extra [test]"
    return found


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens at."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Node:
    """One server. `settings` is text for the server's file of configuration."""

    def __init__(self, folder: Path, name: str, port: int, settings: str) -> None:
        self.name = name
        self.port = port
        self._log = folder / f"{name}.log"
        self._file = folder / f"{name}.conf"
        self._file.write_text(f"host: 127.0.0.1\nport: {port}\nserver_name: {name}\n{settings}")
        self._process: subprocess.Popen[bytes] | None = None
        self.disturbed = False
        """Whether the server was started, stopped or killed since the cluster was last ready."""

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def configure(self, old: str, new: str) -> None:
        """Change the settings for the next start."""
        self._file.write_text(self._file.read_text().replace(old, new))

    def start(self) -> None:
        self.disturbed = True
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [server_path(), "-c", str(self._file)], stdout=log, stderr=log
            )

    def wait_for_port(self) -> None:
        """Wait until the server listens. Raises `OSError` after a minute."""
        end = time.monotonic() + _READY_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def _signal(self, number: signal.Signals) -> None:
        self.disturbed = True
        if self.alive:
            assert self._process is not None
            self._process.send_signal(number)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def freeze(self) -> None:
        """Stop the process as a partition does: nobody hears from it.

        Each thread stops once the system runs it again, so on a busy machine it may go on a while.
        """
        self._signal(signal.SIGSTOP)
        if self.alive:
            assert self._process is not None
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)


class Cluster:
    """Servers with JetStream that sync before they acknowledge."""

    def __init__(self, folder: Path, size: int = 3, jetstream: str = "") -> None:
        clients, routes = free_ports(size), free_ports(size)
        urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        self.nodes = []
        for number, (client, route) in enumerate(zip(clients, routes, strict=True)):
            name = f"n{number}"
            settings = (
                f'jetstream {{ store_dir: "{folder / name}", sync_interval: always {jetstream} }}\n'
            )
            if size > 1:
                settings += (
                    f"cluster {{ name: c, host: 127.0.0.1, port: {route}, routes: [{urls}] }}\n"
                )
            self.nodes.append(Node(folder, name, client, settings))

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def start(self) -> None:
        """Start every server that does not run, and wait until streams can be made."""
        self.start_nodes()
        asyncio.run(self.ready())

    def start_nodes(self) -> None:
        """Start every server that does not run."""
        for node in self.nodes:
            if not node.alive:
                node.start()

    async def ready(self) -> None:
        """Wait until a stream can be made on all servers. Raises the error of the last attempt."""
        end = time.monotonic() + _READY_SECONDS
        while True:
            try:
                await self._probe()
                for node in self.nodes:
                    node.disturbed = False
                return
            except (nats.errors.Error, OSError, TimeoutError):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)

    async def _probe(self) -> None:
        client = await nats.connect(
            self.urls, connect_timeout=1, allow_reconnect=False, error_cb=_silent
        )
        try:
            stream = client.jetstream(timeout=2)
            replicas = len(self.nodes)
            await stream.add_stream(name="probe", subjects=["probe"], num_replicas=replicas)
            await stream.publish("probe", b"", timeout=2)
            await stream.delete_stream("probe")
        finally:
            with contextlib.suppress(nats.errors.Error):
                await client.close()

    async def leader(self, stream: str) -> Node:
        """Return the server that leads a stream."""
        client = await nats.connect(self.urls, error_cb=_silent)
        try:
            info = await client.jetstream().stream_info(stream)
        finally:
            await client.close()
        assert info.cluster is not None
        return next(node for node in self.nodes if node.name == info.cluster.leader)

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


async def _silent(error: Exception) -> None:
    """Leave out what the client library prints by default."""
