"""How many examples the property tests run, and how they are chosen.

By default the same examples are run each time, so that a run says something about the change and
not about luck. ``EVENTSTORE_EXAMPLES=2000`` runs so many of each kind, other ones every time;
``--hypothesis-seed=N`` (an option of pytest) makes such a run repeatable. A failure is shrunk to
the shortest program that has it, which is printed as Python to run.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

__all__ = ["examples"]

_ASKED = os.environ.get("EVENTSTORE_EXAMPLES")


def examples(usual: int, *, steps: int = 50) -> settings:
    """Settings for ``usual`` examples, or as many as were asked for, of up to ``steps`` steps."""
    return settings(
        max_examples=int(_ASKED) if _ASKED else usual,
        stateful_step_count=steps,
        derandomize=_ASKED is None,
        database=None,
        deadline=None,
        print_blob=True,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=(
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
        ),
    )
