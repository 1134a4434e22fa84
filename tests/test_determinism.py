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
from decimal import Decimal
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

LIVE = "28d34f8ef0eaa5dabbfb7d446aac36aefef9d8a42471f89031368b066e8a2fc0"
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
            "LC_ALL": "C",
            "TZ": "Pacific/Kiritimati",
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


HELD = (
    Position(
        "AAPL",
        Decimal(100),
        Decimal("15025.0"),
        weight=Decimal("0.5"),
        updated=1_700_000_000_000_000_001,
    ),
    Position("株式", Decimal("-1e-100"), Decimal("-1e100"), side="short", inverse=True),
)


GOLDEN: dict[str, tuple[Any, str]] = {
    "nothing": (EngineState(), "961685769b652eb7255076729cf728228bf4532111e0cb96fc841c708e273310"),
    "engine": (
        EngineState(
            balances=Map([("USD", Decimal("0.30")), (("hedge", "€"), Decimal("-1e-18"))]),
            positions=Map([(position.key, position) for position in HELD]),
            profit_sums=Map({("AAPL", "USD"): Decimal("-0.1")}),
            fee_sums=Map({("", "USD"): Decimal(1) / Decimal(3)}),
            trade_count=2**40,
            extra=Map({"z": (1, 2.5, None, True), "a": Map({"β": "ж", "b": b"\x00\xff"})}),
        ),
        "34e357e05ed547b0a97b060b68f85bb79d70f0be17ed4de321d0999a6419642a",
    ),
    "dict": (
        {"b": 2, "a": [1, {"y": 1, "x": 2}], "": None},
        "e81de4f560f2af39d6d9a4656479cfa6d79e9ee6c9d360ae9d96968e54512a1d",
    ),
    "list": (
        [1, -1, 2**63, "é", 1.5],
        "77f0e5f2572666725db2fd68d7ce11cacd76f8394bd0f0a854a1a37821042ec7",
    ),
    "number": (1.0, "24218dfb25009d616a9bac807a4d39c87ffd711b34ed1355a809bf9a52bac5ee"),
    "integer": (1, "ee155ace9c40292074cb6aff8c9ccdd273c81648ff1149ef36bcea6ebb8a3e25"),
    "negative zero": (-0.0, "ca0c7aca8cb5f06161266048a0575b61bfdec86c27c081a3431257f6031b2ee0"),
    "text": ("déjà", "50ced5d192837cb126af1ed317d51753a10edece9947caef45ed528382a3d3f3"),
    "dataclass": (
        Book({101.5: 3, 99.0: 1}, 100.0),
        "69fafd7f5be628f435886719ba64fea0cc3ea79a8d33a0ef4ea6adfaafe266dd",
    ),
    "struct": (
        Ticks([0.1, 0.2], {"n": Nested("n", (1.0, 2.0), Map({"q": 1, "p": 2}))}),
        "0985b81bf2a51c0cde008034622147cccf8d0535e1dc92a3463bf081dba23587",
    ),
    "many entries": (
        {f"k{number}": number / 7 for number in range(1000)},
        "c3700a6eaf8a3852c1b4788d193d2bab3a1d6e9a7518ea2aab8eb938cbf719b8",
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
            ({"a": 0.0}, {"a": -0.0}),
            (EngineState(), EngineState(base_currency="EUR")),
            ({"a": 1}, {"a": 1.0}),
            ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
            ({"a": 1}, {"a": 1, "b": None}),
            ([1, 2], [2, 1]),
            ({"a": 0.1 + 0.2}, {"a": 0.3}),
            (
                EngineState.from_dict({"cash": "0.3"}),
                EngineState.from_dict({"cash": "0.3000000000000000000000000000000000001"}),
            ),
        ],
    )
    def test_the_slightest_difference_shows(self, one: Any, other: Any) -> None:
        assert state_digest(one) != state_digest(other)
