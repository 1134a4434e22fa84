"""Tools around a store: what ``eventstore info`` and ``eventstore dump`` are made of."""
