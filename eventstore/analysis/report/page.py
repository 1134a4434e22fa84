"""The HTML page of a report: the template, the figures as data, and the drawing library in one.

Theory of operation
-------------------
No text from a store becomes HTML here. The figures go into the page as JSON inside a `script`
element that no browser executes, with every character escaped that could end the element. The
script of the page puts texts into the document as text nodes.

A second line of defence is the page's content security policy. It permits the page's own two
scripts and its style by their hashes, and nothing else: no other script, no request, no form.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from string import Template

import msgspec

from eventstore.analysis.report.chart_data import Figures

__all__ = ["render"]

_ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in ("<", ">", "&", "\u2028", "\u2029")}
"""Characters that HTML or JavaScript act on. Inside a JSON string the escape means the same."""


def render(figures: Figures) -> str:
    """Return the page for the figures of a report."""
    style = _part("uplot/uPlot.min.css") + _part("page.css")
    library = _part("uplot/uPlot.iife.min.js")
    script = _part("charts.js") + _part("page.js")
    return Template(_part("page.html")).substitute(
        policy="; ".join(
            (
                "default-src 'none'",
                f"script-src {_hash(library)} {_hash(script)}",
                f"style-src {_hash(style)}",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
        licence=_part("uplot/LICENSE").strip(),
        style=style,
        data=msgspec.json.encode(figures).decode().translate(_ESCAPED),
        library=library,
        script=script,
    )


def _part(name: str) -> str:
    return files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest())
    return f"'sha256-{digest.decode()}'"
