"""Sabotages of reading behind damage, of mending bits, and of repairs."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["REPAIR"]

ASSEMBLY = "repair/assembly.py"
BACKUPS = "repair/backups.py"
FLIPPED_BITS = "log/flipped_bits.py"
HISTORY_FOLD = "repair/history_fold.py"
PRICES = "repair/prices.py"
PROPOSING = "repair/proposing.py"
REFOLD_PART = "tools/refold_part.py"
REPAIRING = "repair/repairing.py"
REPLAY = "reading/replay.py"
SALVAGE = "repair/salvage.py"
SCAN = "repair/segment_scan.py"
STORE_EVENTS = "reading/open_store_events.py"

TEST_BITS = "tests/log/test_flipped_bits.py"
TEST_DIAGNOSIS = "tests/repair/test_diagnosis.py"
TEST_EVERY_DAMAGE = "tests/command_line/test_every_damage.py"
TEST_IN_PLACE = "tests/repair/test_in_place_crash.py"
TEST_OTHER_HANDLERS = "tests/repair/test_other_handlers.py"
TEST_REPAIR = "tests/repair/test_repair.py"

REPAIR = (
    Sabotage(
        name="a repair begun from a snapshot of other handlers",
        breaks="a repair that cannot give a state back is refused before anything is written",
        edits=(edit(REPAIRING, "            check_handlers(history, registry)\n", ""),),
        caught_by=(f"{TEST_OTHER_HANDLERS} -k nothing",),
    ),
    Sabotage(
        name="a cut that leaves no state to begin with",
        breaks="a remedy that is offered leads to a store that opens",
        edits=(
            edit(
                PRICES,
                "not one.damage and one.seq <= last for one in diagnosis.snapshots",
                "True for _ in diagnosis.snapshots",
            ),
        ),
        caught_by=(f"{TEST_OTHER_HANDLERS} -k cut",),
    ),
    Sabotage(
        name="a damaged run of keys taken along",
        breaks="a repair leaves damaged runs of keys out, and the next opening makes them again",
        edits=(
            edit(
                REPAIRING,
                "            return [one.name for one in history.diagnosis.places "
                "if one.kind is Kind.KEYS]\n",
                "            return []\n",
            ),
        ),
        caught_by=(f"{TEST_EVERY_DAMAGE} -k keys",),
    ),
    Sabotage(
        name="a mended record with another number taken",
        breaks="a mended record has the number of its place",
        edits=(
            edit(
                FLIPPED_BITS,
                "    if record.first_seq != seq or not holds_events(mended, record):\n",
                "    if not holds_events(mended, record):\n",
            ),
        ),
        caught_by=(f"{TEST_BITS} -k number",),
    ),
    Sabotage(
        name="mended records that lead elsewhere taken",
        breaks="mended records lead to the next whole record",
        edits=(
            edit(
                FLIPPED_BITS,
                "    return flips if (offset, seq) == (end, next_seq) else None\n",
                "    return flips\n",
            ),
        ),
        caught_by=(f"{TEST_BITS} -k row",),
    ),
    Sabotage(
        name="reading ends at the first damage",
        breaks="reading goes on behind damage, record by record",
        edits=(edit(SCAN, "                if found is None:\n", "                if True:\n"),),
        caught_by=(f"{TEST_DIAGNOSIS} -k flipped_bit",),
    ),
    Sabotage(
        name="only the first refused event named",
        breaks="each event that a handler refuses is a place of its own",
        edits=(
            edit(
                PROPOSING,
                "        history = msgspec.structs.replace(history, dropped=frozenset(refused))\n",
                "        break\n",
            ),
        ),
        caught_by=(f"{TEST_EVERY_DAMAGE} -k named_and_priced",),
    ),
    Sabotage(
        name="a renamed segment taken for a stray one",
        breaks="a segment is found by its header",
        edits=(
            edit(
                "repair/segments_by_header.py",
                "        if usable and header.first_seq not in placed:\n",
                "        if False:\n",
            ),
        ),
        caught_by=(f"{TEST_EVERY_DAMAGE} -k 'trading_again and renamed'",),
    ),
    Sabotage(
        name="a gap told behind the end of a damaged log",
        breaks="a gap has events",
        edits=(
            edit(
                SALVAGE,
                "        ended = scan.seal is not SealKind.CONTINUED and not (scan.holes and "
                "scan.holes[-1].open)\n",
                "        ended = False\n",
            ),
        ),
        caught_by=(f"{TEST_EVERY_DAMAGE} -k 'readable and closed'",),
    ),
    Sabotage(
        name="a gap closed by moving the numbers",
        breaks="a lost event keeps a place in the log",
        edits=(
            edit(
                ASSEMBLY,
                "                yield self._lost(seq, run.first - 1)\n",
                "                pass\n",
            ),
        ),
        caught_by=(f"{TEST_REPAIR} -k lost_events",),
    ),
    Sabotage(
        name="segments behind a rebuilt one taken over",
        breaks="every segment of a repaired store is what its successor says",
        edits=(edit(ASSEMBLY, "            self._relinking = True\n", "            pass\n"),),
        caught_by=(f"{TEST_REPAIR} -k flipped_before",),
    ),
    Sabotage(
        name="lost events handed to readers",
        breaks="readers pass over lost events",
        edits=(edit(REPLAY, "        if not gaps:\n", "        if False:\n"),),
        caught_by=(f"{TEST_REPAIR} -k pass_over",),
    ),
    Sabotage(
        name="lost events handed out by an open store",
        breaks="readers pass over lost events",
        edits=(
            edit(
                STORE_EVENTS,
                "        if not gaps:\n",
                "        if False:\n",
            ),
        ),
        caught_by=(f"{TEST_REPAIR} -k pass_over",),
    ),
    Sabotage(
        name="any whole file of a backup taken",
        breaks="a restored file is of this store",
        edits=(
            edit(
                BACKUPS,
                "header.store != diagnosis.manifest.store or header.first_seq",
                "header.first_seq",
            ),
        ),
        caught_by=(f"{TEST_REPAIR} -k another_store",),
    ),
    Sabotage(
        name="a repair in place without a copy of before",
        breaks="every byte that a repair takes out is kept",
        edits=(
            edit(
                REPAIRING,
                "            self._keep(target, [*self._touched(old), *self._stale()])\n",
                "            pass\n",
            ),
        ),
        caught_by=(f"{TEST_REPAIR} -k every_byte",),
    ),
    Sabotage(
        name="a copy of before that a power cut takes",
        breaks="a machine that dies amid a repair in place loses nothing",
        edits=(
            edit(
                REPAIRING,
                "            aside.close()\n        sync_folder(target, QUARANTINE_FOLDER)\n",
                "            aside.close()\n",
            ),
        ),
        caught_by=(f"{TEST_IN_PLACE} -k rebuild",),
    ),
    Sabotage(
        name="a backup closed before the repair",
        breaks="a command line restores a segment from a directory",
        edits=(
            edit(
                BACKUPS,
                "        yield backup\n        return\n",
                "        yield backup\n        backup and backup.close()\n        return\n",
            ),
        ),
        caught_by=(f"{TEST_EVERY_DAMAGE} -k 'backup and segment'",),
    ),
    Sabotage(
        name="a mend called confirmed unasked",
        breaks="only a snapshot with the same state confirms a mend",
        edits=(
            edit(
                HISTORY_FOLD,
                " if registry.states.digest(again.state) == loaded.digest else 0\n",
                "\n",
            ),
        ),
        caught_by=(f"{TEST_REPAIR} -k confirm",),
    ),
    Sabotage(
        name="a repaired gap taken for a handler that differs",
        breaks="a repaired store passes verify",
        edits=(edit(REFOLD_PART, "        if not gap:\n", "        if True:\n"),),
        caught_by=(f"{TEST_REPAIR} -k flipped_before",),
    ),
)
