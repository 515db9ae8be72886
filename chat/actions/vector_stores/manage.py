"""Create, update and delete vector stores, and count their files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Count, Sum

from chat.actions.fields import clean_expiry, clean_metadata, clean_text, get_row
from chat.actions.files.manage import get_owner, record_company_action
from chat.actions.vector_stores.indexing import (
    add_files,
    clean_chunking,
    clean_file_ids,
    get_own_files,
)
from chat.errors import StoreExpired
from chat.models import FileBatch, IdempotencyRecord, StoreFile, VectorStore
from chat.wire import FileSummary
from tenants import clock
from tenants.authentication import Principal
from tenants.errors import EditConflict
from tenants.scope import tenant_scope

STORE_PREFIX = "vs_"
MAX_FIRST_FILES, MAX_DAYS = 500, 365


def create_store(
    principal: Principal,
    *,
    name: Any = None,
    description: Any = None,
    file_ids: Any = None,
    chunking_strategy: Any = None,
    expires_after: Any = None,
    metadata: Any = None,
) -> VectorStore:
    """Create a vector store with its first files.

    Admins create stores of the company, members their own.

    Raises:
        NotAllowed: the principal has no membership and is not an admin.
        InvalidInput: a field is invalid; `param` names it.
        NotFound: a file does not exist.
    """
    chunking = clean_chunking(chunking_strategy, param="chunking_strategy")
    to_index = clean_file_ids(file_ids, param="file_ids", most=MAX_FIRST_FILES, chunking=chunking)
    store = VectorStore(
        tenant_id=principal.tenant_id,
        member=get_owner(principal, company=principal.is_admin),
        name=_clean_name(name),
        description=_clean_description(description),
        expires_days=_clean_expiry(expires_after),
        metadata=clean_metadata(metadata),
    )
    with tenant_scope(principal.tenant_id), transaction.atomic():
        files = get_own_files(principal, to_index)
        store.save(force_insert=True)
        record_company_action(principal, "collection.created", store, name=store.name)
        add_files(store, files, to_index)
    return store


def update_store(
    principal: Principal, store_id: str, *, version: int | None = None, **fields: Any
) -> VectorStore:
    """Replace the given fields: `name`, `description`, `expires_after`, `metadata`.

    Raises:
        EditConflict: `version` is given and is not the stored version.
        NotFound: the store does not exist.
        StoreExpired: the store has expired and `expires_after` would change.
        InvalidInput: a field is invalid; `param` names it.
    """
    cleaned: dict[str, Any] = {}
    if "name" in fields:
        cleaned["name"] = _clean_name(fields["name"])
    if "description" in fields:
        cleaned["description"] = _clean_description(fields["description"])
    if "expires_after" in fields:
        cleaned["expires_days"] = _clean_expiry(fields["expires_after"])
    if "metadata" in fields:
        cleaned["metadata"] = clean_metadata(fields["metadata"])
    with tenant_scope(principal.tenant_id), transaction.atomic():
        store = get_own_store(principal, store_id, lock=True)
        EditConflict.check(store, version)
        if not store.is_expired:
            store.last_active_at = clock.now()
        elif cleaned.get("expires_days", store.expires_days) != store.expires_days:
            raise StoreExpired()
        for column, value in cleaned.items():
            setattr(store, column, value)
        store.save(update_fields=[*cleaned, "last_active_at"])
        store.refresh_from_db(fields=["version"])
        record_company_action(
            principal, "collection.changed", store, name=store.name, fields=[*cleaned]
        )
        return store


def delete_store(principal: Principal, store_id: str) -> None:
    """Delete a store; its files are kept. A background job deletes the search index.

    Raises:
        NotFound: the store does not exist.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        store = get_own_store(principal, store_id, lock=True)
        store.deleted_at = clock.now()
        store.save(update_fields=["deleted_at"])
        record_company_action(principal, "collection.deleted", store, name=store.name)
        IdempotencyRecord.objects.about(store.pk).delete()


def get_own_store(principal: Principal, store_id: Any, *, lock: bool = False) -> VectorStore:
    """Return one of the principal's stores. Call within a tenant transaction.

    Raises:
        InvalidInput: the ID is malformed.
        NotFound: the store does not exist.
    """
    rows = VectorStore.objects.visible_to(principal)
    rows = rows.select_for_update(no_key=True) if lock else rows
    store: VectorStore = get_row(rows, store_id, param="vector_store_id", prefix=STORE_PREFIX)
    return store


def get_live_store(principal: Principal, store_id: Any, *, lock: bool = False) -> VectorStore:
    """Return one of the principal's stores that has not expired; raises like `get_own_store`.

    Raises:
        StoreExpired: the store has expired.
    """
    store = get_own_store(principal, store_id, lock=lock)
    if store.is_expired:
        raise StoreExpired()
    return store


def summarize_stores(stores: Sequence[VectorStore]) -> dict[str, FileSummary]:
    """Return file counts and size of stores, by store ID. Call within a tenant transaction."""
    return _summarize("store_id", [store.pk for store in stores])


def summarize_batch(batch: FileBatch) -> FileSummary:
    """Return file counts and size of a batch."""
    return _summarize("batch_id", [batch.pk])[batch.pk]


def _summarize(column: str, ids: list[str]) -> dict[str, FileSummary]:
    counts: dict[str, dict[str, int]] = {item: {} for item in ids}
    total_bytes = dict.fromkeys(ids, 0)
    rows = StoreFile.objects.filter(**{f"{column}__in": ids}).values_list(column, "status")
    for row_id, status, count, size in rows.annotate(Count("pk"), Sum("usage_bytes")):
        counts[row_id][status] = count
        total_bytes[row_id] += size
    return {item: FileSummary(counts=counts[item], usage_bytes=total_bytes[item]) for item in ids}


def _clean_expiry(value: Any) -> int | None:
    return clean_expiry(value, anchor="last_active_at", unit="days", least=1, most=MAX_DAYS)


def _clean_name(value: Any) -> str:
    return clean_text(value or "", param="name", limit=256)


def _clean_description(value: Any) -> str:
    return clean_text(value or "", param="description", limit=512)
