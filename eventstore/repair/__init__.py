"""Damaged stores: read as far as they go, diagnosed, and repaired."""

from eventstore.repair.damaged_places import Diagnosis, Kind, Place
from eventstore.repair.prices import Choice, Price, Repaired
from eventstore.repair.proposing import Proposal, propose
from eventstore.repair.repairing import repair

__all__ = [
    "Choice",
    "Diagnosis",
    "Kind",
    "Place",
    "Price",
    "Proposal",
    "Repaired",
    "propose",
    "repair",
]
