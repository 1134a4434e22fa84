"""Inputs chosen by the code they reach, where atheris is installed. Nothing else needs atheris."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from random import Random

from tests.fuzz.fuzzing import check, input_of
from tests.fuzz.inputs import GENERATORS

__all__ = ["guided"]


def guided(target: str) -> int:
    """Fuzz one target until the target fails. The exit status is 2 where there is no atheris."""
    if importlib.util.find_spec("atheris") is None:
        print("--guided needs atheris: pip install atheris", file=sys.stderr)
        return 2
    atheris = importlib.import_module("atheris")
    logging.disable()

    def run(data: bytes) -> None:
        check(target, data, memory=False)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        """Mutate half of the inputs by libFuzzer's own means, half with numbers and checksums in
        mind.
        """
        if seed % 2:
            return bytes(atheris.Mutate(data, size))
        return GENERATORS[target](Random(seed))[:size]

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], "-max_len=65536"], run, custom_mutator=mutate)
    input_of(target, 0, 0)
    atheris.Fuzz()
    return 0
