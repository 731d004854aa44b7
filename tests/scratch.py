"""Where journals lie in tests: in memory where the system can, as thousands of synced writes take long on a disk."""

import tempfile
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """Make a folder that goes away with its context."""
    return tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None)
