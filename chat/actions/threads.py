"""Create, change, copy, delete and restore threads."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction

from chat import wire
from chat.actions.assistants.tool_resources import clean_tool_resources, resolve_tool_resources
from chat.actions.fields import clean_metadata
from chat.actions.messages.append import append_messages, clean_messages, copy_messages, lock_thread
from chat.actions.runs.manage import request_cancel
from chat.conf import conf
from chat.errors import InvalidInput, NotAllowed, NotFound, ThreadTooLong
from chat.models import Run, RunStatus, Thread
from chat.models.reasons import Reason
from chat.runs.endings import Ending
from chat.runs.engine.launch import notify_readers, submit_on_commit
from chat.runs.engine.worker import worker
from chat.runs.state.queue import start_next_queued
from tenants import clock
from tenants.authentication import Principal
from tenants.scope import tenant_scope

MAX_TITLE_CHARACTERS = 200
DELETED = Ending(
    status=RunStatus.CANCELLED, reason=Reason.THREAD_DELETED, message_reason="run_cancelled"
)


def create_thread(
    principal: Principal, *, messages: Any = None, metadata: Any = None, tool_resources: Any = None
) -> Thread:
    """Create a thread of the principal with its first messages.

    Raises:
        NotAllowed: the principal has no membership (operator or command line).
        InvalidInput: a value is invalid; `param` names it, e.g. "messages[0].content".
        NotFound: a file or vector store does not exist; `param` names it.
        ThreadFull: the messages exceed the thread's message limit.
    """
    if principal.membership is None:
        raise NotAllowed()
    cleaned = clean_messages(messages, param="messages")
    resources = clean_tool_resources(tool_resources)
    thread = Thread(member=principal.membership, metadata=clean_metadata(metadata))
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread.tool_resources = resolve_tool_resources(
            principal, resources, owner=principal.membership
        )
        thread.save(force_insert=True)
        append_messages(principal, thread, cleaned, param="messages")
    return thread


def update_thread(principal: Principal, thread_id: str, **fields: Any) -> Thread:
    """Replace the given fields of a thread: `metadata`, `tool_resources`.

    Raises:
        NotFound: the thread, a file or a vector store does not exist.
        InvalidInput: a value is invalid; `param` names it.
    """
    cleaned: dict[str, Any] = {}
    if "metadata" in fields:
        cleaned["metadata"] = clean_metadata(fields["metadata"])
    resources = None
    if "tool_resources" in fields:
        resources = clean_tool_resources(fields["tool_resources"], creating=False)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread = lock_thread(principal, thread_id)
        if resources is not None:
            cleaned["tool_resources"] = resolve_tool_resources(
                principal, resources, owner=principal.membership
            )
        if cleaned:
            for name, value in cleaned.items():
                setattr(thread, name, value)
            thread.save(update_fields=list(cleaned))
        return thread


def copy_thread(principal: Principal, thread_id: str) -> Thread:
    """Copy a thread with its messages, without its runs.

    Raises:
        NotFound: the thread does not exist.
        ThreadTooLong: the thread has more messages than one request may copy.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        source = lock_thread(principal, thread_id)
        if source.last_position > conf.copied_messages:
            raise ThreadTooLong(
                f"This thread has {source.last_position} messages; "
                f"at most {conf.copied_messages} can be copied."
            )
        copy = Thread(
            member_id=source.member_id,
            title=source.title,
            titled_by_person=source.titled_by_person,
            metadata=source.metadata,
            tool_resources=source.tool_resources,
        )
        copy.save(force_insert=True)
        copy.last_position = copy_messages(source, copy)
        copy.save(update_fields=["last_position"])
        return copy


def rename_thread(principal: Principal, thread_id: str, *, title: str) -> Thread:
    """Rename a thread.

    Raises:
        NotFound: the thread does not exist.
        InvalidInput: the title is empty or too long.
    """
    title = " ".join(title.split())
    if not title or len(title) > MAX_TITLE_CHARACTERS:
        raise InvalidInput(
            f"A title must have 1 to {MAX_TITLE_CHARACTERS} characters.", param="title"
        )
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread = lock_thread(principal, thread_id)
        thread.title, thread.titled_by_person = title, True
        thread.save(update_fields=["title", "titled_by_person"])
        notify_readers(
            principal.tenant_id, thread.pk, "atrium.thread.updated", wire.thread_object(thread)
        )
        return thread


def delete_thread(principal: Principal, thread_id: str) -> Thread:
    """Delete a thread and cancel its active run; it can be restored for `undo_seconds`.

    Raises:
        NotFound: the thread does not exist.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread = lock_thread(principal, thread_id)
        thread.deleted_at = clock.now()
        thread.save(update_fields=["deleted_at"])
        run = Run.objects.active().filter(thread=thread).select_related("assistant").first()
        if run is not None:
            request_cancel(run, DELETED)
        notify_readers(principal.tenant_id, thread.pk, "atrium.thread.deleted", {"id": thread.pk})
        return thread


def restore_thread(principal: Principal, thread_id: str) -> Thread:
    """Restore a deleted thread and start a run for its next queued message.

    Raises:
        NotFound: the thread does not exist or can no longer be restored.
    """
    since = clock.now() - timedelta(seconds=conf.undo_seconds)
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
            # Nothing else would start what is queued behind the cancelled run.
            submit_on_commit(start_next_queued(thread.pk, owner=worker.claim_owner))
        return thread
