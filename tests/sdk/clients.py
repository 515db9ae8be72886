"""The clients' own environments, which `make` lays out under .venv-sdk."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
ENVIRONMENTS = FOLDER.parents[1] / ".venv-sdk"


def program(name: str, environment: str) -> Path:
    """Return a program of an environment; skip the test, or fail it where clients are required."""
    path = ENVIRONMENTS / environment / "bin" / name
    if not path.exists():
        if "sdk" in os.environ.get("ATRIUM_REQUIRE", ""):
            pytest.fail(f"{path} is required and missing: make packages-sdk")
        pytest.skip(f"{path} is missing: make packages-sdk")
    return path


def run(command: list[str | Path], *, url: str, key: str) -> Any:
    """Run a program of a client against the API at `url`, and return the JSON it prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": key,
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
