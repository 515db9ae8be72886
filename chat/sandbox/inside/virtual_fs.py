"""Virtual file system of Monty's code: one flat folder, held in memory."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from pydantic_monty import AbstractOS, MontyFileHandle, StatResult

from chat.sandbox.base import FOLDER, BadFile, check_name

WORKING_FOLDER = PurePosixPath(FOLDER)
Path = PurePosixPath | MontyFileHandle


class VirtualFileSystem(AbstractOS):
    """Implementation of the code's file operations. All other system calls are rejected.

    The OSErrors raised here become exceptions in the code.
    """

    def __init__(self, limits: dict[str, Any]) -> None:
        self._limits = limits
        self.files: dict[str, bytearray] = {}
        self.changed: set[str] = set()

    def put_file(self, name: str, data: bytes) -> str | None:
        """Write a file on behalf of the server; return an error message or None."""
        try:
            self._store(name, bytearray(data))
        except OSError as error:
            return str(error)
        self.changed.discard(name)
        return None

    def _store(self, name: str, data: bytearray) -> None:
        others = sum(len(held) for other, held in self.files.items() if other != name)
        if len(data) > self._limits["file"] or others + len(data) > self._limits["all_files"]:
            raise OSError("[Errno 28] No space left for files.")
        if len(self.files.keys() | {name}) > self._limits["files"]:
            raise OSError("[Errno 28] Too many files.")
        self.files[name] = data
        self.changed.add(name)

    def _resolve_name(self, path: Path) -> str:
        path = PurePosixPath(path.path) if isinstance(path, MontyFileHandle) else path
        if path == WORKING_FOLDER:
            raise IsADirectoryError(f"[Errno 21] Is a directory: '{path}'")
        if path.parent != WORKING_FOLDER:
            raise FileNotFoundError(f"[Errno 2] No such file or directory: '{path}'")
        try:
            check_name(path.name)
        except BadFile as error:
            raise OSError(str(error)) from error
        return path.name

    def _get_content(self, path: Path) -> bytearray:
        name = self._resolve_name(path)
        if name not in self.files:
            raise FileNotFoundError(f"[Errno 2] No such file or directory: '{name}'")
        return self.files[name]

    def path_exists(self, path: PurePosixPath) -> bool:
        """Return True for the folder and existing files."""
        return self.path_is_dir(path) or self.path_is_file(path)

    def path_is_file(self, path: PurePosixPath) -> bool:
        """Return True if the file exists."""
        return path.parent == WORKING_FOLDER and path.name in self.files

    def path_is_dir(self, path: PurePosixPath) -> bool:
        """Return True for the folder."""
        return path == WORKING_FOLDER

    def path_is_symlink(self, path: PurePosixPath) -> bool:
        """Return False: there are no symbolic links."""
        return False

    def path_open(self, path: PurePosixPath, mode: str) -> MontyFileHandle:
        """Open a file, creating or truncating it as `mode` requires."""
        handle = MontyFileHandle(str(path), mode)
        action = handle.mode[0]
        if action == "r":
            self._get_content(path)
        elif action == "w" or self._resolve_name(path) not in self.files:
            self._store(self._resolve_name(path), bytearray())
        return handle

    def path_read_text(self, path: Path) -> str:
        """Return a file's contents decoded as UTF-8."""
        return self._get_content(path).decode()

    def path_read_bytes(self, path: Path) -> bytes:
        """Return a file's contents."""
        return bytes(self._get_content(path))

    def path_write_text(self, path: Path, data: str) -> int:
        """Replace a file's text."""
        self._store(self._resolve_name(path), bytearray(data, "utf-8"))
        return len(data)

    def path_write_bytes(self, path: Path, data: bytes) -> int:
        """Replace a file's contents."""
        self._store(self._resolve_name(path), bytearray(data))
        return len(data)

    def path_append_text(self, path: Path, data: str) -> int:
        """Append text to a file."""
        self.path_append_bytes(path, data.encode())
        return len(data)

    def path_append_bytes(self, path: Path, data: bytes) -> int:
        """Append to a file in place, in time proportional to the added data."""
        held = self._get_content(path)
        total = sum(len(other) for other in self.files.values()) + len(data)
        if len(held) + len(data) > self._limits["file"] or total > self._limits["all_files"]:
            raise OSError("[Errno 28] No space left for files.")
        held += data
        self.changed.add(self._resolve_name(path))
        return len(data)

    def path_mkdir(self, path: PurePosixPath, parents: bool, exist_ok: bool) -> None:
        """Reject every folder except the existing one."""
        if not (path == WORKING_FOLDER and exist_ok):
            raise PermissionError("[Errno 1] Other folders are not allowed.")

    def path_unlink(self, path: PurePosixPath) -> None:
        """Remove a file."""
        self._get_content(path)
        del self.files[path.name]
        self.changed.discard(path.name)

    def path_rmdir(self, path: PurePosixPath) -> None:
        """Reject the removal of folders."""
        raise PermissionError(f"[Errno 1] Operation not permitted: '{path}'")

    def path_iterdir(self, path: PurePosixPath) -> list[PurePosixPath]:
        """Return the folder's files."""
        if path != WORKING_FOLDER:
            raise FileNotFoundError(f"[Errno 2] No such file or directory: '{path}'")
        return [WORKING_FOLDER / name for name in sorted(self.files)]

    def path_stat(self, path: PurePosixPath) -> StatResult:
        """Return a file's size; all times are zero."""
        if path == WORKING_FOLDER:
            return StatResult.dir_stat(mtime=0)
        return StatResult.file_stat(len(self._get_content(path)), mtime=0)

    def path_rename(self, path: PurePosixPath, target: PurePosixPath) -> None:
        """Rename a file."""
        held, name = self._get_content(path), self._resolve_name(target)
        self.path_unlink(path)
        self._store(name, held)

    def path_resolve(self, path: PurePosixPath) -> str:
        """Return the path unchanged: there are no links."""
        return str(path)

    def path_absolute(self, path: PurePosixPath) -> str:
        """Return the absolute path."""
        return str(WORKING_FOLDER / path)

    def getenv(self, key: str, default: str | None = None) -> str | None:
        """Return the default: there is no environment."""
        return default

    def get_environ(self) -> dict[str, str]:
        """Return an empty dict: there is no environment."""
        return {}

    def dispatch(
        self, function_name: Any, args: Any, kwargs: Any = None, *, is_async: bool = False
    ) -> Any:
        """Handle file and environment calls; reject clocks, sleeping and randomness."""
        if not str(function_name).startswith(("Path.", "open", "os.getenv", "os.environ")):
            raise NotImplementedError
        return super().dispatch(function_name, args, kwargs, is_async=is_async)
