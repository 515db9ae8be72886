"""Files of an assistant as one list: vector store files and code interpreter files.

Version 1 of the Assistants API exposes them this way.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from chat.actions.assistants.manage import lock_assistant
from chat.actions.assistants.tool_resources import MAX_FILES
from chat.actions.fields import clean_list, get_row
from chat.actions.vector_stores.indexing import FILE_PREFIX, FileToIndex, add_files
from chat.actions.vector_stores.manage import get_live_store
from chat.models import Assistant, File, StoreFile, VectorStore
from chat.models.resources import (
    build_code_resources,
    build_search_resources,
    get_code_file_ids,
    get_store_ids,
)
from tenants import audit
from tenants.authentication import Principal
from tenants.models import Role
from tenants.scope import tenant_scope


def list_assistant_file_ids(assistant: Assistant) -> list[str]:
    """Return the IDs of an assistant's files, vector store files first.

    Call within a transaction.
    """
    stores = get_store_ids(assistant.tool_resources)
    rows = StoreFile.objects.filter(store_id__in=stores).order_by("created_at", "pk")
    searched = rows.values_list("file_id", flat=True) if stores else ()
    return list(dict.fromkeys([*searched, *get_code_file_ids(assistant.tool_resources)]))


def list_assistant_files(assistant: Assistant) -> QuerySet[File]:
    """Return an assistant's files; visible to everyone who can see the assistant.

    Call within a transaction.
    """
    found: QuerySet[File] = File.objects.alive().filter(pk__in=list_assistant_file_ids(assistant))
    return found


def add_assistant_file(principal: Principal, assistant_id: str, *, file_id: Any) -> File:
    """Add one of the company's files to an assistant.

    The file becomes available to the assistant's enabled tools (code interpreter,
    file search or both), or to file search if it has neither. A vector store is
    created if the assistant has none.

    Raises:
        NotAllowed: the principal is not an admin.
        NotFound: the assistant or file does not exist.
        InvalidInput: an ID is malformed, or the code interpreter has too many files.
        StoreExpired: the assistant's vector store has expired.
    """
    principal.require(Role.ADMIN)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        row = lock_assistant(principal, assistant_id)
        company_files = File.objects.visible_to(principal).filter(member=None)
        file: File = get_row(company_files, file_id, param="file_id", prefix=FILE_PREFIX)
        types = {tool["type"] for tool in row.tools}
        if "code_interpreter" in types:
            ids = list(dict.fromkeys([*get_code_file_ids(row.tool_resources), file.pk]))
            clean_list(ids, param="file_id", limit=MAX_FILES)
            row.tool_resources = {**row.tool_resources, **build_code_resources(ids)}
        if "code_interpreter" not in types or "file_search" in types:
            item = FileToIndex(file_id=file.pk, param="file_id")
            add_files(_get_or_create_store(principal, row), {file.pk: file}, [item])
        row.save(update_fields=["tool_resources"])
        audit.record(principal, "assistant.changed", row.pk, name=row.name, added=file.pk)
        return file


def _get_or_create_store(principal: Principal, row: Assistant) -> VectorStore:
    """Return the assistant's first vector store, locked; create it if there is none."""
    for store_id in get_store_ids(row.tool_resources):
        return get_live_store(principal, store_id, lock=True)
    store: VectorStore = VectorStore.objects.create(member=None)
    row.tool_resources = {**row.tool_resources, **build_search_resources([store.pk])}
    return store


def remove_assistant_file(principal: Principal, assistant_id: str, file_id: str) -> None:
    """Remove a file from an assistant and its vector store; the file itself is kept.

    Raises:
        NotAllowed: the principal is not an admin.
        InvalidInput: an ID is malformed.
        NotFound: the assistant does not exist or does not have the file.
    """
    principal.require(Role.ADMIN)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        row = lock_assistant(principal, assistant_id)
        file = get_row(list_assistant_files(row), file_id, param="file_id", prefix=FILE_PREFIX)
        ids = get_code_file_ids(row.tool_resources)
        if file.pk in ids:
            kept = [item for item in ids if item != file.pk]
            row.tool_resources = {**row.tool_resources, **build_code_resources(kept)}
        stores = VectorStore.objects.visible_to(principal).filter(
            pk__in=get_store_ids(row.tool_resources)
        )
        StoreFile.objects.filter(store__in=stores, file=file).delete()
        row.save(update_fields=["tool_resources"])
        audit.record(principal, "assistant.changed", row.pk, name=row.name, removed=file.pk)
