"""What code made in a run and nobody was shown yet: it comes with the run's next message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chat.models import ToolCall
from chat.sandbox.base import FOLDER
from chat.tools.code_files import NAME

# Before the name of a file in a text that links to it.
LINK = f"sandbox:{FOLDER}/"


@dataclass(kw_only=True)
class Artifacts:
    """Pictures and files of code calls, in their order; of files of one name the newest."""

    pictures: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def add(self, calls: Iterable[ToolCall]) -> None:
        """Add what these calls made; those that made nothing, or have not ended, add nothing."""
        for call in calls:
            details: dict[str, Any] = call.details or {}
            self.pictures += [
                detail for detail in details.get("images", []) if detail not in self.pictures
            ]
            newer = {detail["file_id"]: detail["name"] for detail in details.get("files", [])}
            kept = {one: name for one, name in self.files.items() if name not in newer.values()}
            self.files = kept | newer

    def list_unlinked(self, links: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return a message's attachments: the files that none of its `links` leads to."""
        linked = {link["file_path"]["file_id"] for link in links}
        return [
            {"file_id": file_id, "tools": [{"type": NAME}]}
            for file_id in self.files
            if file_id not in linked
        ]
