"""A disk without room: a sentence, one line for the operator, and nothing half kept."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.db import DatabaseError, OperationalError
from django.test import Client

from chat.errors import StorageDiskFull
from chat.models import File
from config.middleware.single_thread_handler import SingleThreadHandler
from tests.api.conftest import Api, assert_error, upload, uploaded
from tests.log_scan import scanned_log
from tests.world import World

pytestmark = pytest.mark.usefixtures("stored")


class FullStorage(FileSystemStorage):
    """A folder on a disk that takes the first bytes of a file and no more."""

    def _save(self, name: str, content: Any) -> str:
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.read(10))
        write_to_full_disk(content.read())
        return name


def write_to_full_disk(data: bytes) -> None:
    """Fail as the kernel does where no room is left."""
    with Path("/dev/full").open("wb", buffering=0) as disk:
        disk.write(data)


@pytest.fixture
def full(settings: Any) -> None:
    """No room where files are kept."""
    entry = {"BACKEND": "tests.api.test_disk_full.FullStorage"}
    settings.STORAGES = {**settings.STORAGES, "default": entry}


def kept(world: World, folder: Path) -> tuple[int, list[Path]]:
    with world.acme.scope():
        rows = File.objects.filter(filename="a.txt", deleted_at=None).count()
    return rows, [path for path in folder.rglob("*") if path.is_file()]


def test_an_upload_says_so(world: World, alice: Api, full: None, stored: Path) -> None:
    answer = upload(alice, b"more than ten bytes")
    assert assert_error(answer, 507, code="disk_full") == StorageDiskFull().message
    assert kept(world, stored) == (0, [])


def test_an_upload_of_the_page_says_so(world: World, full: None, stored: Path) -> None:
    file = BytesIO(b"more than ten bytes")
    file.name = "a.txt"
    answer = world.acme.client("alice").post("/page/files", {"file": file})
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
    assert kept(world, stored) == (0, [])


def test_an_admin_is_told_in_the_form(world: World, full: None, stored: Path) -> None:
    file = BytesIO(b"more than ten bytes")
    file.name = "a.txt"
    answer = world.acme.client("adam").post(
        "/admin/chat/file/add/", {"documents": file}, follow=True
    )
    assert "disk is full" in answer.content.decode()
    assert kept(world, stored) == (0, [])


def test_the_operator_has_one_line(alice: Api, full: None) -> None:
    with scanned_log() as lines:
        upload(alice, b"more than ten bytes")
    found = [json.loads(line) for line in lines if "disk_full" in line]
    assert [line["event"] for line in found] == ["disk_full"]
    assert "exception" not in found[0]


def test_room_again_is_used_at_once(alice: Api, stored: Path) -> None:
    assert uploaded(alice, b"more than ten bytes")["bytes"] == 19


def test_no_room_for_a_file_on_its_way_in(
    world: World, alice: Api, monkeypatch: pytest.MonkeyPatch, stored: Path
) -> None:
    class FullFile(BytesIO):
        def write(self, data: Any) -> int:
            write_to_full_disk(bytes(data))
            return 0

    monkeypatch.setattr("config.backends.uploads.TemporaryFile", lambda **_options: FullFile())
    alice.client = Client(raise_request_exception=False)
    # Small files are held in memory.
    answer = upload(alice, b"x" * 2_000_000)
    assert_error(answer, 507, code="disk_full")
    assert kept(world, stored) == (0, [])


async def test_no_room_for_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    async def spool(_handler: object, _receive: object) -> None:
        write_to_full_disk(b"x")

    monkeypatch.setattr("django.core.handlers.asgi.ASGIHandler.read_body", spool)
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/v1/files", "headers": []}
    await SingleThreadHandler()(scope, receive, send)
    assert sent[0]["status"] == 507
    assert json.loads(sent[1]["body"])["error"]["code"] == "disk_full"


def test_no_room_for_the_database(
    world: World, alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        cause = DatabaseError()
        cause.sqlstate = "53100"  # type: ignore[attr-defined]
        raise OperationalError("could not extend file") from cause

    alice.client = Client(raise_request_exception=False)
    monkeypatch.setattr("django.db.backends.utils.CursorWrapper._execute", refuse)
    assert_error(alice.get("threads/thread_x"), 507, code="disk_full")


def test_a_file_that_the_storage_does_not_give_is_told_in_the_admin(
    world: World, adam: Api, monkeypatch: pytest.MonkeyPatch, stored: Path
) -> None:
    file = uploaded(adam, b"more than ten bytes")["id"]

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise OSError("The bucket is not available.")

    monkeypatch.setattr(FileSystemStorage, "_open", fail)
    answer = world.acme.client("adam").get(f"/admin/chat/file/{file}/content/")
    assert answer.status_code == 503
    assert "temporarily unavailable" in answer.content.decode()
