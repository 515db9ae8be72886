"""Message attachments: add files to the thread's vector store and code interpreter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

from chat.actions.assistants.tool_resources import MAX_FILES, clear_expiry
from chat.actions.files.manage import IMAGE_TYPES, create_file, detect_type
from chat.actions.vector_stores.indexing import FileToIndex, add_files, get_own_files
from chat.errors import InvalidInput
from chat.models import File, Thread, VectorStore
from chat.models.files import Purpose
from chat.models.resources import (
    Resources,
    build_code_resources,
    build_search_resources,
    get_code_file_ids,
    get_store_ids,
)
from tenants.authentication import Principal

# Lifetime of a file that is not attached to a sent message.
UNSENT_FILE_SECONDS = 172_800


def create_attachable(principal: Principal, content: BinaryIO, *, filename: str) -> File:
    """Store a member's file for a message: an image for the model, or a file for tools.

    The content decides which of the two. The file is deleted with the last chat that
    refers to it, or after `UNSENT_FILE_SECONDS` if it is never sent. Raises like `create_file`.
    """
    is_picture = detect_type(content, filename) in IMAGE_TYPES
    purpose = Purpose.VISION if is_picture else Purpose.ASSISTANTS
    return create_file(
        principal,
        content,
        filename=filename,
        purpose=purpose,
        expires_after={"anchor": "created_at", "seconds": UNSENT_FILE_SECONDS},
        goes_with_threads=True,
    )


def add_attachments(
    principal: Principal,
    thread: Thread,
    attachments: Iterable[dict[str, Any]],
    *,
    param: str = "attachments",
) -> None:
    """Add attachments from `clean_attachments` to the tools of a locked thread.

    Call within the transaction that adds the message. Files for file search are
    indexed after it commits.

    Raises:
        NotFound: a file does not exist or does not belong to the principal.
        InvalidInput: the code interpreter has too many files.
    """
    given = list(attachments)
    if not given:
        return
    to_index = [
        FileToIndex(file_id=attachment["file_id"], param=f"{param}[{index}].file_id")
        for index, attachment in enumerate(given)
    ]
    files = get_own_files(principal, to_index)
    clear_expiry(files.values())
    resources = dict(thread.tool_resources)
    searched = _list_file_ids_for_tool(given, "file_search")
    if searched:
        store = _get_or_create_store(thread, resources)
        add_files(store, files, [item for item in to_index if item.file_id in searched])
    for_interpreter = _list_file_ids_for_tool(given, "code_interpreter")
    if for_interpreter:
        ids = list(dict.fromkeys([*get_code_file_ids(resources), *for_interpreter]))
        if len(ids) > MAX_FILES:
            raise InvalidInput(
                f"The code interpreter accepts at most {MAX_FILES} files per thread."
            )
        resources.update(build_code_resources(ids))
    if resources != thread.tool_resources:
        thread.tool_resources = resources
        thread.save(update_fields=["tool_resources"])


def _list_file_ids_for_tool(given: list[dict[str, Any]], kind: str) -> list[str]:
    return [item["file_id"] for item in given if {"type": kind} in item["tools"]]


def _get_or_create_store(thread: Thread, resources: Resources) -> VectorStore:
    """Return the thread's own vector store, created on first use.

    References to the company's stores are kept. Attachments never go into those,
    because they are private to the member.
    """
    ids = get_store_ids(resources)
    own = VectorStore.objects.alive().filter(pk__in=ids, member_id=thread.member_id)
    store: VectorStore | None = own.first()
    if store is None or store.is_expired:
        store = VectorStore(member_id=thread.member_id, goes_with_threads=True)
        store.save(force_insert=True)
        kept = VectorStore.objects.alive().filter(pk__in=ids, member=None)
        resources.update(build_search_resources([*kept.values_list("pk", flat=True), store.pk]))
    return store
