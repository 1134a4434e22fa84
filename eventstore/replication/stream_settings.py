"""The settings of a stream: those of a new one, and what differs in one that is there."""

from __future__ import annotations

from typing import Any

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from eventstore.replication.messages import subjects
from eventstore.replication_config import ReplicationConfig

__all__ = ["differences", "wanted_settings"]


def wanted_settings(config: ReplicationConfig) -> StreamConfig:
    """Return the settings of a new stream. A full stream refuses, and never drops the oldest."""
    return StreamConfig(
        name=config.stream,
        subjects=subjects(config.stream),
        num_replicas=config.replicas,
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        allow_direct=False,
    )


def differences(found: StreamConfig, wanted: StreamConfig) -> list[str]:
    """Name the settings in which a stream differs from the wanted ones."""
    told = []
    for name in ("num_replicas", "storage", "retention", "discard"):
        one, other = getattr(found, name), getattr(wanted, name)
        if one != other:
            told.append(f"{name} is {_shown(one)}, not {_shown(other)}")
    if sorted(found.subjects or ()) != sorted(wanted.subjects or ()):
        told.append(f"subjects are {found.subjects}, not {wanted.subjects}")
    if found.max_age:
        told.append(f"max_age is {found.max_age:g} s, so records vanish by themselves")
    if (found.max_msgs_per_subject or -1) > 0:
        told.append("max_msgs_per_subject is set, so a new record removes the oldest one")
    if found.deny_delete or found.deny_purge:
        told.append("deny_delete or deny_purge is set, so nobody can trim or mend the stream")
    if found.mirror or found.sources or found.sealed or found.subject_transform:
        told.append("the stream is sealed, transforms its subjects, or is a copy of other streams")
    if found.no_ack:
        told.append("no_ack is set, so nothing is acknowledged")
    return told


def _shown(value: Any) -> str:
    return str(getattr(value, "value", value))
