"""From a stored file to a searchable one: claim, read, cut, embed, store."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import UUID

import structlog
from django.core.files import File as Content
from django.core.files.storage import default_storage

from chat.conf import conf
from chat.retrieval import index
from chat.retrieval.embed import embedder
from chat.retrieval.errors import Unreadable
from chat.retrieval.extract import Extracted
from chat.retrieval.index import ClaimLost, Indexed, Task
from chat.retrieval.reading import ReadingLimits, read_file
from chat.upstream.errors import UpstreamError
from tenants.db import Lane, in_lane

log = structlog.get_logger(__name__)


async def index_file(tenant_id: UUID, store_file_id: int) -> None:
    """Index one file of a vector store, if nobody does or did.

    Whatever is wrong with the file becomes its status, with a sentence. An
    embedder's server that is away leaves it waiting, as many times as a file
    may be tried.
    """
    task = await in_lane(Lane.FILES, index.claim_file, tenant_id, store_file_id)
    if task is None:
        return
    try:
        indexed = await _indexed(task)
    except Unreadable as error:
        await in_lane(Lane.FILES, index.fail_file, task, code=error.code, message=error.message)
    except UpstreamError as error:
        await _embedding_failed(task, error)
    except OSError:
        # The claim lapses, and the next look finds it.
        log.exception("storage_failed", tenant_id=str(tenant_id))
    except ClaimLost:
        log.info("indexing_given_up", tenant_id=str(tenant_id), store_file=store_file_id)
    else:
        await in_lane(Lane.FILES, index.store_indexed, task, indexed)


async def _indexed(task: Task) -> Indexed:
    extracted = await _extracted(task)
    # A long text takes seconds: the event loop has others to serve.
    passages = await asyncio.to_thread(
        index.passages_of,
        extracted,
        max_tokens=task.max_tokens,
        overlap_tokens=task.overlap_tokens,
    )
    found = embedder()
    renew = partial(in_lane, Lane.FILES, index.renew_claim, task)
    vectors = await index.vectors_of(passages, found, between=renew)
    return Indexed(
        extracted=extracted,
        passages=passages,
        embedding=found.id if found else "",
        vectors=vectors,
    )


async def _extracted(task: Task) -> Extracted:
    limits = ReadingLimits(seconds=conf.index_seconds, memory_mib=conf.index_memory_mib)
    try:
        file = await in_lane(Lane.FILES, _opened, task.storage_key)
    except FileNotFoundError:
        raise Unreadable("The file is no longer there.") from None
    with file:
        return await read_file(file, task.filename, limits=limits)


def _opened(key: str) -> Content[bytes]:
    """Return a file of the storage, fetched where it is not of this machine."""
    file = default_storage.open(key)
    # What reads it gets its descriptor.
    file.fileno()
    return file


async def _embedding_failed(task: Task, error: UpstreamError) -> None:
    log.warning("embedding_failed", tenant_id=str(task.tenant_id), code=error.code)
    if error.retryable and task.tries < conf.index_tries:
        # The claim lapses, and the next look finds it.
        return
    await in_lane(
        Lane.FILES,
        index.fail_file,
        task,
        code="server_error",
        message="The server that makes texts searchable could not be used. Try again later.",
    )
