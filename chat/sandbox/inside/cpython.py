"""The bubblewrap session: a long-lived CPython with pandas and matplotlib."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from chat.sandbox.inside import seccomp
from chat.sandbox.inside.channel import FrameChannel, Log, send_saved
from chat.sandbox.inside.folder import Folder
from chat.sandbox.inside.interpreter import CodeRun, Interpreter
from chat.sandbox.inside.variables import dump_variables, load_variables

MEMORY, WORKING_FOLDER, TEMPORARY = "/mnt", "/mnt/data", "/mnt/tmp"
# Address space of Python, pandas and matplotlib before any data is loaded.
LIBRARIES = 384 * 1024 * 1024
SCRATCH = 16 * 1024 * 1024
OPEN_FILES = 128


def main(packages: str, limits: dict[str, Any]) -> None:
    """Serve one session on standard input and output. `limits` is a dict of SandboxLimits."""
    channel = FrameChannel()
    try:
        _isolate_process(packages, limits)
    except (OSError, KeyError) as error:
        channel.send("unavailable", why=str(error))
        return
    sys.path.append(packages)
    session = _PythonSession(channel, limits)
    channel.report_ready()
    for head, body in channel.requests():
        session.handle_request(head, body)


def _isolate_process(packages: str, limits: dict[str, Any]) -> None:
    seccomp.mount_memory(
        MEMORY, size=limits["all_files"] + SCRATCH, entries=2 * limits["files"] + 256
    )
    seccomp.drop_capabilities()
    for folder in (WORKING_FOLDER, TEMPORARY, f"{TEMPORARY}/matplotlib"):
        Path(folder).mkdir()
    # The font cache comes with the environment, because building it would start a thread.
    for cache in Path(packages, "matplotlib-cache").glob("*.json"):
        Path(TEMPORARY, "matplotlib", cache.name).write_bytes(cache.read_bytes())
    os.chdir(WORKING_FOLDER)
    os.nice(5)
    seccomp.limit_resources(
        address_space=limits["memory"] + LIBRARIES,
        file=limits["file"],
        cpu_seconds=limits["cpu_seconds"],
        open_files=OPEN_FILES,
    )
    seccomp.refuse_system_calls(alone=True)


class _PythonSession:
    """A session that dispatches requests to the interpreter and the folder."""

    def __init__(self, channel: FrameChannel, limits: dict[str, Any]) -> None:
        self._channel = channel
        self._limits = limits
        self._interpreter = Interpreter()
        self._folder = Folder(WORKING_FOLDER, limits)

    def handle_request(self, head: dict[str, object], body: bytes) -> None:
        """Handle one request and send the response."""
        match head["do"]:
            case "put":
                problem = self._folder.put(str(head["name"]), body)
                self._channel.send("put", why=problem)
            case "run":
                self._run(body.decode())
            case "save":
                data, lost = dump_variables(self._interpreter, self._folder.read_all())
                send_saved(self._channel, data, lost=lost, most=self._limits["saved"])
            case "load":
                files, lost = load_variables(self._interpreter, body)
                for name, data in files.items():
                    self._folder.put(name, data)
                self._channel.send("loaded", lost=lost)

    def _run(self, code: str) -> None:
        log = Log(self._channel, most=self._limits["logs"])
        deadline = time.monotonic() + self._limits["run_seconds"]
        run = CodeRun(log, deadline=deadline, longest_value=self._limits["value"])
        self._interpreter.run(code, run)
        met = {"logs"} if log.cut else set()
        for number, picture in enumerate(run.pictures):
            if number >= self._limits["images"] or len(picture) > self._limits["image"]:
                met.add("images")
            else:
                self._channel.send("image", picture)
        for name, data in self._folder.iter_changes():
            self._channel.send("file", data, name=name)
        for name, why in self._folder.skipped:
            met.add("files")
            self._channel.send("skipped", name=name, why=why)
        log.flush()
        self._channel.send(
            "done", ended=run.ended, value=run.value, error=run.error, limits=sorted(met)
        )
