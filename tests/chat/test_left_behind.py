"""What came with a chat goes with it; what a store's expiry leaves is erased."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from chat.actions.files.manage import create_file
from chat.actions.messages.attachments import create_attachable
from chat.actions.threads import copy_thread, create_thread, delete_thread
from chat.models import (
    Chunk,
    File,
    StorageUse,
    StoreFile,
    Thread,
    ThreadMapping,
    ToolCall,
    VectorStore,
)
from chat.tasks import empty_stores, erase_deleted_threads, erase_files, erase_stores
from tests.api.conftest import Api, assert_error, program_of
from tests.chat.knowing import POLICY, add_file, keep_file, make_store
from tests.world import World

pytestmark = pytest.mark.usefixtures("stored")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
SEARCH, COMPUTE = {"type": "file_search"}, {"type": "code_interpreter"}


def from_page(world: World, data: bytes = b"words") -> str:
    """Upload a file as the page does."""
    alice = world.acme.principal("alice")
    return str(create_attachable(alice, BytesIO(data), filename="a.txt").pk)


def over_api(world: World) -> str:
    alice = world.acme.principal("alice")
    made = create_file(alice, BytesIO(b"words"), filename="a.txt", purpose="assistants")
    return str(made.pk)


def begun(world: World, *files: str, shown: str = "") -> str:
    """Begin a thread with a message that brings these files."""
    text: Any = [{"type": "text", "text": "Look"}]
    picture = [{"type": "image_file", "image_file": {"file_id": shown}}] if shown else []
    attached = [{"file_id": file, "tools": [SEARCH, COMPUTE]} for file in files]
    message = {"role": "user", "content": text + picture, "attachments": attached}
    return str(create_thread(world.acme.principal("alice"), messages=[message]).pk)


def erase(world: World, thread: str) -> None:
    """Delete a thread, let its undo pass, and let the tasks do their work."""
    delete_thread(world.acme.principal("alice"), thread)
    with world.acme.scope():
        ago = timezone.now() - timedelta(days=1)
        Thread.objects.filter(pk=thread).update(deleted_at=ago)
    for task in (erase_deleted_threads, erase_stores, erase_files):
        asyncio.run(task(0))


def left(world: World) -> tuple[set[str], int, int]:
    """Return the ids of files, the number of stores, and the bytes that count."""
    with world.acme.scope(), transaction.atomic():
        used = StorageUse.objects.values_list("bytes", flat=True).first() or 0
        files = set(File.objects.values_list("pk", flat=True))
        return files, VectorStore.objects.count(), used


def test_files_of_the_page_go_with_their_chat(world: World, stored: Path) -> None:
    thread = begun(world, from_page(world), shown=from_page(world, PNG))
    assert left(world)[1:] == (1, 5 + len(PNG))
    erase(world, thread)
    assert left(world) == (set(), 0, 0)
    assert not [path for path in stored.rglob("*") if path.is_file()]


def test_what_another_chats_code_made_stays_when_it_was_only_named(world: World) -> None:
    row = File(
        tenant=world.acme.tenant,
        member=world.acme.alice,
        purpose="assistants_output",
        filename="a.csv",
        media_type="text/csv",
    )
    made = keep_file(row, b"a,b").pk
    with world.acme.scope():
        thread = world.acme.threads["alice"]
        ThreadMapping.objects.filter(thread=thread).delete()
        calls = ToolCall.objects.filter(run__thread=thread)
        assert calls.update(details={"files": [{"file_id": made}]})
    named = [{"role": "user", "content": f"What is {made}?"}]
    erase(world, str(create_thread(world.acme.principal("alice"), messages=named).pk))
    assert made in left(world)[0]
    erase(world, str(thread.pk))
    assert made not in left(world)[0]


def test_files_that_a_program_uploaded_stay(world: World) -> None:
    file = over_api(world)
    erase(world, begun(world, file))
    assert left(world) == ({file}, 0, 5)


def test_what_a_copy_refers_to_goes_with_the_copy(world: World) -> None:
    document, picture = from_page(world), from_page(world, PNG)
    thread = begun(world, document, shown=picture)
    copy = copy_thread(world.acme.principal("alice"), thread)
    erase(world, thread)
    assert left(world)[:2] == ({document, picture}, 1)
    erase(world, copy.pk)
    assert left(world) == (set(), 0, 0)


def test_a_file_in_another_store_stays(world: World) -> None:
    file = from_page(world)
    thread = begun(world, file)
    store = make_store(world.acme, owner="alice")
    with world.acme.scope():
        StoreFile.objects.create(store=store, file_id=file)
    erase(world, thread)
    assert left(world)[:2] == ({file}, 1)


def test_a_store_that_its_owner_made_stays(world: World) -> None:
    store = make_store(world.acme, owner="alice")
    resources = {"file_search": {"vector_store_ids": [store.pk]}}
    made = create_thread(world.acme.principal("alice"), tool_resources=resources)
    erase(world, made.pk)
    assert left(world)[1] == 1


def test_a_file_of_the_page_without_a_message_goes_after_two_days(world: World) -> None:
    kept, unsent = from_page(world), from_page(world)
    begun(world, kept)
    with world.acme.scope():
        files = File.objects.in_bulk([kept, unsent])
        assert files[kept].expires_at is None
        soon = files[unsent].expires_at - timezone.now()
        assert timedelta(hours=47) < soon <= timedelta(hours=48)
        File.objects.filter(pk=unsent).update(expires_at=timezone.now() - timedelta(1))
    asyncio.run(erase_files(0))
    assert left(world)[0] == {kept}


@pytest.fixture
def expired(world: World) -> VectorStore:
    """A store of alice's with a file, whose week is over."""
    store = make_store(world.acme, owner="alice")
    add_file(world.acme, store, POLICY)
    add_file(world.acme, store, None, "waiting.md")
    with world.acme.scope():
        ago = timezone.now() - timedelta(days=8)
        VectorStore.objects.update(expires_days=7, last_active_at=ago)
    return store


def test_an_expired_store_loses_what_was_made_for_searching(
    world: World, expired: VectorStore
) -> None:
    asyncio.run(empty_stores(0))
    with world.acme.scope(), transaction.atomic():
        assert not Chunk.objects.filter(store_ref=expired.pk).exists()
        rows = StoreFile.objects.filter(store=expired).order_by("pk")
        found = list(rows.values_list("status", "text", "usage_bytes"))
    assert found == [("completed", "", 0), ("cancelled", "", 0)]


def test_a_store_in_use_keeps_it(world: World, expired: VectorStore) -> None:
    with world.acme.scope():
        VectorStore.objects.update(last_active_at=timezone.now() - timedelta(days=6))
    asyncio.run(empty_stores(0))
    with world.acme.scope(), transaction.atomic():
        assert Chunk.objects.filter(store_ref=expired.pk).exists()


def test_an_expired_store_may_be_renamed_and_not_revived(
    world: World, expired: VectorStore
) -> None:
    alice: Api = program_of(world.acme, "alice")
    where = f"vector_stores/{expired.pk}"
    assert alice.made(where, name="Old")["status"] == "expired"
    longer = {"anchor": "last_active_at", "days": 30}
    assert_error(alice.post(where, {"expires_after": longer}), 400, code="vector_store_expired")
    with world.acme.scope(), transaction.atomic():
        file = StoreFile.objects.filter(store=expired).values_list("file_id", flat=True)[0]
        File.objects.update(stored_at=timezone.now())
    answer = alice.get(f"{where}/files/{file}/content")
    assert_error(answer, 400, code="vector_store_expired")
