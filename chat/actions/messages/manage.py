"""Create, update and delete single messages over the API, without starting a run.

See `chat.actions.send_message` for messages that start one.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from procrastinate.contrib.django import app as jobs

from chat import wire
from chat.actions.fields import clean_metadata, get_row
from chat.actions.messages.append import append_messages, clean_message, lock_thread
from chat.errors import ThreadBusy
from chat.models import Message, Run, Thread, ThreadMapping
from chat.runs.engine.launch import end_overdue_run, notify_readers
from chat.runs.state.recovery import is_overdue
from tenants.authentication import Principal
from tenants.scope import tenant_scope


def add_message(principal: Principal, thread_id: str, **given: Any) -> Message:
    """Append a message to a thread: `role`, `content`, `attachments`, `metadata`.

    Raises:
        NotFound: the thread or a file does not exist.
        ThreadBusy: a run is active on the thread.
        InvalidInput: a field is invalid; `param` names it.
        ThreadFull: the thread has reached its message limit.
    """
    cleaned = clean_message(given)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread = lock_thread(principal, thread_id)
        _refuse_while_busy(thread, "Can't add messages to {thread} while a run {run} is active.")
        [message] = append_messages(principal, thread, [cleaned])
        created = wire.message_object(message)
        notify_readers(principal.tenant_id, thread.pk, "thread.message.created", created)
        return message


def update_message(
    principal: Principal, thread_id: str, message_id: str, *, metadata: Any
) -> Message:
    """Replace a message's metadata.

    Raises:
        NotFound: the thread or message does not exist.
        InvalidInput: the metadata is invalid.
    """
    cleaned = clean_metadata(metadata)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        message = _get_message(lock_thread(principal, thread_id), message_id)
        message.metadata = cleaned
        message.save(update_fields=["metadata"])
        return message


def delete_message(principal: Principal, thread_id: str, message_id: str) -> None:
    """Delete a message, and all copies of its thread at model servers.

    Raises:
        NotFound: the thread or message does not exist.
        ThreadBusy: a run is active on the thread.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread = lock_thread(principal, thread_id)
        message = _get_message(thread, message_id)
        _refuse_while_busy(
            thread, "Can't delete messages from {thread} while a run {run} is active."
        )
        _delete_conversations(thread)
        Message.objects.filter(pk=message.pk).delete()
        notify_readers(principal.tenant_id, thread.pk, "atrium.message.deleted", {"id": message.pk})


def _refuse_while_busy(thread: Thread, sentence: str) -> None:
    active = Run.objects.active().filter(thread=thread).first()
    if active is not None and is_overdue(active.expires_at):
        end_overdue_run(thread.tenant_id, thread.pk)
        thread.refresh_from_db()
        active = Run.objects.active().filter(thread=thread).first()
    if active is not None:
        raise ThreadBusy(sentence.format(thread=thread.pk, run=active.pk))


def _get_message(thread: Thread, message_id: str) -> Message:
    rows = Message.objects.filter(thread=thread).select_related("assistant")
    message: Message = get_row(rows, message_id, param="message_id", prefix="msg_")
    return message


def _delete_conversations(thread: Thread) -> None:
    """Delete conversations kept by model servers, which still contain the message.

    The next run starts a new conversation.
    """
    task = jobs.configure_task("chat.tasks.forget_conversation", queue="upkeep")
    for mapping in ThreadMapping.objects.filter(thread=thread):
        task.defer(upstream=mapping.upstream, conversation=mapping.external_id)
        mapping.delete()
