"""Configuration: :class:`StoreConfig`, and every way to say it.

Theory of operation. The annotations of :class:`StoreConfig` are the only statement of what a key
may be: its type, its bounds and its unit. Every road to a configuration (constructor, keyword
options, mapping, file) leads through :func:`_checked`, so all of them refuse the same values, and
a ``StoreConfig`` that exists is a valid one. What differs is how a key is named in the error: by
its full path, as the user wrote it (``live_trading.persistence.retain_snapshots``).

Sources are brought to native names one by one and only then laid over each other, so that a
keyword ``retain_snapshots=3`` overrides a file's ``backup_count: 5``, while both in one source
contradict each other and are refused.

Reading a configuration file is a plain blocking read: call :meth:`StoreConfig.load` before the
event loop starts, or in a thread, as ``EventStore.open`` does with a path.
"""

from __future__ import annotations

import enum
import os
import re
import reprlib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from eventstore.errors import ConfigError

__all__ = ["Durability", "History", "StoreConfig"]

ENGINE_BLOCK = ("live_trading", "persistence")
"""Where the trading engine's own configuration keeps the store's keys."""

ALIASES = {"retain_snapshots": "backup_count"}
"""Other names that mappings, files and keyword options may use, and what they stand for."""


class Durability(enum.Enum):
    """When ``append`` returns, and therefore what a failure can take back.

    Whatever the mode, what is found after a failure is an exact prefix of what was appended,
    groups are whole or absent, and a process that is killed (not the machine) loses nothing
    that was acknowledged.
    """

    COMMIT = "commit"
    """Acknowledged after ``fdatasync``. A power cut takes nothing that was acknowledged."""

    INTERVAL = "interval"
    """Acknowledged after the write, synced every ``sync_interval``.

    A power cut takes at most the events acknowledged in the last ``sync_interval`` (and during the
    ``fdatasync`` that was under way). The kill of the process takes nothing.
    """

    NONE = "none"
    """Acknowledged after the write; when it is synced is left to the operating system.

    A power cut takes whatever the system had not written back: on Linux by default about the last
    thirty seconds, with no upper bound promised. The kill of the process takes nothing.
    """


History = Literal["archive", "keep", "discard"]
"""What becomes of sealed segments older than the oldest kept snapshot."""

_YEAR = 31_536_000.0
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Events = Annotated[int, msgspec.Meta(ge=1, extra={"unit": "events"})]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=_YEAR, extra={"unit": "seconds"})]
_SegmentBytes = Annotated[
    int, msgspec.Meta(ge=4096, le=256 * 1024 * 1024, multiple_of=512, extra={"unit": "bytes"})
]


class StoreConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    repr_omit_defaults=True,
):
    """How a store behaves. Every key has a default that suits a trading engine.

    The constructor takes the fields below; :meth:`of`, :meth:`from_mapping` and :meth:`load` also
    take the alias ``retain_snapshots`` and strings for ``durability``.

    Raises :class:`ConfigError` for a wrong type or an impossible value, with the key in ``.key``.

    >>> StoreConfig(backup_count=3).auto_save_interval
    60.0
    >>> StoreConfig(backup_count=0)
    Traceback (most recent call last):
    eventstore.errors.ConfigError: backup_count = 0: expected `int` >= 1
    """

    durability: Durability = Durability.COMMIT
    """When ``append`` returns: see :class:`Durability`."""

    sync_interval: _Seconds = 0.05
    """Seconds between two syncs with ``Durability.INTERVAL``; without effect in the others."""

    segment_size: _SegmentBytes = 8 * 1024 * 1024
    """Bytes of a log file: 4 KiB to 256 MiB, a multiple of 512. The next is allocated ahead."""

    backup_count: _Count = 5
    """Snapshots kept, each with the segments that lead on from it; also ``retain_snapshots``."""

    wal_max_entries: _Events | None = 10_000
    """A snapshot is taken after so many events; ``None``: never by count."""

    auto_save_interval: _Seconds | None = 60.0
    """A snapshot is taken after so many seconds if anything changed; ``None``: never by time."""

    use_wal: bool = True
    """Whether events are logged. ``False``: snapshots only; a crash takes all events since one."""

    history: History = "archive"
    """Segments no snapshot needs: repacked and compressed, kept as they are, or discarded."""

    max_pending: _Events = 65_536
    """Events queued for commit; beyond it ``append`` waits and ``submit`` raises."""

    idle_seal: _Seconds = 1.0
    """Seconds of idleness after which the log is sealed, so that any later damage is detected."""

    slow_sync: _Seconds = 0.25
    """An ``fdatasync`` that takes more seconds than this is logged as a warning."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            checked = _checked(field, value, field)
            if checked is not value:
                msgspec.structs.force_setattr(self, field, checked)

    @property
    def retain_snapshots(self) -> int:
        """Another name for ``backup_count``."""
        return self.backup_count

    @classmethod
    def of(
        cls,
        value: StoreConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        /,
        **options: Any,
    ) -> StoreConfig:
        """A configuration from whatever says one: this is what ``EventStore.open`` calls.

        ``value``: a ``StoreConfig``, a mapping, the path of a file, or ``None`` for the defaults.
        ``options`` override it, by the same names as in a mapping.

        Raises :class:`ConfigError`.

        >>> StoreConfig.of({"backup_count": 7}, durability="interval").durability
        <Durability.INTERVAL: 'interval'>
        """
        if value is None:
            base = cls()
        elif isinstance(value, StoreConfig):
            base = value
        elif isinstance(value, Mapping):
            base = cls.from_mapping(value)
        elif isinstance(value, str | os.PathLike):
            base = cls.load(value)
        else:
            raise ConfigError(
                f"a configuration is a StoreConfig, a mapping or the path of a file, "
                f"not {reprlib.repr(value)}"
            )
        return msgspec.structs.replace(base, **_native(options, "")) if options else base

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> StoreConfig:
        """A configuration from the store's own keys, or from the engine's whole configuration.

        If there is a key ``live_trading``, the keys are those of ``live_trading.persistence`` and
        everything beside it is the engine's own; otherwise the mapping itself holds the keys.

        Raises :class:`ConfigError`, with the full path of the key in ``.key``.

        >>> StoreConfig.from_mapping({"live_trading": {"persistence": {"bakup_count": 5}}})
        Traceback (most recent call last):
        eventstore.errors.ConfigError: live_trading.persistence.bakup_count: no such key; \
did you mean 'backup_count'?
        """
        block, path = _block(mapping)
        return cls(**_native(block, path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StoreConfig:
        """A configuration from a ``.yaml``, ``.yml`` or ``.toml`` file, as :meth:`from_mapping`.

        Raises :class:`ConfigError` that names the file, and the line where it is malformed.
        """
        file = Path(path)
        parse = _PARSERS.get(file.suffix.lower())
        if parse is None:
            raise ConfigError(f"{file}: a configuration file ends in {', '.join(_PARSERS)}")
        try:
            found = parse(file.read_bytes())
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from error
        except (msgspec.DecodeError, *_SCALARS) as error:
            raise ConfigError(f"{file} is malformed: {_where(error)}") from error
        try:
            return cls.from_mapping({} if found is None else found)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}", key=error.key) from error


_SCALARS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What parsers let through: for a date like 2020-99-99, for ``!!int ''``, for nesting too deep."""
_PARSERS = {".yaml": msgspec.yaml.decode, ".yml": msgspec.yaml.decode, ".toml": msgspec.toml.decode}
_HINTS: dict[str, Any] = {
    field: typing.get_type_hints(StoreConfig, include_extras=True)[field]
    for field in StoreConfig.__struct_fields__
}


def _block(mapping: Any) -> tuple[Mapping[Any, Any], str]:
    """The mapping that holds the store's keys, and its path with a trailing dot."""
    path = ""
    block = _mapping(mapping, path)
    outer, inner = ENGINE_BLOCK
    if outer not in block:
        return block, path
    path = outer
    block = _mapping(block[outer], path)
    if inner not in block:
        import difflib

        for misspelt in difflib.get_close_matches(
            inner, [key for key in block if isinstance(key, str)], n=1
        ):
            raise ConfigError(
                f"{path}.{misspelt}: no such key; did you mean {inner!r}?", key=f"{path}.{misspelt}"
            )
        return {}, ""
    path = f"{path}.{inner}"
    return _mapping(block[inner], path), f"{path}."


def _mapping(value: Any, path: str) -> Mapping[Any, Any]:
    if value is None and path:  # a YAML block whose every line is commented out
        return {}
    if not isinstance(value, Mapping):
        where = path or "the configuration"
        raise ConfigError(f"{where} must be a mapping of keys, not {_shown(value)}", key=path)
    return value


def _native(source: Mapping[Any, Any], path: str) -> dict[str, Any]:
    """Check one source and bring it to native names; ``path`` comes before each key in errors."""
    values: dict[str, Any] = {}
    for key, value in source.items():
        where = f"{path}{key if isinstance(key, str) else _shown(key)}"
        field = ALIASES.get(key, key) if isinstance(key, str) else None
        if field not in _HINTS:
            raise ConfigError(f"{where}: no such key{_suggestion(key)}", key=where)
        if field in values:
            names = " and ".join(name for name in source if ALIASES.get(name, name) == field)
            raise ConfigError(f"{where}: {names} are the same key; give one of them", key=where)
        values[field] = _checked(field, value, where)
    return values


def _suggestion(key: Any) -> str:
    known = [*_HINTS, *ALIASES]
    name = key if isinstance(key, str) else _shown(key)
    import difflib

    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f" (known: {', '.join(known)})"


def _checked(field: str, value: Any, where: str) -> Any:
    """``value`` as the field's type has it, or a :class:`ConfigError` about the key ``where``."""
    hint = _HINTS[field]
    try:
        return msgspec.convert(value, hint)  # NaN is refused too: it is not greater than anything
    except msgspec.ValidationError as error:
        reason = _choices(hint) or f"{str(error)[0].lower()}{str(error)[1:]}"
    unit = unit_of(field)
    raise ConfigError(
        f"{where} = {_shown(value)}: {reason}{f' ({unit})' if unit else ''}", key=where
    )


def _shown(value: Any) -> str:
    """A value as it is shown in an error: shortened, and also where it has too many digits."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return f"a {type(value).__name__} that is too long to be shown"


def _choices(hint: Any) -> str | None:
    """What a key with a closed set of values expects, ``None`` for any other key."""
    if hint is Durability:
        names = [member.value for member in Durability]
    elif typing.get_origin(hint) is Literal:
        names = list(typing.get_args(hint))
    else:
        return None
    return f"expected one of {', '.join(map(repr, names))}"


def unit_of(field: str) -> str | None:
    """The unit that a key is given in, such as ``seconds``; ``None`` where it has none."""
    hint = _HINTS[field]
    for part in (hint, *typing.get_args(hint)):
        for meta in getattr(part, "__metadata__", ()):
            unit = (meta.extra or {}).get("unit")
            if unit is not None:
                return str(unit)
    return None


def _where(error: Exception) -> str:
    """A parser's complaint on one line, with its "line 2, column 5"."""
    return re.sub(r'in "<byte string>", ', "at ", re.sub(r"\s*\n\s*", " ", str(error)))
