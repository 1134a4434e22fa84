"""Prose that a stranger reads at once: named subjects, one thought a sentence, markup that renders.

The tests judge docstrings, comments and the pages of the documentation by three counts:

- Sphinx roles. The site generator renders Markdown, so a role reaches the reader as raw text.
- Pronouns per 100 words. A text with many pronouns leaves its subjects unnamed.
- Sentences with a semicolon. Such a sentence holds two thoughts.

Counts say nothing about the truth of a text, and little about a short one. A file with fewer than
`SHORT` words is judged together with its room, and one semicolon never fails a file.
"""

from __future__ import annotations

import ast
import functools
import inspect
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "eventstore/**/*.py",
        "handlers/**/*.py",
        "docs/**/*.md",
        "examples/**/*.md",
        "*.md",
    )
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)

PRONOUNS = 4.5  # fewer than so many per 100 words
SEMICOLONS = 0.05  # a smaller part of the sentences than this
SHORT = 150  # words: below, one pronoun more or less decides
SHOWN = 12  # passages that a failure quotes

PRONOUN = frozenset(
    "it its itself they them their theirs themselves this that these those what whatever which "
    "whichever who whom whose whoever".split()
)
ROLE = re.compile(r":(?:class|meth|func|attr|data|mod|exc|ref|obj|doc|term):`")
SILENCER = re.compile(r"#\s*(?:noqa|type:|fmt:|pragma)")


class Passage(NamedTuple):
    """A docstring, a comment or a paragraph, and the place where the passage begins."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {' '.join(self.text.split())[:160]}"


class Figures(NamedTuple):
    """Counts of a text."""

    words: int = 0
    pronouns: int = 0
    sentences: int = 0
    semicolons: int = 0
    roles: int = 0

    @property
    def pronouns_per_100(self) -> float:
        return 100 * self.pronouns / max(self.words, 1)

    @property
    def readable(self) -> bool:
        few = self.semicolons <= max(1, SEMICOLONS * self.sentences)
        return self.pronouns_per_100 < PRONOUNS and few

    def __str__(self) -> str:
        return (
            f"{self.words} words, {self.pronouns_per_100:.1f} pronouns per 100 words, "
            f"{self.semicolons} of {self.sentences} sentences with a semicolon"
        )


def figures(text: str) -> Figures:
    """Count a passage. A code span counts as one word, a link as its text."""
    roles = len(ROLE.findall(text))
    plain = re.sub(r"(`+).+?\1", "X", text, flags=re.DOTALL)
    plain = re.sub(r"\]\([^)]*\)", "]", plain)
    words = re.findall(r"[A-Za-z][A-Za-z'-]*", plain)
    sentences = [part for part in re.split(r"[.!?:](?=\s|$)", plain) if re.search("[A-Za-z]", part)]
    return Figures(
        words=len(words),
        pronouns=sum(word.lower() in PRONOUN for word in words),
        sentences=len(sentences),
        semicolons=sum(";" in sentence for sentence in sentences),
        roles=roles,
    )


def total(passages: Iterable[Passage]) -> Figures:
    """Add the figures of all passages."""
    counted = [figures(passage.text) for passage in passages]
    return Figures(*map(sum, zip(*counted, strict=True))) if counted else Figures()


@functools.cache
def passages_of(file: str) -> tuple[Passage, ...]:
    """Read the passages of a file, which its name's ending tells to be Python or Markdown."""
    source = (ROOT / file).read_text(encoding="utf-8")
    found = paragraphs(source) if file.endswith(".md") else [*docstrings(source), *comments(source)]
    return tuple(Passage(file, line, text) for line, text in found)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield every string that stands alone, without its examples and its blocks of code."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            text = inspect.cleandoc(node.value.value)
            text = re.sub(r"(?m)^ *>>> .*\n?(?:^ *\S.*\n?)*", "\n", text)
            text = re.sub(r"::\n(?:\n|    .*(?:\n|$))+", "\n", text)
            yield node.lineno, re.sub(r"```.*?```", "\n", text, flags=re.DOTALL)


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield every comment that silences no check, with the comments on the lines below."""
    begun: tuple[int, str] | None = None  # a block of comments, and the line it goes on at
    follows = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or SILENCER.match(token.string):
            continue
        line, column = token.start
        text = token.string.lstrip("# ")
        if begun is not None:
            if line == follows and not token.line[:column].strip():
                begun = begun[0], f"{begun[1]}\n{text}"
                follows += 1
                continue
            yield begun
        begun = line, text
        follows = line + 1 if not token.line[:column].strip() else 0
    if begun is not None:
        yield begun


def paragraphs(source: str) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs and list items of a page: no code, no tables, no headings."""
    for hidden in (r"```.*?```", r"<!--.*?-->"):
        source = re.sub(hidden, lambda m: "\n" * m[0].count("\n"), source, flags=re.DOTALL)
    line = 1
    for part in re.split(r"(\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) ))", source):
        text = part.strip()
        if text and not text.startswith(("|", "#", "<")):
            yield line, text
        line += part.count("\n")


def room_of(file: str) -> str:
    return file.rpartition("/")[0]


def explain(judged: str, passages: Iterable[Passage]) -> str:
    """Say the figures, then quote the passages that weigh most."""
    passages = list(passages)
    heavy = sorted(
        passages,
        key=lambda p: (
            figures(p.text).roles,
            figures(p.text).pronouns + figures(p.text).semicolons,
        ),
        reverse=True,
    )
    return "\n  ".join([f"{judged}: {total(passages)}; the worst:", *map(str, heavy[:SHOWN])])


@pytest.mark.parametrize("file", FILES)
def test_no_role_that_the_site_generator_would_show_raw(file: str) -> None:
    if file.endswith(".md"):  # tables and titles too
        lines = enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1)
        passages: Iterable[Passage] = (Passage(file, number, line) for number, line in lines)
    else:
        passages = passages_of(file)
    found = [passage for passage in passages if ROLE.search(passage.text)]
    assert not found, "\n  ".join(["roles in", *map(str, found)])


@pytest.mark.parametrize("file", FILES)
def test_sentences_name_their_subjects_and_hold_one_thought(file: str) -> None:
    judged, passages = file, passages_of(file)
    if total(passages).words < SHORT:
        judged = room_of(file)
        passages = tuple(
            p for other in FILES if room_of(other) == judged for p in passages_of(other)
        )
    assert total(passages).readable, explain(judged or "the root", passages)


@pytest.mark.parametrize("kind", [".py", ".md"])
def test_the_whole_is_readable(kind: str) -> None:
    passages = [p for file in FILES if file.endswith(kind) for p in passages_of(file)]
    counted = total(passages)
    assert counted.pronouns_per_100 < PRONOUNS, explain(f"*{kind}", passages)
    assert counted.semicolons < SEMICOLONS * counted.sentences, explain(f"*{kind}", passages)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The log is a file.", Figures(words=5, sentences=1)),
        ("It is what they wrote.", Figures(words=5, pronouns=3, sentences=1)),
        ("Nobody waits; nothing ends. Good.", Figures(words=5, sentences=2, semicolons=1)),
        ("``it; that`` and `this` are code", Figures(words=5, sentences=1)),
        ("[the log](log.md#its-end)", Figures(words=2, sentences=1)),
        ("see :class:`Store`", Figures(words=3, sentences=1, roles=1)),
    ],
)
def test_figures_of_a_text(text: str, expected: Figures) -> None:
    counted = figures(text)
    if expected.roles:
        assert counted.roles == expected.roles
    else:
        assert counted == expected


def test_passages_of_a_module() -> None:
    source = '''"""About.

>>> that(this)
'those'

Then::

    it()

End.
"""
x = 1  # one
# two
# three
y = "# it"  # noqa: F841  which
"""Why."""
'''
    found = [(line, " ".join(text.split())) for line, text in docstrings(source)]
    assert found == [(1, "About. Then End."), (16, "Why.")]
    assert list(comments(source)) == [(12, "one"), (13, "two\nthree")]


def test_passages_of_a_page() -> None:
    page = "# It\n\nOne\nline.\n\n```\nit\n```\n- a\n- b\n\n| it |\n|--|\n\n<!-- it -->\nEnd."
    assert list(paragraphs(page)) == [(3, "One\nline."), (9, "- a"), (10, "- b"), (16, "End.")]
