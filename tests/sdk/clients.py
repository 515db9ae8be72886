"""The clients' own environments, which `make` lays out under .venv-sdk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ENVIRONMENTS = FOLDER.parents[1] / ".venv-sdk"
# Only for what hangs: a busy machine may be slow.
PROGRAM_SECONDS = 600


def program(name: str, environment: str) -> Path:
    """Return a program of an environment; skip the test, or fail it where clients are required."""
    path = ENVIRONMENTS / environment / "bin" / name
    if not path.exists():
        if "sdk" in os.environ.get("ATRIUM_REQUIRE", ""):
            pytest.fail(f"{path} is required and missing: make packages-sdk")
        pytest.skip(f"{path} is missing: make packages-sdk")
    return path


def printed(command: list[str | Path], *, url: str, key: str, **environment: str) -> str:
    """Run a program of a client against the API at `url`, and return what it prints."""
    found = {
        "PATH": os.environ["PATH"],
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": key,
        **environment,
    }
    done = subprocess.run(
        command, env=found, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
