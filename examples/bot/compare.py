"""The number of wrong runs of each bot: `python compare.py [SEEDS] [JOBS]`."""

from __future__ import annotations

import sys

import hasty
import keyed
import naive
import polling
import resending
import right
from book import PLAN, REGISTRY

from eventstore.testing import compare_bots

BOTS = {
    "naive": naive.bot,
    "polling": polling.bot,
    "keyed": keyed.bot,
    "hasty": hasty.bot,
    "resending": resending.bot,
    "right": right.bot,
}


def main(seeds: int, jobs: int) -> None:
    """Print a table with a line for each bot."""
    print(compare_bots(BOTS, registry=REGISTRY, decisions=PLAN, seeds=range(seeds), jobs=jobs))


if __name__ == "__main__":
    main(*(int(argument) for argument in [*sys.argv[1:], "200", "1"][:2]))
