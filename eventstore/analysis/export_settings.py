"""The settings of an export: what the files hold, and in which form."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from eventstore.arguments import argument_error, checked_text
from eventstore.errors import ConfigError
from eventstore.tools.selection import Condition

__all__ = ["DECIMALS", "FORMATS", "ExportSettings", "checked_decimals"]

DECIMALS: Final = ("decimal128", "string", "float")
FORMATS: Final = ("parquet", "csv", "jsonl")


class ExportSettings(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """The settings that all files of one export share.

    Attributes:
        format: `parquet`, `csv` or `jsonl`, which is also how the names of the files end.
        decimals: `decimal128`, `string` or `float`. Text formats write `decimal128` as text.
        partition: `day` for one folder for each day (UTC), else empty.
        operations: The operations to keep, all if empty. `("all",)` is one table of all events.
        key: The key of the events to keep, `None` for all.
        where: Conditions on fields of the payload, as text, such as `symbol=BTC-USDT`.
    """

    format: str = "parquet"
    decimals: str = "decimal128"
    partition: str = ""
    operations: tuple[str, ...] = ()
    key: str | None = None
    where: tuple[str, ...] = ()

    def checked(self) -> ExportSettings:
        """Return the settings. Raises `ConfigError` for an impossible one."""
        checked_decimals(self.decimals)
        if checked_text("format", self.format) not in FORMATS:
            raise argument_error("format", self.format, f"expected one of {', '.join(FORMATS)}")
        if checked_text("partition", self.partition) not in ("", "day"):
            raise argument_error("partition", self.partition, "expected 'day', or nothing")
        key = None if self.key is None else checked_text("key", self.key)
        for name in ("operations", "where"):
            texts: Any = getattr(self, name)
            if not isinstance(texts, tuple | list):
                raise argument_error(name, texts, "expected several texts, in a tuple")
            for text in texts:
                checked_text(name, text)
        return msgspec.structs.replace(self, key=key)

    def conditions(self) -> tuple[Condition, ...]:
        """Return the conditions on fields. Raises `ConfigError` for text that is none."""
        try:
            return tuple(map(Condition.parse, self.where))
        except ValueError as error:
            raise ConfigError(f"where: {error}", key="where") from error

    def going_on(self, earlier: ExportSettings) -> ExportSettings:
        """Return the settings of the earlier export, to go on with.

        Raises `ConfigError` for one that is given and is another than the earlier one.
        """
        default = ExportSettings()
        for name in self.__struct_fields__:
            given, before = getattr(self, name), getattr(earlier, name)
            if given not in (before, getattr(default, name)):
                raise ConfigError(
                    f"{name} = {given!r}: the export goes on with {before!r}, as it began; leave "
                    "it out, or export to another path",
                    key=name,
                )
        return earlier


def checked_decimals(decimals: Any) -> str:
    """Return how decimals are kept. Raises `ConfigError` for any other word."""
    if checked_text("decimals", decimals) not in DECIMALS:
        raise argument_error("decimals", decimals, f"expected one of {', '.join(DECIMALS)}")
    found: str = decimals
    return found
