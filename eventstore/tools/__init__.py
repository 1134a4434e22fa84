"""Tools around a store: `verify`, migration, and the parts of the `eventstore` command.

The name `eventstore.tools.verify` is the function. The function hides the module of the same name.
"""

from eventstore.tools.backup.copying import Copy
from eventstore.tools.backup.entrance import list_copies, make_backup, open_place
from eventstore.tools.backup.restore import Restored, RestorePlan, plan_restore, restore
from eventstore.tools.migration.event_files import load_mapping, migrate_events
from eventstore.tools.migration.migrate_plan0d import migrate_plan0d
from eventstore.tools.migration.plan0d_files import compute_checksum, verify_checksum
from eventstore.tools.upkeep import compact_store, copy_store, snapshot_store
from eventstore.tools.verify import Damage, Divergence, Refold, Verification, verify

__all__ = [
    "Copy",
    "Damage",
    "Divergence",
    "Refold",
    "RestorePlan",
    "Restored",
    "Verification",
    "compact_store",
    "compute_checksum",
    "copy_store",
    "list_copies",
    "load_mapping",
    "make_backup",
    "migrate_events",
    "migrate_plan0d",
    "open_place",
    "plan_restore",
    "restore",
    "snapshot_store",
    "verify",
    "verify_checksum",
]
