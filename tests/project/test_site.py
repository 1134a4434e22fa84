"""The documentation site: the reference has every public name, and the navigation every page.

`make docs` builds the site and checks the links. These tests need no site generator.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ENTRY = re.compile(r"^::: (\S+)$", re.M)
PUBLIC = (
    "eventstore",
    "eventstore.disk",
    "eventstore.history",
    "eventstore.testing",
    "eventstore.tools",
    "handlers",
)


def entries() -> list[str]:
    """The names that the pages of the reference are made of."""
    return [
        name
        for page in sorted((DOCS / "api").glob("*.md"))
        for name in ENTRY.findall(page.read_text(encoding="utf-8"))
    ]


def named(entry: str) -> object:
    """The object of an entry. The module is the longest part of the name that can be imported."""
    module, _, name = entry.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_is_in_the_reference(package: str) -> None:
    module = importlib.import_module(package)
    listed = [named(entry) for entry in entries()]
    missing = [
        name
        for name in module.__all__
        if not any(found is getattr(module, name) for found in listed)
    ]
    assert missing == []


def test_the_reference_has_public_names_only_and_each_once() -> None:
    public = [
        getattr(module, name)
        for module in map(importlib.import_module, PUBLIC)
        for name in module.__all__
    ]
    found = entries()
    assert [name for name in found if not any(named(name) is item for item in public)] == []
    assert len(found) == len(set(found))
    assert not any(isinstance(named(name), ModuleType) for name in found)


def test_every_page_is_in_the_navigation() -> None:
    def pages(part: object) -> list[str]:
        if isinstance(part, str):
            return [part]
        items = part.values() if isinstance(part, dict) else part
        assert isinstance(items, list) or hasattr(items, "__iter__")
        return [page for item in items for page in pages(item)]

    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    here = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert set(pages(config["nav"])) == here


def test_the_pages_load_no_font_from_another_host() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["theme"]["font"] is False
