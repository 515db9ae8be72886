"""Message attachments: add files to the thread's vector store and code interpreter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

from chat.actions.files import IMAGES, create_file, detect_type
from chat.actions.filing import FileToIndex, add_files, own_files
from chat.actions.resources import MAX_FILES, keep_for_good
from chat.errors import InvalidInput
from chat.models import File, Thread, VectorStore
from chat.models.files import Purpose
from chat.models.resources import Resources, code_file_ids, for_code, for_search, store_ids
from tenants.authentication import Principal

# Lifetime of a file that is not attached to a sent message.
UNSENT_SECONDS = 172_800


def create_attachable(principal: Principal, content: BinaryIO, *, filename: str) -> File:
    """Store a member's file for a message: an image for the model, or a file for tools.

    The content decides which of the two. The file is deleted with the last chat that
    refers to it, or after `UNSENT_SECONDS` if it is never sent. Raises like `create_file`.
    """
    is_picture = detect_type(content, filename) in IMAGES
    purpose = Purpose.VISION if is_picture else Purpose.ASSISTANTS
    return create_file(
        principal,
        content,
        filename=filename,
        purpose=purpose,
        expires_after={"anchor": "created_at", "seconds": UNSENT_SECONDS},
        goes_with_threads=True,
    )


def attach(
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
    files = own_files(principal, to_index)
    keep_for_good(files.values())
    resources = dict(thread.tool_resources)
    searched = _for_tool(given, "file_search")
    if searched:
        store = _store_of(thread, resources)
        add_files(store, files, [item for item in to_index if item.file_id in searched])
    for_interpreter = _for_tool(given, "code_interpreter")
    if for_interpreter:
        ids = list(dict.fromkeys([*code_file_ids(resources), *for_interpreter]))
        if len(ids) > MAX_FILES:
            raise InvalidInput(
                f"The code interpreter accepts at most {MAX_FILES} files per thread."
            )
        resources.update(for_code(ids))
    if resources != thread.tool_resources:
        thread.tool_resources = resources
        thread.save(update_fields=["tool_resources"])


def _for_tool(given: list[dict[str, Any]], kind: str) -> list[str]:
    return [item["file_id"] for item in given if {"type": kind} in item["tools"]]


def _store_of(thread: Thread, resources: Resources) -> VectorStore:
    """Return the thread's own vector store, created on first use.

    References to the company's stores are kept. Attachments never go into those,
    because they are private to the member.
    """
    ids = store_ids(resources)
    own = VectorStore.objects.present().filter(pk__in=ids, member_id=thread.member_id)
    store: VectorStore | None = own.first()
    if store is None or store.is_expired:
        store = VectorStore(member_id=thread.member_id, goes_with_threads=True)
        store.save(force_insert=True)
        kept = VectorStore.objects.present().filter(pk__in=ids, member=None)
        resources.update(for_search([*kept.values_list("pk", flat=True), store.pk]))
    return store
