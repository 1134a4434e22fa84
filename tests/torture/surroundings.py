"""The surroundings of a program, drawn at random: its configuration and its decimal context."""

from __future__ import annotations

import decimal
from random import Random

import msgspec

from eventstore import Durability, StoreConfig
from eventstore.key_config import KeyConfig, RememberConfig
from eventstore.snapshot import keyframes

__all__ = ["CONTEXTS", "config_for"]

keyframes.BYTES_PER_EVENT = 1 << 20  # so that a history of few events has keyframes

CONTEXTS = (
    decimal.Context(),
    decimal.Context(prec=3, rounding=decimal.ROUND_UP),
    decimal.Context(prec=60, rounding=decimal.ROUND_FLOOR, traps=[]),
    decimal.Context(prec=34, traps=[decimal.Inexact, decimal.Rounded]),
)
"""Decimal contexts of a caller. No fold may round by any of them, or raise by their traps."""


def config_for(random: Random) -> StoreConfig:
    """Return a configuration with small segments and few snapshots, so that little data does
    everything.
    """
    config = StoreConfig(
        durability=random.choice((Durability.COMMIT,) * 4 + (Durability.INTERVAL, Durability.NONE)),
        segment_size=random.choice((4096, 4096, 4608, 8192, 16384)),
        wal_max_entries=random.choice((None, 4, 9, 25)),
        backup_count=random.choice((1, 2, 3)),
        history=random.choice(("archive", "archive", "keep", "discard")),
        max_pending=random.choice((6, 65_536)),
        idle_seal=random.choice((0.5, 1e6)),
        auto_save_interval=random.choice((None, 3.0)),
    )
    # Not drawn by itself, since the programs that once found a fault are known by their draws.
    events = {4608: None, 8192: 10}.get(config.segment_size, 1)
    remembered = RememberConfig(events={4608: 12, 8192: 30}.get(config.segment_size))
    return msgspec.structs.replace(
        config, keyframe_events=events, keys=KeyConfig(remember=remembered)
    )
