"""Docstrings as Markdown: doctests become code blocks before a page is made of them.

The line of a doctest begins with `>>>`, which Markdown would take for a quotation.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^(?P<indent> *)>>> .*\n?(?:(?P=indent)\S.*\n?)*", re.M)


class FenceDoctests(griffe.Extension):
    """Put each doctest of each docstring into a fenced block."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object, as it is loaded."""
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(_fenced, obj.docstring.value)


def _fenced(block: re.Match[str]) -> str:
    indent = block["indent"]
    return f"{indent}```pycon\n{block[0].rstrip()}\n{indent}```\n"
