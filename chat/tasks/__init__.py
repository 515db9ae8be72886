"""Background jobs. Arguments are IDs only; each job checks them against the database."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

import structlog
from django.db import transaction
from procrastinate import RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.exceptions import UniqueViolation
from procrastinate.job_context import JobContext
from procrastinate.jobs import Status

from chat.conf import conf
from chat.models import IdempotencyRecord, Run, Thread, ThreadMapping
from chat.retrieval.index_pool import index_pool
from chat.runs import upstreams
from chat.runs.engine.lifespan import FILES_QUEUE
from chat.runs.engine.worker import worker
from chat.tasks import attached
from chat.tasks.files import (
    empty_stores,
    end_uploads,
    erase_code_sessions,
    erase_files,
    erase_stores,
)
from chat.tasks.storage import meter_storage
from chat.tools import code_state
from chat.upstream.base import KeepsConversations
from chat.upstream.errors import UpstreamError
from tenants.db import call_privileged, in_db
from tenants.scope import tenant_scope

__all__ = [
    "empty_stores",
    "end_uploads",
    "erase_code_sessions",
    "erase_files",
    "erase_stores",
    "meter_storage",
]

KEEP_JOBS_HOURS = 24

log = structlog.get_logger(__name__)


@app.task(queue="runs")
async def execute_run(tenant_id: str, run_id: str) -> None:
    """Claim and execute a run that no process owns."""
    if worker.is_full_for(UUID(tenant_id)):
        return  # the worker polls for it once it has capacity
    await worker.take_over(UUID(tenant_id), run_id)
    if not worker.is_long_lived:
        # The process exits after its last job, so this job must wait for the run.
        await worker.wait_until_finished(run_id)


@app.periodic(cron="* * * * *")
@app.task(queue="runs", queueing_lock="recover_runs")
async def recover_runs(timestamp: int) -> None:
    """Restart runs whose lease expired: a fallback for the workers' own polling."""
    await worker.recover()


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="tidy_jobs", pass_context=True)
async def tidy_jobs(context: JobContext, timestamp: int) -> None:
    """Retry jobs of dead processes, and delete jobs that ended a day ago.

    All jobs are idempotent, so a retry is safe. Aborted jobs need no retry: their
    process handed them over, or they are periodic.
    """
    queue = context.app.job_manager
    for job in await queue.get_stalled_jobs():
        try:
            await queue.retry_job(job)
        except UniqueViolation:
            # The same job is already queued.
            await queue.finish_job(job, status=Status.FAILED, delete_job=True)
    await queue.delete_old_jobs(
        nb_hours=KEEP_JOBS_HOURS, include_failed=True, include_cancelled=True, include_aborted=True
    )


@app.periodic(cron="*/5 * * * *")
@app.task(queue="upkeep", queueing_lock="erase_deleted_threads")
async def erase_deleted_threads(timestamp: int) -> None:
    """Erase threads that can no longer be restored, first copies at model servers, then here."""
    for thread_id, tenant_id in await in_db(
        call_privileged, "deleted_threads", conf.undo_seconds, 100
    ):
        try:
            await _delete_conversations(tenant_id, thread_id)
        except UpstreamError as error:
            # Retried by the next run of this job; one server must not delay other threads.
            log.warning("conversation_deletion_failed", tenant_id=str(tenant_id), code=error.code)
        else:
            await in_db(_erase, tenant_id, thread_id)


async def _delete_conversations(tenant_id: UUID, thread_id: str) -> None:
    for upstream, conversation in await in_db(_list_conversations, tenant_id, thread_id):
        await _delete_conversation(upstream, conversation)


async def _delete_conversation(upstream: str, conversation: str) -> None:
    if not conf.has_upstream(upstream):
        # The server has been removed from the settings. Erase the local data regardless.
        log.warning("conversation_orphaned", upstream=upstream, conversation=conversation)
        return
    server = upstreams.get_upstream(upstream)
    if isinstance(server, KeepsConversations):
        await server.delete_conversation(conversation)


@app.task(queue="upkeep", retry=RetryStrategy(max_attempts=10, exponential_wait=4))
async def forget_conversation(upstream: str, conversation: str) -> None:
    """Delete a conversation at a model server that no thread refers to any more."""
    await _delete_conversation(upstream, conversation)


def _list_conversations(tenant_id: UUID, thread_id: str) -> list[tuple[str, str]]:
    with tenant_scope(tenant_id), transaction.atomic():
        kept = ThreadMapping.objects.filter(thread_id=thread_id)
        return list(kept.values_list("upstream", "external_id"))


def _erase(tenant_id: UUID, thread_id: str) -> None:
    """Erase a thread with everything in it, unless it was restored or has an active run."""
    with tenant_scope(tenant_id), transaction.atomic():
        thread = Thread.objects.restorable().locked().filter(pk=thread_id).first()
        if thread is not None and not Run.objects.active().filter(thread=thread).exists():
            code_state.forget(thread_id)
            attached.delete_attached(thread)
            IdempotencyRecord.objects.about(thread_id).delete()
            Thread.objects.filter(pk=thread_id).delete()


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="erase_idempotency_records")
async def erase_idempotency_records(timestamp: int) -> None:
    """Erase expired idempotency records."""
    await in_db(_erase_idempotency_records)


def _erase_idempotency_records() -> None:
    old = defaultdict(list)
    for record_id, tenant_id in call_privileged("old_idempotency_records", 0, 10_000):
        old[tenant_id].append(record_id)
    for tenant_id, record_ids in old.items():
        with tenant_scope(tenant_id), transaction.atomic():
            IdempotencyRecord.objects.filter(pk__in=record_ids).delete()


@app.task(queue=FILES_QUEUE)
async def index_store_file(tenant_id: str, store_file_id: int) -> None:
    """Index waiting files: this one, or files of companies that have waited longer."""
    await index_pool.read_waiting_files()


@app.periodic(cron="* * * * *")
@app.task(queue=FILES_QUEUE, queueing_lock="index_waiting_files")
async def index_waiting_files(timestamp: int) -> None:
    """Index files without a job: their process died, or the embedding server was unavailable."""
    await index_pool.read_waiting_files()
