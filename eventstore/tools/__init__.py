"""Tools around a store: :func:`verify`, and what the ``eventstore`` command is made of.

The function ``verify`` hides the module of the same name that it comes from.
"""

from eventstore.tools.verify import Damage, Divergence, Refold, Verification, verify

__all__ = ["Damage", "Divergence", "Refold", "Verification", "verify"]
