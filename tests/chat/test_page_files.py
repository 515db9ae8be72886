"""Files of the page: uploaded, told of, saved, shown, quoted, and sent with a message."""

from __future__ import annotations

import asyncio
import json
import sys
from io import BytesIO
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from chat.downloads import CHUNK_BYTES
from chat.models import Assistant, File, Message, StoreFile, VectorStore
from tests.chat.knowing import POLICY, SEARCH, add_file, keep_file, make_store
from tests.retrieval import office_files
from tests.world import Company, World

pytestmark = pytest.mark.usefixtures("stored")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32
SCRIPT = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


@pytest.fixture
def alice(world: World) -> Client:
    return world.acme.client("alice")


def upload(client: Client, content: bytes, name: str = "a.txt") -> Any:
    file = BytesIO(content)
    file.name = name
    return client.post("/page/files", {"file": file})


def stored(company: Company, content: bytes, *, owner: str | None, **fields: str) -> File:
    member = company.people[owner] if owner else None
    given = {"filename": "a.svg", "media_type": "image/svg+xml", "purpose": "assistants", **fields}
    return keep_file(File(tenant=company.tenant, member=member, **given), content)


def document(company: Company, store: VectorStore, text: str, **fields: Any) -> StoreFile:
    """Put a file that is there into a store, and index it."""
    row = add_file(company, store, text, **fields)
    with company.scope():
        File.objects.filter(pk=row.file_id).update(stored_at=timezone.now())
    return row


def send(client: Client, world: World, **fields: Any) -> Any:
    body = {"client_id": "once", "assistant": world.acme.assistant.pk, "content": "Hi", **fields}
    return client.post("/page/messages", json.dumps(body), content_type="application/json")


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (b"Thirty days.", "policy.txt", "document"),
        (b"%PDF-1.7", "policy.exe", "document"),
        (PNG, "picture.txt", "image"),
        (b"a,b\n1,2\n", "sales.csv", "data"),
        (b'{"a": 1}', "a.json", "data"),
        (b"PK\x03\x04 sheet", "sales.xlsx", "table"),
        (b"PK\x03\x04 more", "all.zip", "other"),
        (office_files.xlsx({"A": [["x"]]}), "sales.bin", "data"),
        (office_files.pptx("x"), "talk.bin", "document"),
        (b"{\\rtf1 x}", "letter.bin", "document"),
        (SCRIPT, "drawing.png", "document"),
    ],
)
def test_what_a_file_is_its_content_says(
    alice: Client, content: bytes, name: str, kind: str
) -> None:
    facts = upload(alice, content, name).json()
    assert (facts["name"], facts["kind"], facts["bytes"]) == (name, kind, len(content))


def test_pictures_are_for_looking_and_belong_to_their_sender(world: World, alice: Client) -> None:
    file_id = upload(alice, PNG, "a.png").json()["id"]
    with world.acme.scope():
        file = File.objects.get(pk=file_id)
    assert (file.purpose, file.member_id) == ("vision", world.acme.alice.pk)


def test_a_spreadsheet_is_for_code_alone_without_the_extra(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    assert upload(alice, office_files.xlsx({"A": [["x"]]}), "a.xlsx").json()["kind"] == "table"


@pytest.mark.parametrize(
    ("form", "code"),
    [({}, "missing_required_parameter"), ({"file": "text"}, "unknown_parameter")],
)
def test_forms_without_a_file_are_refused(alice: Client, form: Any, code: str) -> None:
    answer = alice.post("/page/files", form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_an_empty_file_and_too_large_a_picture_are_refused(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.actions.files.manage.MAX_IMAGE_BYTES", 20)
    assert upload(alice, b"").json()["error"]["code"] == "invalid_value"
    assert upload(alice, PNG).json()["error"]["code"] == "file_too_large"


def test_an_upload_from_another_page_is_refused(world: World) -> None:
    client = world.acme.client("alice")
    client.handler.enforce_csrf_checks = True
    assert upload(client, b"text").status_code == 403


def test_somebody_signed_out_uploads_nothing(world: World) -> None:
    assert upload(Client(), b"text").json()["error"]["code"] == "signed_out"


def test_files_are_told_of_by_their_ids_with_what_became_of_them(
    world: World, alice: Client
) -> None:
    plain = upload(alice, b"text").json()["id"]
    read = document(world.acme, make_store(world.acme, owner="alice"), POLICY).file_id
    theirs = document(world.acme, make_store(world.acme, owner="bob"), POLICY).file_id
    with world.acme.scope():
        failed = StoreFile.objects.get(file_id=read)
        failed.status, failed.error_message = "failed", "It is locked."
        failed.save()
    asked = ",".join((plain, read, theirs, "file-gone", "anything"))
    data = alice.get("/page/files", {"ids": asked}).json()["data"]
    told = {item["id"]: (item["state"], item["problem"]) for item in data}
    assert told == {plain: ("", ""), read: ("failed", "It is locked.")}


def test_a_deleted_file_is_gone(world: World, alice: Client) -> None:
    file_id = upload(alice, b"text").json()["id"]
    assert alice.delete(f"/page/files/{file_id}").json()["deleted"] is True
    assert alice.get(f"/page/files/{file_id}/content").status_code == 404
    assert alice.get("/page/files", {"ids": file_id}).json()["data"] == []


def test_files_are_saved_and_never_shown(alice: Client) -> None:
    file_id = upload(alice, b"<html><script>alert(1)</script>", 'a"\r\n.html').json()["id"]
    for query in ("", "?show=1"):
        answer = alice.get(f"/page/files/{file_id}/content{query}")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_drawing_is_shown_in_the_page_and_runs_nothing(world: World, alice: Client) -> None:
    url = f"/page/files/{stored(world.acme, SCRIPT, owner='alice').pk}/content?show=1"
    answer = alice.get(url, headers={"Sec-Fetch-Dest": "image"})
    assert answer.headers["Content-Type"] == "image/svg+xml"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "sandbox" in policy and "script" not in policy
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    opened = alice.get(url, headers={"Sec-Fetch-Dest": "document"})
    assert opened.headers["Content-Disposition"].startswith("attachment;")


def test_a_passage_comes_with_its_page_and_what_stands_around_it(
    world: World, alice: Client
) -> None:
    store = make_store(world.acme, owner="alice")
    row = document(world.acme, store, POLICY, pages=(0, 30))
    start = POLICY.index("It must be unused")
    place = {"store_file": row.pk, "start": start, "end": start + 17}
    told = alice.get(f"/page/files/{row.file_id}/passage", place).json()
    assert told["before"] + told["quote"] + told["after"] == POLICY
    assert (told["quote"], told["page"]) == ("It must be unused", 2)


def test_a_long_document_is_cut_at_words_around_a_passage(world: World, alice: Client) -> None:
    text = "apple " * 1000 + "pear. " + "plum " * 1000
    row = document(world.acme, make_store(world.acme, owner="alice"), text)
    told = alice.get(f"/page/files/{row.file_id}/passage", {"start": 6000, "end": 6005}).json()
    assert told["quote"] == "pear."
    assert set(told["before"].split()) == {"apple"} and set(told["after"].split()) == {"plum"}
    assert len(told["before"]) <= 1200 >= len(told["after"]) > 1000


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ({"start": 0, "end": 1_000_000}, 400),
        ({"start": 5, "end": 5}, 400),
        ({"start": -1, "end": 5}, 400),
        ({"start": "٣", "end": 5}, 400),
        ({"start": 0}, 400),
        ({"start": 0, "end": 5, "more": 1}, 400),
        ({"start": 0, "end": 5, "store_file": 9**17}, 404),
        ({"start": 10**9, "end": 10**9 + 5}, 400),
        ({"start": 10**8, "end": 10**8 + 5}, 404),
        ({"start": 400, "end": 405}, 404),
    ],
)
def test_places_that_are_none_are_refused(
    world: World, alice: Client, place: Any, status: int
) -> None:
    row = document(world.acme, make_store(world.acme, owner="alice"), POLICY)
    assert alice.get(f"/page/files/{row.file_id}/passage", place).status_code == status


def knows(world: World, store: VectorStore) -> None:
    with world.acme.scope():
        world.acme.assistant.tools = [SEARCH]
        world.acme.assistant.tool_resources = {"file_search": {"vector_store_ids": [store.pk]}}
        world.acme.assistant.save()


def test_members_read_the_documents_of_assistants_they_may_ask(world: World, alice: Client) -> None:
    known, unknown = make_store(world.acme), make_store(world.acme)
    knows(world, known)
    told = []
    for store in (known, unknown):
        file_id = document(world.acme, store, POLICY).file_id
        answer = alice.get(f"/page/files/{file_id}/passage", {"start": 0, "end": 5})
        told.append(answer.status_code)
    assert told == [200, 404]
    with world.acme.scope():
        world.acme.assistant.enabled = False
        world.acme.assistant.save()
        file_id = StoreFile.objects.get(store=known).file_id
    gone = alice.get(f"/page/files/{file_id}/passage", {"start": 0, "end": 5})
    assert gone.status_code == 404


def test_documents_that_no_assistant_searches_any_more_are_not_shown(
    world: World, alice: Client
) -> None:
    store = make_store(world.acme)
    knows(world, store)
    file_id = document(world.acme, store, POLICY).file_id
    with world.acme.scope():
        Assistant.objects.update(tools=[])
    place = {"start": 0, "end": 5}
    assert alice.get(f"/page/files/{file_id}/passage", place).status_code == 404


def test_members_delete_no_document_of_the_company(world: World, alice: Client) -> None:
    store = make_store(world.acme)
    knows(world, store)
    file_id = document(world.acme, store, POLICY).file_id
    assert alice.delete(f"/page/files/{file_id}").status_code == 404


def test_a_message_brings_its_files_to_the_tools_of_its_thread(world: World, alice: Client) -> None:
    text, sheet, picture = (
        upload(alice, content, name).json()["id"]
        for content, name in ((b"text", "a.txt"), (b"a,b\n", "a.csv"), (PNG, "a.png"))
    )
    given = {
        "content": [
            {"type": "text", "text": "Look"},
            {"type": "image_file", "image_file": {"file_id": picture}},
        ],
        "attachments": [
            {"file_id": text, "tools": [{"type": "file_search"}]},
            {"file_id": sheet, "tools": [{"type": "code_interpreter"}]},
        ],
    }
    sent = send(alice, world, **given).json()
    assert sent["message"]["attachments"] == given["attachments"]
    shown = sent["message"]["content"][1]["image_file"]
    assert shown == {"file_id": picture, "detail": "auto"}
    assert sent["thread"]["tool_resources"]["code_interpreter"] == {"file_ids": [sheet]}
    with world.acme.scope():
        assert [row.file_id for row in StoreFile.objects.all()] == [text]
    again = send(alice, world, **given).json()
    assert again["message"]["id"] == sent["message"]["id"]
    with world.acme.scope():
        assert (StoreFile.objects.count(), VectorStore.objects.count()) == (1, 1)


@pytest.mark.parametrize("owner", ["bob", None])
def test_a_message_with_a_file_of_somebody_else_is_refused_whole(
    world: World, alice: Client, owner: str | None
) -> None:
    file_id = stored(world.acme, b"text", owner=owner).pk
    with world.acme.scope():
        before = Message.objects.count()
    shown = [{"type": "image_file", "image_file": {"file_id": file_id}}]
    for given in ({"attachments": [{"file_id": file_id, "tools": []}]}, {"content": shown}):
        assert send(alice, world, **given).status_code == 404
    with world.acme.scope():
        assert Message.objects.count() == before


def test_who_takes_a_large_file_slowly_keeps_no_database_connection(
    alice: Client, world: World
) -> None:
    file = stored(world.acme, bytes(CHUNK_BYTES + 1), owner="alice")
    response: Any = alice.get(f"/page/files/{file.pk}/content")
    assert connection.connection is None

    async def taken() -> int:
        return sum([len(piece) async for piece in response])

    assert asyncio.run(taken()) == CHUNK_BYTES + 1
