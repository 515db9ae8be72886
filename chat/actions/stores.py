"""Create, update and delete vector stores, and count their files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Count, Sum

from chat.actions.fields import clean_expiry, clean_metadata, clean_text, row_named
from chat.actions.files import owner_of, record
from chat.actions.filing import add_files, clean_chunking, clean_filed, own_files
from chat.errors import StoreExpired
from chat.models import FileBatch, IdempotencyRecord, StoreFile, VectorStore
from chat.wire import Filling
from tenants import clock
from tenants.authentication import Principal
from tenants.errors import ChangedMeanwhile
from tenants.scope import tenant_scope

STORE = "vs_"
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
    to_index = clean_filed(file_ids, param="file_ids", most=MAX_FIRST_FILES, chunking=chunking)
    store = VectorStore(
        tenant_id=principal.tenant_id,
        member=owner_of(principal, company=principal.is_admin),
        name=_name(name),
        description=_description(description),
        expires_days=_expiry(expires_after),
        metadata=clean_metadata(metadata),
    )
    with tenant_scope(principal.tenant_id), transaction.atomic():
        files = own_files(principal, to_index)
        store.save(force_insert=True)
        record(principal, "collection.created", store, name=store.name)
        add_files(store, files, to_index)
    return store


def update_store(
    principal: Principal, store_id: str, *, version: int | None = None, **fields: Any
) -> VectorStore:
    """Replace the given fields: `name`, `description`, `expires_after`, `metadata`.

    Raises:
        ChangedMeanwhile: the stored version is not `version`.
        NotFound: the store does not exist.
        StoreExpired: the store has expired and `expires_after` would change.
        InvalidInput: a field is invalid; `param` names it.
    """
    cleaned: dict[str, Any] = {}
    if "name" in fields:
        cleaned["name"] = _name(fields["name"])
    if "description" in fields:
        cleaned["description"] = _description(fields["description"])
    if "expires_after" in fields:
        cleaned["expires_days"] = _expiry(fields["expires_after"])
    if "metadata" in fields:
        cleaned["metadata"] = clean_metadata(fields["metadata"])
    with tenant_scope(principal.tenant_id), transaction.atomic():
        store = own_store(principal, store_id, lock=True)
        ChangedMeanwhile.check(store, version)
        if not store.is_expired:
            store.last_active_at = clock.now()
        elif cleaned.get("expires_days", store.expires_days) != store.expires_days:
            raise StoreExpired()
        for column, value in cleaned.items():
            setattr(store, column, value)
        store.save(update_fields=[*cleaned, "last_active_at"])
        store.refresh_from_db(fields=["version"])
        record(principal, "collection.changed", store, name=store.name, fields=[*cleaned])
        return store


def delete_store(principal: Principal, store_id: str) -> None:
    """Delete a store; its files are kept. A background job deletes the search index.

    Raises:
        NotFound: the store does not exist.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        store = own_store(principal, store_id, lock=True)
        store.deleted_at = clock.now()
        store.save(update_fields=["deleted_at"])
        record(principal, "collection.deleted", store, name=store.name)
        IdempotencyRecord.objects.about(store.pk).delete()


def own_store(principal: Principal, store_id: Any, *, lock: bool = False) -> VectorStore:
    """Return one of the principal's stores. Call within a tenant transaction.

    Raises:
        InvalidInput: the ID is malformed.
        NotFound: the store does not exist.
    """
    rows = VectorStore.objects.for_principal(principal)
    rows = rows.select_for_update(no_key=True) if lock else rows
    store: VectorStore = row_named(rows, store_id, param="vector_store_id", prefix=STORE)
    return store


def live_store(principal: Principal, store_id: Any, *, lock: bool = False) -> VectorStore:
    """Return one of the principal's stores that has not expired; raises like `own_store`.

    Raises:
        StoreExpired: the store has expired.
    """
    store = own_store(principal, store_id, lock=lock)
    if store.is_expired:
        raise StoreExpired()
    return store


def fillings_of(stores: Sequence[VectorStore]) -> dict[str, Filling]:
    """Return file counts and size of stores, by store ID. Call within a tenant transaction."""
    return _fillings("store_id", [store.pk for store in stores])


def filling_of_batch(batch: FileBatch) -> Filling:
    """Return file counts and size of a batch."""
    return _fillings("batch_id", [batch.pk])[batch.pk]


def _fillings(column: str, ids: list[str]) -> dict[str, Filling]:
    counts: dict[str, dict[str, int]] = {item: {} for item in ids}
    total_bytes = dict.fromkeys(ids, 0)
    rows = StoreFile.objects.filter(**{f"{column}__in": ids}).values_list(column, "status")
    for row_id, status, count, size in rows.annotate(Count("pk"), Sum("usage_bytes")):
        counts[row_id][status] = count
        total_bytes[row_id] += size
    return {item: Filling(counts=counts[item], usage_bytes=total_bytes[item]) for item in ids}


def _expiry(value: Any) -> int | None:
    return clean_expiry(value, anchor="last_active_at", unit="days", least=1, most=MAX_DAYS)


def _name(value: Any) -> str:
    return clean_text(value or "", param="name", limit=256)


def _description(value: Any) -> str:
    return clean_text(value or "", param="description", limit=512)
