"""The examples in the README and in `docs/` run as they stand.

The python blocks of one page are one program, run in order in an empty directory. A block marked
```` ```python no-run ````, or with a `...` that stands for something left out, is only compiled.
"""

from __future__ import annotations

import ast
import gc
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("[CR]*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
FENCE = re.compile(
    r"^(?P<ticks>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=ticks)[ ]*$", re.M | re.S
)


class Block(NamedTuple):
    """One fenced block of a page, and the line of the page on which its code begins."""

    info: str
    line: int
    code: str


def blocks(text: str) -> Iterator[Block]:
    for fence in FENCE.finditer(text):
        line = text.count("\n", 0, fence.start("body")) + 1
        yield Block(fence["info"].strip(), line, fence["body"])


def leaves_something_out(parsed: ast.AST) -> bool:
    """Whether a `...` stands for code; in a type, as in `tuple[int, ...]`, it does not."""
    in_types = {
        id(part)
        for node in ast.walk(parsed)
        if isinstance(node, ast.Subscript)
        for part in ast.walk(node.slice)
    }
    return any(
        isinstance(node, ast.Constant) and node.value is ... and id(node) not in in_types
        for node in ast.walk(parsed)
    )


def run(page: str, text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the python blocks of a page as one script; how many were run."""
    script = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", script)  # msgspec looks annotations up in there
    count = 0
    for block in blocks(text):
        language, _, mark = block.info.partition(" ")
        if language != "python":
            continue
        if mark not in ("", "no-run"):
            raise ValueError(f"{page}:{block.line - 1}: unknown mark {mark!r}")
        parsed = ast.parse("\n" * (block.line - 1) + block.code, page)
        code = compile(parsed, page, "exec", dont_inherit=True)
        if mark != "no-run" and not leaves_something_out(parsed):
            exec(code, script.__dict__)
            count += 1
    gc.collect()  # a store left open in an example warns here, and warnings are errors
    return count


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8"), monkeypatch)


LINK = re.compile(r"\[[^]]*\]\((?!https?://|mailto:)(?P<target>[^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    missing = [
        link["target"]
        for link in LINK.finditer(prose)
        if not (page.parent / link["target"]).exists()
    ]
    assert missing == []


class TestTheRunner:
    """What this module promises about pages, shown on small ones."""

    def test_blocks_share_a_namespace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        page = "```python\nx = 1\n```\ntext\n```python\nassert x == 1\n```\n"
        assert run("page.md", page, monkeypatch) == 2

    def test_an_error_names_the_line_of_the_page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ZeroDivisionError) as failure:
            run("page.md", "# Title\n\n```python\nx = 1\n1 / 0\n```\n", monkeypatch)
        last = failure.traceback[-1]
        assert (str(last.path).endswith("page.md"), last.lineno + 1) == (True, 5)

    @pytest.mark.parametrize(
        "page",
        [
            "```python no-run\n1 / 0\n```\n",
            "```python\nopen_somehow(...)\n1 / 0\n```\n",
            "```python\nfor x in []: ...\n1 / 0\n```\n",
            "```yaml\n1 / 0\n```\n",
            "````markdown\n```python\n1 / 0\n```\n````\n",
        ],
    )
    def test_what_is_not_meant_to_run_does_not(
        self, page: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert run("page.md", page, monkeypatch) == 0

    @pytest.mark.parametrize("mark", ["", " no-run"])
    def test_all_of_it_has_to_compile(self, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(SyntaxError) as failure:
            run("page.md", f"text\n```python{mark}\nx = (\n```\n", monkeypatch)
        assert (failure.value.filename, failure.value.lineno) == ("page.md", 3)

    def test_types_with_an_ellipsis_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run("page.md", "```python\nx: tuple[int, ...] = ()\n```\n", monkeypatch) == 1

    def test_a_misspelt_mark_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ValueError, match="no_run"):
            run("page.md", "```python no_run\n```\n", monkeypatch)
