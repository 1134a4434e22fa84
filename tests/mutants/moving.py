"""Sabotages of backups, restores and migrations: a copy that is not one, an entry lost."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["MOVING"]

CATALOG = "tools/backup/catalog.py"
COPYING = "tools/backup/copying.py"
OBJECT_STORE = "tools/backup/object_store.py"
NEW_STORE = "tools/migration/new_store.py"
PLAN_0D = "tools/migration/plan0d_files.py"
PLACES = "tools/backup/places.py"
RESTORE = "tools/backup/restore.py"
SINGLE_FILE = "tools/backup/single_file.py"
SOURCE = "tools/backup/source.py"
UPKEEP = "tools/upkeep.py"

TEST_BACKUP = "tests/tools/test_backup.py"
TEST_MIGRATE = "tests/tools/test_migrate_plan0d.py"
TEST_PLACES = "tests/tools/test_backup_places.py"
TEST_UPKEEP = "tests/tools/test_upkeep.py"

ONE_WRITER = "a writer that was left behind cannot add a copy, nor change one"
WHOLE = "a copy is the history up to its number, and restores to the recorded state"
NOTHING_LOST = "one bad line does not lose the rest, and nothing is applied twice"

MOVING = (
    Sabotage(
        name="a copy added to another history",
        breaks=ONE_WRITER,
        edits=(
            edit(
                COPYING,
                "            check_goes_on(self._disk, self._place, found, previous)\n",
                "            pass\n",
            ),
        ),
        caught_by=(TEST_BACKUP,),
    ),
    Sabotage(
        name="an object of the same name is replaced in an object store",
        breaks=ONE_WRITER,
        edits=(edit(OBJECT_STORE, 'mode="create"', 'mode="overwrite"'),),
        caught_by=(TEST_PLACES,),
    ),
    Sabotage(
        name="a file of the same name is replaced in a directory",
        breaks=ONE_WRITER,
        edits=(
            edit(
                PLACES,
                "        os.link(aside, path, follow_symlinks=False)\n",
                "        os.replace(aside, path)\n",
            ),
        ),
        caught_by=(TEST_PLACES, TEST_BACKUP),
    ),
    Sabotage(
        name="a single file replaced behind another writer's back",
        breaks=ONE_WRITER,
        edits=(
            edit(
                COPYING,
                "registry, previous, clock, advance, anew=True)",
                "registry, None, clock, advance, anew=True)",
            ),
        ),
        caught_by=(TEST_PLACES,),
    ),
    Sabotage(
        name="events copied before they are durable",
        breaks="a power cut never leaves a copy ahead of the store",
        edits=(
            edit(
                SOURCE,
                "            return frontier.seq if _writer_lives(disk) else whole\n",
                "            return whole\n",
            ),
        ),
        caught_by=(TEST_BACKUP,),
    ),
    Sabotage(
        name="a growing segment taken for the one copied before",
        breaks=WHOLE,
        edits=(
            edit(
                COPYING,
                "    return hashlib.sha256(memoryview(data)[: known.length]).hexdigest() "
                "== known.sha256\n",
                "    return True\n",
            ),
        ),
        caught_by=(TEST_BACKUP,),
    ),
    Sabotage(
        name="retention removes what newer copies need",
        breaks=WHOLE,
        edits=(edit(COPYING, "            if name not in needed:\n", "            if True:\n"),),
        caught_by=(TEST_BACKUP,),
    ),
    Sabotage(
        name="the catalog written before its parts",
        breaks=WHOLE,
        edits=(
            edit(
                COPYING,
                "        files = dict(self._copied(found))\n",
                "        self._place.put_new(\n"
                "            catalog_name(1), self._catalog(found, {}).sealed().encode()\n"
                "        )\n"
                "        files = dict(self._copied(found))\n",
            ),
        ),
        caught_by=(TEST_PLACES,),
    ),
    Sabotage(
        name="a damaged object restored",
        breaks=WHOLE,
        edits=(
            edit(
                CATALOG,
                "    if len(packed) != part.stored or "
                "hashlib.sha256(packed).hexdigest() != part.sha256:\n",
                "    if False:\n",
            ),
        ),
        caught_by=(TEST_BACKUP,),
    ),
    Sabotage(
        name="a catalog believed without its seal",
        breaks=WHOLE,
        edits=(
            edit(
                CATALOG,
                "    if not catalog.intact() or catalog.number != number:\n",
                "    if False:\n",
            ),
        ),
        caught_by=(TEST_BACKUP,),
    ),
    Sabotage(
        name="events behind the moment restored",
        breaks=WHOLE,
        edits=(
            edit(
                RESTORE,
                "            if record.first_seq + count - 1 > self._last:\n",
                "            if False:\n",
            ),
        ),
        caught_by=(TEST_BACKUP,),
    ),
    Sabotage(
        name="a restored store in the old timeline",
        breaks=ONE_WRITER,
        edits=(
            edit(
                RESTORE,
                "        save_manifest(self._disk, "
                "msgspec.structs.replace(manifest, timelines=timelines))\n",
                "        save_manifest(self._disk, manifest)\n",
            ),
        ),
        caught_by=(TEST_BACKUP,),
    ),
    Sabotage(
        name="a copied store in the old timeline",
        breaks=ONE_WRITER,
        edits=(
            edit(
                UPKEEP,
                "                    begun = begin_timeline(copied, manifest, seq)\n",
                "                    begun = manifest\n",
            ),
        ),
        caught_by=(TEST_UPKEEP,),
    ),
    Sabotage(
        name="compacting without the lock",
        breaks="one writer at a time",
        edits=(
            edit(
                UPKEEP,
                "            load_manifest(disk)\n"
                "            disk.lock()\n"
                "            manifest, listing = load_manifest(disk), Listing.read(disk)\n",
                "            manifest, listing = load_manifest(disk), Listing.read(disk)\n",
            ),
        ),
        caught_by=(TEST_UPKEEP,),
    ),
    Sabotage(
        name="a changed line of the plan's log applied",
        breaks=NOTHING_LOST,
        edits=(
            edit(
                PLAN_0D,
                '    if not verify_checksum(data, str(fields["checksum"])):\n',
                "    if False:\n",
            ),
        ),
        caught_by=(TEST_MIGRATE,),
    ),
    Sabotage(
        name="a damaged state of the plan taken for good",
        breaks=NOTHING_LOST,
        edits=(
            edit(
                PLAN_0D,
                "    if not verify_checksum(data, str(expected)):\n",
                "    if False:\n",
            ),
        ),
        caught_by=(TEST_MIGRATE,),
    ),
    Sabotage(
        name="entries in the plan's state applied again",
        breaks=NOTHING_LOST,
        edits=(
            edit(
                PLAN_0D,
                "    before, after = _divided(base, entries)\n",
                "    before, after = (), entries\n",
            ),
        ),
        caught_by=(TEST_MIGRATE,),
    ),
    Sabotage(
        name="a key refused later taken for an event",
        breaks="a migration names each line that became no event",
        edits=(
            edit(
                NEW_STORE,
                "            if not (receipt.done and receipt.error is None):",
                "            if not receipt.done:",
            ),
        ),
        caught_by=("tests/tools/test_migrate_events.py",),
    ),
)
