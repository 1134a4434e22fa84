"""The commands of replication, through the real entry point."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, StoreConfig
from eventstore.errors import FencedError, StreamMismatchError
from eventstore.replication import stream_status
from tests.command_line.test_json_shapes import members, section
from tests.replication.test_failover import append_on
from tests.replication.test_shipping import opened
from tests.replication.test_standby import followed
from tests.support.bank import bank_registry, pay

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).resolve().parents[2]
REGISTRY = ["--registry", "tests.support.bank:bank_registry"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "eventstore", *arguments]


async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=120,
    )


@pytest.fixture
def config(tmp_path: Path, replicate: dict[str, Any]) -> str:
    replicate["lease"] = (
        60.0  # else a slow command ends after the old writer knows that it is fenced
    )
    file = tmp_path / "bot.yaml"
    file.write_text(json.dumps({"replicate": replicate}))  # JSON is YAML
    return str(file)


async def test_a_failover_by_command(
    directories: list[Path], replicate: dict[str, Any], config: str
) -> None:
    one, other = (str(path) for path in directories)
    old = await opened(directories[0], replicate)
    for number in range(1, 4):
        await old.append(pay(number))
    level = await run("replication", "status", one, "--config", config)
    assert (level.returncode, "event 3" in level.stdout) == (0, True), level.stderr
    missing = await run("replication", "promote", other, "--config", config, *REGISTRY)
    assert (missing.returncode, "no store at" in missing.stderr) == (4, True), missing.stderr
    assert not directories[1].exists()
    await (await followed(directories[1], replicate)).close()
    promoted = await run("replication", "promote", other, "--config", config, *REGISTRY)
    assert promoted.returncode == 0, promoted.stderr
    assert "timeline 2 begins behind event 3" in promoted.stdout
    held = await stream_status(directories[1], StoreConfig.load(config))
    assert held.holder is not None, "another standby could be promoted before the engine starts"
    with pytest.raises(FencedError):
        await append_on(old)
    await old.close()
    apart = await run("replication", "status", one, "--config", config)
    assert (apart.returncode, "timeline 2" in apart.stdout) == (1, True)
    rejoined = await run("replication", "rejoin", one, "--config", config)
    assert rejoined.returncode == 0, rejoined.stderr
    assert "were set aside" in rejoined.stdout
    assert "set aside: event 4" in rejoined.stdout
    async with opened(directories[1], replicate) as new:
        await new.append(pay(4))
        again = await run("replication", "rejoin", one, "--config", config, "--json")
        assert json.loads(again.stdout)["set_aside"] == []


async def test_the_page_has_every_member_of_every_answer(
    directories: list[Path], replicate: dict[str, Any], config: str
) -> None:
    """docs/command-json.md has every member of `eventstore.replication/1`, and no other."""
    one, other = (str(path) for path in directories)
    found = set[str]()

    async def ask(action: str, path: str, *more: str) -> dict[str, Any]:
        ended = await run("replication", action, path, "--config", config, "--json", *more)
        assert ended.returncode == 0, ended.stderr
        answer: dict[str, Any] = json.loads(ended.stdout)
        assert answer["schema"] == "eventstore.replication/1"
        found.update(members(answer))
        return answer

    old = await opened(directories[0], replicate)
    await old.append(pay(1), pay(2), pay(3))
    told = await ask("status", one)
    assert (told["last"], told["copied"], told["standbys"]) == (3, None, {})
    assert (await ask("trim", one))["copied"] == 3
    await (await followed(directories[1], replicate)).close()
    assert (await ask("promote", other, *REGISTRY))["timeline"] == 2
    with pytest.raises(FencedError):
        await append_on(old)
    await old.close()
    (lost,) = (await ask("rejoin", one))["set_aside"]
    assert lost["seq"] == 4
    text = section("replication")
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    assert found - {"schema"} <= set(re.findall(r"`(\w+)`", text))
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} <= found


async def test_a_standby_follows_until_it_is_told_to_stop(
    directories: list[Path], replicate: dict[str, Any], config: str
) -> None:
    async with opened(directories[0], replicate) as store:
        await store.append(pay(1))
        child = await asyncio.create_subprocess_exec(
            *command("standby", config, str(directories[1]), *REGISTRY),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        assert child.stderr is not None
        told = b""
        while b"event 1" not in told:
            told = await asyncio.wait_for(child.stderr.readline(), 30)
            assert told
        child.send_signal(signal.SIGTERM)
        said, _ = await child.communicate()
        assert child.returncode == 0
        assert b"stopped at event 1" in said


async def test_the_same_numbers_of_another_history_are_not_level(
    directories: list[Path], replicate: dict[str, Any]
) -> None:
    one, other = directories
    settings = StoreConfig.of(None, replicate=replicate)
    async with opened(one, replicate) as store:
        await store.append(pay(1))
    shutil.copytree(one, other)
    async with opened(one, replicate) as store:
        await store.append(pay(2))
    async with EventStore.open(other, bank_registry()) as store:
        await store.append(pay(3))
    assert (await stream_status(one, settings)).level
    apart = await stream_status(other, settings)
    assert (apart.last, apart.timeline) == (apart.here, apart.here_timeline) == (2, 1)
    assert (apart.level, "of another history" in apart.told) == (False, True)
    async with EventStore.open(one.with_name("foreign"), bank_registry()):
        pass
    with pytest.raises(StreamMismatchError, match="this is the store"):
        await stream_status(one.with_name("foreign"), settings)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["standby", "nats://127.0.0.1:1", "s"], 2, "name of the stream is missing"),
        (["standby", "nats://127.0.0.1:1/bot", "s"], 5, "no server answers"),
        (["replication", "rejoin", "s", "--config", "none.yaml"], 2, "none.yaml"),
        (["replication", "leave", "s", "--config", "none.yaml"], 2, "status"),
    ],
)
async def test_bad_input_says_what_to_do(arguments: list[str], status: int, told: str) -> None:
    found = await run(*arguments)
    assert found.returncode == status
    assert told in found.stderr
    assert "Traceback" not in found.stderr
