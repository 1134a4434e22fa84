"""Sabotages of tables and exports: a rounded value, a row twice, another store's rows."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["EXPORTING"]

ARRAYS = "analysis/arrow_arrays.py"
BATCHES = "analysis/arrow_tables.py"
DECIMALS = "analysis/arrow_decimals.py"
EXPORT = "analysis/exporting.py"
FILES = "analysis/table_files.py"
FOUND = "analysis/found_shapes.py"
HISTORY = "analysis/selected_history.py"
PARTS = "analysis/export_files.py"
PIECES = "analysis/pieces.py"
TABLES = "analysis/event_tables.py"

TEST_DECIMALS = "tests/analysis/test_decimals.py"
TEST_EXPORT = "tests/analysis/test_export.py"
TEST_PIECES = "tests/analysis/test_pieces.py"
TEST_TABLES = "tests/analysis/test_data_frames.py"

EXPORTING: tuple[Sabotage, ...] = (
    Sabotage(
        name="long text parsed to a decimal",
        breaks="no decimal overflows in silence",
        edits=(edit(DECIMALS, "    if longest <= PRECISION - scale and not", "    if not"),),
        caught_by=(TEST_DECIMALS,),
    ),
    Sabotage(
        name="text with an exponent parsed to a decimal",
        breaks="no decimal overflows in silence",
        edits=(edit(DECIMALS, " and not _has_exponent(texts)", ""),),
        caught_by=(TEST_DECIMALS,),
    ),
    Sabotage(
        name="a decimal rounded to the column's scale",
        breaks="a value that does not fit exactly is refused",
        edits=(edit(DECIMALS, "traps=[Inexact, InvalidOperation])", "traps=[InvalidOperation])"),),
        caught_by=(TEST_DECIMALS,),
    ),
    Sabotage(
        name="an integer rounded to a float",
        breaks="a value that does not fit exactly is refused",
        edits=(edit(ARRAYS, "    if found != list(values):", "    if False:"),),
        caught_by=(TEST_TABLES,),
    ),
    Sabotage(
        name="a time without a zone taken for UTC",
        breaks="no time is moved in silence",
        edits=(edit(ARRAYS, '            "instant": _instants,\n', ""),),
        caught_by=(TEST_TABLES,),
    ),
    Sabotage(
        name="a dictionary that begins anew with each batch",
        breaks="later batches of a table begin with the same texts",
        edits=(
            edit(
                BATCHES,
                "known, waiting, count = [known[0].slice(0, 0)], [], 0",
                "known, waiting, count = [], [], 0",
            ),
        ),
        caught_by=(TEST_TABLES,),
    ),
    Sabotage(
        name="a column filled with its first text",
        breaks="a column of one text is recognised by all of its values",
        edits=(edit(ARRAYS, "values.count(values[0]) == len(values)", "values[0] == values[-1]"),),
        caught_by=(TEST_TABLES,),
    ),
    Sabotage(
        name="the last event of a piece left out",
        breaks="pieces have every event once",
        edits=(edit(PIECES, "start=begin, stop=end)", "start=begin, stop=max(begin, end - 1))"),),
        caught_by=(TEST_PIECES,),
    ),
    Sabotage(
        name="damage passed over in pieces",
        breaks="a gap is told once",
        edits=(edit(PIECES, "[first] if whole.skip_damage else ", ""),),
        caught_by=(TEST_PIECES,),
    ),
    Sabotage(
        name="shapes of later pieces left out",
        breaks="a column holds the values of all pieces",
        edits=(edit(FOUND, "        self._kinds |= later._kinds\n", ""),),
        caught_by=(TEST_PIECES,),
    ),
    Sabotage(
        name="a name missing in a later piece taken for present",
        breaks="a column found from the data is nullable where a name is missing",
        edits=(edit(FOUND, "            elif later._count:\n", "            elif False:\n"),),
        caught_by=(TEST_PIECES,),
    ),
    Sabotage(
        name="a missing name taken for present",
        breaks="a column found from the data is nullable where a name is missing",
        edits=(edit(FOUND, "            if self._count:\n", "            if False:\n"),),
        caught_by=(TEST_TABLES,),
    ),
    Sabotage(
        name="the parts of an event not counted",
        breaks="seq and part name one row",
        edits=(edit(TABLES, "part + 1 if number == before else 0", "0"),),
        caught_by=(TEST_TABLES,),
    ),
    Sabotage(
        name="another timeline appended",
        breaks="an export holds the events of one timeline",
        edits=(
            edit(
                EXPORT,
                "    if (str(manifest.store), timeline.id) != (earlier.store, earlier.timeline):",
                "    if False:",
            ),
        ),
        caught_by=(TEST_EXPORT,),
    ),
    Sabotage(
        name="the last event exported again",
        breaks="append goes on behind the last event",
        edits=(edit(EXPORT, "earlier.last + 1", "earlier.last"),),
        caught_by=(TEST_EXPORT,),
    ),
    Sabotage(
        name="events in flight exported",
        breaks="no exported event is taken back by a power cut",
        edits=(edit(EXPORT, ", durable=True)", ")"),),
        caught_by=(TEST_EXPORT,),
    ),
    Sabotage(
        name="an unfinished file under its name",
        breaks="a file appears when it is whole",
        edits=(
            edit(
                FILES,
                '    unfinished = path.with_name(f".{path.name}.unfinished-{os.getpid()}")\n',
                "    unfinished = path\n",
            ),
        ),
        caught_by=(TEST_TABLES,),
    ),
    Sabotage(
        name="a day that begins again over its file",
        breaks="a clock that goes back loses no rows",
        edits=(
            edit(
                PARTS, 'return f"{name}-{times}.{end}" if times', 'return f"{name}.{end}" if times'
            ),
        ),
        caught_by=(TEST_EXPORT,),
    ),
    Sabotage(
        name="columns that differ from part to part",
        breaks="the parts of a table have the same columns",
        edits=(
            edit(EXPORT, "    if earlier is None or earlier.columns == columns:", "    if True:"),
        ),
        caught_by=(TEST_EXPORT,),
    ),
)
