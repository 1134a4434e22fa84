"""Number of examples in the property tests, and the choice of examples.

By default each run has the same examples, so that a failure comes from the change and not from
luck. `EVENTSTORE_EXAMPLES=2000` runs so many of each kind, different ones every time. With
`--hypothesis-seed=N` (an option of pytest) such a run can be repeated. A failure is shrunk to the
shortest failing program, which is printed as Python to run.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

from tests.support.share import share

__all__ = ["PATIENCE", "examples"]

PATIENCE = 50_000.0
"""Seconds of the loop's time for a whole program. One that waits in vain ends then: a timer that
comes back, such as that of snapshots, keeps its loop from having nothing to wait for."""

_ASKED = os.environ.get("EVENTSTORE_EXAMPLES")


def examples(usual: int, *, steps: int = 50) -> settings:
    """Return settings for the run's share of `usual` examples, or as many as were asked for, of
    up to `steps` steps.
    """
    return settings(
        max_examples=int(_ASKED) if _ASKED else share(usual),
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
