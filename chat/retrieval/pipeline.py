"""The indexing pipeline of a file: claim, extract, chunk, embed, store."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import UUID

import structlog
from django.core.files import File as Content
from django.core.files.storage import default_storage
from django.db import DatabaseError, InterfaceError

from chat.conf import conf
from chat.retrieval import index
from chat.retrieval.embed import get_embedder
from chat.retrieval.errors import Unreadable
from chat.retrieval.extract import ExtractedText
from chat.retrieval.index import ClaimLost, IndexedFile, IndexTask
from chat.retrieval.subprocess_reader import ReadingLimits, read_file
from chat.upstream.errors import UpstreamError
from tenants.db import DatabasePool, run_in_pool

EMBEDDER_UNAVAILABLE = "The embedding server is unavailable. Try again later."
PROCESSING_FAILED = "A server error stopped the processing of this file. Try again later."

log = structlog.get_logger(__name__)


async def index_file(tenant_id: UUID, store_file_id: int) -> None:
    """Index one file of a vector store, unless it is claimed or already indexed.

    Errors do not propagate: they become the file's status and error message. After a transient
    error the file stays pending and is retried when the claim expires, up to
    `conf.index_tries` attempts. Cancellation releases the claim.
    """
    task = await _claim(tenant_id, store_file_id)
    if task is None:
        return
    reading = asyncio.create_task(_index(task))
    keeping = asyncio.create_task(_keep_claim(task))
    try:
        await asyncio.wait({reading, keeping}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await _stop(reading, keeping)
        await run_in_pool(DatabasePool.FILES, index.release_claim, task)
        raise
    await _stop(reading, keeping)
    error = _get_error(reading) or _get_error(keeping)
    if error is not None:
        await _store_error(task, error)


async def _claim(tenant_id: UUID, store_file_id: int) -> IndexTask | None:
    """Claim a file; if the task is cancelled meanwhile, release the claim."""
    claiming = asyncio.ensure_future(
        run_in_pool(DatabasePool.FILES, index.claim_file, tenant_id, store_file_id)
    )
    try:
        return await asyncio.shield(claiming)
    except asyncio.CancelledError:
        if (task := await claiming) is not None:
            await run_in_pool(DatabasePool.FILES, index.release_claim, task)
        raise


async def _index(task: IndexTask) -> None:
    await store_indexed(task, await _build_index(task))


async def store_indexed(task: IndexTask, indexed: IndexedFile) -> None:
    """Store passages and vectors and complete the file, or fail it if storage is full.

    Raises:
        ClaimLost: another process claimed the file, or its indexing was cancelled. Searches find
            none of the passages written here then.
    """
    if not await run_in_pool(DatabasePool.FILES, index.begin_storing, task, indexed):
        return
    pieces = index.iter_batches(task, indexed)
    # Building the rows of a book takes seconds, so it runs in a thread and outside transactions.
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        await run_in_pool(DatabasePool.FILES, index.store_batch, task, piece)
    await run_in_pool(DatabasePool.FILES, index.complete_file, task, indexed)


async def _keep_claim(task: IndexTask) -> None:
    """Renew the claim until cancelled. Raises ClaimLost if the claim is lost."""
    while True:
        await asyncio.sleep(conf.index_lapse_seconds / 4)
        try:
            await run_in_pool(DatabasePool.FILES, index.renew_claim, task)
        except (DatabaseError, InterfaceError):
            log.warning("claim_renewal_failed", tenant_id=str(task.tenant_id))


async def _stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _get_error(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


async def _store_error(task: IndexTask, error: BaseException) -> None:
    """Store the error that stopped the indexing as the file's status."""
    fields = {"tenant_id": str(task.tenant_id), "store_file": task.store_file_id}
    if isinstance(error, ClaimLost):
        log.info("indexing_abandoned", **fields)
        await run_in_pool(DatabasePool.FILES, index.remove_leftovers, task)
        return
    if isinstance(error, Unreadable):
        code, message, may_pass = error.code, error.message, False
    elif isinstance(error, UpstreamError):
        log.warning("embedding_failed", **fields, code=error.code)
        code, message, may_pass = "server_error", EMBEDDER_UNAVAILABLE, error.retryable
    else:
        log.error("indexing_failed", **fields, exc_info=error)
        may_pass = isinstance(error, OSError | DatabaseError | InterfaceError)
        code, message = "server_error", PROCESSING_FAILED
    if may_pass and task.tries + 1 < conf.index_tries:
        # The claim expires, which counts this attempt, and the file is retried.
        return
    await run_in_pool(DatabasePool.FILES, index.fail_file, task, code=code, message=message)


async def _build_index(task: IndexTask) -> IndexedFile:
    extracted = await _extract(task)
    # Chunking a long text takes seconds and must not block the event loop.
    passages = await asyncio.to_thread(
        index.split_passages,
        extracted,
        max_tokens=task.max_tokens,
        overlap_tokens=task.overlap_tokens,
    )
    found = get_embedder()
    renew = partial(run_in_pool, DatabasePool.FILES, index.renew_claim, task)
    vectors = await index.embed_passages(passages, found, between=renew)
    return IndexedFile(
        extracted=extracted,
        passages=passages,
        embedding=found.id if found else "",
        vectors=vectors,
    )


async def _extract(task: IndexTask) -> ExtractedText:
    limits = ReadingLimits(seconds=conf.index_seconds, memory_mib=conf.index_memory_mib)
    try:
        file = await run_in_pool(DatabasePool.FILES, _open_content, task.storage_key)
    except FileNotFoundError:
        raise Unreadable("The file no longer exists.") from None
    with file:
        return await read_file(file, task.filename, limits=limits)


def _open_content(key: str) -> Content[bytes]:
    """Open a stored file, downloading it if the storage is remote."""
    file = default_storage.open(key)
    # The reader process inherits the file descriptor, so it must exist.
    file.fileno()
    return file
