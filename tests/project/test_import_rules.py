"""The shape of the code, read from its syntax trees: who imports whom, and who touches files."""

from __future__ import annotations

import ast
import graphlib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("eventstore", "handlers")
    for path in (ROOT / package).rglob("*.py")
)

LAYERS = (
    ("errors",),
    ("clock", "config", "report"),
    ("disk", "model"),
    ("concurrency",),
    ("log",),
    ("snapshot",),
    ("directory", "reading"),
    ("recovery",),
    ("event_log", "store"),
    ("history",),
    ("",),  # eventstore/__init__.py: the public names
    ("testing", "tools", "demo"),
    ("cli", "__main__"),
)
"""Bottom to top. A module imports only what is below it, or beside it in its own layer."""

BYTES_ONLY = (
    "eventstore/log/format.py",
    "eventstore/log/tail.py",
    "eventstore/snapshot/format.py",
)
"""Formats and decisions: functions of bytes and values, without files and without a loop."""

OUTSIDE_WORLD = {"os", "asyncio", "aiofiles", "pathlib", "io"}

TOUCH_FILES = re.compile(
    r"eventstore/(disk/local|config|cli|__main__)\.py|eventstore/(testing|tools|demo)/"
)
"""Who may call file functions: the disk, and what stands around the store rather than in it."""

NO_FILES = {"eventstore/log/runner.py": {"os.read()", "os.write()"}}
"""Calls that are not about files: by a pipe the writer's thread wakes the event loop."""

OS_FILE_CALLS = frozenset(
    "open read pread write pwrite fsync fdatasync truncate ftruncate posix_fallocate rename "
    "replace remove unlink link symlink listdir scandir mkdir makedirs rmdir stat lstat fstat "
    "chmod access sendfile".split()
)
PATH_FILE_CALLS = frozenset(
    "read_text read_bytes write_text write_bytes iterdir rglob is_file is_dir".split()
)

LONGEST = 400
LONG_MODULES: dict[str, str] = {}
"""Modules that may be longer than ``LONGEST`` lines, each with the reason."""


def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), module)


def dotted(module: str) -> str:
    return module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


KNOWN = {dotted(module) for module in MODULES}


def imports(module: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of every import, also of those inside functions."""
    package = module.rsplit("/", 1)[0].replace("/", ".")
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield node.lineno, inner if inner in KNOWN else source


def layer(name: str) -> int:
    """The layer of a dotted name within ``eventstore``."""
    part = name.split(".")[1] if "." in name else ""
    for height, parts in enumerate(LAYERS):
        if part in parts:
            return height
    pytest.fail(f"{name} is in no layer: give it a place in LAYERS")


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


OURS = [module for module in MODULES if module.startswith("eventstore/")]
PLUGINS = [module for module in MODULES if module.startswith("handlers/")]


@pytest.mark.parametrize("module", OURS)
def test_the_library_never_imports_its_handlers(module: str) -> None:
    assert [line for line, name in imports(module) if within(name, "handlers")] == []


@pytest.mark.parametrize("module", PLUGINS)
def test_handlers_use_public_names_as_any_plugin_does(module: str) -> None:
    inner = [name for _, name in imports(module) if within(name, "eventstore")]
    assert [name for name in inner if name not in ("eventstore", "eventstore.testing")] == []


@pytest.mark.parametrize("module", OURS)
def test_imports_run_one_way(module: str) -> None:
    height = layer(dotted(module))
    upward = [
        f"{module}:{line} imports {name}"
        for line, name in imports(module)
        if within(name, "eventstore") and layer(name) > height
    ]
    assert upward == []


def test_no_imports_run_in_a_circle() -> None:
    graph = {
        dotted(module): {
            name for _, name in imports(module) if name in KNOWN and name != dotted(module)
        }
        for module in MODULES
    }
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", BYTES_ONLY)
def test_formats_and_decisions_know_nothing_of_files_and_loops(module: str) -> None:
    found = {name.partition(".")[0] for _, name in imports(module)}
    assert found & OUTSIDE_WORLD == set()


@pytest.mark.parametrize("module", [name for name in MODULES if not TOUCH_FILES.match(name)])
def test_only_the_disk_touches_files(module: str) -> None:
    found = [
        f"{module}:{line} {what}"
        for line, what in file_calls(tree(module))
        if what not in NO_FILES.get(module, ())
    ]
    assert found == []


def file_calls(parsed: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every call of a file function, and of every import that hides one."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if (node.module == "os" and names & OS_FILE_CALLS) or node.module in (
                "shutil",
                "tempfile",
            ):
                yield node.lineno, f"from {node.module} import {', '.join(sorted(names))}"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            base, _, name = called.rpartition(".")
            if (
                called in ("open", "io.open", "aiofiles.open")
                or (base == "os" and name in OS_FILE_CALLS)
                or base in ("os.path", "shutil", "tempfile")
                or (base and name in PATH_FILE_CALLS)
            ):
                yield node.lineno, f"{called}()"


@pytest.mark.parametrize(
    ("code", "calls"),
    [
        ("open('x')", 1),
        ("os.open('x', 0)", 1),
        ("with open('x') as f: pass", 1),
        ("os.fsync(3); os.path.exists('x')", 2),
        ("Path('x').write_text('y')", 1),
        ("from os import fsync", 1),
        ("import tempfile; tempfile.mkdtemp()", 1),
        ("disk.open('x'); disk.rename('x', 'y'); file.write(0, b'')", 0),
        ("os.urandom(8); os.getpid()", 0),
    ],
)
def test_file_calls_are_recognised(code: str, calls: int) -> None:
    assert len(list(file_calls(ast.parse(code)))) == calls


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_read_in_one_sitting(module: str) -> None:
    lines = len((ROOT / module).read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST or module in LONG_MODULES, f"{module} has {lines} lines"


def test_every_exception_to_the_length_is_still_needed_and_says_why() -> None:
    for module, reason in LONG_MODULES.items():
        assert len((ROOT / module).read_text(encoding="utf-8").splitlines()) > LONGEST
        assert reason


SILENCED = re.compile(
    r"#\s*(?:noqa(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*)?|type:\s*ignore(?:\[[^]]*\])?)"
)


REASON = 2  # words at least
UNMEASURED = re.compile(r"#\s*pragma[:\s]?\s*no\s*(?:cover|branch)", re.IGNORECASE)


@pytest.mark.parametrize(
    "module",
    [*MODULES, *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/*.py"))],
)
def test_a_silenced_check_gives_its_reason(module: str) -> None:
    source = (ROOT / module).read_text(encoding="utf-8")
    without = [
        f"{module}:{token.start[0]} {token.string}"
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and lacks_reason(token.string)
    ]
    assert without == []


def lacks_reason(comment: str) -> bool:
    """Whether a comment silences a check, or keeps a line from being measured, and only that."""
    return any(
        silences.search(comment)
        and len(re.findall(r"[A-Za-z]{2,}", silences.sub("", comment))) < REASON
        for silences in (SILENCED, UNMEASURED)
    )


@pytest.mark.parametrize(
    ("comment", "lacking"),
    [
        ("# an ordinary comment", False),
        ("# noqa: BLE001", True),
        ("# noqa: BLE001  each is compared", False),
        ("# type: ignore[arg-type]", True),
        ("# type: ignore[arg-type]  # see rate", False),
        ("# pragma: no cover", True),
        ("# pragma: no branch", True),
        ("#pragma: no cover", True),
        ("# pragma: no cover - macOS", True),
        ("# pragma: no cover - only macOS has it", False),
        ("# pragma: no branch - it is the owner who submits", False),
    ],
)
def test_a_reason_is_recognised(comment: str, lacking: bool) -> None:
    assert lacks_reason(comment) == lacking
