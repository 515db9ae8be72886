"""Files that come with a message: into the thread's own store, and to its code interpreter."""

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

# How long a file waits for its message.
UNSENT_SECONDS = 172_800


def create_attachable(principal: Principal, content: BinaryIO, *, filename: str) -> File:
    """Store a person's file for a message: a picture to look at, or something for tools.

    Which of them it is, its content says. It goes with the chats it comes with, and soon
    where it comes with none. Raises what `create_file` raises.
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
    """Give attachments, as `clean_attachments` returns them, to the tools of a locked thread.

    Must run in the transaction that adds the message. What file search gets is
    indexed once that is committed.

    Raises:
        NotFound: for a file that is not the principal's.
        InvalidInput: for more files than the code interpreter takes.
    """
    given = list(attachments)
    if not given:
        return
    named = [
        FileToIndex(file_id=one["file_id"], param=f"{param}[{index}].file_id")
        for index, one in enumerate(given)
    ]
    files = own_files(principal, named)
    keep_for_good(files.values())
    resources = dict(thread.tool_resources)
    searched = _for_tool(given, "file_search")
    if searched:
        store = _store_of(thread, resources)
        add_files(store, files, [item for item in named if item.file_id in searched])
    computed = _for_tool(given, "code_interpreter")
    if computed:
        ids = list(dict.fromkeys([*code_file_ids(resources), *computed]))
        if len(ids) > MAX_FILES:
            raise InvalidInput(f"The code interpreter takes at most {MAX_FILES} files of a thread.")
        resources.update(for_code(ids))
    if resources != thread.tool_resources:
        thread.tool_resources = resources
        thread.save(update_fields=["tool_resources"])


def _for_tool(given: list[dict[str, Any]], kind: str) -> list[str]:
    return [item["file_id"] for item in given if {"type": kind} in item["tools"]]


def _store_of(thread: Thread, resources: Resources) -> VectorStore:
    """Return the thread's own store, made when it is first needed.

    A store of the company's that the thread refers to stays beside it: what one
    person attaches is not for everybody.
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
