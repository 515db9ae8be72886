"""Where code of models runs in a test."""

from __future__ import annotations

import pytest
from django.conf import settings

from tests.sandbox.opened import working_bubblewrap


@pytest.fixture
def monty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code runs in the sandbox that is there everywhere."""
    monkeypatch.setitem(settings.CHAT, "CODE_SANDBOX", "monty")


@pytest.fixture
def bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code runs in the sandbox with pandas."""
    environment = working_bubblewrap().environment
    monkeypatch.setitem(settings.CHAT, "CODE_ENVIRONMENT", environment)
    monkeypatch.setitem(settings.CHAT, "CODE_SANDBOX", "bubblewrap")


@pytest.fixture(params=["monty", "bubblewrap"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each sandbox in turn is the one that runs code here."""
    request.getfixturevalue(request.param)
    return str(request.param)
