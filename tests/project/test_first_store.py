"""The tutorial `docs/first-store.md`: its files and commands are run, its outputs are compared.

A block after `<!-- file: NAME -->` is written to a file. A `console` block holds commands, each
after `$ `, with their output. After `<!-- numbers vary -->` the outputs are
compared without the numbers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "first-store.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S
)
COMMAND = re.compile(r"^\$ (?P<command>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.M)

PAUSE = "sleep 2"
UNTIL_IT_WRITES = (
    "until [ $(cat acknowledged.txt 2>/dev/null | wc -l) -ge 20 ]; do sleep 0.05; done"
)
"""In place of the pause: how far two seconds reach depends on the machine."""


def without_numbers(text: str) -> str:
    return re.sub(r"\d+", "N", re.sub(r"[\d.]+ [kM]?B\b", "N kB", text))


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("PYTHONUNBUFFERED", None)  # a number and its newline go in one write
    commands = files = 0
    for block in BLOCK.finditer(PAGE):
        mark, info = block["mark"] or "", block["info"]
        if mark.startswith("file: "):
            (tmp_path / mark.removeprefix("file: ")).write_text(block["body"], encoding="utf-8")
            files += 1
        elif info == "console":
            compared = without_numbers if mark == "numbers vary" else str
            for one in COMMAND.finditer(block["body"]):
                ended = subprocess.run(
                    ["bash", "-c", one["command"].replace(PAUSE, UNTIL_IT_WRITES)],
                    cwd=tmp_path,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=120,
                    check=False,
                )
                assert compared(ended.stdout) == compared(one["output"]), one["command"]
                assert ended.returncode == 0, one["command"]
                commands += 1
        else:
            assert info == "sh", "a block that is neither a file nor run"
            assert "pip install 'asyncio-eventstore[cli]'" in block["body"]
    assert (files, commands) == (5, 9)
    acknowledged = (tmp_path / "acknowledged.txt").read_text().split()
    assert [int(number) for number in acknowledged] == list(range(4, 4 + len(acknowledged)))
