"""Tools around a store: `verify`, and the engines of the `eventstore` command.

The name `eventstore.tools.verify` is the function. The function hides the module of the same name.
"""

from eventstore.tools.verify import Damage, Divergence, Refold, Verification, verify

__all__ = ["Damage", "Divergence", "Refold", "Verification", "verify"]
