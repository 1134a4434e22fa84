"""Children that are killed, and mounts that are undone, for any outcome of the test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.real.children import Child
from tests.real.mounts import Mounts

Start = Callable[..., Child]


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    with Mounts() as mounts:
        yield mounts


@pytest.fixture
def start(mounts: Mounts) -> Iterator[Start]:
    """Start children. Children are killed before the file systems with their open files are
    unmounted.
    """
    with contextlib.ExitStack() as stack:

        def start(program: Any, *args: Any, **kwargs: Any) -> Child:
            child = Child(program, *args, **kwargs)
            stack.callback(child.kill)
            return child

        yield start
