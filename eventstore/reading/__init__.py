"""Reading a store: events, replay, and following it, by number or by time."""
