"""Bad input gets a typed error before the first append, without a secret in it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import nkeys
import pytest
from nats.aio.client import Client

from eventstore import ConfigError, EventLog, EventStore, StoreConfig
from eventstore.errors import (
    FencedError,
    ReplicationError,
    ReplicationUnavailableError,
    StreamMismatchError,
)
from eventstore.replication import Standby, rejoin
from tests.replication.cluster import Cluster, Node, free_ports
from tests.replication.test_shipping import in_stream, until
from tests.support.bank import bank_registry, pay

SEED = nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_USER)
NKEY = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"  # a public key
STREAM = {"servers": ["nats://127.0.0.1:4222"], "stream": "bot"}


class TestConfiguration:
    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"servers": []}, "at least one URL"),
            ({"servers": ["127.0.0.1:4222"]}, "expected URLs"),
            ({"servers": ["http://127.0.0.1"]}, "expected URLs"),
            ({"servers": ["wss://127.0.0.1"]}, "expected URLs"),
            ({"servers": ["nats://127.0.0.1:port"]}, "expected URLs"),
            ({"servers": ["nats://bob:secret@10.0.0.1"]}, "file of credentials"),
            ({"stream": "a b"}, "no name of a stream"),
            ({"stream": "a.b"}, "no name of a stream"),
            ({"replicas": 2}, "replicas"),
            ({"tls_key": "key.pem"}, "without its certificate"),
            ({"monitor": "http://127.0.0.1:8222"}, "monitor"),
            ({"trim_above": 1}, "trim_above"),
            ({"acknowledge": "all"}, "acknowledge"),
            ({"lease": 0.5}, "lease"),
            ({"leese": 1}, "leese"),
        ],
    )
    def test_a_wrong_key_is_named(self, changed: dict[str, Any], told: str) -> None:
        with pytest.raises(ConfigError, match=told) as caught:
            StoreConfig.of({"replicate": STREAM | changed})
        assert caught.value.key == "replicate"
        assert "secret" not in str(caught.value)

    @pytest.mark.asyncio
    async def test_a_store_without_a_log_cannot_be_replicated(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="with a log"):
            await EventStore.open(tmp_path, bank_registry(), use_wal=False, replicate=STREAM)

    @pytest.mark.asyncio
    async def test_a_quorum_needs_events_that_are_durable(self, tmp_path: Path) -> None:
        quorum = STREAM | {"acknowledge": "quorum"}
        with pytest.raises(ConfigError, match="durability: commit"):
            await EventStore.open(
                tmp_path, bank_registry(), replicate=quorum, durability="interval"
            )

    @pytest.mark.asyncio
    async def test_a_bare_log_cannot_be_replicated(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="EventStore"):
            await EventLog.open(tmp_path, replicate=STREAM)

    @pytest.mark.asyncio
    async def test_a_standby_needs_a_stream(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="replicate"):
            await Standby.open(tmp_path, bank_registry())


def make_certificate(key: Path, certificate: Path) -> None:
    subject = ["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", *kind, *files, *subject]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.asyncio
class TestServers:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Any]:
        nodes: list[Node] = []

        def started(settings: str) -> Node:
            node = Node(tmp_path, f"x{len(nodes)}", free_ports(1)[0], settings)
            nodes.append(node)
            node.start()
            node.wait_for_port()
            return node

        yield started
        for node in nodes:
            node.kill()

    async def refused(self, path: Path, **replicate: Any) -> ReplicationError:
        settings = {"stream": "bot", "replicas": 1, "acknowledge": "quorum", **replicate}
        with pytest.raises(ReplicationError) as caught:
            await EventStore.open(path, bank_registry(), replicate=settings)
        return caught.value

    @pytest.mark.parametrize("acknowledge", ["local", "quorum"])
    async def test_no_jetstream(self, tmp_path: Path, server: Any, acknowledge: str) -> None:
        jetstream = f"jetstream {{ store_dir: {tmp_path / 'js'} }}\n"
        of_another = "accounts { A { users: [{ user: a, password: a }] } }\nno_auth_user: a\n"
        for settings in ("", jetstream + of_another):
            url = server(settings).url
            error = await self.refused(tmp_path / "s", servers=[url], acknowledge=acknowledge)
            assert "no JetStream, or none for this account" in str(error)

    @pytest.mark.parametrize("acknowledge", ["local", "quorum"])
    async def test_several_replicas_on_a_server_that_stands_alone(
        self, tmp_path: Path, server: Any, acknowledge: str
    ) -> None:
        url = server(f"jetstream {{ store_dir: {tmp_path / 'js'} }}\n").url
        asked = {"servers": [url], "acknowledge": acknowledge, "replicas": 3}
        error = await self.refused(tmp_path / "s", **asked)
        assert "replicas > 1 not supported" in str(error)

    async def test_refused_credentials(self, tmp_path: Path, server: Any) -> None:
        node = server('authorization { user: bob, password: "right" }\n')
        error = await self.refused(tmp_path / "s", servers=[node.url])
        assert "refuses the credentials" in str(error)
        assert (error.servers, error.stream) == (node.url, "bot")

    async def test_credentials_that_are_no_file(self, tmp_path: Path, server: Any) -> None:
        node = server("jetstream { store_dir: %s }\n" % (tmp_path / "js"))
        error = await self.refused(
            tmp_path / "s", servers=[node.url], credentials=str(tmp_path / "none.creds")
        )
        assert "none.creds" in str(error)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"SECRET",
            bytes(range(128, 256)),
            b"-----BEGIN NATS USER JWT-----\nSECRET\n------END NATS USER JWT------\n",
            b"-----BEGIN NATS USER JWT-----\na\n------END NATS USER JWT------\n"
            b"-----BEGIN USER NKEY SEED-----\nSUSECRET\n------END USER NKEY SEED------\n",
            b"-----BEGIN USER NKEY SEED-----\n" + SEED + b"\n------END USER NKEY SEED------\n",
        ],
    )
    async def test_credentials_with_another_content(
        self, tmp_path: Path, server: Any, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        node = server(f"authorization {{ users = [{{ nkey: {NKEY} }}] }}\n")
        (tmp_path / "x.creds").write_bytes(content)
        error = await self.refused(
            tmp_path / "s", servers=[node.url], credentials=str(tmp_path / "x.creds")
        )
        assert "x.creds cannot be used" in str(error)
        assert "SECRET" not in str(error) + caplog.text

    async def test_a_fault_of_the_library_is_no_fault_of_the_credentials(
        self, tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fails(*_: Any, **__: Any) -> None:
            raise RuntimeError("SECRET")

        monkeypatch.setattr(Client, "connect", fails)
        (tmp_path / "x.creds").write_bytes(
            b"-----BEGIN NATS USER JWT-----\na\n------END NATS USER JWT------\n"
            b"-----BEGIN USER NKEY SEED-----\n" + SEED + b"\n------END USER NKEY SEED------\n"
        )
        error = await self.refused(
            tmp_path / "s", servers=["nats://127.0.0.1:1"], credentials=str(tmp_path / "x.creds")
        )
        assert "connecting failed (RuntimeError" in str(error)
        assert "SECRET" not in str(error)

    async def test_tls_that_the_server_does_not_offer(self, tmp_path: Path, server: Any) -> None:
        node = server("jetstream { store_dir: %s }\n" % (tmp_path / "js"))
        key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
        make_certificate(key, certificate)
        by_scheme = [node.url.replace("nats:", "tls:")]
        kinds: list[dict[str, Any]] = [
            {"tls": True},
            {"tls_ca": str(certificate)},
            {"servers": by_scheme},
        ]
        for asked in kinds:
            error = await self.refused(tmp_path / "s", **{"servers": [node.url], **asked})
            assert "offers no TLS" in str(error)

    async def test_tls_that_the_server_asks_for(self, tmp_path: Path, server: Any) -> None:
        key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
        make_certificate(key, certificate)
        node = server(
            f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}\n'
            f"jetstream {{ store_dir: {tmp_path / 'js'} }}\n"
        )
        error = await self.refused(tmp_path / "s", servers=[node.url])
        assert "not trusted" in str(error)
        settings = {
            "servers": [node.url],
            "stream": "bot",
            "replicas": 1,
            "acknowledge": "quorum",
            "tls": True,
            "tls_ca": str(certificate),
        }
        async with EventStore.open(tmp_path / "s", bank_registry(), replicate=settings) as store:
            await store.append(pay(1))
            assert store.stats().unreplicated == 0

    async def test_a_server_that_asks_for_a_certificate(self, tmp_path: Path, server: Any) -> None:
        key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
        make_certificate(key, certificate)
        node = server(
            f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{certificate}", '
            f"verify: true }}\njetstream {{ store_dir: {tmp_path / 'js'} }}\n"
        )
        known = {"servers": [node.url], "tls_ca": str(certificate)}
        error = await self.refused(tmp_path / "s", **known)
        assert "tls_certificate" in str(error)
        own = {"tls_certificate": str(certificate), "tls_key": str(tmp_path / "none.pem")}
        error = await self.refused(tmp_path / "s", **known, **own)
        assert "cannot be used" in str(error)
        settings = {"stream": "bot", "replicas": 1, "acknowledge": "quorum", **known, **own}
        settings["tls_key"] = str(key)
        async with EventStore.open(tmp_path / "s", bank_registry(), replicate=settings) as store:
            await store.append(pay(1))
            assert store.stats().unreplicated == 0

    async def test_nobody_there(self, tmp_path: Path) -> None:
        with pytest.raises(ReplicationUnavailableError, match="no server answers"):
            await EventStore.open(
                tmp_path,
                bank_registry(),
                replicate={**STREAM, "servers": ["nats://127.0.0.1:1"], "acknowledge": "quorum"},
            )


@pytest.mark.asyncio
class TestStreams:
    async def test_a_stream_with_other_settings_is_named_with_each_difference(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        client = await nats.connect(replicate["servers"])
        await client.jetstream().add_stream(
            name=replicate["stream"], subjects=["other"], num_replicas=1
        )
        await client.close()
        with pytest.raises(StreamMismatchError) as caught:
            await EventStore.open(tmp_path, bank_registry(), replicate=replicate)
        for told in ("num_replicas is 1, not 3", "discard is old, not new", "subjects are"):
            assert told in str(caught.value)

    async def test_a_writer_of_before_with_other_settings(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        async with EventStore.open(tmp_path, bank_registry(), replicate=replicate):
            pass
        for changed, told in (
            ({"replicas": 1}, "num_replicas"),
            ({"lease": 9.0}, "replicate.lease"),
        ):
            with pytest.raises(ReplicationError, match=told):
                await EventStore.open(tmp_path, bank_registry(), replicate=replicate | changed)

    async def test_messages_of_others_are_passed_over(
        self, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        client = await nats.connect(replicate["servers"])

        async def disturb() -> None:
            for subject in ("record", "history"):
                name = f"eventstore.{replicate['stream']}.{subject}"
                await client.jetstream().publish(name, b"hello", headers={"Other": "1"})

        async with EventStore.open(one, bank_registry(), replicate=replicate) as store:
            await store.append(pay(1))
            await disturb()
            await store.append(pay(2))
            assert any("message 4 of the stream" in text for text in store.stats().warnings)
        await disturb()
        async with EventStore.open(one, bank_registry(), replicate=replicate) as store:
            await store.append(pay(3))
        await disturb()
        async with Standby.open(other, bank_registry(), replicate=replicate) as standby:
            await standby.wait_for(3)
            await until(lambda: standby.lag.messages == 0)
            assert any("another client" in text for text in standby.store.stats().warnings)
            async with standby.promote() as store:
                await disturb()
                await store.append(pay(4))
        await client.close()
        assert await in_stream(replicate) == [1, 2, 3, 4]
        with pytest.raises(FencedError):
            await EventStore.open(one, bank_registry(), replicate=replicate)
        assert (await rejoin(one, StoreConfig.of(None, replicate=replicate))).set_aside == ()
        async with Standby.open(one, bank_registry(), replicate=replicate) as standby:
            await standby.wait_for(4)

    async def test_damaged_messages_are_refused(
        self, tmp_path: Path, replicate: dict[str, Any]
    ) -> None:
        async with EventStore.open(tmp_path, bank_registry(), replicate=replicate) as store:
            await store.append(pay(1))
        client = await nats.connect(replicate["servers"])
        subject, headers = f"eventstore.{replicate['stream']}.record", {"Eventstore-Store": "x"}
        await client.jetstream().publish(subject, b"hello", headers=headers)
        await client.close()
        with pytest.raises(StreamMismatchError, match="not written by a store"):
            await EventStore.open(tmp_path, bank_registry(), replicate=replicate)
        async with Standby.open(tmp_path / "b", bank_registry(), replicate=replicate) as standby:
            with pytest.raises(StreamMismatchError, match="not written by a store"):
                await standby.wait_for(2)
            assert isinstance(standby.failure, StreamMismatchError)

    @pytest.mark.parametrize("header", ["First", "Last"])
    async def test_headers_that_lie(
        self, tmp_path: Path, replicate: dict[str, Any], header: str
    ) -> None:
        """By the headers alone, the records behind would be void, and a standby silently behind."""
        async with EventStore.open(tmp_path / "a", bank_registry(), replicate=replicate) as store:
            await store.append(pay(1))
            await store.append(pay(2), pay(3))
        client = await nats.connect(replicate["servers"])
        source, subject = client.jetstream(), f"eventstore.{replicate['stream']}.record"
        found = await source.get_last_msg(replicate["stream"], subject)
        own = {name: text for name, text in (found.headers or {}).items() if name[:5] == "Event"}
        headers = own | {f"Eventstore-{header}": "1"}
        await source.delete_msg(replicate["stream"], found.seq or 0)
        await source.publish(subject, found.data or b"", headers=headers)
        await client.close()
        async with Standby.open(tmp_path / "b", bank_registry(), replicate=replicate) as standby:
            with pytest.raises(StreamMismatchError, match="not written by a store: the headers"):
                await standby.wait_for(3)

    async def test_a_standby_of_no_stream(self, tmp_path: Path, replicate: dict[str, Any]) -> None:
        with pytest.raises(ReplicationError, match="no such stream"):
            await Standby.open(tmp_path, bank_registry(), replicate=replicate)

    async def test_a_standby_in_the_directory_of_another_store(
        self, cluster: Cluster, directories: list[Path], replicate: dict[str, Any]
    ) -> None:
        one, other = directories
        async with EventStore.open(one, bank_registry(), replicate=replicate) as store:
            await store.append(pay(1))
        async with EventStore.open(other, bank_registry()) as store:
            await store.append(pay(1))
        with pytest.raises(ReplicationError, match="holds the store"):
            await Standby.open(other, bank_registry(), replicate=replicate)
