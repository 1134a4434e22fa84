"""The distribution: its name, and the files that are in the wheel and in the sdist.

The name `eventstore` belongs to another project on the package index. The distribution is therefore
called `asyncio-eventstore`. The import name and the command are `eventstore`.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

import handlers
from eventstore.model.handler import Handler

ROOT = Path(__file__).resolve().parents[2]
NAME = "asyncio-eventstore"

TEXTS = [
    *ROOT.glob("*.md"),
    *(
        path
        for folder in (".ci", "docs", "eventstore", "examples", "handlers", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".md", ".py", ".toml", ".yml", "") and path.is_file()
    ),
    ROOT / "Makefile",
    ROOT / "pyproject.toml",
]

WRONG = re.compile(
    r"""pip\ install\ (?:-\S+\ )*['"]?eventstore\b    # a command
      | ['"`]eventstore\[                             # a requirement with extras
      | dependencies\ =\ \[[^]]*['"]eventstore\b      # a requirement of a plugin
      | (?:version|distribution)\(["']eventstore["']  # a question to the installed metadata
    """,
    re.VERBOSE,
)
"""Text that would install a stranger's distribution, or ask for the metadata of one."""


def test_no_text_names_the_distribution_of_a_stranger() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in TEXTS
        for match in WRONG.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "pip install eventstore",
        "pip install --upgrade 'eventstore[cli]'",
        'test = ["eventstore[testing]"]',
        'dependencies = ["msgspec", "eventstore>=0.1"]',
        'version("eventstore")',
    ],
)
def test_such_a_text_is_noticed(text: str) -> None:
    assert WRONG.search(text)
    assert not WRONG.search(text.replace("eventstore", NAME))


def test_the_metadata_has_the_name() -> None:
    installed = distribution(NAME)
    assert installed.name == NAME
    assert {
        point.name: point.value for point in installed.entry_points.select(group="console_scripts")
    } == {"eventstore": "eventstore_command:main"}
    ours = [
        point
        for point in entry_points(group="eventstore.handlers")
        if point.dist is not None and point.dist.name == NAME
    ]
    assert {point.name: point.value for point in ours} == {
        name: f"handlers.{name}:{name}"
        for name, value in vars(handlers).items()
        if isinstance(value, Handler)
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built by the backend without a network."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed: the files of the wheel and the sdist are unknown")
    folder = tmp_path_factory.mktemp("dist")
    run = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_the_wheel_has_the_two_packages_the_script_and_the_pytest_plugin(built: Path) -> None:
    (wheel,) = built.glob("asyncio_eventstore-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "eventstore",
        "handlers",
        "eventstore_command.py",
        "pytest_eventstore.py",
    }
    assert {"eventstore/py.typed", "handlers/__init__.py"} <= set(names)
    page = "eventstore/analysis/report/page"
    assert {f"{page}/page.html", f"{page}/uplot/uPlot.iife.min.js"} <= set(names)
    assert any(name.endswith(f".dist-info/licenses/{page}/uplot/LICENSE") for name in names)


def test_the_sdist_has_all_that_the_tests_and_the_ci_need(built: Path) -> None:
    (sdist,) = built.glob("asyncio_eventstore-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    alone = {path.name for path in ROOT.iterdir() if path.suffix in (".md", ".yml", ".toml")}
    assert alone | {"LICENSE", "Makefile", ".ci/run", ".ci/smoke.py", ".ci/find-python"} <= names
    for folder in ("docs", "examples", "tests", "benchmarks", "eventstore", "handlers"):
        here = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".py", ".md", ".toml", ".svg", ".png")
            and path.is_file()
            and "partial" not in path.parts  # results of the benchmarks that nobody commits
        }
        assert here - names == set()
