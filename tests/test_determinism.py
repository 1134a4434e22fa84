"""The same events give the same state: by every way of folding, hash seed, process and Python."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import glob
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from immutables import Map

from eventstore import EventStore, SimulatedClock, state_digest
from handlers import EngineState, Position
from tests.support import folding

ROOT = Path(__file__).resolve().parent.parent
OTHERS = [
    version
    for version in ("3.11", "3.12", "3.13", "3.14")
    if version != f"{sys.version_info.major}.{sys.version_info.minor}"
]
NEEDED = """
import sys, aiofiles, immutables, msgspec, yaml
if sys.version_info < (3, 14):
    import backports.zstd
"""

LIVE = "20a16b2cdd183bf1f50fe16c5715661813c7a7560cfdb44e5368d5b1a8e55835"
"""The digest of the state after every operation of `support/folding.py`, written down once.

A changed digest means a change of a handler's arithmetic, of the digest or of the encoding. Every
such change needs a new version, because every snapshot holds digests.
"""


class Recorded(NamedTuple):
    path: Path
    live: EngineState
    digests: dict[str, str]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    path = tmp_path_factory.mktemp("determinism") / "store"
    live = asyncio.run(folding.write(path))
    return Recorded(path, live, folding.folded(path))


def elsewhere(python: str, path: Path, seed: str) -> dict[str, str]:
    """Return the findings of another process in the same store."""
    ended = subprocess.run(
        [python, "-W", "error", str(ROOT / "tests" / "support" / "folding.py"), str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, str] = json.loads(ended.stdout)
    return found


@functools.cache
def interpreter(version: str) -> str | None:
    """Find a Python of the version with the packages that the store needs, or `None`."""
    pyenv = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
    candidates = [
        str(ROOT / f".venv-{version}" / "bin" / "python"),
        shutil.which(f"python{version}"),
        *sorted(glob.glob(f"{pyenv}/versions/{version}.*/bin/python")),
    ]
    for candidate in candidates:
        if candidate is not None and Path(candidate).exists():
            tried = subprocess.run([candidate, "-c", NEEDED], capture_output=True, check=False)
            if tried.returncode == 0:
                return candidate
    return None


class TestOneStoreFoldedInEveryWay:
    def test_the_history_is_in_archives_and_log_with_snapshots_on_the_way(
        self, recorded: Recorded
    ) -> None:
        for pattern in ("archive/*.zst", "log/*.log", "snapshots/*.snap"):
            assert list(recorded.path.glob(pattern)), pattern

    def test_live_recovered_replayed_and_asked_for(self, recorded: Recorded) -> None:
        live = state_digest(recorded.live)
        ways = ("fold", "recovery", "replay", "state_at")
        assert {way: recorded.digests[way] for way in ways} == dict.fromkeys(ways, live)
        assert recorded.digests["plain"] == repr(recorded.live.to_dict())

    @pytest.mark.parametrize("seq", folding.MOMENTS)
    def test_states_on_the_way(self, recorded: Recorded, seq: int) -> None:
        assert recorded.digests[f"state_at {seq}"] == recorded.digests[f"replay {seq}"]

    def test_in_memory_too(self, recorded: Recorded) -> None:
        async def in_memory() -> EngineState:
            clock = SimulatedClock(folding.START)
            async with EventStore.in_memory(folding.REGISTRY, clock=clock) as store:
                rest = folding.operations()
                while rest:
                    clock.advance(0.1)
                    await store.append(*rest[:3])
                    rest = rest[3:]
                return store.state

        assert state_digest(asyncio.run(in_memory())) == state_digest(recorded.live)

    @pytest.mark.parametrize("seed", ["0", "1", "4242", "random"])
    def test_in_another_process_under_another_hash_seed(
        self, recorded: Recorded, seed: str
    ) -> None:
        assert elsewhere(sys.executable, recorded.path, seed) == recorded.digests

    @pytest.mark.parametrize("version", OTHERS)
    def test_under_another_python(self, recorded: Recorded, version: str) -> None:
        python = interpreter(version)
        if python is None:
            pytest.skip(f"there is no Python {version} with the store's dependencies here")
        assert elsewhere(python, recorded.path, "7") == recorded.digests

    def test_it_is_what_it_always_was(self, recorded: Recorded) -> None:
        assert state_digest(recorded.live) == LIVE


class Nested(msgspec.Struct, frozen=True):
    name: str
    lots: tuple[float, ...]
    tags: Map[str, int] = Map()


@dataclasses.dataclass(frozen=True)
class Book:
    bids: dict[float, int]
    last: float | None = None


class Ticks(msgspec.Struct, frozen=True):
    prices: list[float]
    by_name: dict[str, Nested]


GOLDEN: dict[str, tuple[Any, str]] = {
    "nothing": (EngineState(), "36c1243f9b2e8c6f8315b8e464a7f61089b907a9f838a2fd8d7c0fe0cb8734ab"),
    "engine": (
        EngineState(
            cash=0.1 + 0.2,
            positions=Map(
                {
                    "AAPL": Position("AAPL", 100.0, 150.25, 0.5, 1_700_000_000_000_000_001),
                    "株式": Position("株式", -1e-300, 1e100),
                }
            ),
            realized_pnl=-0.0,
            fees=1 / 3,
            trade_count=2**40,
            extra=Map({"z": (1, 2.5, None, True), "a": Map({"β": "ж", "b": b"\x00\xff"})}),
        ),
        "a0be040611efc5504a032284777e137baf39ed0bc7fb2e14c92085771dba25fc",
    ),
    "dict": (
        {"b": 2, "a": [1, {"y": 1, "x": 2}], "": None},
        "9d856d3b3aace79798ad2cf6350fe2ce189cc266274f8d1de93faf2d67f4f471",
    ),
    "list": (
        [1, -1, 2**63, "é", 1.5],
        "f5b744f3db4b8a928e79c2a7873615fbec2efa506c80803b231e60301e49ee02",
    ),
    "number": (1.0, "972ddef8a4a7e134e02a156f6054e2cec09c6b85918f109c541db72b8fca80be"),
    "integer": (1, "815484f93c50465badaada9b834604182b631f089f90e6a0dc9a459f8874ec27"),
    "negative zero": (-0.0, "d579eea2e9e941bd5cb3fabea78e9e59d6213b968e1b20c570ab15e604d5e851"),
    "text": ("déjà", "8ca7bcb5a516383c801c670f56edcacf4050ed5335198e31e64de9669d13611c"),
    "dataclass": (
        Book({101.5: 3, 99.0: 1}, 100.0),
        "333a95de959fb2493e83e357de96e72e73b6c437dab94a6502a31658999be662",
    ),
    "struct": (
        Ticks([0.1, 0.2], {"n": Nested("n", (1.0, 2.0), Map({"q": 1, "p": 2}))}),
        "6fab888e6618f66ab44e1b7cc0654a8ac223e8e6c26c837958cf7e6c1cd36df2",
    ),
    "many entries": (
        {f"k{number}": number / 7 for number in range(1000)},
        "8eee395cb8c93d4d3c24bb6bb10257c5ae7083b7db78f50e342809912fa3bc88",
    ),
}
"""States with the digests of the first run, on Python 3.11."""


class TestTheDigest:
    @pytest.mark.parametrize("name", GOLDEN)
    def test_it_is_what_it_always_was(self, name: str) -> None:
        state, digest = GOLDEN[name]
        assert state_digest(state) == digest

    def test_no_two_of_them_are_the_same(self) -> None:
        assert len({digest for _, digest in GOLDEN.values()}) == len(GOLDEN)

    def test_the_order_in_which_a_map_grew_does_not_show(self) -> None:
        names = [f"name-{number}" for number in range(700)]
        forward, backward = Map[str, int](), Map[str, int]()
        for name in names:
            forward = forward.set(name, len(name))
        for name in reversed(names):
            backward = backward.set(name, 0).set(name, len(name))
        assert state_digest(EngineState(extra=forward)) == state_digest(EngineState(extra=backward))
        assert state_digest({"m": forward}) == state_digest({"m": backward})

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (EngineState(cash=0.0), EngineState(cash=-0.0)),
            ({"a": 1}, {"a": 1.0}),
            ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
            ({"a": 1}, {"a": 1, "b": None}),
            ([1, 2], [2, 1]),
            (EngineState(cash=0.1 + 0.2), EngineState(cash=0.3)),
        ],
    )
    def test_the_slightest_difference_shows(self, one: Any, other: Any) -> None:
        assert state_digest(one) != state_digest(other)
