"""What an installed wheel must be able to do, run outside the tree with nothing else installed."""

import asyncio
import tempfile
from importlib import resources
from pathlib import Path

import eventstore
from eventstore import EventStore
from handlers import UpdatePosition, trading_registry


async def main(folder: Path) -> None:
    registry = trading_registry()
    async with EventStore.open(folder, registry) as store:
        await store.append(UpdatePosition(symbol="AAPL", shares=100, price=150.0))
    async with EventStore.open(folder, registry) as store:
        if store.seq != 1 or store.state.positions["AAPL"].shares != 100:
            raise SystemExit(f"the store came back as {store.state!r} at {store.seq}")
    package = resources.files(eventstore)
    if not (package / "py.typed").is_file():
        raise SystemExit("the wheel lacks py.typed")
    if not [tape for tape in (package / "demo" / "tape").iterdir() if tape.name.endswith(".zst")]:
        raise SystemExit("the wheel lacks the demonstration's tape")
    print(
        f"{Path(eventstore.__file__).parent}: {', '.join(registry.operations)}; one event, reopened"
    )


with tempfile.TemporaryDirectory() as scratch:
    asyncio.run(main(Path(scratch) / "store"))
