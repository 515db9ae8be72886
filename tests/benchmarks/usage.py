"""What a process has used."""

from __future__ import annotations

from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]  # it comes with the embedded PostgreSQL


@dataclass(frozen=True)
class Watched:
    """A running process by its number."""

    pid: int

    def cpu_seconds(self) -> float:
        """Return the processor time so far, its own and the kernel's for it."""
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)

    def memory_bytes(self) -> int:
        """Return the resident memory."""
        return int(psutil.Process(self.pid).memory_info().rss)
