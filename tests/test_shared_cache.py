"""Cache shared by processes: its contents, and behaviour while Redis is unavailable."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from config.backends.redis_backends import JsonSerializer, SharedCache


def test_limits_count_in_each_process_without_redis(tmp_path: Path) -> None:
    cache = SharedCache(f"unix://{tmp_path}/none.sock", {})
    cache.add("asked", 0, timeout=60)
    assert [cache.incr("asked"), cache.incr("asked")] == [1, 2]
    assert cache.get("asked") == 2


@pytest.mark.parametrize("value", [7, True, 1.5, "7", ["a", 1.5], None])
def test_values_come_back_as_they_were(value: Any) -> None:
    kept = JsonSerializer().dumps(value)
    assert JsonSerializer().loads(str(kept).encode()) == value


def test_what_is_found_in_redis_is_never_run() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        JsonSerializer().loads(pickle.dumps(print))
