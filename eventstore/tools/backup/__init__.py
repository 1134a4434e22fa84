"""Backups of a store: to a directory, to a single file, or to an object store.

- `places.py`, `single_file.py`, `object_store.py`: where named objects are kept.
- `catalog.py`: the list of one copy's files, and the names of all objects.
- `source.py`: a store's files as of one number, beside a writer.
- `copying.py`: what is new goes to the place, and is read back.
- `backup_disk.py`: a copy as a disk that every reader of a store reads.
- `restore.py`: a store made of a copy, as of a moment.
"""
