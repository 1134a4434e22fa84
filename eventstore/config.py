"""Configuration: `StoreConfig`, and every way to say one.

Theory of operation. The annotations of `StoreConfig` are the only statement of a key's type,
bounds and unit. The constructor, keyword options, mappings and files all lead through
`_checked_value`. All four therefore refuse the same values, and a `StoreConfig` that exists is
a valid one. Only the key's name in the error differs. The error gives the full path, as the user
wrote the key (`live_trading.persistence.retain_snapshots`).

Each source is first brought to native names alone. Then the sources are laid over each other. A
keyword `retain_snapshots=3` therefore overrides a file's `backup_count: 5`. Both keys in one
source contradict each other and are refused.

Reading a configuration file is a plain blocking read. Call `StoreConfig.load` before the event
loop starts, or in a thread, as `EventStore.open` does with a path.
"""

from __future__ import annotations

import enum
import os
import reprlib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from eventstore.arguments import checked_path, describe
from eventstore.config_file import parse_file
from eventstore.errors import ConfigError
from eventstore.foreign_values import cure_for
from eventstore.key_config import KeyConfig
from eventstore.replication_config import ReplicationConfig

__all__ = ["Durability", "History", "StoreConfig"]

ENGINE_BLOCK = ("live_trading", "persistence")
"""Place of the store's keys in the trading engine's own configuration."""

_SECRET = frozenset(("replicate",))
"""Keys whose wrong value may hold a password, and is not shown."""

ALIASES = {"retain_snapshots": "backup_count"}
"""Other names that mappings, files and keyword options may use, and the native name of each."""


class Durability(enum.Enum):
    """The moment when `append` returns, and therefore the events that a failure can take back.

    In every mode, the events found after a failure are an exact prefix of the appended events.
    Groups are whole or absent. The kill of the process (not of the machine) takes no acknowledged
    event.
    """

    COMMIT = "commit"
    """Acknowledged after `fdatasync`. A power cut takes no acknowledged event."""

    INTERVAL = "interval"
    """Acknowledged after the write, synced every `sync_interval`.

    A power cut takes at most the events acknowledged in the last `sync_interval` (and during the
    `fdatasync` that was under way). The kill of the process takes nothing.
    """

    NONE = "none"
    """Acknowledged after the write. The operating system decides when to sync.

    A power cut takes everything that the system had not written back. On Linux, by default, these
    are about the last thirty seconds, with no upper bound promised. The kill of the process takes
    nothing.
    """


History = Literal["archive", "keep", "discard"]
"""Fate of the sealed segments that are older than the oldest kept snapshot."""

_YEAR = 31_536_000.0
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Events = Annotated[int, msgspec.Meta(ge=1, extra={"unit": "events"})]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=_YEAR, extra={"unit": "seconds"})]
_SegmentBytes = Annotated[
    int, msgspec.Meta(ge=4096, le=256 * 1024 * 1024, multiple_of=512, extra={"unit": "bytes"})
]


class _ConfigMeta(msgspec.StructMeta):
    """The metaclass that refuses unknown keywords as a mapping's unknown keys are refused."""

    def __call__(cls, *values: Any, **keys: Any) -> Any:  # noqa: N805  of a metaclass
        if values:
            raise ConfigError(
                f"StoreConfig takes its keys by name, not {describe(values[0])}; for a mapping or "
                "a file: StoreConfig.of(value)"
            )
        for key in keys:
            if key not in _FIELD_TYPES:
                raise ConfigError(f"{key}: no such key{_suggestion(key)}", key=key)
        return super().__call__(**keys)


class StoreConfig(
    msgspec.Struct,
    metaclass=_ConfigMeta,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    repr_omit_defaults=True,
):
    """Behaviour of a store. Every key has a default that suits a trading engine.

    The constructor takes the fields below. `of`, `from_mapping` and `load` also take the
    alias `retain_snapshots` and strings for `durability`.

    Raises `ConfigError` for a wrong type or an impossible value, with the key in `.key`.

    >>> StoreConfig(backup_count=3).auto_save_interval
    60.0
    >>> StoreConfig(backup_count=0)
    Traceback (most recent call last):
    eventstore.errors.ConfigError: backup_count = 0: expected `int` >= 1
    """

    durability: Durability = Durability.COMMIT
    """Moment when `append` returns: see `Durability`."""

    sync_interval: _Seconds = 0.05
    """Seconds between two syncs with `Durability.INTERVAL`. Without effect in the other modes."""

    segment_size: _SegmentBytes = 8 * 1024 * 1024
    """Bytes that log files grow to: 4 KiB to 256 MiB, a multiple of 512. One is allocated ahead."""

    backup_count: _Count = 5
    """Snapshots kept, each with the segments that lead on from there. Also `retain_snapshots`."""

    wal_max_entries: _Events | None = 10_000
    """Events between snapshots: after so many, a snapshot is taken. `None`: never by count."""

    auto_save_interval: _Seconds | None = 60.0
    """Seconds between snapshots, if anything changed. `None`: never by time."""

    use_wal: bool = True
    """Logging of events. `False`: snapshots only, so a crash takes all events since the last."""

    history: History = "archive"
    """Segments that no snapshot needs: repacked and compressed, kept as they are, or discarded."""

    keyframe_events: _Events | None = 10_000
    """Events between keyframes, at least: old snapshots kept beside the archive, so that the state
    at any moment is near one. `None`: none are kept.
    """

    unusable_snapshots: Literal["refuse", "set_aside"] = "refuse"
    """Opening of a store of snapshots only, none of which can be used. `set_aside`: the unusable
    ones are moved to `quarantine/`, and the store goes on with what is left, or from the start.
    """

    max_pending: _Events = 65_536
    """Events queued for commit, at most. Beyond, `append` waits and `submit` raises."""

    idle_seal: _Seconds = 1.0
    """Seconds of idleness before the log is sealed. After a seal, any later damage is detected."""

    slow_sync: _Seconds = 0.25
    """Seconds that an `fdatasync` may take before a warning is logged."""

    commit_timeout: _Seconds | None = None
    """Seconds that a commit may take before the waiters get `OutcomeUnknownError`. `None`: any."""

    low_space: Literal["warn", "refuse"] = "warn"
    """Appends while no next segment fits on the disk. `refuse`: only those marked `essential`."""

    keys: KeyConfig = KeyConfig()
    """Identity keys: see `KeyConfig`. The default remembers each key for ever."""

    replicate: ReplicationConfig | None = None
    """Copying of the log to a NATS JetStream cluster: see `ReplicationConfig`. `None`: no copy."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            checked = _checked_value(field, value, field)
            if checked is not value:
                msgspec.structs.force_setattr(self, field, checked)

    @property
    def retain_snapshots(self) -> int:
        """Snapshots kept: another name for `backup_count`."""
        return self.backup_count

    @classmethod
    def of(
        cls,
        value: StoreConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        /,
        **options: Any,
    ) -> StoreConfig:
        """Make a configuration from any source. `EventStore.open` calls this method.

        Args:
            value: A `StoreConfig`, a mapping, the path of a file, or `None` for the defaults.
            options: Keys that override `value`, by the same names as in a mapping.

        Raises:
            ConfigError: A key is unknown, mistyped or impossible, or a file cannot be read.

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
                f"not {describe(value)}"
            )
        return msgspec.structs.replace(base, **_to_native_names(options, "")) if options else base

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> StoreConfig:
        """Make a configuration from the store's own keys, or from the engine's whole configuration.

        With a key `live_trading`, the store's keys are those of `live_trading.persistence`, and
        every other key is the engine's own. Otherwise the mapping itself holds the store's keys.

        Raises `ConfigError`, with the full path of the key in `.key`.

        >>> StoreConfig.from_mapping({"live_trading": {"persistence": {"bakup_count": 5}}})
        Traceback (most recent call last):
        eventstore.errors.ConfigError: live_trading.persistence.bakup_count: no such key; \
        did you mean 'backup_count'?
        """
        block, path = _find_block(mapping)
        return cls(**_to_native_names(block, path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StoreConfig:
        """Read a configuration from a `.yaml`, `.yml` or `.toml` file.

        The keys are those of `from_mapping`. Blocks while the file is read. Raises
        `ConfigError` that names the file, and the line where the file is malformed.
        """
        file = Path(checked_path(path))
        found = parse_file(file)
        try:
            return cls.from_mapping({} if found is None else found)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}", key=error.key) from error


_FIELD_TYPES: dict[str, Any] = typing.get_type_hints(StoreConfig, include_extras=True)


def _find_block(mapping: Any) -> tuple[Mapping[Any, Any], str]:
    """Return the mapping of the store's keys, and the mapping's path with a trailing dot."""
    path = ""
    block = _as_mapping(mapping, path)
    outer, inner = ENGINE_BLOCK
    if outer not in block:
        return block, path
    path = outer
    block = _as_mapping(block[outer], path)
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
    return _as_mapping(block[inner], path), f"{path}."


def _as_mapping(value: Any, path: str) -> Mapping[Any, Any]:
    if value is None and path:  # a YAML block whose every line is commented out
        return {}
    if not isinstance(value, Mapping):
        where = path or "the configuration"
        raise ConfigError(f"{where} must be a mapping of keys, not {_shorten(value)}", key=path)
    return value


def _to_native_names(source: Mapping[Any, Any], path: str) -> dict[str, Any]:
    """Check one source and return the values by native names.

    In errors, `path` comes before each key.
    """
    values: dict[str, Any] = {}
    for key, value in source.items():
        where = f"{path}{key if isinstance(key, str) else _shorten(key)}"
        field = ALIASES.get(key, key) if isinstance(key, str) else None
        if field not in _FIELD_TYPES:
            raise ConfigError(f"{where}: no such key{_suggestion(key)}", key=where)
        if field in values:
            names = " and ".join(name for name in source if ALIASES.get(name, name) == field)
            raise ConfigError(f"{where}: {names} are the same key; give one of them", key=where)
        values[field] = _checked_value(field, value, where)
    return values


def _suggestion(key: Any) -> str:
    import difflib

    known = [*_FIELD_TYPES, *ALIASES]
    name = key if isinstance(key, str) else _shorten(key)
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f" (known: {', '.join(known)})"


def _checked_value(field: str, value: Any, where: str) -> Any:
    """Return `value` as the field's type has it.

    Raises `ConfigError` about the key `where`.
    """
    hint = _FIELD_TYPES[field]
    try:
        return msgspec.convert(value, hint)  # NaN fails every comparison, so NaN is refused too
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:  # of any code of `value`
        reason = _expected_choices(hint) or f"{str(error)[:1].lower()}{str(error)[1:]}"
    unit, cure = unit_of(field), cure_for(value)
    advice = f"{f' ({unit})' if unit else ''}{f'; pass {cure}' if cure else ''}"
    shown = "" if field in _SECRET else f" = {_shorten(value)}"
    raise ConfigError(f"{where}{shown}: {reason}{advice}", key=where)


def _shorten(value: Any) -> str:
    """Return a value as an error shows it.

    The text is shortened. An integer with too many digits for `repr` is described instead.
    """
    try:
        return reprlib.repr(value)
    except ValueError:
        return f"a {type(value).__name__} that is too long to be shown"


def _expected_choices(hint: Any) -> str | None:
    """Return the values that a key with a closed set expects, `None` for any other key."""
    if hint is Durability:
        names = [member.value for member in Durability]
    elif typing.get_origin(hint) is Literal:
        names = list(typing.get_args(hint))
    else:
        return None
    return f"expected one of {', '.join(map(repr, names))}"


def unit_of(field: str) -> str | None:
    """Return the unit of a key's value, such as `seconds`, or `None` for a key without one."""
    hint = _FIELD_TYPES[field]
    for part in (hint, *typing.get_args(hint)):
        for meta in getattr(part, "__metadata__", ()):
            unit = (meta.extra or {}).get("unit")
            if unit is not None:
                return str(unit)
    return None
