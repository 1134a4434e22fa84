"""Stores made of the files of other programs: plan 0D's folder, and files of events."""
