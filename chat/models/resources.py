"""What `tool_resources` of an assistant or a thread names: stores to search, files for code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Resources = dict[str, Any]


def store_ids(resources: Resources) -> list[str]:
    """Return the ids of the vector stores that file search is to look in."""
    found: list[str] = resources.get("file_search", {}).get("vector_store_ids", [])
    return found


def code_file_ids(resources: Resources) -> list[str]:
    """Return the ids of the files that code may read."""
    found: list[str] = resources.get("code_interpreter", {}).get("file_ids", [])
    return found


def for_search(ids: Sequence[str]) -> Resources:
    """Return the part that names these vector stores."""
    return {"file_search": {"vector_store_ids": list(ids)}}


def for_code(ids: Sequence[str]) -> Resources:
    """Return the part that names these files."""
    return {"code_interpreter": {"file_ids": list(ids)}}
