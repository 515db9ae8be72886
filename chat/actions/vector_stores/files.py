"""Add, update and remove files of a vector store, one by one or in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from chat.actions.fields import get_row
from chat.actions.files.manage import record_company_action
from chat.actions.vector_stores.indexing import (
    FILE_PREFIX,
    MAX_BATCH_SIZE,
    FileToIndex,
    add_files,
    clean_attributes,
    clean_batch_files,
    clean_chunking,
    clean_file,
    clean_file_ids,
    get_own_files,
)
from chat.actions.vector_stores.manage import get_live_store, get_own_store
from chat.errors import InvalidInput, MissingParameter
from chat.models import FileBatch, IndexStatus, StoreFile, VectorStore
from tenants.authentication import Principal
from tenants.scope import tenant_scope


def add_store_file(principal: Principal, store_id: str, **given: Any) -> StoreFile:
    """Add a file to a store: `file_id`, `attributes`, `chunking_strategy`.

    Raises:
        NotFound: the store or file does not exist.
        InvalidInput: a field is invalid; `param` names it.
        StoreExpired: the store has expired.
    """
    to_index = [clean_file(given)]
    with tenant_scope(principal.tenant_id), transaction.atomic():
        store = _lock_store(principal, store_id)
        [row] = add_files(store, get_own_files(principal, to_index), to_index)
        record_company_action(principal, "collection.filled", store, files=[row.file_id])
        return row


def update_store_file(
    principal: Principal, store_id: str, file_id: str, *, attributes: Any
) -> StoreFile:
    """Replace the attributes of a file, which searches can filter by.

    Raises:
        NotFound: the store does not exist or does not contain the file.
        InvalidInput: the attributes are invalid.
    """
    cleaned = clean_attributes(attributes)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        row = get_own_store_file(principal, store_id, file_id)
        row.attributes = cleaned
        row.save(update_fields=["attributes"])
        return row


def remove_store_file(principal: Principal, store_id: str, file_id: str) -> None:
    """Remove a file and its chunks from a store; the file itself is kept.

    Raises:
        NotFound: the store does not exist or does not contain the file.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        row = get_own_store_file(principal, store_id, file_id)
        StoreFile.objects.filter(pk=row.pk).delete()
        record_company_action(principal, "collection.emptied", row.store, files=[file_id])


def reindex_store_file(principal: Principal, store_id: str, file_id: str) -> StoreFile:
    """Index a file of a store again if indexing failed or was cancelled; keep its attributes.

    Raises:
        NotFound: the store does not exist or does not contain the file.
        StoreExpired: the store has expired.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        store = _lock_store(principal, store_id)
        row = get_own_store_file(principal, store_id, file_id)
        sizes = (row.max_chunk_tokens, row.overlap_tokens) if row.chosen_chunking else None
        options = {"attributes": row.attributes, "chunking": sizes}
        to_index = [FileToIndex(file_id=file_id, param="file_id", **options)]
        [row] = add_files(store, get_own_files(principal, to_index), to_index)
        return row


def get_own_store_file(principal: Principal, store_id: str, file_id: str) -> StoreFile:
    """Return a file of one of the principal's stores, with its text deferred.

    Call within a tenant transaction.

    Raises:
        InvalidInput: an ID is malformed.
        NotFound: the store does not exist or does not contain the file.
    """
    rows = list_store_files(get_own_store(principal, store_id))
    row: StoreFile = get_row(rows, file_id, param="file_id", prefix=FILE_PREFIX, key="file_id")
    return row


def list_store_files(store: VectorStore) -> QuerySet[StoreFile]:
    """Return the files of a store, with their texts deferred."""
    found: QuerySet[StoreFile] = StoreFile.objects.filter(store=store).defer("text", "pages")
    return found


def create_batch(
    principal: Principal,
    store_id: str,
    *,
    file_ids: Any = None,
    files: Any = None,
    attributes: Any = None,
    chunking_strategy: Any = None,
) -> FileBatch:
    """Add several files to a store: `file_ids` with shared options, or `files` with their own.

    Raises:
        NotFound: the store or a file does not exist.
        InvalidInput: a field is invalid; `param` names it.
        StoreExpired: the store has expired.
    """
    to_index = _parse_files(file_ids, files, attributes, chunking_strategy)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        store = _lock_store(principal, store_id)
        rows = get_own_files(principal, to_index)
        batch: FileBatch = FileBatch.objects.create(store=store)
        add_files(store, rows, to_index, batch=batch)
        record_company_action(
            principal, "collection.filled", store, batch=batch.pk, count=len(rows)
        )
        return batch


def cancel_batch(principal: Principal, store_id: str, batch_id: str) -> FileBatch:
    """Cancel the files of a batch that are not indexed yet; a finished batch is unchanged.

    Raises:
        NotFound: the store or batch does not exist.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        batch = get_own_batch(principal, store_id, batch_id)
        now = timezone.now()
        reading = StoreFile.objects.filter(batch=batch, status=IndexStatus.IN_PROGRESS)
        if reading.update(status=IndexStatus.CANCELLED, ended_at=now):
            batch.cancelled_at = now
            batch.save(update_fields=["cancelled_at"])
        return batch


def get_own_batch(principal: Principal, store_id: str, batch_id: str) -> FileBatch:
    """Return a batch of one of the principal's stores; raises like `get_own_store_file`."""
    rows = FileBatch.objects.filter(store=get_own_store(principal, store_id))
    batch: FileBatch = get_row(rows, batch_id, param="batch_id", prefix="vsfb_")
    return batch


def _lock_store(principal: Principal, store_id: str) -> VectorStore:
    # Locked, because concurrent requests that add the same file would violate its unique
    # constraint.
    return get_live_store(principal, store_id, lock=True)


def _parse_files(
    file_ids: Any, files: Any, attributes: Any, chunking_strategy: Any
) -> Sequence[FileToIndex]:
    if (file_ids is None) == (files is None):
        if files is None:
            raise MissingParameter(param="file_ids")
        raise InvalidInput("Provide either 'file_ids' or 'files', not both.", param="files")
    if files is not None:
        if attributes is not None or chunking_strategy is not None:
            raise InvalidInput("Set attributes and chunking_strategy on each of 'files'.")
        to_index = clean_batch_files(files, param="files")
    else:
        to_index = clean_file_ids(
            file_ids,
            param="file_ids",
            most=MAX_BATCH_SIZE,
            chunking=clean_chunking(chunking_strategy, param="chunking_strategy"),
            attributes=clean_attributes(attributes),
        )
    if not to_index:
        raise InvalidInput("Expected at least one file.", param="files" if files else "file_ids")
    return to_index
