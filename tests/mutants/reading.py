"""Sabotages of archives, keyframes and readers: an index or a state believed without a look."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["READING"]

ARCHIVE = "log/archive.py"
ARCHIVE_FORMAT = "log/archive_format.py"
BASES = "reading/bases.py"
SNAPSHOT_SEARCH = "snapshot/snapshot_search.py"
KEYFRAMES = "snapshot/keyframes.py"
VAULT = "snapshot/vault.py"
VERIFY = "tools/verify.py"
DURABLE_LOG = "log/durable.py"
READER = "log/reader.py"
SEEK = "log/seek.py"
SEGMENT_READER = "log/segment_reader.py"
MENDING = "repair/archives.py"

TEST_READ_COSTS = "tests/reading/test_read_costs.py"
TEST_FORMAT = "tests/log/test_archive_format.py"
TEST_ARCHIVE = "tests/log/test_archive.py"
TEST_KEYFRAMES = "tests/snapshot/test_keyframes.py"
TEST_STATE_SLICES = "tests/model/test_state_slices.py"
TEST_SEEK = "tests/log/test_seek.py"
TEST_BITS = "tests/damage/test_bits.py"

TOLD = "every flipped bit of an archive is noticed"
NO_LIE = "an index with a right checksum is not believed"

NO_FALSE_STATE = "a moment has the state of this history, whatever lies beside the archive"

READING = (
    Sabotage(
        name="segments begun after the kept listing not looked for",
        breaks="an open store reads every durable event, however long ago its files were listed",
        edits=(
            edit(
                READER,
                "                if self._newest_segment() <= file.first_seq:\n",
                "                if True:\n",
            ),
        ),
        caught_by=(f"{TEST_READ_COSTS} -k since",),
    ),
    Sabotage(
        name="a kept listing not made again where a file is gone",
        breaks="events that were archived since are read, and discarded ones are refused",
        edits=(
            edit(
                READER,
                "                history = self._list_files()\n                continue\n",
                "                continue\n",
            ),
        ),
        caught_by=(f"{TEST_READ_COSTS} -k since", f"{TEST_READ_COSTS} -k discarded"),
    ),
    Sabotage(
        name="damage taken for the end of the events",
        breaks="damage is never taken for the end of the log",
        edits=(
            edit(
                DURABLE_LOG,
                "        if isinstance(ends, Exception):\n            raise ends\n",
                "",
            ),
        ),
        caught_by=(f"{TEST_READ_COSTS} -k before_damage",),
    ),
    Sabotage(
        name="events before damage not given",
        breaks="everything before damage can be read",
        edits=(
            edit(DURABLE_LOG, "                return taken, error\n", "                raise\n"),
        ),
        caught_by=(f"{TEST_READ_COSTS} -k before_damage",),
    ),
    Sabotage(
        name="a loaded object believed to hold what was read",
        breaks="a loaded state has the digest in the snapshot",
        edits=(edit("model/slice_collectors.py", "    check_kept(made, parts)\n", ""),),
        caught_by=(f"{TEST_STATE_SLICES} -k they_are_refused",),
    ),
    Sabotage(
        name="a keyframe of another timeline believed",
        breaks=NO_FALSE_STATE,
        edits=(
            edit(
                VAULT,
                "            if lineage is not None and not is_of(header, lineage):\n",
                "            if False:\n",
            ),
        ),
        caught_by=(f"{TEST_KEYFRAMES} -k timeline",),
    ),
    Sabotage(
        name="the time of a keyframe of another timeline believed",
        breaks=NO_FALSE_STATE,
        edits=(
            edit(
                SNAPSHOT_SEARCH,
                "            known = not offset or is_of(header, lineage)\n",
                "            known = True\n",
            ),
        ),
        caught_by=(f"{TEST_KEYFRAMES} -k timeline",),
    ),
    Sabotage(
        name="verify passes over keyframes",
        breaks="a keyframe that lies is told",
        edits=(
            edit(
                VERIFY,
                "            self._snapshot(manifest, seq, keyframe=True)\n",
                "            pass\n",
            ),
        ),
        caught_by=(TEST_KEYFRAMES,),
    ),
    Sabotage(
        name="keyframes of any size",
        breaks="keyframes take less space than the events in the archive",
        edits=(
            edit(
                KEYFRAMES,
                "        if len(keyframe) <= since * BYTES_PER_EVENT:\n",
                "        if True:\n",
            ),
        ),
        caught_by=(TEST_KEYFRAMES,),
    ),
    Sabotage(
        name="a base listed before it moves, and after",
        breaks="a moment is found while the writer moves a snapshot",
        edits=(
            edit(
                BASES,
                "    snapshots = list_snapshots(disk)\n"
                "    return sorted({*snapshots, *list_keyframes(disk)})\n",
                "    keyframes = list_keyframes(disk)\n"
                "    return sorted({*list_snapshots(disk), *keyframes})\n",
            ),
        ),
        caught_by=(TEST_KEYFRAMES,),
    ),
    Sabotage(
        name="a block's checksum skipped",
        breaks=TOLD,
        edits=(
            edit(
                ARCHIVE_FORMAT,
                "    if zlib.crc32(frame) != index.checksums[number]:\n",
                "    if False:\n",
            ),
        ),
        caught_by=(f"{TEST_BITS} -k archive_is_told",),
    ),
    Sabotage(
        name="an index's checksum skipped",
        breaks=TOLD,
        edits=(
            edit(
                ARCHIVE_FORMAT,
                "    if crc != _CRC.unpack_from(tail, at - _CRC.size)[0]:\n",
                "    if False:\n",
            ),
        ),
        caught_by=(f"{TEST_BITS} -k archive_is_told",),
    ),
    Sabotage(
        name="the seek table outside the checksum",
        breaks=TOLD,
        edits=(
            edit(
                ARCHIVE_FORMAT,
                "zlib.crc32(tail[at:], zlib.crc32(tail[_SKIPPABLE.size : at - _CRC.size]))",
                "zlib.crc32(tail[_SKIPPABLE.size : at - _CRC.size])",
            ),
            edit(
                ARCHIVE_FORMAT,
                "    crc = _CRC.pack(zlib.crc32(table, zlib.crc32(payload)))\n",
                "    crc = _CRC.pack(zlib.crc32(payload))\n",
            ),
        ),
        caught_by=(TEST_FORMAT, f"{TEST_BITS} -k archive_is_told"),
    ),
    Sabotage(
        name="a block of any length",
        breaks=NO_LIE,
        edits=(edit(ARCHIVE_FORMAT, "    if len(data) != size:\n", "    if False:\n"),),
        caught_by=(TEST_ARCHIVE, TEST_FORMAT),
    ),
    Sabotage(
        name="more than one frame for a block",
        breaks=NO_LIE,
        edits=(
            edit(
                ARCHIVE_FORMAT,
                "    if not decompressor.eof or decompressor.unused_data:\n",
                "    if not decompressor.eof:\n",
            ),
        ),
        caught_by=(TEST_ARCHIVE,),
    ),
    Sabotage(
        name="an index not compared with its segment",
        breaks=NO_LIE,
        edits=(
            edit(
                ARCHIVE_FORMAT,
                "        if found != (self.firsts, self.latest, self.next_seq):\n",
                "        if False:\n",
            ),
        ),
        caught_by=(TEST_FORMAT,),
    ),
    Sabotage(
        name="the header of an archive's segment not compared with the index",
        breaks=NO_LIE,
        edits=(
            edit(
                ARCHIVE_FORMAT,
                "        if header.size != self.offsets[-1]:\n",
                "        if False:\n",
            ),
        ),
        caught_by=(TEST_ARCHIVE,),
    ),
    Sabotage(
        name="an archive under another's name",
        breaks="no event has the number of another",
        edits=(
            edit(
                SEGMENT_READER,
                "        check_owner(disk, store, file, index.store, index.firsts[0])\n",
                "",
            ),
        ),
        caught_by=(TEST_ARCHIVE,),
    ),
    Sabotage(
        name="all packed records of a segment held at once",
        breaks="a segment is in memory once while it is archived",
        edits=(
            edit(
                "log/archive.py",
                "    pack = functools.partial(repack, data, records, first, pause)\n",
                "    packed = list(repack(data, records, first, pause))\n"
                "    pack = functools.partial(list, packed)\n",
            ),
        ),
        caught_by=("tests/test_costs.py -k archived",),
    ),
    Sabotage(
        name="a record found by search is not verified",
        breaks="a flipped bit is never given as an event",
        edits=(
            edit(
                SEEK,
                "            records.append(read_record(data, at, salt, place=offset + at))\n",
                "            records.append(Record(at, first, events, size, 0, end))\n",
            ),
        ),
        caught_by=(TEST_SEEK,),
    ),
    Sabotage(
        name="a record behind torn bytes believed",
        breaks="no event is given that a crash took back",
        edits=(
            edit(
                SEEK,
                "            if successor is None and not (\n",
                "            if False and not (\n",
            ),
        ),
        caught_by=(TEST_SEEK,),
    ),
    Sabotage(
        name="the last segment of a closed store read through for one event",
        breaks="one event costs a few reads",
        edits=(edit(SEEK, " or _is_closed(opened, header.salt)", ""),),
        caught_by=(TEST_READ_COSTS,),
    ),
    Sabotage(
        name="only the first damaged block mended",
        breaks="a mended archive is as it was",
        edits=(
            edit(
                MENDING,
                "            flips += (Flip(begin + flip.offset, flip.bit),)\n",
                "            return (*flips, Flip(begin + flip.offset, flip.bit))\n",
            ),
        ),
        caught_by=(TEST_FORMAT,),
    ),
)
