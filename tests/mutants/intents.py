"""Sabotages of intents: what is open, what is told, and when anybody may act."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["INTENTS"]

APPEND_PATH = "open_store/append_path.py"
DOUBT = "intents/doubt.py"
INTENDING = "intents/intending.py"
INTENT_SETTLED = "model/intent_settled.py"
LIVE_INTENTS = "intents/live_intents.py"
GROUP_MARKS = "intents/group_marks.py"
OPEN_INTENTS = "model/open_intents.py"
ORDER_IDS = "intents/order_ids.py"
RECOVERY = "recovery.py"
REFOLD_PART = "tools/refold_part.py"
STORE_PARTS = "open_store/parts.py"
TIME_LIMITS = "intents/time_limits.py"
UPCASTING = "model/upcasting.py"
VAULT = "snapshot/vault.py"

TEST_DOUBT = "tests/intents/test_doubt.py"
TEST_INTENDING = "tests/intents/test_intending.py"
TEST_INTERRUPTED = "tests/intents/test_interrupted.py"
TEST_KEPT = "tests/intents/test_kept.py"
TEST_SETTLING = "tests/intents/test_settling.py"

INTENTS = (
    Sabotage(
        name="the body of an intent before the intent is durable",
        breaks="no power cut takes an intent that somebody has acted on",
        edits=(
            edit(
                APPEND_PATH,
                "        return SYNCED if intended else level\n",
                "        return level\n",
            ),
            edit(INTENDING, "            await path.make_durable()\n", "            pass\n"),
        ),
        caught_by=(TEST_INTENDING,),
    ),
    Sabotage(
        name="an intent without a log acted on before a snapshot",
        breaks="a kill takes no intent that somebody has acted on, with a log or without",
        edits=(
            edit(
                APPEND_PATH,
                "        if self.keeper is not None and not self.keeper.logged:\n",
                "        if False:\n",
            ),
        ),
        caught_by=(TEST_INTENDING,),
    ),
    Sabotage(
        name="open intents lost at a snapshot",
        breaks="a restart closes no intent",
        edits=(edit(VAULT, "            intents=opened,\n", ""),),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="open intents not folded from the log",
        breaks="a restart closes no intent",
        edits=(edit(RECOVERY, "        if any(map(_metadata, events)):", "        if False:"),),
        caught_by=(TEST_INTENDING,),
    ),
    Sabotage(
        name="settlements not looked for in encoded events",
        breaks="a standby and the tools tell the open intents",
        edits=(
            edit(
                OPEN_INTENTS,
                "_MARKS = (OPENS.encode(), SETTLES.encode())\n",
                "_MARKS = (OPENS.encode(),)\n",
            ),
        ),
        caught_by=("tests/model/test_open_intents.py",),
    ),
    Sabotage(
        name="open intents of a snapshot not compared",
        breaks="a snapshot gives back the intents that were open",
        edits=(
            edit(
                VAULT,
                "            if self.decode_intents(events, intents.used) == intents:\n",
                "            if self.decode_intents(events, intents.used):\n",
            ),
        ),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="used ids lost at a snapshot",
        breaks="an id is used once",
        edits=(edit(VAULT, "            used=used,\n", ""),),
        caught_by=(TEST_INTENDING,),
    ),
    Sabotage(
        name="ids given twice",
        breaks="an id is used once",
        edits=(edit(GROUP_MARKS, "        if used is None:\n", "        if True:\n"),),
        caught_by=(TEST_INTENDING,),
    ),
    Sabotage(
        name="the same id in one group twice",
        breaks="an id is used once",
        edits=(
            edit(
                GROUP_MARKS,
                "        if used is None and name in self._within:\n",
                "        if False:\n",
            ),
        ),
        caught_by=(TEST_INTENDING,),
    ),
    Sabotage(
        name="ids drawn once for all openings",
        breaks="no id is made twice, also after a restore",
        edits=(edit(STORE_PARTS, "functools.partial(self.disk.entropy, 16)", "lambda: bytes(16)"),),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="an intent settled twice at once",
        breaks="settling twice writes nothing",
        edits=(
            edit(
                LIVE_INTENTS,
                "        if terms.check is not None:\n            terms.check()\n",
                "",
            ),
        ),
        caught_by=(TEST_SETTLING,),
    ),
    Sabotage(
        name="an intent settled twice",
        breaks="settling twice writes nothing",
        edits=(edit(INTENDING, "            raise _SettledError\n", "            pass\n"),),
        caught_by=(TEST_SETTLING,),
    ),
    Sabotage(
        name="an intent at work told to others",
        breaks="nobody settles what is being sent just now",
        edits=(edit(LIVE_INTENTS, " and name not in self._at_work\n", "\n"),),
        caught_by=(TEST_INTENDING,),
    ),
    Sabotage(
        name="an intent at work for ever",
        breaks="however the body ends, the intent is in doubt",
        edits=(edit(LIVE_INTENTS, "        self._at_work.discard(doubt.id)\n", "        pass\n"),),
        caught_by=(TEST_INTENDING,),
    ),
    Sabotage(
        name="a cancelled opening at work for ever",
        breaks="an intent whose body never ran is in doubt",
        edits=(
            edit(
                INTENDING,
                "            self._end_work()\n            raise\n",
                "            raise\n",
            ),
        ),
        caught_by=(TEST_INTENDING,),
    ),
    Sabotage(
        name="a settlement in flight told as open",
        breaks="what is being settled is settled once",
        edits=(edit(LIVE_INTENTS, "            if name in self.head and ", "            if "),),
        caught_by=(TEST_SETTLING,),
    ),
    Sabotage(
        name="intents of a refused commit kept on the head",
        breaks="a refused append leaves no intent",
        edits=(
            edit(
                LIVE_INTENTS,
                "        while waiting and waiting[-1].seq > seq:\n            waiting.pop()\n",
                "",
            ),
        ),
        caught_by=(TEST_SETTLING,),
    ),
    Sabotage(
        name="a settlement without what was intended",
        breaks="a handler sees what a settled intent was",
        edits=(
            edit(
                GROUP_MARKS,
                "msgspec.structs.replace(payload, intended=intended)",
                "msgspec.structs.replace(payload, intended=None)",
            ),
        ),
        caught_by=(TEST_SETTLING,),
    ),
    Sabotage(
        name="what was intended in an old version",
        breaks="event.intended is of the newest class",
        edits=(
            edit(
                UPCASTING,
                "        if type(before) not in self._steps:\n",
                "        if True:\n",
            ),
        ),
        caught_by=(TEST_SETTLING,),
    ),
    Sabotage(
        name="marks taken from callers",
        breaks="only the store says what opens and settles",
        edits=(
            edit(
                "model/append_arguments.py",
                "    if not RESERVED.isdisjoint(found):\n",
                "    if False:\n",
            ),
        ),
        caught_by=(TEST_INTENDING,),
    ),
    Sabotage(
        name="a doubt decided before queries have caught up",
        breaks='"unknown order" is believed only where nothing can come any more',
        edits=(edit(DOUBT, "(self.within + self.lag) //", "self.within //"),),
        caught_by=(TEST_DOUBT,),
    ),
    Sabotage(
        name="the terms of an intent forgotten",
        breaks="a doubt is decidable at the same moment after a restart",
        edits=(
            edit(
                TIME_LIMITS,
                '        within, lag = mark.get("within")',
                "        within, lag = None",
            ),
        ),
        caught_by=(TEST_DOUBT,),
    ),
    Sabotage(
        name="inherited intents taken for a branch's own",
        breaks="nobody settles the live store's intents by mistake",
        edits=(
            edit(
                LIVE_INTENTS,
                "        inherited = event.seq <= self._inherited_to\n",
                "        inherited = False\n",
            ),
        ),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="open intents of a snapshot not verified",
        breaks="verify finds a snapshot with other intents than the events give",
        edits=(edit(REFOLD_PART, "        if found != self._intents:\n", "        if False:\n"),),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="a decision intended twice",
        breaks="an intent with a known key is no second intent",
        edits=(edit(INTENDING, "            if receipt.duplicate:\n", "            if False:\n"),),
        caught_by=("tests/intents/test_keyed.py",),
    ),
    Sabotage(
        name="the id of an order taken for a part of the decision",
        breaks="the second intend of a decision is told of the first",
        edits=(
            edit(
                INTENT_SETTLED,
                "    if traits is None or traits.intent is None:\n        return payload\n",
                "    if True:\n        return payload\n",
            ),
        ),
        caught_by=("tests/intents/test_keyed.py",),
    ),
    Sabotage(
        name="the key of an open intent forgotten",
        breaks="a decision is intended once, however short the memory of keys",
        edits=(
            edit(
                APPEND_PATH, "        if self._keys.remember != (None, None):", "        if False:"
            ),
        ),
        caught_by=("tests/intents/test_keyed.py",),
    ),
    Sabotage(
        name="a cancelled look-up at work for ever",
        breaks="an intent of a cancelled call is in doubt",
        edits=(edit(INTENDING, "        if self._ended:", "        if False:"),),
        caught_by=("tests/intents/test_keyed.py -k look_up",),
    ),
    Sabotage(
        name="an intent in a field of numbers",
        breaks="an operation with intent= opens an intent, or is refused",
        edits=(
            edit("model/payload_class_check.py", "    if fault is not None:\n", "    if False:\n"),
        ),
        caught_by=("tests/model/test_trait_fields.py",),
    ),
)
