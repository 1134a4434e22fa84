"""Backups in Azure and in Google Cloud Storage, against servers on this machine.

- Azure: Azurite, the emulator of the provider, a package of npm. `.ci/azurite FOLDER` installs it,
  and `FOLDER/node_modules/.bin` belongs on the path.
- Google: `obstore` speaks the XML API. No emulator has all of that API (each tried by hand). The
  one in Go (fake-gcs-server) lists and removes, and refuses uploads. The one in Python
  (gcp-storage-emulator) takes every upload whatever the condition, answers without `ETag` and
  `Last-Modified`, and neither lists nor removes. Google's own testbench takes an upload on
  condition and refuses the second one, but neither lists nor removes. That API is the one of S3 but
  for some headers. So the S3 server of the other tests stands in, with those translated.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from eventstore import HistoryForkedError, state_digest
from eventstore.tools.backup.entrance import list_copies, make_backup, open_place
from tests.support.bank import bank_after, bank_registry
from tests.tools.test_backup_places import check_restored, fill

pytest.importorskip("obstore")

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account of the emulator, which its documentation gives to everybody."""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def make_container(endpoint: str) -> None:
    """Make the container, as soon as the emulator answers."""
    date, release = formatdate(usegmt=True), "2021-08-06"
    signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{release}\n"
    signed += f"/{ACCOUNT}/{ACCOUNT}/bucket\nrestype:container"
    digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": release,
        "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
        "Content-Length": "0",
    }
    url = f"{endpoint}/bucket?restype=container"
    for _ in range(300):
        try:
            request = urllib.request.Request(url, method="PUT", headers=headers)
            urllib.request.urlopen(request, timeout=30).close()
            return
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            time.sleep(0.1)  # it does not listen yet
    raise AssertionError("the emulator does not answer")


@pytest.fixture(scope="module")
def azure() -> Iterator[str]:
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("backups in Azure are tested where azurite-blob is on the path")
    port = free_port()
    options = ["--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    options += ["--silent", "--skipApiVersionCheck"]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
        try:
            endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
            make_container(endpoint)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
                patch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
                patch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
                patch.setenv("AZURE_ALLOW_HTTP", "true")
                yield "az://bucket"
        finally:
            process.terminate()


class GoogleHeaders:
    """An S3 application, spoken to with the headers of Google's XML API."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environment: dict[str, Any], start: Any) -> Any:
        if environment.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None) == "0":
            environment["HTTP_IF_NONE_MATCH"] = "*"
        environment["HTTP_AUTHORIZATION"] = (
            "AWS4-HMAC-SHA256 Credential=test/20260302/us-east-1/s3/aws4_request"
        )
        return self._application(environment, start)


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    moto = pytest.importorskip("moto.server")
    serving = pytest.importorskip("werkzeug.serving")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = GoogleHeaders(moto.DomainDispatcherApplication(moto.create_backend_app))
    server = serving.make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        request = urllib.request.Request(f"{endpoint}/google", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()
        account = tmp_path_factory.mktemp("google") / "account.json"
        facts = {"gcs_base_url": endpoint, "disable_oauth": True}
        none = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        account.write_text(json.dumps({**facts, **none}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
            patch.setenv("GOOGLE_ALLOW_HTTP", "true")
            yield "gs://google"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(params=["azure", "google"])
def bucket(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "store", *[1] * 20))
    return tmp_path / "store"


def test_backups_are_kept_restored_and_pruned(tmp_path: Path, store: Path, bucket: str) -> None:
    to, amounts = f"{bucket}/day", [1] * 20
    for round_ in range(2):
        copy = make_backup(store, to, bank_registry(), keep=1)
        assert copy.catalog.digest == state_digest(bank_after(*amounts))
        check_restored(open_place(to), tmp_path / f"new-{round_}", *amounts)
        asyncio.run(fill(store, 7))
        amounts.append(7)
    assert [one.number for one in list_copies(open_place(to))] == [2]


def test_a_name_that_is_taken_is_refused(bucket: str) -> None:
    place = open_place(f"{bucket}/names")
    assert place.put_new("a/b", b"one")
    assert not place.put_new("a/b", b"two")
    assert place.get("a/b") == b"one"
    place.remove("a/b")
    assert place.list("") == {}


def test_a_second_writer_is_refused(tmp_path: Path, store: Path, bucket: str) -> None:
    zombie, to = tmp_path / "zombie", f"{bucket}/writers"
    shutil.copytree(store, zombie)
    asyncio.run(fill(store, 1))
    asyncio.run(fill(zombie, 2))
    make_backup(store, to, bank_registry())
    with pytest.raises(HistoryForkedError):
        make_backup(zombie, to, bank_registry())
