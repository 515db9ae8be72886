"""A process whose children upload files, each of them killed at one of its steps.

Reads lines of JSON, {"what": "file" | "upload", "key": secret, "step": n}, and answers each with
"killed" or "whole". A step is a statement to the database, a commit, its end, or a piece of
bytes that goes into the storage: `n` counts them from 1.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import django

django.setup()

from django.core.files.uploadedfile import SimpleUploadedFile  # noqa: E402
from django.db import connections  # noqa: E402
from django.db.backends.base.base import BaseDatabaseWrapper  # noqa: E402
from django.db.backends.utils import CursorWrapper  # noqa: E402
from django.test import Client  # noqa: E402

from chat import storage  # noqa: E402
from tests.api.conftest import Api, upload  # noqa: E402

PIECE, DATA = 4, b"one two three"


def die_at(last: int) -> None:
    """Make the step of this number the last thing that this process does."""
    numbers = itertools.count(1)

    def step() -> None:
        if next(numbers) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    execute, commit = CursorWrapper._execute, BaseDatabaseWrapper._commit  # type: ignore[attr-defined]
    chunks = storage._MeasuringReader.chunks

    def stepped_execute(self: Any, *args: Any) -> Any:
        step()
        return execute(self, *args)

    def stepped_commit(self: Any) -> None:
        step()
        commit(self)
        step()

    def stepped_chunks(self: Any, chunk_size: int | None = None) -> Iterator[bytes]:
        for chunk in chunks(self, PIECE):
            step()
            yield chunk
        step()

    CursorWrapper._execute = stepped_execute  # type: ignore[attr-defined]
    BaseDatabaseWrapper._commit = stepped_commit  # type: ignore[attr-defined]
    storage._MeasuringReader.chunks = stepped_chunks  # type: ignore[method-assign]


def act(what: str, key: str) -> None:
    """Upload a file, at once or in parts."""
    api = Api(secret=key, client=Client(SERVER_NAME="localhost"))
    if what == "file":
        assert upload(api, DATA).status_code == 200
        return
    told = {"filename": "a.txt", "purpose": "user_data", "mime_type": "text/plain"}
    made = api.made("uploads", bytes=len(DATA), **told)
    path = f"uploads/{made['id']}"
    parts = [_part(api, path, data) for data in (DATA[:6], DATA[6:])]
    assert api.made(f"{path}/complete", part_ids=parts)["status"] == "completed"


def _part(api: Api, path: str, data: bytes) -> str:
    headers = {"Authorization": f"Bearer {api.secret}"}
    form = {"data": SimpleUploadedFile("part", data)}
    return str(api.client.post(f"/v1/{path}/parts", form, headers=headers).json()["id"])


def _let_go_of_the_database() -> None:
    """Close the pool with its threads: neither may be shared with a child."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]


def main() -> None:
    """Answer every line."""
    warm = False
    for line in sys.stdin:
        asked = json.loads(line)
        if not warm:
            # What is slow the first time would be so in each child.
            act(asked["what"], asked["key"])
            _let_go_of_the_database()
            warm = True
        child = os.fork()
        if not child:
            die_at(asked["step"])
            act(asked["what"], asked["key"])
            os._exit(0)
        _pid, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or status == 0, status
        sys.stdout.write("killed\n" if status else "whole\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
