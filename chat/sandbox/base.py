"""The port: a sandbox opens sessions; a session holds files and variables and runs code.

A session belongs to one thread of one tenant and is a process of its own. Everything that comes
out of it was made by the model's code and is as untrusted as the code: texts, names, contents.
"""

from __future__ import annotations

import mimetypes
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MIB = 1024 * 1024
MAX_NAME_LENGTH = 200  # bytes of UTF-8
FOLDER = "/mnt/data"  # where models look for files by habit


class SandboxUnavailable(Exception):
    """A session cannot be opened on this machine; the text says why."""


class SessionEnded(Exception):
    """The session's process is gone; open another and put the thread's files again."""


class BadFile(ValueError):
    """A file that a session does not take: its name, or its size."""


@dataclass(frozen=True, kw_only=True)
class SandboxLimits:
    """Bounds of one session. Sizes in bytes, times in seconds of real time unless named else."""

    start_seconds: float = 20
    run_seconds: float = 30
    # For the session to stop the code itself and draw its figures; then it is killed.
    grace_seconds: float = 5
    # Of processor time in the whole session: nothing goes on unseen between two runs.
    cpu_seconds: int = 600
    # Of a process beyond what the interpreter and its libraries take for themselves.
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
    """How a run ended. Whether the session lives on is `Session.alive`."""

    FINISHED = "finished"
    RAISED = "raised"
    TIME = "time"
    MEMORY = "memory"
    CANCELLED = "cancelled"
    CRASHED = "crashed"


class LimitHit(StrEnum):
    """A bound that a run met; the run may have finished all the same, with something cut."""

    TIME = "time"
    MEMORY = "memory"
    LOGS = "logs"
    FILES = "files"
    IMAGES = "images"


@dataclass(frozen=True, kw_only=True)
class SandboxFile:
    """A file that a run wrote or changed; the type is guessed from its name."""

    name: str
    data: bytes

    @property
    def type(self) -> str:
        """The media type that the name suggests."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """A file that stays in the session, and why: its name is made safe to show."""

    name: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """A picture that a run drew: `image/png` from the code, or `image/svg+xml` drawn by Atrium."""

    data: bytes
    type: str


@dataclass(frozen=True, kw_only=True)
class CodeResult:
    """What one run did. Texts hold neither NUL nor lone surrogates, and are within the limits.

    `logs` is what it printed, `value` its last expression's, `error` a traceback
    or a sentence for the model. `seconds` is real time.
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
    """A session's files and variables, for `Sandbox.open` in any process.

    Opaque, of the backend that made it, and made where the model's code runs:
    it is given back to a session of the same thread and never read outside one.
    `lost` names the variables that could not be kept.
    """

    data: bytes
    lost: tuple[str, ...]


class Session(Protocol):
    """One thread's interpreter. Calls wait for each other, except `kill`."""

    @property
    def alive(self) -> bool:
        """Whether it can be used: its process runs and nobody ended it."""

    @property
    def lost(self) -> tuple[str, ...]:
        """The variables that opening from a saved session could not bring back."""

    async def put_file(self, name: str, data: bytes) -> None:
        """Lay a file into the session's folder, over one of that name.

        Raises BadFile for a name or size outside the rules, and when the session
        holds too much; SessionEnded when there is no process any more.
        """

    async def run(self, code: str) -> CodeResult:
        """Run the code with the variables of the runs before it. Raises nothing for what it does.

        A task that is cancelled while it waits here has killed the session.
        """

    async def save(self) -> SavedSession | None:
        """Return files and variables, None when they are larger than the limit.

        Raises SessionEnded.
        """

    def kill(self) -> None:
        """End the process at once, from any task; a run under way ends as cancelled."""

    async def close(self) -> None:
        """End the session and wait until its process is gone. May be called twice."""


class Sandbox(Protocol):
    """One kind of wall. `description` tells the model what its code may use and what it lacks."""

    name: str
    description: str

    async def check(self) -> None:
        """Raise SandboxUnavailable when this machine cannot open sessions."""

    async def open(self, limits: SandboxLimits, *, saved: bytes | None = None) -> Session:
        """Open a session, with the files and variables of a saved one.

        Raises SandboxUnavailable. What of `saved` cannot be read is left out; see
        `Session.lost`.
        """


def check_name(name: str) -> None:
    """Raise BadFile unless it names a file: no path, nothing invisible, at most 200 bytes."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadFile("A file's name is not valid text.") from None
    if not 1 <= size <= MAX_NAME_LENGTH:
        raise BadFile(f"A file's name has 1 to {MAX_NAME_LENGTH} bytes.")
    if name.startswith(".") or any(sign in name for sign in "/\\") or not name.isprintable():
        raise BadFile("A file's name has no folder, no leading dot and no invisible characters.")
    if unicodedata.normalize("NFC", name) != name:
        raise BadFile("A file's name is written with composed characters (NFC).")


def check_size(size: int, limits: SandboxLimits) -> None:
    """Raise BadFile for more bytes than a session takes in a file."""
    if size > limits.file:
        raise BadFile(f"A file in a session has at most {limits.file} bytes.")


def clean(text: str, *, most: int) -> str:
    """Return text that every store takes: no NUL, no lone surrogates, at most `most` characters."""
    return text[:most].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
