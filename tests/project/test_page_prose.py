"""The pages are written in plain sentences: a count of the marks of sentences that are not.

A pronoun makes the reader look for the noun, and a semicolon joins two thoughts. Sphinx roles are
rendered neither by the site nor by a forge. Tables, code and titles are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]

PRONOUNS = frozenset(
    "it its itself they them their theirs themselves this that these those what whatever which "
    "whichever who whom whose whoever".split()
)
MOST_PRONOUNS = 4.5
"""In a hundred words, of all pages together."""

MOST_SEMICOLONS = 0.05
"""The share of sentences with a semicolon, of all pages together."""

ROLE = re.compile(r":(?:class|meth|func|attr|data|mod|exc|ref):`")


class Count(NamedTuple):
    """The figures of one text."""

    words: int = 0
    pronouns: int = 0
    sentences: int = 0
    semicolons: int = 0

    def add(self, other: Count) -> Count:
        """Return the sum of two counts."""
        return Count(*map(int.__add__, self, other))


def paragraphs(page: str) -> Iterator[str]:
    """Yield the paragraphs and list items of a page, without code, tables and titles."""
    page = re.sub(r"```.*?```|<!--.*?-->", " ", page, flags=re.S)
    for paragraph in re.split(r"\n\s*\n|\n(?=[-*|#] |\d+\. )", page):
        if not paragraph.lstrip().startswith(("|", "#", "<")):
            yield paragraph


def count(paragraph: str) -> Count:
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "X", paragraph))
    words = re.findall(r"[A-Za-z][A-Za-z'-]*", text)
    sentences = [part for part in re.split(r"[.!?:](?=\s|$)", text) if re.search("[A-Za-z]", part)]
    return Count(
        len(words),
        sum(word.lower() in PRONOUNS for word in words),
        len(sentences),
        sum(";" in sentence for sentence in sentences),
    )


def test_subjects_are_named_and_thoughts_are_apart() -> None:
    total = Count()
    for page in PAGES:
        for paragraph in paragraphs(page.read_text(encoding="utf-8")):
            total = total.add(count(paragraph))
    assert 100 * total.pronouns / total.words < MOST_PRONOUNS
    assert total.semicolons / total.sentences < MOST_SEMICOLONS


def test_no_page_has_a_role_that_nothing_renders() -> None:
    assert [page.name for page in PAGES if ROLE.search(page.read_text(encoding="utf-8"))] == []


def test_what_is_counted() -> None:
    page = "# It\n\nIt is `this`; the log holds [that](this.md). Two!\n\n```\nthat\n```\n\n| it |\n"
    (paragraph,) = [text for text in paragraphs(page) if text.strip()]
    assert count(paragraph) == Count(words=8, pronouns=2, sentences=2, semicolons=1)
