"""The documentation site: the reference has every public name, and the navigation every page.

`make docs` builds the site and checks the links. These tests need no site generator.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ENTRY = re.compile(r"^::: (\S+)$", re.M)
PUBLIC = (
    "eventstore",
    "eventstore.analysis",
    "eventstore.disk",
    "eventstore.history",
    "eventstore.metrics.opentelemetry",
    "eventstore.metrics.prometheus",
    "eventstore.replication",
    "eventstore.testing",
    "eventstore.testing.simulation",
    "eventstore.repair",
    "eventstore.tools",
    "handlers",
    "handlers.reconcile",
    "handlers.venues.alpaca",
    "handlers.venues.binance_spot",
    "handlers.venues.binance_usdm",
    "handlers.venues.bybit",
    "handlers.venues.ccxt",
    "handlers.venues.coinbase",
    "handlers.venues.fix44",
    "handlers.venues.interactive_brokers",
    "handlers.venues.kraken",
    "handlers.venues.okx",
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


# ---- the map ---------------------------------------------------------------------------------

ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")


def picture() -> Any:
    """The module that draws the picture of the rooms."""
    spec = importlib.util.spec_from_file_location("architecture", DOCS / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_shows_the_rooms_as_they_are() -> None:
    drawing = picture()
    rooms = {room for layer in drawing.layers() for room in layer}
    here = {
        path.stem
        for path in (ROOT / "eventstore").iterdir()
        if (path.is_dir() and (path / "__init__.py").exists()) or path.suffix == ".py"
    }
    assert rooms == here - {"__init__", "__main__"}
    assert rooms == drawing.DUTIES.keys()
    committed = (DOCS / "images" / "rooms.svg").read_text(encoding="utf-8")
    assert committed == drawing.draw(), "run: python docs/architecture.py"


def test_every_file_that_the_map_names_exists() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", ARCHITECTURE))
    shown = set(re.findall(r"\[([\w/]+\.py)\]\(../", ARCHITECTURE))
    linked = set(re.findall(r"\]\(\.\./([^)]+)\)", ARCHITECTURE))
    missing = [name for name in linked if not (ROOT / name).is_file()]
    missing += [
        name
        for name in named | shown
        if not ((ROOT / "eventstore" / name).is_file() or (ROOT / name).is_file())
    ]
    assert missing == []


def test_a_path_of_the_map_passes_through_the_rooms_that_the_picture_marks() -> None:
    """Each room with a mark of a path has a module in the section on that path."""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", ARCHITECTURE, re.M | re.S))
    for path, (_, _, rooms) in picture().PATHS.items():
        linked = set(re.findall(r"\(\.\./eventstore/(\w+)", sections[path.title()]))
        assert linked == set(rooms.split()), path


@pytest.mark.parametrize(
    "page", ["architecture", "crash-safety", "decisions", "format", "guarantees"]
)
def test_every_module_that_a_page_names_exists(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text))
    assert named
    places = (ROOT, ROOT / "eventstore")
    assert [name for name in named if not any((place / name).is_file() for place in places)] == []
