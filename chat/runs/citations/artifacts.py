"""Files and images produced by code that have not been attached to a message yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chat.models import ToolCall
from chat.sandbox.base import FOLDER
from chat.tools.code_files import NAME

# Prefix of a link to a file in a message's text.
LINK = f"sandbox:{FOLDER}/"


@dataclass(kw_only=True)
class Artifacts:
    """Images and files of code calls, in order; a newer file replaces one of the same name."""

    pictures: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def add(self, calls: Iterable[ToolCall]) -> None:
        """Add the output of these calls; a call that has not ended adds nothing."""
        for call in calls:
            details: dict[str, Any] = call.details or {}
            self.pictures += [
                detail for detail in details.get("images", []) if detail not in self.pictures
            ]
            newer = {detail["file_id"]: detail["name"] for detail in details.get("files", [])}
            kept = {
                file_id: name for file_id, name in self.files.items() if name not in newer.values()
            }
            self.files = kept | newer

    def list_unlinked(self, links: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return a message's attachments: the files that none of its `links` refers to."""
        linked = {link["file_path"]["file_id"] for link in links}
        return [
            {"file_id": file_id, "tools": [{"type": NAME}]}
            for file_id in self.files
            if file_id not in linked
        ]
