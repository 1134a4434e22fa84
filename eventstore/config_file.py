"""Files that a caller names: read whole, or parsed as YAML or TOML to plain data."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from eventstore.errors import ConfigError

__all__ = ["parse_file", "read_regular_file"]

_PARSER_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""Errors that parsers let through: for a date 2020-99-99, for `!!int ''`, for deep nesting."""


def _parse_yaml(data: bytes) -> Any:
    """Parse YAML, and refuse a key that is given twice: of two values, PyYAML takes the last."""
    import yaml

    found = msgspec.yaml.decode(data)
    nodes = [yaml.compose(data, Loader=yaml.SafeLoader)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            seen: set[Any] = set()
            for key, value in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    line = key.start_mark.line + 1
                    raise ValueError(f"line {line}: the key {key.value!r} is given twice")
                seen.add(key.value if isinstance(key.value, str) else id(key))
                nodes += (key, value)
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
    return found


_PARSERS: dict[str, Callable[[bytes], Any]] = {
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": msgspec.toml.decode,
}


def parse_file(file: Path) -> Any:
    """Read and parse a `.yaml`, `.yml` or `.toml` file. Blocks while the file is read.

    Raises `ConfigError` with the name of the file, and the line where the file is malformed.
    """
    parse = _PARSERS.get(file.suffix.lower())
    if parse is None:
        raise ConfigError(f"{file}: a configuration file ends in {', '.join(_PARSERS)}")
    try:
        return parse(read_regular_file(file))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, *_PARSER_ERRORS) as error:
        raise ConfigError(f"{file} is malformed: {_on_one_line(error)}") from error


def read_regular_file(file: Path) -> bytes:
    """Read a file. A pipe or a device is refused at once: to wait for its other end has no bound.

    Raises `OSError`.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        if not stat.S_ISREG(mode):
            raise OSError(errno.ELOOP, "it is a pipe or a device, not a regular file", str(file))
        with open(descriptor, "rb", closefd=False) as opened:
            return opened.read()
    finally:
        os.close(descriptor)


def _on_one_line(error: Exception) -> str:
    """Return a parser's complaint on one line, with its "line 2, column 5"."""
    return re.sub(r'in "<byte string>", ', "at ", re.sub(r"\s*\n\s*", " ", str(error)))
