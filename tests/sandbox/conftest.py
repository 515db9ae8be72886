"""The two backends, and what a test opens of them."""

from __future__ import annotations

import pytest

from chat.sandbox.bubblewrap import BubblewrapSandbox
from chat.sandbox.monty import MontySandbox
from tests.sandbox.opened import Backend, working_bubblewrap


@pytest.fixture(scope="session")
def bubblewrap() -> BubblewrapSandbox:
    """bwrap with pandas; where it is missing its tests fail if it is required, else are skipped."""
    return working_bubblewrap()


@pytest.fixture(params=["monty", "bubblewrap"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn."""
    if request.param == "monty":
        return MontySandbox()
    sandbox: BubblewrapSandbox = request.getfixturevalue("bubblewrap")
    return sandbox
