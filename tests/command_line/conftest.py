"""The day store of the repair's tests, and a copy for each test."""

from __future__ import annotations

from tests.repair.conftest import day, hurt

__all__ = ["day", "hurt"]
