"""Background jobs. Arguments are ids only; each job checks them against the rows."""

from __future__ import annotations

from uuid import UUID

import structlog
from django.db import transaction
from procrastinate.contrib.django import app

from chat.conf import conf
from chat.models import Run, Thread, ThreadMapping
from chat.runs import upstreams
from chat.runs.worker import worker
from chat.upstream.base import KeepsConversations
from chat.upstream.errors import UpstreamError
from tenants.db import call_door, in_db
from tenants.scope import tenant_scope

log = structlog.get_logger(__name__)


@app.task(queue="runs")
async def execute_run(tenant_id: str, run_id: str) -> None:
    """Take a run that no process holds; a worker process joins the beating ones first."""
    await _join()
    await worker.take_over(UUID(tenant_id), run_id)
    if not worker.in_server:
        # A worker process ends when its jobs have: the run is this job's work.
        await worker.finished(run_id)


async def _join() -> None:
    if worker.event_loop is None and not worker.draining:
        await worker.start()


@app.periodic(cron="* * * * *")
@app.task(queue="runs", queueing_lock="recover_runs")
async def recover_runs(timestamp: int) -> None:
    """Find runs whose claim lapsed and start them again: the backstop of the workers' own look."""
    await _join()
    await worker.recover()


@app.periodic(cron="*/5 * * * *")
@app.task(queue="upkeep", queueing_lock="erase_deleted_threads")
async def erase_deleted_threads(timestamp: int) -> None:
    """Erase threads whose undo is over, first where a model server keeps a copy, then here."""
    for thread_id, tenant_id in await in_db(call_door, "deleted_threads", conf.undo_seconds, 100):
        try:
            await _delete_copies(tenant_id, thread_id)
        except UpstreamError as error:
            # The next round tries again; the threads of others do not wait for this server.
            log.warning("copy_not_deleted", tenant_id=str(tenant_id), code=error.code)
        else:
            await in_db(_erase, tenant_id, thread_id)


async def _delete_copies(tenant_id: UUID, thread_id: str) -> None:
    for upstream, conversation in await in_db(_copies, tenant_id, thread_id):
        server = upstreams.upstream_named(upstream)
        if isinstance(server, KeepsConversations):
            await server.delete_conversation(conversation)


def _copies(tenant_id: UUID, thread_id: str) -> list[tuple[str, str]]:
    with tenant_scope(tenant_id), transaction.atomic():
        kept = ThreadMapping.objects.filter(thread_id=thread_id)
        return list(kept.values_list("upstream", "external_id"))


def _erase(tenant_id: UUID, thread_id: str) -> None:
    """Delete a thread with all it holds, unless it was restored or still has a run."""
    with tenant_scope(tenant_id), transaction.atomic():
        thread = Thread.objects.restorable().locked().filter(pk=thread_id).first()
        if thread is not None and not Run.objects.active().filter(thread=thread).exists():
            Thread.objects.filter(pk=thread_id).delete()
