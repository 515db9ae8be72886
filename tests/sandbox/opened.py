"""Opens sessions for tests, and closes them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from chat.sandbox.base import CodeResult, SandboxLimits, SandboxUnavailable
from chat.sandbox.bubblewrap import BubblewrapSandbox
from chat.sandbox.monty import MontySandbox
from chat.sandbox.process import ProcessSession
from tests.clock import until
from tests.test_architecture import ROOT

Backend = MontySandbox | BubblewrapSandbox
# A machine that stands still for some seconds meets none of these bounds.
PATIENT = SandboxLimits(start_seconds=60, run_seconds=60, grace_seconds=60)
# For code that never ends: until then it has done what comes before.
SHORT_SECONDS = 6.0


def working_bubblewrap() -> BubblewrapSandbox:
    """Return bwrap with pandas; where it is missing the test fails if it is required, or skips."""
    sandbox, missing = _found_bubblewrap()
    if missing and "bwrap" in os.environ.get("ATRIUM_REQUIRE", ""):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return sandbox


@cache
def _found_bubblewrap() -> tuple[BubblewrapSandbox, str]:
    folder = Path(os.environ.get("ATRIUM_DATA_DIR", ROOT / ".data")) / "sandbox"
    sandbox = BubblewrapSandbox(folder)
    try:
        asyncio.run(run_alone(sandbox, "1"))
    except SandboxUnavailable as error:
        return sandbox, str(error)
    return sandbox, ""


@asynccontextmanager
async def opened(
    backend: Backend, *, goes_on: bytes | None = None, **limits: Any
) -> AsyncIterator[ProcessSession]:
    """A session with the limits given, gone afterwards."""
    session = await backend.open(replace(PATIENT, **limits), saved=goes_on)
    try:
        yield session
    finally:
        await session.close()


async def run_alone(backend: Backend, source: str, /, **limits: Any) -> CodeResult:
    """Run the code in a session of its own."""
    async with opened(backend, **limits) as session:
        return await session.run(source)


async def all_end(processes: Sequence[psutil.Process]) -> bool:
    """Wait until every process is gone; what nobody has reaped yet is gone too."""
    return await until(lambda: not any(map(_runs, processes)))


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
