"""Jobs that remove what files, uploads, vector stores and code left behind."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from chat import storage
from chat.models import Chunk, IndexStatus, StoreFile, Upload, UploadStatus, VectorStore
from chat.tools import code_state
from tenants.db import Lane, call_door, in_lane
from tenants.scope import tenant_scope

# A body is whole before its row is made: what is left is a copy from one disk to another.
ARRIVE_SECONDS = 3600.0
AT_ONCE = 500

log = structlog.get_logger(__name__)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="erase_files")
async def erase_files(timestamp: int) -> None:
    """Erase files that were deleted, have expired, or never arrived whole."""
    for file_id, tenant_id in await in_lane(
        Lane.FILES, call_door, "files_to_remove", ARRIVE_SECONDS, AT_ONCE
    ):
        erase = partial(storage.erase, file_id, arrive_seconds=ARRIVE_SECONDS)
        try:
            with tenant_scope(tenant_id):
                await in_lane(Lane.FILES, erase)
        except OSError:
            # The next round tries again; other files do not wait for this one.
            log.exception("file_not_erased", tenant_id=str(tenant_id), file_id=file_id)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="erase_stores")
async def erase_stores(timestamp: int) -> None:
    """Erase deleted vector stores with all that was made for searching them."""
    for store_id, tenant_id in await in_lane(Lane.FILES, call_door, "stores_to_remove", AT_ONCE):
        await in_lane(Lane.FILES, _erase_store, tenant_id, store_id)


def _erase_store(tenant_id: UUID, store_id: str) -> None:
    with tenant_scope(tenant_id), transaction.atomic():
        VectorStore.objects.filter(pk=store_id, deleted_at__isnull=False).delete()


@app.periodic(cron="*/5 * * * *")
@app.task(queue="upkeep", queueing_lock="empty_stores")
async def empty_stores(timestamp: int) -> None:
    """Erase what was made for searching stores that have expired; the stores say so themselves."""
    for store_id, tenant_id in await in_lane(Lane.FILES, call_door, "stores_to_empty", AT_ONCE):
        await in_lane(Lane.FILES, _empty_store, tenant_id, store_id)


def _empty_store(tenant_id: UUID, store_id: str) -> None:
    with tenant_scope(tenant_id), transaction.atomic():
        rows = VectorStore.objects.present().select_for_update(no_key=True)
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
    """Erase variables and files of code that nobody went on with."""
    for session_id, tenant_id in await in_lane(
        Lane.FILES, call_door, "code_sessions_to_remove", AT_ONCE
    ):
        await in_lane(Lane.FILES, _erase_code_session, tenant_id, session_id)


def _erase_code_session(tenant_id: UUID, session_id: int) -> None:
    with tenant_scope(tenant_id), transaction.atomic():
        code_state.forget_lapsed(session_id)


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="end_uploads")
async def end_uploads(timestamp: int) -> None:
    """End uploads whose hour is over, and let their parts go."""
    for upload_id, tenant_id in await in_lane(Lane.FILES, call_door, "uploads_to_end", AT_ONCE):
        await in_lane(Lane.FILES, _end_upload, tenant_id, upload_id)


def _end_upload(tenant_id: UUID, upload_id: str) -> None:
    with tenant_scope(tenant_id), transaction.atomic():
        open_ones = Upload.objects.select_for_update(no_key=True).filter(status="pending")
        upload = open_ones.filter(pk=upload_id).first()
        if upload is not None:
            storage.give_up_parts(upload)
            upload.status = UploadStatus.EXPIRED
            upload.save(update_fields=["status"])
