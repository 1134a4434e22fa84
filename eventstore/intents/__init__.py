"""Intents: recorded before an act outside the store, and settled afterwards."""
