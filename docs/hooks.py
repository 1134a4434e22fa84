"""What the documentation site needs beyond Markdown: links into the repository, and a last check.

A page links to a file outside `docs/` by its relative path, as it does on a forge: to a module, an
example, a picture. The site has a page or a copy under `repository/` for each file that is linked
to, and the links lead there. A link to a file that does not exist stays as it is, and the strict
build reports it.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from properdocs.structure.files import File, Files

log = logging.getLogger("properdocs.hooks")

FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1[ ]*$", re.M | re.S)
MARK = re.compile(r"^(`{3,}python) no-run$", re.M)
"""A block that the tests only compile. The generator knows no such mark."""

LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)((?:#[^)\s]*)?\))")
OTHER_HOST = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^\"'>\s]+", re.I
)

PICTURES = (".png", ".svg")
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".json": "json"}


def on_files(files: Files, config: Any) -> Files:
    """Add each file outside `docs/` that a page links to, and those that these link to."""
    root = Path(config["config_file_path"]).parent
    waiting = [
        (f"docs/{file.src_uri}", Path(file.abs_src_path).read_text(encoding="utf-8"))
        for file in files.documentation_pages()
    ]
    while waiting:
        page, text = waiting.pop()
        for target in sorted(set(_targets(page, text))):
            path = root / target
            uri = _uri(target)
            if target.startswith("docs/") or not path.is_file() or files.get_file_from_path(uri):
                continue
            if path.suffix in PICTURES:
                files.append(File.generated(config, uri, content=path.read_bytes()))
                continue
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".md":
                waiting.append((target, text))
            else:
                text = f"# {target}\n\n``````{LANGUAGES.get(path.suffix, 'text')}\n{text}\n``````\n"
            files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Lead the links of a page to the pages of the site."""
    root = Path(config["config_file_path"]).parent
    here = page.file.src_uri
    home = here.removeprefix("repository/") if here.startswith("repository/") else f"docs/{here}"
    if not home.endswith(".md") or not (root / home).is_file():  # the page of a module: no links
        return markdown

    def lead(link: re.Match[str]) -> str:
        target = _resolved(home, link[2])
        if not (root / target).is_file():
            return link[0]
        return link[1] + posixpath.relpath(_uri(target), posixpath.dirname(here) or ".") + link[3]

    markdown = MARK.sub(r"\1", markdown)
    parts: list[str] = []
    end = 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(lead, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(lead, markdown[end:])])


def on_post_build(config: Any) -> None:
    """Warn of everything that a page of the site would load from another host."""
    for path in sorted(Path(config["site_dir"]).rglob("*.html")):
        for found in OTHER_HOST.finditer(path.read_text(encoding="utf-8")):
            if 'rel="canonical"' not in found[0]:
                log.warning("%s loads from another host: %s", path.name, found[0])


def _targets(page: str, text: str) -> list[str]:
    return [_resolved(page, link[2]) for link in LINK.finditer(FENCE.sub("", text))]


def _resolved(page: str, target: str) -> str:
    """The path of a link's target, from the root of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def _uri(path: str) -> str:
    """The place of a file of the repository on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.endswith((".md", *PICTURES)):
        return f"repository/{path}"
    return f"repository/{path}.md"
