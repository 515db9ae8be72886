"""The admin's pages about documents: collections, what was read of them, files for code."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils.formats import date_format
from django.utils.timezone import localtime

from chat.actions.vector_stores.collection_uploads import create_documents, create_files
from chat.actions.vector_stores.manage import create_store
from chat.models import Assistant, File, StoreFile, VectorStore
from tenants.models import AuditEvent
from tests.chat.test_admin_pages import assistant_data, page_of, save
from tests.world import Company, World

STORES = "/admin/chat/vectorstore/"


@pytest.fixture
def acme(world: World, stored: Path) -> Company:
    return world.acme


@pytest.fixture
def admin(acme: Company) -> Client:
    return acme.client("adam")


@pytest.fixture
def collection(acme: Company) -> VectorStore:
    return create_store(acme.principal("adam"), name="Policies")


@pytest.fixture
def document(acme: Company, collection: VectorStore) -> StoreFile:
    """A document that could not be read."""
    content = BytesIO(b"Thirty days.")
    principal = acme.principal("adam")
    create_documents(principal, collection.pk, [("returns.txt", content)])
    with acme.scope():
        StoreFile.objects.update(
            status="failed", error_code="invalid_file", error_message="The file is damaged."
        )
        row: StoreFile = StoreFile.objects.select_related("store", "file").get()
        return row


def text(name: str, content: bytes = b"Thirty days to return it.") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, content_type="application/x-anything")


def test_a_collection_is_made_renamed_and_deleted(acme: Company, admin: Client) -> None:
    made = admin.post(f"{STORES}add/", {"name": "Policies", "expires_days": "7"})
    with acme.scope():
        store = VectorStore.objects.get()
    assert made["Location"] == page_of(store)
    assert (store.member_id, store.expires_days) == (None, 7)
    save(admin, store, {"name": "Rules", "description": "Returns", "expires_days": ""})
    with acme.scope():
        store = VectorStore.objects.get()
    assert (store.name, store.description, store.expires_days) == ("Rules", "Returns", None)
    admin.post(page_of(store, "delete"), {"post": "yes"})
    with acme.scope():
        assert not VectorStore.objects.alive().exists()
        told = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"collection.created", "collection.changed", "collection.deleted"} <= told


def test_several_documents_are_added_at_once(
    acme: Company, admin: Client, collection: VectorStore
) -> None:
    several = [text("returns.txt"), text("guide.md"), text("empty.txt", b"")]
    response = admin.post(page_of(collection, "upload"), {"documents": several}, follow=True)
    page = response.content.decode()
    assert "2 documents are being read." in page
    assert "empty.txt: The file is empty." in page
    with acme.scope():
        rows = StoreFile.objects.filter(store=collection).select_related("file")
        assert {(row.file.filename, row.file.member_id) for row in rows} == {
            ("returns.txt", None),
            ("guide.md", None),
        }


def test_pictures_and_programs_are_no_documents(
    acme: Company, admin: Client, collection: VectorStore
) -> None:
    named_wrongly = text("notes.txt", b"\x89PNG\r\n\x1a\n" + bytes(40))
    response = admin.post(page_of(collection, "upload"), {"documents": named_wrongly}, follow=True)
    assert "notes.txt: This file type is not supported" in response.content.decode()
    with acme.scope():
        assert not File.objects.exists()


def test_nothing_chosen_is_said(admin: Client, collection: VectorStore) -> None:
    response = admin.post(page_of(collection, "upload"), follow=True)
    assert "Choose one or more files first." in response.content.decode()


def test_a_failed_document_says_why_and_is_read_again(
    acme: Company, admin: Client, document: StoreFile
) -> None:
    page = admin.get(page_of(document.store)).content.decode()
    assert "The file is damaged." in page
    admin.post(page_of(document, "do/again"))
    with acme.scope():
        assert StoreFile.objects.get().status == "in_progress"


def test_a_document_is_named_and_its_times_are_dates(admin: Client, document: StoreFile) -> None:
    shown = admin.get(page_of(document)).content.decode()
    assert "<span>returns.txt</span>" in shown
    assert date_format(localtime(document.created_at), "DATETIME_FORMAT") in shown
    assert document.created_at.isoformat(sep=" ") not in shown


def test_a_document_is_taken_out_and_its_file_kept(
    acme: Company, admin: Client, document: StoreFile
) -> None:
    response = admin.post(page_of(document, "do/remove"))
    assert response["Location"] == page_of(document.store)
    with acme.scope():
        assert not StoreFile.objects.exists()
        assert File.objects.alive().count() == 1


def test_an_expired_collection_takes_no_documents(
    acme: Company, admin: Client, collection: VectorStore
) -> None:
    with acme.scope():
        VectorStore.objects.update(expires_days=1, last_active_at="2020-01-01T00:00Z")
    assert "has expired" in admin.get(page_of(collection)).content.decode()
    response = admin.post(page_of(collection, "upload"), {"documents": text("a.txt")}, follow=True)
    assert "This vector store has expired" in response.content.decode()
    with acme.scope():
        assert not File.objects.exists()


@pytest.fixture
def file(acme: Company) -> File:
    content = BytesIO(b"month,total\n2025-01,=1+1\n")
    received = create_files(acme.principal("adam"), [("<b>sales.csv", content)])
    return received.files[0]


def test_a_file_is_downloaded_as_an_attachment(admin: Client, file: File) -> None:
    response = admin.get(page_of(file, "content"))
    assert response.content.startswith(b"month,total")
    assert response["Content-Disposition"].startswith("attachment")
    assert response["Content-Type"] == "application/octet-stream"


def test_files_are_added_and_deleted(acme: Company, admin: Client, file: File) -> None:
    admin.post("/admin/chat/file/add/", {"documents": [text("a.csv"), text("b.csv")]})
    admin.post(page_of(file, "delete"), {"post": "yes"})
    with acme.scope():
        names = set(File.objects.alive().values_list("filename", flat=True))
    assert names == {"a.csv", "b.csv"}


def test_peoples_own_files_are_not_shown(acme: Company, admin: Client, file: File) -> None:
    with acme.scope():
        File.objects.update(member=acme.adam)
    assert "sales.csv" not in admin.get("/admin/chat/file/").content.decode()
    assert admin.get(page_of(file, "content")).status_code == 302


@pytest.fixture
def chosen(collection: VectorStore, file: File) -> dict[str, Any]:
    return {
        "file_search": "on",
        "collection": collection.pk,
        "code_interpreter": "on",
        "code_files": [file.pk],
    }


def test_an_assistant_is_given_documents_and_code(
    acme: Company, admin: Client, chosen: dict[str, Any]
) -> None:
    response = save(admin, acme.assistant, {**assistant_data(), **chosen})
    assert response.status_code == 302
    with acme.scope():
        row = Assistant.objects.get()
    assert [tool["type"] for tool in row.tools] == ["file_search", "code_interpreter"]
    assert row.tool_resources == {
        "file_search": {"vector_store_ids": [chosen["collection"]]},
        "code_interpreter": {"file_ids": chosen["code_files"]},
    }


def test_switching_off_keeps_a_programs_options_of_the_other(
    acme: Company, admin: Client, chosen: dict[str, Any]
) -> None:
    with acme.scope():
        searching = {"type": "file_search", "file_search": {"max_num_results": 3}}
        Assistant.objects.update(tools=[searching, {"type": "code_interpreter"}])
    form = {**assistant_data(), "file_search": "on", "collection": chosen["collection"]}
    save(admin, acme.assistant, form)
    with acme.scope():
        row = Assistant.objects.get()
    assert row.tools == [searching]
    assert row.tool_resources["code_interpreter"] == {"file_ids": []}


def test_the_form_shows_what_was_chosen(
    acme: Company, admin: Client, chosen: dict[str, Any]
) -> None:
    save(admin, acme.assistant, {**assistant_data(), **chosen})
    form = admin.get(page_of(acme.assistant)).context["adminform"].form
    assert [form[name].initial for name in chosen] == [
        True,
        chosen["collection"],
        True,
        chosen["code_files"],
    ]


def test_a_collection_names_the_assistants_that_search_it(
    acme: Company, admin: Client, chosen: dict[str, Any]
) -> None:
    save(admin, acme.assistant, {**assistant_data(), **chosen})
    assert "Returns desk" in admin.get(STORES).content.decode()
