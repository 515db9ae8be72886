"""The portable sandbox: Monty, an interpreter written for code by models.

The interpreter itself is the isolation: it has no functions that reach the system. As defence in
depth it runs in a separate process without environment variables, with memory and CPU limits,
and on Linux with a seccomp filter.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from chat.sandbox.base import FOLDER, SandboxLimits, SandboxUnavailable
from chat.sandbox.chart import USAGE
from chat.sandbox.process import ProcessSession, start_session

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = (
    "import json, sys; sys.path.append({root!r}); "
    "from chat.sandbox.inside.restricted import main; main(json.loads({limits!r}))"
)


class MontySandbox:
    """Sandbox that runs Monty. Saved sessions restore all files and variables."""

    name = "monty"
    description = (
        "Runs Python and returns what it prints, the value of its last expression, and the files "
        "it writes. Variables and files stay for later calls in this chat. This is a small "
        "interpreter of Python's core. It has the modules asyncio, base64, bisect, collections, "
        "copy, csv, dataclasses, datetime, decimal, functools, hashlib, itertools, json, math, "
        "os, pathlib, random, re, sys, time, tomllib and typing; no others, so no numpy, "
        "pandas, matplotlib, statistics or io. It has no generators (yield), no network and no "
        f"folders: files lie in {FOLDER}, the working folder, and are read and written with "
        f"open(). To draw, call {USAGE}"
    )

    async def check(self) -> None:
        """Raise SandboxUnavailable if the interpreter is not installed."""
        if find_spec("pydantic_monty") is None:
            raise SandboxUnavailable("The package pydantic-monty is missing.")

    async def open(self, limits: SandboxLimits, *, saved: bytes | None = None) -> ProcessSession:
        """Open a session and restore the files and variables of `saved`.

        Raises:
            SandboxUnavailable: the interpreter is not installed, or the process did not start.
        """
        await self.check()
        program = PROGRAM.format(root=str(ROOT), limits=json.dumps(asdict(limits)))
        return await start_session([sys.executable, "-I", "-c", program], limits, saved=saved)
