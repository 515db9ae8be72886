"""Documents that assistants and threads have, indexed the way the job does it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from django.db import transaction
from django.utils import timezone

from chat import storage
from chat.models import Assistant, File, Message, StoreFile, Thread, VectorStore
from chat.retrieval.extract import ExtractedText
from chat.retrieval.file_types import Kind
from chat.retrieval.index import IndexedFile, claim_file, split_passages
from tenants.scope import tenant_scope
from tests.indexing import store_indexed
from tests.model_server import make_assistant
from tests.upstream.script import Answer, Call
from tests.world import Company

POLICY = (
    "Returns policy of the house.\n\n"
    "You may return a blender within 30 days of delivery. It must be unused and in its box.\n\n"
    "Refunds are paid to the card that was used. They take five working days.\n\n"
    "Gift cards cannot be returned."
)
GUIDE = (
    "Guide to the blender.\n\n"
    "The jar holds 1.75 litres. The motor has a warranty of five years.\n\n"
    "Do not put the motor base into water."
)
SEARCH: dict[str, Any] = {"type": "file_search"}


def keep_file(row: File, data: bytes) -> File:
    """Store a new row with its bytes, as a file that is there."""
    storage.write_new(row, BytesIO(data))
    with tenant_scope(row.tenant_id), transaction.atomic():
        return storage.finalize(row)


def make_store(company: Company, *, owner: str | None = None) -> VectorStore:
    """Return an empty store of this person's, or of the company's."""
    with company.scope():
        member = company.people[owner] if owner else None
        store: VectorStore = VectorStore.objects.create(name="Documents", member=member)
    return store


def add_file(
    company: Company,
    store: VectorStore,
    text: str | None,
    name: str = "Returns policy.md",
    *,
    pages: tuple[int, ...] = (),
    chunk_tokens: int = 800,
) -> StoreFile:
    """Put a file into the store and index it; without a text it is still to be read."""
    with company.scope():
        file = File.objects.create(
            purpose="assistants",
            filename=name,
            member_id=store.member_id,
            storage_key=f"{store.pk}/{name}",
            stored_at=timezone.now(),
        )
        row: StoreFile = StoreFile.objects.create(store=store, file=file)
        # Before the job of a server beside the test sees it.
        if text is not None:
            index(company, row, text, pages=pages, chunk_tokens=chunk_tokens)
    return row


def index(
    company: Company,
    row: StoreFile,
    text: str,
    *,
    pages: tuple[int, ...] = (),
    chunk_tokens: int = 800,
) -> None:
    """Do what the job does once the text is out of the file."""
    task = claim_file(company.tenant.pk, row.pk)
    assert task is not None
    extracted = ExtractedText(kind=Kind.TEXT, text=text, pages=pages)
    passages = split_passages(extracted, max_tokens=chunk_tokens, overlap_tokens=0)
    done = IndexedFile(extracted=extracted, passages=passages, embedding="", vectors=[])
    store_indexed(task, done)


def make_reader(company: Company, *stores: VectorStore, **fields: Any) -> str:
    """Make an assistant on the scripted model that searches these stores."""
    given = {"tools": [SEARCH], "upstream": "responses", **fields}
    made = make_assistant(company, **given)
    resources = {"file_search": {"vector_store_ids": [store.pk for store in stores]}}
    with company.scope():
        Assistant.objects.filter(pk=made).update(tool_resources=resources)
    return made


def give_thread(company: Company, thread: str, store: VectorStore) -> None:
    """Let the thread have this store."""
    resources = {"file_search": {"vector_store_ids": [store.pk]}}
    with company.scope():
        Thread.objects.filter(pk=thread).update(tool_resources=resources)


def searching(query: str = "return a blender") -> Answer:
    """Return the answer of a model that wants to search."""
    return Answer(calls=(Call(name="file_search", arguments=f'{{"query": "{query}"}}'),))


def text_of(message: Message) -> dict[str, Any]:
    """Return the text part of a message: value and annotations."""
    return next(part["text"] for part in message.content if part["type"] == "text")
