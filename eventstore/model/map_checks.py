"""Checks of persistent maps: code that is generated for each type of map.

Only the entries that differ from the map before are checked (`map_changes.py`). For a map from
texts to decimals the code is

    def check(value, before):
        if type(value) is not Map:
            refuse_type(value, "immutables.Map")
        if type(before) is not Map:
            before = empty
        key = None
        try:
            for key, now, was in changed_entries(before, value):
                if was is ABSENT and (type(key) is not str or not key.isascii()):
                    check_key(key, ABSENT)
                if type(now) is not Decimal:
                    check_value(now, was)
        except RefusedValueError as error:
            error.steps.append(key)
            raise

The conditions save a call for each entry (`inline_checks.py`).
"""

from __future__ import annotations

from typing import Any

import immutables

from eventstore.model.inline_checks import inline_condition
from eventstore.model.leaf_checks import Check, RefusedValueError, refuse_type
from eventstore.model.map_changes import ABSENT, changed_entries
from eventstore.model.type_tree import AnyNode, Node

__all__ = ["map_check"]

UNTYPED = AnyNode(Any, frozen=True)

_CODE = """
def check(value, before):
    if type(value) is not Map:
        refuse_type(value, "immutables.Map")
    if type(before) is not Map:
        before = empty
    key = None
    try:
        for key, now, was in changed_entries(before, value):
            if was is ABSENT and ({key_condition}):
                check_key(key, ABSENT)
            if {value_condition}:
                check_value(now, was)
    except RefusedValueError as error:
        error.steps.append(key)
        raise
"""


def map_check(
    check_key: Check, check_value: Check, key: Node = UNTYPED, value: Node = UNTYPED
) -> Check:
    """Make the check of maps, with the checks and the types of keys and values."""
    names: dict[str, Any] = {
        "Map": immutables.Map,
        "empty": immutables.Map(),
        "ABSENT": ABSENT,
        "check_key": check_key,
        "check_value": check_value,
        "changed_entries": changed_entries,
        "refuse_type": refuse_type,
        "RefusedValueError": RefusedValueError,
    }
    code = _CODE.format(
        key_condition=inline_condition(key, "key", names),
        value_condition=inline_condition(value, "now", names),
    )
    exec(code, names)
    check: Check = names["check"]
    return check
