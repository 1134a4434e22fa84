"""Rules that no linter knows: file access, module length, reasons, and marks around code."""

from __future__ import annotations

import ast
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
TESTS, SCRIPTS = (
    sorted(path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*.py"))
    for folders in ([ROOT / "tests"], [ROOT / "benchmarks", ROOT / "examples"])
)

TOUCH_FILES = re.compile(
    r"eventstore/(disk/local|disk/local_file|disk/processes|config_file|cli|__main__)\.py|eventstore/(analysis|command_line|repair|replication|testing|tools|demo)/"
)
"""The modules with file functions: the disk, and the rooms around the store."""

NO_FILES = {
    "eventstore/log/runner.py": {"os.read()", "os.write()"},
    "eventstore/following/wakeup.py": {"os.read()"},
    "eventstore/blocking_calls.py": {"os.path.realpath()"},
}
"""Calls on other things than files: the pipe by which the writer's thread wakes the event loop, the
kernel's notifications, and the comparison of two paths."""

OS_FILE_CALLS = frozenset(
    "open read pread write pwrite fsync fdatasync truncate ftruncate posix_fallocate rename "
    "replace remove unlink link symlink listdir scandir mkdir makedirs rmdir stat lstat fstat "
    "chmod access sendfile".split()
)
PATH_FILE_CALLS = frozenset(
    "read_text read_bytes write_text write_bytes iterdir rglob is_file is_dir".split()
)

LOGGERS = {
    "eventstore/operator_log.py": "makes these loggers",
    "eventstore/testing/simulation/run.py": "listens to the messages",
}
"""The modules that may ask logging for a logger."""

LONGEST = 400
LONG_MODULES: dict[str, str] = {}
"""Modules longer than `LONGEST` lines, each with the reason."""


def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), module)


@pytest.mark.parametrize("module", [name for name in MODULES if not TOUCH_FILES.match(name)])
def test_only_the_disk_touches_files(module: str) -> None:
    found = [
        f"{module}:{line} {what}"
        for line, what in file_calls(tree(module))
        if what not in NO_FILES.get(module, ())
    ]
    assert found == []


@pytest.mark.parametrize("module", [name for name in MODULES if name not in LOGGERS])
def test_messages_go_through_loggers_that_cannot_raise(module: str) -> None:
    """A handler of logging may raise amid a commit: see `eventstore/operator_log.py`."""
    text = (ROOT / module).read_text(encoding="utf-8")
    assert "getLogger(" not in text


def file_calls(parsed: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of every call of a file function, and of imports that hide a call."""
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
    [*MODULES, *TESTS],
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
    """Return whether a comment silences a check or a measurement, without a reason."""
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


TWO_BACKTICKS = re.compile(r"(?<!`)``(?!`)[^`]+``(?!`)")


@pytest.mark.parametrize("module", [*MODULES, *TESTS, *SCRIPTS])
def test_code_in_prose_stands_between_single_backticks(module: str) -> None:
    """Docstrings are Markdown. Two backticks are left for code with a backtick inside."""
    source = (ROOT / module).read_text(encoding="utf-8")
    found = [
        f"{module}:{token.start[0]} {marked}"
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT or token.string.startswith(('"""', 'r"""'))
        for marked in TWO_BACKTICKS.findall(token.string)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("one `word` and `a\nphrase`", 0),
        ("``x`` and ``y z``", 2),
        ("```python\nx\n```", 0),
        ("```` ``` ````", 0),
        ("`` ` ``", 0),
    ],
)
def test_two_backticks_are_recognised(text: str, found: int) -> None:
    assert len(TWO_BACKTICKS.findall(text)) == found


MENTIONED_MODULE = re.compile(r"`([\w/]+\.py)`")


def test_prose_mentions_modules_that_are_there() -> None:
    """A renamed module is found by a search for its name alone where no prose keeps the old one."""
    stale = [
        f"{module}: {mentioned}"
        for module in MODULES
        for mentioned in MENTIONED_MODULE.findall((ROOT / module).read_text(encoding="utf-8"))
        if not any(f"/{name}".endswith(f"/{mentioned}") for name in (*MODULES, *TESTS, *SCRIPTS))
    ]
    assert stale == []
