"""The cache of several processes while its Redis cannot be reached."""

from __future__ import annotations

from pathlib import Path

from config.shared import SharedCache


def test_limits_count_in_each_process_without_redis(tmp_path: Path) -> None:
    cache = SharedCache(f"unix://{tmp_path}/none.sock", {})
    cache.add("asked", 0, timeout=60)
    assert [cache.incr("asked"), cache.incr("asked")] == [1, 2]
    assert cache.get("asked") == 2
