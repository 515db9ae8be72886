"""Delete a thread's own stores and the files that only this thread refers to."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import Q, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from chat import storage
from chat.models import File, Message, StoreFile, Thread, ToolCall, VectorStore
from chat.models.files import Purpose
from chat.models.resources import build_search_resources, get_store_ids

_FILE = re.compile(r"file-[0-9A-Za-z]{24}")


def delete_attached(thread: Thread) -> None:
    """Delete a thread's own stores, its attachments and the files created in it.

    Files that the owner uploaded over the API are kept, as are files that another of
    their threads refers to. Call within a tenant transaction, before the thread is
    deleted.
    """
    others = Thread.objects.filter(member_id=thread.member_id).exclude(pk=thread.pk)
    stores = _list_own_stores(thread, others)
    mentioned = _find_mentioned_ids(thread)
    mentioned |= set(StoreFile.objects.filter(store__in=stores).values_list("file_id", flat=True))
    VectorStore.objects.filter(pk__in=stores).update(deleted_at=timezone.now())
    for file_id in _list_unused(thread, others, mentioned):
        storage.remove(file_id)


def _list_own_stores(thread: Thread, others: Any) -> list[str]:
    rows = VectorStore.objects.alive().filter(
        pk__in=get_store_ids(thread.tool_resources),
        member_id=thread.member_id,
        goes_with_threads=True,
    )
    return [
        row.pk
        for row in rows
        if not others.filter(tool_resources__contains=build_search_resources([row.pk])).exists()
    ]


def _find_mentioned_ids(thread: Thread) -> set[str]:
    """Return the IDs of all files mentioned in a thread."""
    found = set(_FILE.findall(str(thread.tool_resources)))
    messages = _texts(Message.objects.filter(thread=thread), "content", "attachments")
    calls = _texts(ToolCall.objects.filter(run__thread=thread), "details")
    for text in (*messages, *calls):
        found.update(_FILE.findall(text))
    return found


def _texts(rows: Any, *columns: str) -> Any:
    for column in columns:
        texts = rows.annotate(as_text=Cast(column, TextField())).filter(as_text__contains="file-")
        yield from texts.values_list("as_text", flat=True).iterator()


def _list_unused(thread: Thread, others: Any, ids: set[str]) -> list[str]:
    """Return those of the files that are deleted with threads and that no other thread uses."""
    with_threads = Q(goes_with_threads=True) | Q(purpose=Purpose.ASSISTANTS_OUTPUT)
    rows = File.objects.filter(with_threads, pk__in=ids, member_id=thread.member_id)
    unused = set(rows.filter(deleted_at=None).values_list("pk", flat=True))
    if not unused:
        return []
    in_stores = StoreFile.objects.filter(file_id__in=unused, store__deleted_at=None)
    unused -= set(in_stores.values_list("file_id", flat=True))
    other_messages = _texts(Message.objects.filter(thread__in=others), "content", "attachments")
    for text in (*other_messages, *_texts(others, "tool_resources")):
        unused -= set(_FILE.findall(text))
    # A file created by another thread's code may be mentioned only in the text of this thread.
    calls = ToolCall.objects.filter(run__thread__in=others, details__isnull=False)
    details = calls.annotate(as_text=Cast("details", TextField()))
    return [item for item in sorted(unused) if not details.filter(as_text__contains=item).exists()]
