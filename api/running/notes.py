"""A small JSON file that only its owner may read, for what is remembered between runs."""

import json
import os
from pathlib import Path
from typing import Any


class Notes:
    """Named values in a file of mode 0600. It holds keys, so it is never shown or logged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """What was kept; nothing if there is no file, or none that can be read."""
        try:
            kept = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def keep(self, **values: Any) -> None:
        """Set these values beside what was kept; the file is replaced whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        half = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        half.unlink(missing_ok=True)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self.read() | values, file, indent=1)
        half.replace(self.path)
