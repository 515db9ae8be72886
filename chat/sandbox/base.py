"""The sandbox interface: a sandbox opens sessions that keep files and variables and run code.

A session belongs to one thread of one tenant and is a separate process. All of its output (text,
file names, file contents) comes from the model's code and is as untrusted as the code.
"""

from __future__ import annotations

import mimetypes
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MIB = 1024 * 1024
MAX_NAME_LENGTH = 200  # bytes of UTF-8
FOLDER = "/mnt/data"  # where models expect files


class SandboxUnavailable(Exception):
    """A session cannot be opened on this machine. The message gives the reason."""


class SessionEnded(Exception):
    """The session's process has ended. Open a new session and put the thread's files again."""


class BadFile(ValueError):
    """A file that a session rejects because of its name or size."""


@dataclass(frozen=True, kw_only=True)
class SandboxLimits:
    """Limits of one session. Sizes in bytes; times in wall-clock seconds unless noted."""

    start_seconds: float = 20
    run_seconds: float = 30
    # Time for the session to stop the code itself and render its figures before it is killed.
    grace_seconds: float = 5
    # CPU seconds of the whole session, so that no code keeps running between two runs.
    cpu_seconds: int = 600
    # Memory of a process in addition to that of the interpreter and its libraries.
    memory: int = 256 * MIB
    logs: int = 64 * 1024
    code: int = 256 * 1024
    value: int = 16 * 1024
    file: int = 16 * MIB
    all_files: int = 64 * MIB
    files: int = 100
    image: int = 4 * MIB
    images: int = 10
    saved: int = 96 * MIB


class RunEnd(StrEnum):
    """How a run ended. `Session.alive` says whether the session can still be used."""

    FINISHED = "finished"
    RAISED = "raised"
    TIME = "time"
    MEMORY = "memory"
    CANCELLED = "cancelled"
    CRASHED = "crashed"


class LimitHit(StrEnum):
    """A limit that a run reached. The run may still have finished, with truncated output."""

    TIME = "time"
    MEMORY = "memory"
    LOGS = "logs"
    FILES = "files"
    IMAGES = "images"


@dataclass(frozen=True, kw_only=True)
class SandboxFile:
    """A file that a run wrote or changed."""

    name: str
    data: bytes

    @property
    def type(self) -> str:
        """The media type, guessed from the name."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """A file that was not returned, and the reason. The name is safe to display."""

    name: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of a run: `image/png` from the code, or `image/svg+xml` rendered by Atrium."""

    data: bytes
    type: str


@dataclass(frozen=True, kw_only=True)
class CodeResult:
    """The result of one run. Texts are within the limits and have no NUL or lone surrogates.

    `logs` is the printed output, `value` the value of the last expression, `error` a traceback
    or a message for the model. `seconds` is wall-clock time.
    """

    ended: RunEnd
    seconds: float
    logs: str = ""
    value: str | None = None
    error: str | None = None
    files: tuple[SandboxFile, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()
    images: tuple[Image, ...] = ()
    limits: frozenset[LimitHit] = frozenset()


@dataclass(frozen=True, kw_only=True)
class SavedSession:
    """A snapshot of a session's files and variables, for `Sandbox.open` in any process.

    The data is opaque and specific to the backend. It is produced beside the model's code, so it
    is only passed to sessions of the same thread and never parsed outside of a session. `lost`
    names the variables that could not be saved.
    """

    data: bytes
    lost: tuple[str, ...]


class Session(Protocol):
    """The interpreter of one thread. Calls are serialised, except `kill`."""

    @property
    def alive(self) -> bool:
        """Whether the session can be used: its process runs and was not killed."""

    @property
    def lost(self) -> tuple[str, ...]:
        """The variables that could not be restored from the saved session."""

    async def put_file(self, name: str, data: bytes) -> None:
        """Write a file to the session's folder, replacing a file of the same name.

        Raises:
            BadFile: the name or size is not allowed, or the session has too many files.
            SessionEnded: the process has ended.
        """

    async def run(self, code: str) -> CodeResult:
        """Run the code with the variables of earlier runs. Its errors are part of the result.

        Cancelling the calling task kills the session.
        """

    async def save(self) -> SavedSession | None:
        """Return a snapshot of files and variables, or None if it exceeds the size limit.

        Raises:
            SessionEnded: the process has ended.
        """

    def kill(self) -> None:
        """Kill the process at once, from any task; an active run ends as cancelled."""

    async def close(self) -> None:
        """End the session and wait for its process to exit. Idempotent."""


class Sandbox(Protocol):
    """A sandbox backend. `description` tells the model what its code can and cannot use."""

    name: str
    description: str

    async def check(self) -> None:
        """Raise SandboxUnavailable if this machine cannot open sessions."""

    async def open(self, limits: SandboxLimits, *, saved: bytes | None = None) -> Session:
        """Open a session and restore the files and variables of `saved`.

        Parts of `saved` that cannot be restored are skipped; see `Session.lost`.

        Raises:
            SandboxUnavailable: this machine cannot open sessions, or the process did not start.
        """


def check_name(name: str) -> None:
    """Raise BadFile unless `name` is a plain file name of at most 200 bytes.

    Paths, leading dots, invisible characters and text that is not in NFC are rejected.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadFile("The file name is not valid text.") from None
    if not 1 <= size <= MAX_NAME_LENGTH:
        raise BadFile(f"A file name must have 1 to {MAX_NAME_LENGTH} bytes.")
    if name.startswith(".") or any(sign in name for sign in "/\\") or not name.isprintable():
        raise BadFile(
            "A file name must not contain a folder, a leading dot or invisible characters."
        )
    if unicodedata.normalize("NFC", name) != name:
        raise BadFile("A file name must use composed characters (NFC).")


def check_size(size: int, limits: SandboxLimits) -> None:
    """Raise BadFile if `size` exceeds the maximum size of a file."""
    if size > limits.file:
        raise BadFile(f"A file in a session can have at most {limits.file} bytes.")
