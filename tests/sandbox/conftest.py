"""The two backends, and what a test opens of them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from chat.sandbox.base import SandboxUnavailable
from chat.sandbox.bubblewrap import BubblewrapSandbox
from chat.sandbox.monty import MontySandbox
from tests.sandbox.opened import Backend, run_alone
from tests.test_architecture import ROOT


@pytest.fixture(scope="session")
def bubblewrap() -> BubblewrapSandbox:
    """bwrap with pandas; where it is missing its tests fail if it is required, else are skipped."""
    folder = Path(os.environ.get("ATRIUM_DATA_DIR", ROOT / ".data")) / "sandbox"
    sandbox = BubblewrapSandbox(folder)
    try:
        asyncio.run(run_alone(sandbox, "1"))
    except SandboxUnavailable as error:
        if "bwrap" in os.environ.get("ATRIUM_REQUIRE", ""):
            pytest.fail(str(error))
        pytest.skip(str(error))
    return sandbox


@pytest.fixture(params=["monty", "bubblewrap"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn."""
    if request.param == "monty":
        return MontySandbox()
    sandbox: BubblewrapSandbox = request.getfixturevalue("bubblewrap")
    return sandbox
