"""Parts shared by all objects: types, timestamps, deletion results and lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

WireObject = dict[str, Any]


def unix(moment: datetime | None) -> int | None:
    """Return Unix seconds, or None for None."""
    return int(moment.timestamp()) if moment else None


def render_deleted(row_id: str, kind: str) -> WireObject:
    """Return the object that confirms a deletion; `kind` is the deleted object's type."""
    return {"id": row_id, "object": f"{kind}.deleted", "deleted": True}


def list_object(data: Sequence[WireObject], *, has_more: bool) -> WireObject:
    """Return a page of a list."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
