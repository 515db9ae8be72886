"""What code made in a run and nobody was shown yet: it comes with the run's next message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chat.models import ToolCall

LINK = "sandbox:/mnt/data/"


@dataclass(kw_only=True)
class Made:
    """Pictures and files of code calls, in their order; ids of files, and names by id."""

    pictures: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def add(self, calls: Iterable[ToolCall]) -> None:
        """Add what these calls made; those that made nothing, or have not ended, add nothing."""
        for call in calls:
            details: dict[str, Any] = call.details or {}
            self.pictures += [one for one in details.get("images", []) if one not in self.pictures]
            self.files |= {one["file_id"]: one["name"] for one in details.get("files", [])}

    def unlinked(self, text: str) -> list[dict[str, Any]]:
        """Return a message's attachments: the files that its `text` has no link to."""
        return [
            {"file_id": file_id, "tools": [{"type": "code_interpreter"}]}
            for file_id, name in self.files.items()
            if f"{LINK}{name}" not in text
        ]
