"""The process of one contender, which runs one order after the other, each one line of JSON.

`python -m benchmarks.worker NAME` answers first with the contender's version, or with the reason
for leaving the contender out. Then the worker reads tasks from standard input. Output of the
libraries goes to standard error.

A task is `build` (make a history, and end the process if the history ends in a crash) or `run`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import traceback
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from benchmarks.cases import CASES, Cell, History, Task
from benchmarks.cases.histories import LEFT_OPEN, build
from benchmarks.contenders import Contender, by_name, loop_factory
from benchmarks.peers.base import Peer

__all__ = ["Answer", "Order", "answer", "main"]


class Order(msgspec.Struct, frozen=True):
    """An order to a worker."""

    do: Literal["build", "run"]
    folder: str
    history: History | None = None
    cell: Cell | None = None


class Answer(msgspec.Struct, frozen=True):
    """The answer to an order: figures, or an error."""

    figures: dict[str, float] = {}
    version: str = ""
    missing: str = ""
    error: str = ""


def answer(contender: Contender, adapter: type[Peer], order: Order) -> Answer:
    """Carry out an order, on the contender's event loop."""

    async def work() -> dict[str, float]:
        if order.do == "build":
            assert order.history is not None
            return await build(adapter, Path(order.folder), order.history)
        assert order.cell is not None
        cell = order.cell
        task = Task(adapter, Path(order.folder), cell.options, cell.history)
        return await CASES[cell.case].run(task)

    gc.collect()
    try:
        runner = asyncio.Runner(loop_factory=loop_factory(contender.loop))
        figures = runner.run(work())
        if not LEFT_OPEN:
            runner.close()
        return Answer(figures)
    except Exception:  # noqa: BLE001  whatever a library raises is told, and the others go on
        return Answer(error=traceback.format_exc())


def main(name: str, orders: BinaryIO, answers: BinaryIO) -> None:
    """Serve until there are no more orders."""

    def tell(told: Answer) -> None:
        answers.write(msgspec.json.encode(told) + b"\n")
        answers.flush()

    contender = by_name(name)
    try:
        adapter = contender.load()
        version = adapter.version()
    except ImportError as error:
        tell(Answer(missing=str(error)))
        return
    tell(Answer(version=version))
    decode = msgspec.json.Decoder(Order).decode
    for line in orders:
        tell(answer(contender, adapter, decode(line)))
        for peer in LEFT_OPEN:
            peer.crash()


if __name__ == "__main__":
    told = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    main(sys.argv[1], sys.stdin.buffer, told)
