"""Tools around a store: `verify`, migration, and the parts of the `eventstore` command.

The name `eventstore.tools.verify` is the function. The function hides the module of the same name.
"""

from eventstore.tools.migration.event_files import load_mapping, migrate_events
from eventstore.tools.migration.legacy_store import migrate_plan0d
from eventstore.tools.migration.plan0d import compute_checksum, verify_checksum
from eventstore.tools.verify import Damage, Divergence, Refold, Verification, verify

__all__ = [
    "Damage",
    "Divergence",
    "Refold",
    "Verification",
    "compute_checksum",
    "load_mapping",
    "migrate_events",
    "migrate_plan0d",
    "verify",
    "verify_checksum",
]
