"""Rename, delete and restore threads."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from chat import wire
from chat.actions.messages import tell
from chat.actions.runs import request_cancel
from chat.conf import conf
from chat.errors import InvalidInput, NotFound
from chat.models import Run, RunStatus, Thread
from chat.models.reasons import Reason
from chat.runs.launch import submit_on_commit
from chat.runs.queue import start_next_queued
from chat.runs.turn import Ending
from chat.runs.worker import worker
from tenants.access import Principal
from tenants.scope import tenant_scope

TITLE_LIMIT = 200
DELETED = Ending(
    status=RunStatus.CANCELLED, reason=Reason.THREAD_DELETED, message_reason="run_cancelled"
)


def rename_thread(principal: Principal, thread_id: str, *, title: str) -> Thread:
    """Give a thread another title.

    Raises:
        NotFound: for an unknown thread.
        InvalidInput: for an empty or too long title.
    """
    title = " ".join(title.split())
    if not title or len(title) > TITLE_LIMIT:
        raise InvalidInput(f"A title has 1 to {TITLE_LIMIT} characters.", param="title")
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread = _locked(principal, thread_id)
        thread.title, thread.titled_by_person = title, True
        thread.save(update_fields=["title", "titled_by_person"])
        tell(principal.tenant_id, thread.pk, "atrium.thread.updated", wire.thread_object(thread))
        return thread


def delete_thread(principal: Principal, thread_id: str) -> Thread:
    """Delete a thread and stop its answer; it can be restored until its undo is over.

    Raises:
        NotFound: for an unknown thread.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread = _locked(principal, thread_id)
        thread.deleted_at = timezone.now()
        thread.save(update_fields=["deleted_at"])
        run = Run.objects.active().filter(thread=thread).select_related("assistant").first()
        if run is not None:
            request_cancel(run, DELETED)
        tell(principal.tenant_id, thread.pk, "atrium.thread.deleted", {"id": thread.pk})
        return thread


def restore_thread(principal: Principal, thread_id: str) -> Thread:
    """Undo a deletion; a message that waited when it was deleted is answered now.

    Raises:
        NotFound: when the thread is unknown or erased already.
    """
    since = timezone.now() - timedelta(seconds=conf.undo_seconds)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        threads = Thread.objects.restorable().filter(
            member_id=principal.membership_id, deleted_at__gt=since
        )
        thread: Thread | None = threads.locked().filter(pk=thread_id).first()
        if thread is None:
            raise NotFound(f"No thread found with id '{thread_id}'.", param="thread")
        thread.deleted_at = None
        thread.save(update_fields=["deleted_at"])
        if not Run.objects.active().filter(thread=thread).exists():
            # What waited behind the stopped answer would wait for ever.
            submit_on_commit(start_next_queued(thread.pk, owner=worker.claim_owner))
        return thread


def _locked(principal: Principal, thread_id: str) -> Thread:
    thread: Thread | None = (
        Thread.objects.for_principal(principal).locked().filter(pk=thread_id).first()
    )
    if thread is None:
        raise NotFound(f"No thread found with id '{thread_id}'.", param="thread")
    return thread
