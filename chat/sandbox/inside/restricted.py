"""The Monty session: an interpreter of core Python without any access to the system.

The code runs in Monty's worker, a child process. This process handles its calls for files and
charts; its restrictions apply to both processes.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic_monty import (
    Monty,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySession,
    MontySyntaxError,
)

from chat.sandbox.base import FOLDER
from chat.sandbox.chart import parse_chart
from chat.sandbox.inside import frames, landlock, seccomp
from chat.sandbox.inside.channel import FrameChannel, Log, send_saved
from chat.sandbox.inside.virtual_fs import VirtualFileSystem

# Address space of this process and of the worker (each) before any data is loaded.
PROGRAMS = 1024 * 1024 * 1024
OPEN_FILES = 64
# The interpreter and its packages, this code, the C libraries, and Monty's time zones.
READABLE = [
    *(Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent.parent),
    *(Path(place) for place in ("/usr/lib", "/usr/lib64", "/lib", "/lib64")),
    *(Path("/usr/share/zoneinfo"), Path("/etc/ld.so.cache")),
]
MAX_CALLS = 1_000_000  # host calls of the code; they are cheap and also bounded by the run's time
MAX_ERROR_LENGTH = 16 * 1024
VARIABLES_RESET = "The variables are as they were before this code."


def main(limits: dict[str, Any]) -> None:
    """Serve one session on standard input and output. `limits` is a dict of SandboxLimits."""
    channel = FrameChannel()
    try:
        isolate_process(limits)
    except (OSError, KeyError) as error:
        channel.send("unavailable", why=str(error))
        return
    threading.Thread(target=_end_with_server, args=[channel], daemon=True).start()
    with Monty(max_processes=1, request_timeout=limits["run_seconds"] + 1) as pool:
        session = _RestrictedSession(channel, limits, pool)
        channel.report_ready()
        for head, body in channel.requests():
            session.handle_request(head, body)


def isolate_process(limits: dict[str, Any]) -> None:
    """Isolate this process and the worker that it starts later.

    Raises:
        OSError: a system call failed.
        KeyError: the system call numbers of this architecture are not known.
    """
    os.nice(5)
    seccomp.limit_resources(
        address_space=2 * limits["memory"] + PROGRAMS,
        file=0,
        cpu_seconds=limits["cpu_seconds"],
        open_files=OPEN_FILES,
    )
    if sys.platform == "linux":
        seccomp.refuse_system_calls(alone=False)
        landlock.hide_files(readable=READABLE, writable=[Path("/dev/null")])


def _end_with_server(channel: FrameChannel) -> None:
    """Kill the process group, because the worker would finish its current run first."""
    channel.wait_for_end()
    os.killpg(0, signal.SIGKILL)


class _RestrictedSession:
    """A session that dispatches requests to the interpreter and the files."""

    def __init__(self, channel: FrameChannel, limits: dict[str, Any], pool: Monty) -> None:
        self._channel = channel
        self._limits = limits
        self._pool = pool
        self._file_system = VirtualFileSystem(limits)
        self._charts = 0
        self._kept: bytes | None = None  # dump of the variables after the last successful run
        self._open = ExitStack()
        self._monty = self._check_out()

    def handle_request(self, head: dict[str, Any], body: bytes) -> None:
        """Handle one request and send the response."""
        match head["do"]:
            case "put":
                self._channel.send("put", why=self._file_system.put_file(head["name"], body))
            case "run":
                self._run(body.decode())
            case "save":
                files = self._file_system.files.items()
                parts = [frames.pack({"file": name}, bytes(data)) for name, data in files]
                if self._kept is not None:
                    parts.append(frames.pack({"variables": True}, self._kept))
                saved = b"".join(parts)
                send_saved(self._channel, saved, lost=[], most=self._limits["saved"])
            case "load":
                self._channel.send("loaded", lost=self._load(body))

    def _check_out(self) -> MontySession:
        limits = self._limits
        session = self._pool.checkout(
            script_name="code.py",
            limits={
                "max_feed_duration_secs": limits["run_seconds"],
                "max_memory": limits["memory"],
                "max_suspensions": MAX_CALLS,
            },
            os_policy={"sleep": "zero"},
        )
        return self._open.enter_context(session)

    def _renew(self) -> bool:
        """Start a new interpreter and restore the last dump; return whether that succeeded."""
        with ExitStack() as old:
            old.push(self._open.pop_all())
        self._monty = self._check_out()
        if self._kept is None:
            return True
        try:
            self._monty.load_session(self._kept)
        except (MontyError, ValueError):
            self._kept = None
            self._monty = self._check_out()
            return False
        return True

    def _load(self, data: bytes) -> list[str]:
        file = io.BytesIO(data)
        try:
            while (part := frames.read(file)) is not None:
                head, body = part
                if "file" in head:
                    self._file_system.put_file(str(head["file"]), body)
                else:
                    self._kept = body
        except frames.FrameError:
            return ["everything"]
        return [] if self._renew() else ["variables"]

    def _run(self, code: str) -> None:
        log = Log(self._channel, most=self._limits["logs"])
        self._charts = 0
        value = error = None
        try:
            found = self._monty.feed_run(
                code,
                external_lookup={"chart": self._send_chart},
                print_callback=lambda stream, text: _print(log, text),
                os=self._file_system,
                cwd=FOLDER,
            )
            value = None if found is None else repr(found)[: self._limits["value"]]
            self._kept = self._monty.dump()
            ended = "finished"
        except (MontyError, MemoryError) as problem:
            ended, error = self._describe_error(problem)
        for name in sorted(self._file_system.changed):
            self._channel.send("file", bytes(self._file_system.files[name]), name=name)
        self._file_system.changed.clear()
        log.flush()
        met = ["logs"] if log.cut else []
        self._channel.send("done", ended=ended, value=value, error=error, limits=met)

    def _describe_error(self, problem: MontyError | MemoryError) -> tuple[str, str]:
        if isinstance(problem, MontyRuntimeError | MontySyntaxError):
            text = problem.display()[-MAX_ERROR_LENGTH:]
            reason = problem.display("type-msg")
        else:
            text = reason = f"{type(problem).__name__}: {problem}"
        timed_out = isinstance(problem, MontyCrashedError) and problem.timed_out
        if timed_out or reason.startswith("TimeoutError: feed time limit"):
            ended = "time"
        elif reason.startswith(("MemoryError", "MontyConversionError")):
            ended = "memory"
        elif isinstance(problem, MontyCrashedError):
            ended = "crashed"
        else:
            self._kept = self._monty.dump()
            return "raised", text
        self._renew()
        return ended, f"{text}\n{VARIABLES_RESET}"

    def _send_chart(
        self, kind: str, rows: Any, x: str | None = None, y: Any = None, title: str = ""
    ) -> None:
        if self._charts >= self._limits["images"]:
            raise ValueError(f"A run draws at most {self._limits['images']} charts.")
        self._channel.send("chart", **parse_chart(kind, rows, x, y, title).wire())
        self._charts += 1


def _print(log: Log, text: str) -> None:
    log.write(text)
