"""What this machine has left."""

from __future__ import annotations

import os
from pathlib import Path


def free_memory() -> int:
    """Bytes that this machine could hand out now; all it has where it does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
