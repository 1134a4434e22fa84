"""What is at a path that was given for a store, where no store is: a hint for the operator."""

from __future__ import annotations

import difflib
import itertools
import re
import shlex
from pathlib import Path

from eventstore.tools.staging import is_backup, is_store

__all__ = ["hint_about"]

_LOOKED_AT = 1_000
"""Entries of a directory that are looked at."""
_SHOWN = 3


def hint_about(path: str) -> str | None:
    """Say what is at `path` in place of a store, or beside it. `None` where nothing helps."""
    folder = Path(path)
    url = re.match(r"([a-z0-9]+):/+(?=[^/])", path)
    if url is not None:  # a path has lost one of the slashes
        place = f"{url[1]}://{path[url.end() :]}"
        command = f"eventstore restore {shlex.quote(place)} NEW"
        return f"{place} is a place of backups: {command} makes a store of the newest one"
    try:
        if is_store(folder):
            return None
        for outer in (folder, *folder.parents):
            if is_backup(outer):
                command = f"eventstore restore {shlex.quote(str(outer))} NEW"
                return f"{outer} is a backup: {command} makes a store of it"
            if is_store(outer):
                return f"{path} is within the store {outer}: give the path {outer}"
        if folder.is_dir():
            inside = [str(one) for one in _stores_in(folder)]
            return _listed(f"{path} is a directory. In it:", inside)
        names = {one.name: str(one) for one in _stores_in(folder.parent)}
        close = difflib.get_close_matches(folder.name, names, _SHOWN)
        return _listed("beside it:", [names[name] for name in close])
    except OSError:  # the error itself says more
        return None


def _stores_in(folder: Path) -> list[Path]:
    return sorted(filter(is_store, itertools.islice(folder.iterdir(), _LOOKED_AT)))


def _listed(words: str, stores: list[str]) -> str | None:
    if not stores:
        return None
    more = f" and {len(stores) - _SHOWN} more" if len(stores) > _SHOWN else ""
    kind = "store" if len(stores) == 1 else "stores"
    return f"{words} {kind} {', '.join(stores[:_SHOWN])}{more}"
