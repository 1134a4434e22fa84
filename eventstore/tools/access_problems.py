"""Whether the owner of a store's directory may use every file in it, decided without opening one.

A writer needs files and folders that are its own, and refuses symbolic links.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    CURSOR_FOLDER,
    KEYS_FOLDER,
    LOG_FOLDER,
    MANIFEST,
    QUARANTINE_FOLDER,
    ROOT_NAMES,
    SNAPSHOT_FOLDER,
    SPARE_SEGMENT,
    archive_seq,
    run_range,
    segment_seq,
    snapshot_seq,
)

__all__ = ["access_problems", "directory_problem", "user_name"]

_FOLDERS = frozenset(
    {LOG_FOLDER, ARCHIVE_FOLDER, SNAPSHOT_FOLDER, KEYS_FOLDER, QUARANTINE_FOLDER, CURSOR_FOLDER}
)
_MOST = 5  # problems; more of them are of one kind as a rule


def access_problems(path: str | os.PathLike[str]) -> list[str]:
    """Return what keeps the directory's owner from using the store, with the cure."""
    found: list[str] = []
    for problem in _problems(Path(path)):
        found.append(problem)
        if len(found) == _MOST:
            break
    return found


def directory_problem(path: str | os.PathLike[str]) -> str | None:
    """Return what is wrong with the directory itself, `None` for nothing."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return f"{path} is a symbolic link to {os.readlink(path)}: give the directory itself"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(status.st_mode)
        return f"{path} can be written by others (mode {mode:04o}): chmod go-w {path}"
    if not status.st_mode & stat.S_IWUSR:
        mode = stat.S_IMODE(status.st_mode)
        return f"{path} may not be written to (mode {mode:04o}): chmod u+w {path}"
    return None


def user_name(uid: int) -> str:
    """Return the name of a user, or the number of a user without one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _problems(path: Path) -> Iterator[str]:
    whole = directory_problem(path)
    if whole is not None:
        yield whole
    owner = os.lstat(path).st_uid
    for name in sorted(ROOT_NAMES):
        folder = name in _FOLDERS
        yield from _problem(path, name, owner, folder=folder)
        if folder and (path / name).is_dir() and not (path / name).is_symlink():
            for base in filter(_is_own, _names(path / name)):
                yield from _problem(path, f"{name}/{base}", owner, folder=False)


def _is_own(base: str) -> bool:
    """Whether a file's name is one that an opening reads or writes."""
    numbers = (segment_seq(base), archive_seq(base), snapshot_seq(base), run_range(base))
    return any(number is not None for number in numbers) or SPARE_SEGMENT.endswith(f"/{base}")


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except PermissionError:
        return []


def _problem(path: Path, name: str, owner: int, *, folder: bool) -> Iterator[str]:
    try:
        status = os.lstat(path / name)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return
    mode, needed = stat.S_IMODE(status.st_mode), stat.S_IRUSR | stat.S_IWUSR
    if stat.S_ISLNK(status.st_mode):
        yield f"{name} is a symbolic link to {os.readlink(path / name)}: put the file in its place"
    elif (stat.S_ISDIR if folder else stat.S_ISREG)(status.st_mode) is False:
        needed_to_open = (MANIFEST, f"{LOG_FOLDER}/0", f"{SNAPSHOT_FOLDER}/")
        if folder or name.startswith(needed_to_open):
            yield f"{name} is no {'folder' if folder else 'regular file'}: move it away"
    elif status.st_uid != owner:
        yield (
            f"{name} belongs to {user_name(status.st_uid)}, mode {mode:04o}; the store to "
            f"{user_name(owner)}: chown {user_name(owner)} {path / name}"
        )
    elif status.st_mode & needed != needed and owner != 0:
        yield f"{name} may not be used by its owner (mode {mode:04o}): chmod u+rw {path / name}"
    elif folder and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield f"{name} can be written by others (mode {mode:04o}): chmod go-w {path / name}"
