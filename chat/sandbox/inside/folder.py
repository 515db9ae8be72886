"""The session's folder. Only regular files at its top level are part of the session."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FileStamp = tuple[int, int, int]
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder:
    """The files of the session, with detection of changes since the last call."""

    def __init__(self, place: str, limits: dict[str, Any]) -> None:
        self._place = Path(place)
        self._limits = limits
        self._seen: dict[str, FileStamp] = {}
        self.skipped: list[tuple[str, str]] = []

    def put(self, name: str, data: bytes) -> str | None:
        """Write a file, replacing an existing one; return an error message or None."""
        path = self._place / name
        files = self._list_files()
        files.pop(name, None)
        held = sum(status.st_size for status in files.values())
        if held + len(data) > self._limits["all_files"] or len(files) >= self._limits["files"]:
            return "The session has too many files."
        try:
            path.unlink(missing_ok=True)
            with path.open("xb") as file:
                file.write(data)
            self._seen[name] = _stat_key(path.lstat())
        except OSError as error:
            return f"The file cannot be written: {error.strerror}."
        return None

    def iter_changes(self) -> Iterator[tuple[str, bytes]]:
        """Yield new and changed files within the limits; others are listed in `skipped`."""
        self.skipped = []
        given, size = 0, 0
        for name, status in sorted(self._list_files().items()):
            if self._seen.get(name) == _stat_key(status):
                continue
            self._seen[name] = _stat_key(status)
            size += status.st_size
            if status.st_size > self._limits["file"]:
                self._skip(name, "too large")
            elif given >= self._limits["files"] or size > self._limits["all_files"]:
                self._skip(name, "too many files")
            elif (data := self._read(name)) is not None:
                given += 1
                yield name, data

    def read_all(self) -> dict[str, bytes]:
        """Return the contents of all files by name."""
        found = {name: self._read(name) for name in sorted(self._list_files())}
        return {name: data for name, data in found.items() if data is not None}

    def _list_files(self) -> dict[str, os.stat_result]:
        found = {}
        try:
            with os.scandir(self._place) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found[entry.name] = status
        except OSError:
            return {}
        return found

    def _read(self, name: str) -> bytes | None:
        try:
            with os.fdopen(os.open(self._place / name, READ_FLAGS), "rb") as file:
                return file.read(self._limits["file"])
        except OSError:
            return None

    def _skip(self, name: str, why: str) -> None:
        if len(self.skipped) < self._limits["files"]:
            self.skipped.append((name, why))


def _stat_key(status: os.stat_result) -> FileStamp:
    return status.st_ino, status.st_mtime_ns, status.st_size
