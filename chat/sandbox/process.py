"""The server side of a session: starting, requesting, validating and killing its process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence

from chat.sandbox.base import (
    BadFile,
    CodeResult,
    RunEnd,
    SandboxLimits,
    SandboxUnavailable,
    SavedSession,
    SessionEnded,
    check_name,
    check_size,
)
from chat.sandbox.frame_collector import FrameCollector
from chat.sandbox.inside import frames
from chat.storable_text import make_storable

FILE_SECONDS = 20
# Number of bytes moved in one step of the event loop.
CHUNK_SIZE = 256 * 1024
REAP_SECONDS = 5
# Cost of a frame in addition to its bytes, because reading many small frames takes time too.
FRAME_COST = 1024
SESSION_LOST = "The session has ended. Its variables are lost: run the code again."


async def start_session(
    command: Sequence[str], limits: SandboxLimits, *, saved: bytes | None = None
) -> ProcessSession:
    """Start a session's process and wait until it is ready.

    Raises:
        SandboxUnavailable: the process did not start, or was not ready in time.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={"LANG": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxUnavailable(f"{command[0]} did not start: {error.strerror}.") from error
    session = ProcessSession(process, limits)
    ready = False
    try:
        async with asyncio.timeout(limits.start_seconds):
            await session.begin(saved)
        ready = True
    except (TimeoutError, SessionEnded, frames.FrameError) as error:
        session.kill()
        words = await session.read_stderr()
        raise SandboxUnavailable(f"The sandbox did not start. {words}".strip()) from error
    finally:
        if not ready:
            await session.close()
    return session


class ProcessSession:
    """Implementation of `Session` over any process that speaks the frame protocol.

    The process is untrusted: sizes, counts, names and texts are validated here again, and a
    frame out of order ends the session.
    """

    def __init__(self, process: Process, limits: SandboxLimits) -> None:
        self._process = process
        self._limits = limits
        self._lock = asyncio.Lock()
        self._killed = False
        self._lost: tuple[str, ...] = ()
        self._number = 0  # of the current request
        self._response_size = 0  # size of its response so far: bytes plus FRAME_COST per frame

    @property
    def alive(self) -> bool:
        """Whether the process runs and was not killed."""
        return not self._killed and self._process.returncode is None

    @property
    def lost(self) -> tuple[str, ...]:
        """The variables that could not be restored from the saved session."""
        return self._lost

    @property
    def pid(self) -> int:
        """The id of the session's process."""
        return self._process.pid

    async def begin(self, saved: bytes | None) -> None:
        """Wait until the process has isolated itself, then restore the saved session.

        Raises:
            SandboxUnavailable: the process could not isolate itself.
            SessionEnded: the process has ended.
            FrameError: the process sent an invalid frame.
        """
        head, _ = await self._read()
        if head.get("is") != "ready":
            raise SandboxUnavailable(
                f"The sandbox could not isolate itself: {_get_text(head, 'why')}"
            )
        if saved is not None:
            await self._write({"do": "load"}, saved)
            head, _ = await self._read_response("loaded")
            self._lost = _get_names(head.get("lost"))

    async def put_file(self, name: str, data: bytes) -> None:
        """Write a file to the session's folder.

        Raises:
            BadFile: the name or size is not allowed, or the session has too many files.
            SessionEnded: the process has ended, failed, or took too long.
        """
        check_name(name)
        check_size(len(data), self._limits)
        async with self._lock, self._ending_on_failure(FILE_SECONDS):
            await self._write({"do": "put", "name": name}, data)
            head, _ = await self._read_response("put")
        if head.get("why"):
            raise BadFile(_get_text(head, "why"))

    async def run(self, code: str) -> CodeResult:
        """Run the code. Errors and the end of the process are part of the result."""
        data = code.encode(errors="replace")
        if len(data) > self._limits.code:
            return CodeResult(ended=RunEnd.RAISED, seconds=0, error="The code is too long.")
        async with self._lock:
            collector = FrameCollector(self._limits)
            started = time.monotonic()
            seconds = self._limits.run_seconds + self._limits.grace_seconds
            try:
                async with self._ending_on_failure(seconds):
                    await self._write({"do": "run"}, data)
                    while not collector.done:
                        collector.add_frame(*await self._read())
                        if self._response_size > self._get_max_response_size():
                            raise frames.FrameError("A run exceeds the maximum response size.")
            except SessionEnded as error:
                collector.end(*self._describe_end(error))
            return collector.build_result(time.monotonic() - started)

    async def save(self) -> SavedSession | None:
        """Return a snapshot of files and variables, or None if it is too large.

        Raises:
            SessionEnded: the process has ended, failed, or took too long.
        """
        async with self._lock, self._ending_on_failure(FILE_SECONDS):
            await self._write({"do": "save"})
            head, body = await self._read_response("saved", most=self._limits.saved)
        return (
            None if "size" in head else SavedSession(data=body, lost=_get_names(head.get("lost")))
        )

    def kill(self) -> None:
        """Kill the process and its process group at once."""
        self._killed = True
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """End the session and wait for its process to exit."""
        self.kill()
        async with self._lock:
            await self._reap()

    async def read_stderr(self) -> str:
        """Return the standard error output of an ended process, for operators."""
        if self._process.stderr is None:
            return ""
        return make_storable(
            (await self._process.stderr.read(2000)).decode(errors="replace"), most=2000
        )

    @contextlib.asynccontextmanager
    async def _ending_on_failure(self, seconds: float) -> AsyncIterator[None]:
        """Kill the process if the block fails, is cancelled or takes too long.

        Raises:
            SessionEnded: the process ended, sent an invalid frame, or took too long.
        """
        if not self.alive:
            raise SessionEnded(SESSION_LOST)
        whole = False
        try:
            async with asyncio.timeout(seconds):
                yield
            whole = True
        except TimeoutError as error:
            raise SessionEnded(RunEnd.TIME) from error
        except (frames.FrameError, SessionEnded) as error:
            raise SessionEnded(RunEnd.CANCELLED if self._killed else RunEnd.CRASHED) from error
        finally:
            if not whole:
                self.kill()
                await asyncio.shield(asyncio.ensure_future(self._reap()))

    async def _reap(self) -> None:
        """Wait for the process to exit and close its pipes, as the event loop requires."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.communicate(), REAP_SECONDS)

    def _describe_end(self, error: SessionEnded) -> tuple[RunEnd, str]:
        match error.args[0]:
            case RunEnd.TIME:
                return RunEnd.TIME, "The code did not stop in time."
            case RunEnd.CANCELLED:
                return RunEnd.CANCELLED, "The code was stopped."
            case RunEnd.CRASHED:
                code = self._process.returncode
                return RunEnd.CRASHED, f"The interpreter died (status {code})."
        return RunEnd.CRASHED, SESSION_LOST

    async def _read_response(self, kind: str, *, most: int = 0) -> tuple[frames.Head, bytes]:
        """Read the only frame of a response.

        Raises:
            SessionEnded: the process has ended.
            FrameError: the frame is invalid or of another kind.
        """
        head, body = await self._read(most=most)
        if head.get("is") != kind:
            raise frames.FrameError("A response of another kind.")
        return head, body

    async def _write(self, head: frames.Head, body: bytes = b"") -> None:
        pipe = self._process.stdin
        if pipe is None:
            raise SessionEnded(RunEnd.CRASHED)
        self._number += 1
        self._response_size = 0
        try:
            pipe.write(frames.pack_head({**head, "number": self._number}, size=len(body)))
            for start in range(0, len(body), CHUNK_SIZE):
                pipe.write(body[start : start + CHUNK_SIZE])
                await pipe.drain()
            await pipe.drain()
        except (ConnectionError, RuntimeError) as error:
            raise SessionEnded(RunEnd.CRASHED) from error

    def _get_max_response_size(self) -> int:
        """Return the maximum response size of a well-behaved process in one run."""
        bounds = self._limits
        frames_of_run = bounds.logs + 4 * bounds.files + 2
        drawn = bounds.images * (bounds.image + frames.MAX_HEAD_LENGTH)
        return bounds.all_files + drawn + frames_of_run * FRAME_COST

    async def _read(self, *, most: int | None = None) -> tuple[frames.Head, bytes]:
        pipe = self._process.stdout
        if pipe is None:
            raise SessionEnded(RunEnd.CRASHED)
        most = max(self._limits.file, self._limits.image) if most is None else most
        try:
            lengths = await pipe.readexactly(frames.LENGTHS.size)
            head_length, body_length = frames.parse_lengths(lengths, most=most)
            self._response_size += FRAME_COST + head_length + body_length
            head = frames.parse_head(await pipe.readexactly(head_length))
            body = await _read_pieces(pipe, body_length)
        except asyncio.IncompleteReadError as error:
            raise SessionEnded(RunEnd.CRASHED) from error
        if head.get("number") != self._number:
            raise frames.FrameError("A response to another request.")
        return head, body


async def _read_pieces(pipe: asyncio.StreamReader, size: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0:
        piece = await pipe.readexactly(min(size, CHUNK_SIZE))
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _get_text(head: frames.Head, key: str) -> str:
    value = head.get(key)
    return make_storable(value, most=2000) if isinstance(value, str) else ""


def _get_names(value: object) -> tuple[str, ...]:
    found = value if isinstance(value, list) else []
    return tuple(make_storable(name, most=100) for name in found[:100] if isinstance(name, str))
