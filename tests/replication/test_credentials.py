"""A server with accounts: files of credentials that are good, foreign, expired or revoked."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore import EventStore, StoreConfig
from eventstore.errors import ReplicationError
from eventstore.replication import Standby, trim
from tests.replication.accounts import Accounts
from tests.replication.cluster import Node, free_ports
from tests.replication.test_shipping import until
from tests.support.bank import Bank, bank_registry, pay

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.asyncio


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


class Server:
    """A server with accounts, and a file of configuration that names `bot.creds` of one user."""

    def __init__(self, folder: Path, accounts: Accounts) -> None:
        self.credentials = folder / "bot.creds"
        self.user = accounts.write_credentials(self.credentials)
        self.settings = accounts.settings()
        jetstream = f'jetstream {{ store_dir: "{folder / "js"}", sync_interval: always }}\n'
        self.node = Node(folder, "server", free_ports(1)[0], jetstream + self.settings)
        self.config = str(folder / "bot.yaml")
        self.configure("quorum")

    def configure(self, acknowledge: str) -> None:
        Path(self.config).write_text(
            f"commit_timeout: 60\nreplicate:\n  servers: [{self.node.url}]\n  stream: bot\n"
            f"  replicas: 1\n  acknowledge: {acknowledge}\n  credentials: {self.credentials}\n"
        )


@pytest.fixture
def server(tmp_path: Path, accounts: Accounts) -> Iterator[Server]:
    made = Server(tmp_path, accounts)
    made.node.start()
    made.node.wait_for_port()
    yield made
    made.node.kill()


def files_of(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found
    return found


async def test_a_user_with_the_permissions_of_the_page_writes_follows_and_is_promoted(
    tmp_path: Path, server: Server, accounts: Accounts
) -> None:
    page = (ROOT / "docs" / "replication.md").read_text()
    may = json.loads(page.split("```json\n")[1].split("```")[0])
    accounts.write_credentials(server.credentials, may)
    async with EventStore.open(tmp_path / "one", bank_registry(), server.config) as store:
        await store.append(pay(1))
        assert store.stats().unreplicated == 0
    async with Standby.open(tmp_path / "two", bank_registry(), server.config) as standby:
        await standby.wait_for(1)
        async with await standby.promote() as store:
            await store.append(pay(2))
            assert (await trim(tmp_path / "two", StoreConfig.load(server.config))).copied == 2
            await store.append(pay(3))
            async with Standby.open(tmp_path / "new", bank_registry(), server.config) as standby:
                await standby.wait_for(3)
    secrets = server.credentials.read_bytes().splitlines()[1:6:4]
    assert [secret[:2] for secret in secrets] == [b"ey", b"SU"]
    for file in files_of(tmp_path / "one") + files_of(tmp_path / "two"):
        content = file.read_bytes()
        assert all(secret not in content for secret in secrets), file


@pytest.mark.parametrize("kind", ["foreign", "expired"])
async def test_credentials_that_the_server_refuses(
    tmp_path: Path, server: Server, accounts: Accounts, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = server.credentials
    if kind == "foreign":
        Accounts().write_credentials(file)
    else:
        accounts.write_credentials(file, exp=int(time.time()) - 60)
    with pytest.raises(ReplicationError, match="refuses the credentials") as caught:
        await EventStore.open(tmp_path / "one", bank_registry(), server.config)
    for secret in file.read_text().splitlines()[1:6:4]:
        assert secret not in str(caught.value) + caplog.text


@pytest.mark.parametrize("acknowledge", ["local", "quorum"])
@pytest.mark.parametrize("denied", ["$JS.API.>", "$KV.>", "eventstore.>"])
async def test_a_user_who_may_not_do_it_is_told_what(
    tmp_path: Path,
    server: Server,
    accounts: Accounts,
    acknowledge: str,
    denied: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server answers such a request with nothing, and tells the connection of it."""
    for module in ("asking", "connection"):
        monkeypatch.setattr(f"eventstore.replication.{module}.REQUEST_SECONDS", 0.5)
    monkeypatch.setattr("eventstore.replication.connecting.REQUEST_SECONDS", 0.5)
    accounts.write_credentials(server.credentials, {"pub": {"deny": [denied]}})
    server.configure(acknowledge)
    told = re.escape(f'violation for publish to "{denied.lower()[:-1]}')
    with pytest.raises(ReplicationError, match=told):
        await EventStore.open(tmp_path / "one", bank_registry(), server.config)


async def test_credentials_that_are_revoked_under_an_open_store_and_renewed(
    tmp_path: Path, server: Server, accounts: Accounts
) -> None:
    """The next connection reads the file again, so the engine goes on without an opening."""
    async with EventStore.open(tmp_path / "one", bank_registry(), server.config) as store:
        await store.append(pay(1))
        server.node.kill()
        server.node.configure(server.settings, accounts.settings(server.user))
        server.node.start()
        await until(lambda: any("refuses the credentials" in one for one in told(store)))
        receipt = store.submit(pay(2))
        accounts.write_credentials(server.credentials)
        await receipt
        assert store.stats().unreplicated == 0
        await until(lambda: told(store) == ())


def told(store: EventStore[Bank]) -> tuple[str, ...]:
    return store.stats().warnings
