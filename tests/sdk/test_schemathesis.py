"""Requests made up from the published description: no failure of ours, no answer beyond it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from chat.api.openapi.schema import description
from tests.api.conftest import program_of
from tests.server import Server
from tests.world import World

# Left out: that whatever fits the schemas is accepted. Ids have to name something, models too.
LEFT_OUT = "positive_data_acceptance"
# By hand, against `make up`: more examples, and --phases coverage,fuzzing,stateful.
ARGUMENTS = [
    "--checks=all",
    f"--exclude-checks={LEFT_OUT}",
    "--phases=fuzzing",
    "--max-examples=4",
    "--generation-deterministic",
    "--suppress-health-check=all",
    "--request-timeout=120",
    "--warnings=off",
    "--no-color",
]


def test_no_made_up_request_breaks_the_description(
    demonstration: Server, world: World, tmp_path: Path
) -> None:
    scopes = ["read", "write", "admin", "act_for_users"]
    key = program_of(world.acme, "adam", scopes=scopes).secret
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{demonstration.url}/v1/openapi.json",
        f"--header=Authorization: Bearer {key}",
        *ARGUMENTS,
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:]
    described = sum(map(len, description()["paths"].values()))
    assert f"Tested: {described}\n" in done.stdout
