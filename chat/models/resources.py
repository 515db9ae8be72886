"""Accessors for `tool_resources`: vector stores for file search, files for the code interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Resources = dict[str, Any]


def get_store_ids(resources: Resources) -> list[str]:
    """Return the IDs of the vector stores for file search."""
    found: list[str] = resources.get("file_search", {}).get("vector_store_ids", [])
    return found


def get_code_file_ids(resources: Resources) -> list[str]:
    """Return the IDs of the files for the code interpreter."""
    found: list[str] = resources.get("code_interpreter", {}).get("file_ids", [])
    return found


def build_search_resources(ids: Sequence[str]) -> Resources:
    """Return the `file_search` part of tool resources with these vector stores."""
    return {"file_search": {"vector_store_ids": list(ids)}}


def build_code_resources(ids: Sequence[str]) -> Resources:
    """Return the `code_interpreter` part of tool resources with these files."""
    return {"code_interpreter": {"file_ids": list(ids)}}
