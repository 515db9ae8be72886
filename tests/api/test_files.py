"""Files over the API, and what becomes of their bytes."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.utils import timezone

from chat import storage
from chat.actions.files import manage as actions
from chat.errors import StorageFull, Unavailable
from chat.models import File, StorageUse
from chat.tasks import erase_files
from tests.api.conftest import Api, assert_error, program_of, upload, uploaded
from tests.api.published import assert_published
from tests.api.racing import at_once
from tests.world import World

pytestmark = pytest.mark.usefixtures("stored")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


def on_disk(stored: Path) -> list[Path]:
    return [path for path in stored.rglob("*") if path.is_file()]


def row_of(world: World, file_id: str) -> File:
    with world.acme.scope(), transaction.atomic():
        found: File = File.objects.get(pk=file_id)
    return found


def used(world: World) -> int:
    with world.acme.scope(), transaction.atomic():
        return StorageUse.objects.values_list("bytes", flat=True).first() or 0


def test_an_uploaded_file_is_as_it_was_sent(alice: Api, world: World) -> None:
    made = uploaded(alice, b"words", "a b.txt", purpose="user_data")
    assert_published({k: v for k, v in made.items() if v is not None} | NULLS)
    assert (made["bytes"], made["filename"], made["purpose"]) == (5, "a b.txt", "user_data")
    assert alice.get(f"files/{made['id']}").json() == made
    assert row_of(world, made["id"]).sha256 == hashlib.sha256(b"words").hexdigest()


NULLS = {"expires_at": 0, "status_details": ""}


def test_its_content_is_sent_to_be_saved(alice: Api) -> None:
    made = uploaded(alice, b"<script>", 'x";\r\n.html')
    answer = alice.get(f"files/{made['id']}/content")
    assert answer.content == b"<script>"
    assert answer["Content-Disposition"].startswith("attachment;")
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_files_of_an_admin_for_assistants_are_the_companys(
    adam: Api, alice: Api, world: World
) -> None:
    shared, own = uploaded(adam, b"a"), uploaded(adam, b"a", purpose="user_data")
    assert row_of(world, shared["id"]).member_id is None
    assert row_of(world, own["id"]).member_id == world.acme.people["adam"].pk
    assert_error(alice.get(f"files/{shared['id']}"), 404, param="file_id")


def test_the_list_is_of_a_purpose_where_one_is_named(alice: Api) -> None:
    first, second = uploaded(alice, b"a"), uploaded(alice, b"a", purpose="user_data")
    assert [item["id"] for item in alice.get("files").json()["data"]] == [second["id"], first["id"]]
    found = alice.get("files", purpose="assistants").json()
    assert [item["id"] for item in found["data"]] == [first["id"]]


def test_a_deleted_file_is_gone_with_its_bytes(alice: Api, world: World, stored: Path) -> None:
    made = uploaded(alice, b"words")
    answer = alice.delete(f"files/{made['id']}").json()
    assert answer == {"id": made["id"], "object": "file", "deleted": True}
    assert_error(alice.get(f"files/{made['id']}/content"), 404, param="file_id")
    assert used(world) == 0
    asyncio.run(erase_files(0))
    assert on_disk(stored) == []


def test_a_file_expires(alice: Api, world: World, stored: Path) -> None:
    form = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = uploaded(alice, b"words", **form)
    assert made["expires_at"] == made["created_at"] + 3600
    with world.acme.scope(), transaction.atomic():
        File.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert_error(alice.get(f"files/{made['id']}"), 404, param="file_id")
    asyncio.run(erase_files(0))
    assert (on_disk(stored), used(world)) == ([], 0)


def test_two_files_in_a_form_are_refused_with_a_sentence_that_says_so(alice: Api) -> None:
    files = [SimpleUploadedFile(name, b"a") for name in ("a.txt", "b.txt")]
    response = alice.client.post(
        "/v1/files",
        {"file": files, "purpose": "assistants"},
        headers={"Authorization": f"Bearer {alice.secret}"},
    )
    words = assert_error(response, 400, param="file", code="invalid_value")
    assert words == "Send one file in 'file', not 2."


@pytest.mark.parametrize(
    ("form", "param", "code"),
    [
        ({"purpose": "assistants_output"}, "purpose", "invalid_value"),
        ({"secret": "x"}, "secret", "unknown_parameter"),
        ({"expires_after[seconds]": "5"}, "expires_after.anchor", "invalid_value"),
        ({"expires_after": "5"}, "expires_after", "invalid_type"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds", "invalid_type"),
    ],
)
def test_a_faulty_form_names_its_part(
    alice: Api, form: dict[str, str], param: str, code: str
) -> None:
    assert_error(upload(alice, b"a", **form), 400, param=param, code=code)


def test_a_form_without_a_file_says_so(alice: Api) -> None:
    headers = {"Authorization": f"Bearer {alice.secret}"}
    answer = alice.client.post("/v1/files", {"purpose": "assistants"}, headers=headers)
    assert_error(answer, 400, param="file", code="missing_required_parameter")


def test_no_form_is_refused(alice: Api) -> None:
    assert_error(alice.post("files", {"purpose": "assistants"}), 415, code="unsupported_media_type")


def test_an_empty_file_is_refused(alice: Api, stored: Path) -> None:
    assert_error(upload(alice, b""), 400, param="file", code="invalid_value")
    assert on_disk(stored) == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("\u202efdp.exe", "fdp.exe"),
        ("x" * 400 + ".pdf", "x" * 251 + ".pdf"),
    ],
)
def test_a_hostile_name_is_only_a_name(name: str, kept: str) -> None:
    assert actions.clean_name(name) == kept


def test_what_a_file_is_says_its_content(alice: Api, world: World) -> None:
    page = uploaded(alice, b"<!doctype html><p>hi", "picture.png")
    picture = uploaded(alice, PNG, "page.html")
    assert row_of(world, page["id"]).media_type == "text/html"
    assert row_of(world, picture["id"]).media_type == "image/png"


def test_only_pictures_are_looked_at(alice: Api) -> None:
    assert uploaded(alice, PNG, "a.png", purpose="vision")["purpose"] == "vision"
    answer = upload(alice, b"MZ program", "a.png", purpose="vision")
    assert_error(answer, 400, param="file", code="invalid_value")


def test_a_file_over_the_limit_is_refused(alice: Api, settings: Any, stored: Path) -> None:
    settings.CHAT = {**settings.CHAT, "FILE_BYTES": 10}
    assert_error(upload(alice, b"x" * 11), 413, code="file_too_large")
    assert uploaded(alice, b"x" * 10)["bytes"] == 10
    assert len(on_disk(stored)) == 1


def test_a_company_keeps_so_much_and_no_more(alice: Api, settings: Any, world: World) -> None:
    settings.CHAT = {**settings.CHAT, "STORAGE_BYTES": 10}
    uploaded(alice, b"x" * 6)
    assert_error(upload(alice, b"x" * 5), 400, code="storage_full")
    assert used(world) == 6


def test_of_two_that_fit_alone_one_is_kept(world: World, settings: Any) -> None:
    """Both were measured before either was counted."""
    settings.CHAT = {**settings.CHAT, "STORAGE_BYTES": 10}
    principal = world.acme.principal("alice")
    rows = [
        actions.receive_file(principal, BytesIO(b"x" * 6), filename="a", purpose="user_data")
        for _twice in range(2)
    ]
    actions.finalize_file(principal, rows[0])
    with pytest.raises(StorageFull):
        actions.finalize_file(principal, rows[1])
    assert used(world) == 6


def test_of_many_at_once_as_many_are_kept_as_fit(world: World, settings: Any, stored: Path) -> None:
    settings.CHAT = {**settings.CHAT, "STORAGE_BYTES": 20}
    api = program_of(world.acme, "alice")
    found = at_once(6, lambda: upload(Api(secret=api.secret), b"x" * 6).status_code)
    assert sorted(found) == [200] * 3 + [400] * 3
    assert used(world) == 18
    asyncio.run(erase_files(0))
    assert len(on_disk(stored)) == 3


def test_what_is_deleted_twice_at_once_is_freed_once(world: World) -> None:
    api = program_of(world.acme, "alice")
    uploaded(api, b"stays")
    path = f"files/{uploaded(api, b'words')['id']}"
    found = at_once(4, lambda: Api(secret=api.secret).delete(path).status_code)
    assert found.count(200) >= 1
    assert used(world) == 5


def test_what_a_crash_left_behind_is_removed(world: World, stored: Path) -> None:
    principal = world.acme.principal("alice")
    row = actions.receive_file(principal, BytesIO(b"half"), filename="a", purpose="user_data")
    asyncio.run(erase_files(0))
    assert len(on_disk(stored)) == 1, "it may still be arriving"
    with world.acme.scope(), transaction.atomic():
        File.objects.update(created_at=timezone.now() - timedelta(days=1))
    asyncio.run(erase_files(0))
    assert on_disk(stored) == []
    with world.acme.scope(), transaction.atomic():
        assert not File.objects.filter(pk=row.pk).exists()


def test_bytes_that_are_gone_already_do_not_stop_the_removal(alice: Api, world: World) -> None:
    made = uploaded(alice, b"words")
    default_storage.delete(row_of(world, made["id"]).storage_key)
    alice.delete(f"files/{made['id']}")
    asyncio.run(erase_files(0))
    with world.acme.scope(), transaction.atomic():
        assert not File.objects.exists()


def test_one_that_cannot_be_removed_holds_up_no_other(
    alice: Api, world: World, stored: Path
) -> None:
    stuck, other = (uploaded(alice, b"words")["id"] for _twice in range(2))
    path = stored / row_of(world, stuck).storage_key
    path.unlink()
    (path / "folder").mkdir(parents=True)
    for file_id in (stuck, other):
        alice.delete(f"files/{file_id}")
    asyncio.run(erase_files(0))
    with world.acme.scope(), transaction.atomic():
        assert list(File.objects.values_list("pk", flat=True)) == [stuck]


def test_one_that_took_too_long_is_not_there_afterwards(world: World, stored: Path) -> None:
    principal = world.acme.principal("alice")
    row = actions.receive_file(principal, BytesIO(b"late"), filename="a", purpose="user_data")
    storage.discard(row)
    with pytest.raises(Unavailable):
        actions.finalize_file(principal, row)
    assert (on_disk(stored), used(world)) == ([], 0)


def test_a_repeated_upload_is_one_file(world: World, stored: Path) -> None:
    api = program_of(world.acme, "alice")
    api.headers["Idempotency-Key"] = "one"
    first = uploaded(api, b"words")
    assert uploaded(api, b"words") == first
    assert_error(upload(api, b"other"), 400, code="idempotency_key_reused")
    api.headers.clear()
    assert [item["id"] for item in api.get("files").json()["data"]] == [first["id"]]
    asyncio.run(erase_files(0))
    assert len(on_disk(stored)) == 1


def test_a_large_file_is_sent_in_pieces(alice: Api) -> None:
    data = b"0123456789" * 200_000
    made = uploaded(alice, data)
    answer = alice.get(f"files/{made['id']}/content")

    async def all_of_it() -> bytes:
        return b"".join([piece async for piece in answer])

    assert (answer["Content-Length"], asyncio.run(all_of_it())) == (str(len(data)), data)
