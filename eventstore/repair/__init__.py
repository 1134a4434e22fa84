"""Damaged stores: read as far as they go, diagnosed, and repaired."""
