"""The configuration of identity keys: how long keys are remembered, and what lost ones mean."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

__all__ = ["KeyConfig", "RememberConfig"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class RememberConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The time after which keys are forgotten, counted in events or by the times of events.

    Attributes:
        events: Number of events, so many after its own a key is forgotten.
        age: A whole number with a unit, such as `"30d"`: `s`, `m`, `h`, `d` or `w`.
    """

    events: Annotated[int, msgspec.Meta(ge=1)] | None = None
    age: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,8}[smhdw]$")] | None = None

    @property
    def age_ns(self) -> int | None:
        """The age in nanoseconds.

        >>> RememberConfig(age="2m").age_ns
        120000000000
        """
        return None if self.age is None else int(self.age[:-1]) * _SECONDS[self.age[-1]] * 10**9


class KeyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part `keys` of a configuration.

    Attributes:
        remember: The time after which keys are forgotten. By default, keys are remembered for ever.
        lost: Opening of a store whose keys were lost together with their events. `refuse` raises
            `CorruptStoreError`, and `forget` goes on without these keys.
    """

    remember: RememberConfig = RememberConfig()
    lost: Literal["refuse", "forget"] = "refuse"
