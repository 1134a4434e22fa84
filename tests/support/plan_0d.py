"""Plan 0D's own way of writing its files, as the plan has it: the oracle of the migration."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any


def compute_checksum(data: dict[str, Any]) -> str:
    json_str = json.dumps(data, sort_keys=True, default=str)
    return hashlib.sha256(json_str.encode()).hexdigest()[:16]


class PlanFiles:
    """`StateManager`, `StatePersistence` and `WriteAheadLog` of the plan, as one writer."""

    def __init__(self, folder: Path, now: Callable[[], datetime], backup_count: int = 5) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "engine_state.json"
        self.wal = self.path.with_suffix(".wal")
        self._now = now
        self._backups = backup_count
        self._seq = 0

    def log(self, operation: str, data: dict[str, Any]) -> None:
        self._seq += 1
        entry = {
            "seq": self._seq,
            "op": operation,
            "ts": self._now().isoformat(),
            "data": data,
            "checksum": compute_checksum(data),
        }
        with self.wal.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def save(self, data: dict[str, Any], *, checkpoint: bool = True) -> None:
        """Save the state. Without `checkpoint`, the process dies before the log is cleared."""
        meta = {
            "checksum": compute_checksum(data),
            "saved_at": self._now().isoformat(),
            "version": 1,
        }
        if self.path.exists():
            self._rotate()
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w") as file:
            json.dump({**data, "_meta": meta}, file, indent=2, sort_keys=True, default=str)
        temporary.rename(self.path)
        if checkpoint:
            self.wal.unlink(missing_ok=True)

    def _rotate(self) -> None:
        self.path.with_suffix(f".bak{self._backups}").unlink(missing_ok=True)
        for number in range(self._backups - 1, 0, -1):
            source = self.path.with_suffix(f".bak{number}")
            if source.exists():
                source.rename(self.path.with_suffix(f".bak{number + 1}"))
        shutil.copy2(self.path, self.path.with_suffix(".bak1"))
