"""What docs/daily-use.md quotes of the tools is what the tools say of such a store."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from eventstore.command_line.all_commands import commands
from tests.tools import test_what_is_told as told

PAGE = Path(__file__).resolve().parents[2] / "docs" / "daily-use.md"
OTHERWISE = {"NOT FOLDED", "DIFFERS", "its digest is not that of the state in it"}
"""Findings about states and not about files: tests/tools/test_verify.py has them."""


def findings() -> list[str]:
    """The quotations in the first column of the table of findings."""
    section = PAGE.read_text("utf-8").partition("### What the findings mean\n")[2]
    rows = section.partition("\n<a id=")[0].splitlines()
    return [match[1] for row in rows if (match := re.match(r"\| `([^`]+)`", row))]


def test_there_are_findings() -> None:
    assert len(findings()) >= 12
    assert set(findings()) >= OTHERWISE


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `info` and `verify` say of one store after another, each with a damage of its own."""
    folder = tmp_path_factory.mktemp("damaged")
    sound = folder / "sound"
    told.filled(sound)
    said = ""
    for number, damage in enumerate([*told.DAMAGES.values(), *told.OTHER_DAMAGES.values()]):
        path = folder / f"{number}" / "store"
        shutil.copytree(sound, path)
        damage(path)
        for command in ("info", "verify"):
            said += CliRunner().invoke(commands, [command, str(path)]).output
    return said


@pytest.mark.parametrize("finding", [one for one in findings() if one not in OTHERWISE])
def test_a_finding_is_said_as_it_is_quoted(finding: str, output: str) -> None:
    pattern = re.sub(r"\b[NMAB]\b", r"\\d+", re.escape(finding))
    assert re.search(pattern, output), finding
