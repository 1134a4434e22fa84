"""The parts of an open `EventStore`: its log and keeper, the append path, reading, and closing."""
