"""Identity keys: the text of a key, and the index of all known keys."""
