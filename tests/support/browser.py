"""A headless Chromium, driven by playwright. `.ci/browser` installs both where it can."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

__all__ = ["headless_browser"]

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def _missing(reason: str) -> None:
    """Fail in CI, where a browser must be, and skip elsewhere."""
    text = f"{reason}: the pages of reports were opened in no browser; .ci/browser installs one"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


@contextmanager
def headless_browser() -> Iterator[Any]:
    """Start a browser. Skips where there is none, and fails there in CI."""
    if find_spec("playwright") is None:
        _missing("playwright is not installed")
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        _missing("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
