"""Files that come in parts."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.utils import timezone

from chat.models import Upload
from chat.tasks import end_uploads, erase_files
from tests.api.conftest import Api, assert_error, program_of
from tests.api.test_files import on_disk, used
from tests.world import World

pytestmark = pytest.mark.usefixtures("stored")
NEW = {"filename": "a.txt", "purpose": "user_data", "mime_type": "text/plain"}


def send(api: Api, upload: str, data: bytes) -> Any:
    return api.client.post(
        f"/v1/uploads/{upload}/parts",
        {"data": SimpleUploadedFile("part", data)},
        headers={"Authorization": f"Bearer {api.secret}"} | api.headers,
    )


def begun(api: Api, *parts: bytes, size: int | None = None) -> tuple[str, list[str]]:
    """Return an upload's id and those of its parts."""
    size = sum(map(len, parts)) if size is None else size
    upload = api.made("uploads", {**NEW, "bytes": size})["id"]
    return upload, [send(api, upload, part).json()["id"] for part in parts]


def test_parts_become_a_file_in_the_order_named(alice: Api, world: World, stored: Path) -> None:
    upload, [first, second] = begun(alice, b"two", b"one ")
    md5 = hashlib.md5(b"one two", usedforsecurity=False).hexdigest()
    made = alice.made(f"uploads/{upload}/complete", part_ids=[second, first], md5=md5)
    assert (made["status"], made["file"]["bytes"]) == ("completed", 7)
    assert alice.get(f"files/{made['file']['id']}/content").content == b"one two"
    asyncio.run(erase_files(0))
    assert (len(on_disk(stored)), used(world)) == (1, 7)


def test_another_checksum_is_refused(alice: Api, stored: Path, world: World) -> None:
    upload, parts = begun(alice, b"words")
    answer = alice.post(f"uploads/{upload}/complete", {"part_ids": parts, "md5": "0" * 32})
    assert_error(answer, 400, param="md5", code="invalid_value")
    assert used(world) == 5
    assert alice.made(f"uploads/{upload}/complete", part_ids=parts)["status"] == "completed"


def test_fewer_bytes_than_announced_are_refused(alice: Api) -> None:
    upload, parts = begun(alice, b"words", size=6)
    answer = alice.post(f"uploads/{upload}/complete", {"part_ids": parts})
    assert_error(answer, 400, param="part_ids", code="invalid_value")


def test_more_bytes_than_announced_are_refused(alice: Api, stored: Path) -> None:
    upload, _parts = begun(alice, size=4)
    assert_error(send(alice, upload, b"words"), 413, param="data", code="file_too_large")
    assert on_disk(stored) == []


def test_a_cancelled_upload_leaves_nothing(alice: Api, world: World, stored: Path) -> None:
    upload, parts = begun(alice, b"words")
    assert used(world) == 5
    assert alice.made(f"uploads/{upload}/cancel")["status"] == "cancelled"
    asyncio.run(erase_files(0))
    assert (on_disk(stored), used(world)) == ([], 0)
    answer = alice.post(f"uploads/{upload}/complete", {"part_ids": parts})
    assert_error(answer, 400, code="upload_ended")


def test_an_upload_ends_after_its_hour(alice: Api, world: World, stored: Path) -> None:
    upload, _parts = begun(alice, b"words")
    with world.acme.scope(), transaction.atomic():
        Upload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert_error(send(alice, upload, b"words"), 400, code="upload_ended")
    asyncio.run(end_uploads(0))
    asyncio.run(erase_files(0))
    assert (on_disk(stored), used(world)) == ([], 0)


def test_parts_of_another_upload_are_not_there(alice: Api) -> None:
    _other, parts = begun(alice, b"words")
    upload, _parts = begun(alice, size=5)
    answer = alice.post(f"uploads/{upload}/complete", {"part_ids": parts})
    assert_error(answer, 404, param="part_ids[0]")


def test_a_repeated_completion_is_answered_alike(world: World) -> None:
    api = program_of(world.acme, "alice")
    upload, parts = begun(api, b"words")
    api.headers["Idempotency-Key"] = "one"
    first = api.made(f"uploads/{upload}/complete", part_ids=parts)
    assert api.made(f"uploads/{upload}/complete", part_ids=parts) == first


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"bytes": 0}, 400, "bytes"),
        ({"bytes": 2**40}, 413, "bytes"),
        ({"purpose": "spying"}, 400, "purpose"),
        ({"mime_type": 1}, 400, "mime_type"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, 400, "expires_after.seconds"),
    ],
)
def test_a_faulty_upload_names_its_part(
    alice: Api, change: dict[str, Any], status: int, param: str
) -> None:
    answer = alice.post("uploads", {**NEW, "bytes": 5, **change})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
