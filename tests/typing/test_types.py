"""Types from a user's view: mypy and pyright agree about a script and about mistakes.

The files are checked outside the repository, as on a user's machine, with each tool's strict mode
and no other setting. The tools come with the `dev` extra, so `make check` runs this file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("mypy", reason="mypy comes with the dev extra: run make check")
pytest.importorskip("pyright", reason="pyright comes with the dev extra: run make check")

HERE = Path(__file__).parent
SCRIPT, MISUSES = HERE / "user_script.py", HERE / "misuses.py"
TOOLS = ("mypy", "pyright")
PACKAGES = (
    "eventstore",
    *(f"eventstore.{name}" for name in ("disk", "history", "testing", "tools")),
)
"""The packages with names for users."""


class Finding(NamedTuple):
    """A line of a file, and a reported error or revealed type."""

    file: str
    line: int
    message: str


class Findings(NamedTuple):
    """The report of one checker."""

    errors: list[Finding]
    revealed: list[Finding]


def run_tool(arguments: list[str], folder: Path) -> str:
    """Run a Python tool in `folder` and return the output. Exit status 1 means findings."""
    scripts = Path(sys.executable).parent  # pyright finds the environment's packages by `PATH`
    environment = os.environ | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",  # else pyright asks the index for a new version
    }
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def run_mypy(folder: Path) -> Findings:
    options = ["--strict", "--config-file=", "--python-version=3.11", "--output=json"]
    printed = run_tool(["mypy", *options, SCRIPT.name, MISUSES.name], folder)
    found = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    errors = [
        Finding(item["file"], item["line"], item["message"])
        for item in found
        if item["severity"] == "error"
    ]
    revealed = [
        Finding(item["file"], item["line"], text[1])
        for item in found
        if (text := re.fullmatch(r'Revealed type is "(.*)"', item["message"]))
    ]
    return Findings(errors, revealed)


def run_pyright(folder: Path) -> Findings:
    config = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    printed = run_tool(["pyright", "--outputjson"], folder)
    found = json.loads(printed)["generalDiagnostics"]

    def finding(item: dict[str, Any], message: str) -> Finding:
        return Finding(Path(item["file"]).name, item["range"]["start"]["line"] + 1, message)

    errors = [finding(item, item["message"]) for item in found if item["severity"] == "error"]
    revealed = [
        finding(item, text[1])
        for item in found
        if (text := re.fullmatch(r'Type of ".*" is "(.*)"', item["message"], re.S))
    ]
    return Findings(errors, revealed)


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Findings]:
    """The report of each tool over both files."""
    folder = tmp_path_factory.mktemp("user")
    for file in (SCRIPT, MISUSES):
        shutil.copy(file, folder)
    return {"mypy": run_mypy(folder), "pyright": run_pyright(folder)}


def unqualified(kind: str) -> str:
    """Return a type as mypy prints the type, without modules."""
    return re.sub(r"(?:\w+\.)+(?=\w)", "", kind)


def marked(file: Path, pattern: str) -> dict[int, str]:
    """Return the first group of `pattern` in each matching line of `file`, by line number."""
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    return {number: found[1] for number, line in lines if (found := re.search(pattern, line))}


def by_line(found: Iterable[Finding], file: Path) -> dict[int, str]:
    return {line: message for name, line, message in found if name == file.name}


@pytest.mark.parametrize("tool", TOOLS)
class TestCheckers:
    def test_a_users_script_is_right(self, findings: dict[str, Findings], tool: str) -> None:
        assert by_line(findings[tool].errors, SCRIPT) == {}

    def test_every_type_is_exact(self, findings: dict[str, Findings], tool: str) -> None:
        expected = marked(SCRIPT, r"reveal_type\(.*\)  # (.+)$")
        revealed = by_line(findings[tool].revealed, SCRIPT)
        assert {line: unqualified(kind) for line, kind in revealed.items()} == expected

    def test_a_mistake_is_refused_where_it_is_made(
        self, findings: dict[str, Findings], tool: str
    ) -> None:
        expected = marked(MISUSES, r"  # refused: (.+)$")
        refused = by_line(findings[tool].errors, MISUSES)
        assert {line: expected[line] for line in expected if line not in refused} == {}
        assert {line: refused[line] for line in refused if line not in expected} == {}


def test_the_script_runs(tmp_path: Path) -> None:
    """Code that the checkers accept also works."""
    subprocess.run([sys.executable, SCRIPT, tmp_path], check=True, capture_output=True)


def test_every_public_symbol_has_a_known_type(tmp_path: Path) -> None:
    """Every name for users is annotated, and so is every member."""
    printed = run_tool(
        ["pyright", "--verifytypes", "eventstore", "--ignoreexternal", "--outputjson"], tmp_path
    )
    symbols = json.loads(printed)["typeCompleteness"]["symbols"]
    public = [item for item in symbols if item["name"].rpartition(".")[0] in PACKAGES]
    assert len(public) > 60
    assert [
        item["name"] for item in public if not item["isTypeKnown"] or item["isTypeAmbiguous"]
    ] == []
