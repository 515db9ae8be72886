"""Jobs that erase deleted and expired files, uploads, vector stores and code sessions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from chat import storage
from chat.models import Chunk, IndexStatus, StoreFile, Upload, UploadStatus, VectorStore
from chat.tools import code_state
from tenants.db import DatabasePool, call_privileged, run_in_pool
from tenants.scope import tenant_scope

# Time to store a file. The request body is complete before the row is created, so that only
# a copy from one disk to another remains.
STORE_TIMEOUT_SECONDS = 3600.0
BATCH_SIZE = 500

log = structlog.get_logger(__name__)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="erase_files")
async def erase_files(timestamp: int) -> None:
    """Erase files that were deleted, have expired, or were never stored completely."""
    for file_id, tenant_id in await run_in_pool(
        DatabasePool.FILES, call_privileged, "files_to_remove", STORE_TIMEOUT_SECONDS, BATCH_SIZE
    ):
        erase = partial(storage.erase, file_id, arrive_seconds=STORE_TIMEOUT_SECONDS)
        try:
            with tenant_scope(tenant_id):
                await run_in_pool(DatabasePool.FILES, erase)
        except OSError:
            # Retried by the next run of this job; one file must not delay the others.
            log.exception("file_erasure_failed", tenant_id=str(tenant_id), file_id=file_id)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="erase_stores")
async def erase_stores(timestamp: int) -> None:
    """Erase deleted vector stores with their search index."""
    await _run_for_each("stores_to_remove", _erase_store)


def _erase_store(store_id: str) -> None:
    VectorStore.objects.filter(pk=store_id, deleted_at__isnull=False).delete()


@app.periodic(cron="*/5 * * * *")
@app.task(queue="upkeep", queueing_lock="empty_stores")
async def empty_stores(timestamp: int) -> None:
    """Erase the search index of expired stores; the stores remain and are shown as expired."""
    await _run_for_each("stores_to_empty", _empty_store)


def _empty_store(store_id: str) -> None:
    rows = VectorStore.objects.alive().select_for_update(no_key=True)
    store = rows.filter(pk=store_id, emptied_at=None).first()
    if store is None or not store.is_expired:
        return
    store.emptied_at = timezone.now()
    store.save(update_fields=["emptied_at"])
    files = StoreFile.objects.filter(store=store)
    files.filter(status=IndexStatus.IN_PROGRESS).update(
        status=IndexStatus.CANCELLED, ended_at=store.emptied_at
    )
    files.update(text="", pages=[], chunk_count=0, usage_bytes=0)
    Chunk.objects.filter(store_file__store=store).delete()


@app.periodic(cron="*/5 * * * *")
@app.task(queue="upkeep", queueing_lock="erase_code_sessions")
async def erase_code_sessions(timestamp: int) -> None:
    """Erase the saved variables and files of expired code sessions."""
    await _run_for_each("code_sessions_to_remove", code_state.forget_expired)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="end_uploads")
async def end_uploads(timestamp: int) -> None:
    """Expire uploads after their hour and delete their parts."""
    await _run_for_each("uploads_to_end", _end_upload)


def _end_upload(upload_id: str) -> None:
    rows = Upload.objects.select_for_update(no_key=True)
    upload = rows.filter(pk=upload_id, status=UploadStatus.PENDING).first()
    if upload is not None:
        storage.discard_parts(upload)
        upload.status = UploadStatus.EXPIRED
        upload.save(update_fields=["status"])


async def _run_for_each(function: str, end: Callable[[Any], None]) -> None:
    """Call `end` with each ID from a SECURITY DEFINER function, within a tenant transaction."""
    for row_id, tenant_id in await run_in_pool(
        DatabasePool.FILES, call_privileged, function, BATCH_SIZE
    ):
        await run_in_pool(DatabasePool.FILES, _run_in_tenant, tenant_id, end, row_id)


def _run_in_tenant(tenant_id: UUID, end: Callable[[Any], None], row_id: Any) -> None:
    with tenant_scope(tenant_id), transaction.atomic():
        end(row_id)
