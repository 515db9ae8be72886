"""Create a message and its run, or delete a queued message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from chat import wire
from chat.actions.assistants.manage import get_offered_assistant
from chat.actions.assistants.tool_resources import check_image_files, clean_attachments
from chat.actions.messages.attachments import add_attachments
from chat.actions.messages.content import clean_content
from chat.actions.runs.approvals import is_waiting_for_approval
from chat.actions.runs.manage import request_cancel
from chat.conf import conf
from chat.errors import NotFound, QueueFull, RateLimited, ThreadBusy, ThreadFull
from chat.models import Assistant, File, Message, Run, Thread
from chat.models.assistants import BusyPolicy
from chat.rates import count_run
from chat.runs.endings import INTERRUPTED
from chat.runs.engine.launch import get_active_run_id, launch, notify_readers
from chat.runs.engine.worker import worker
from chat.runs.state.create import insert_run
from chat.runs.state.thread_end import build_title
from tenants import clock
from tenants.authentication import Principal
from tenants.compiled_queries import CompiledQuery
from tenants.errors import AtriumError
from tenants.scope import tenant_scope

MAX_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class CreatedMessage:
    """An accepted message. `run` is None while it is queued."""

    thread: Thread
    message: Message
    run: Run | None


@dataclass(frozen=True, kw_only=True)
class MessageRequest:
    """A request to send a message, with validated content and attachments."""

    assistant_id: str
    parts: list[dict[str, Any]]
    attachments: list[dict[str, Any]]
    client_id: str
    busy: str | None

    @property
    def title(self) -> str:
        """The title for a new thread that begins with this message."""
        return build_title(Message(content=self.parts).text())


def create_message(
    principal: Principal,
    thread_id: str | None,
    *,
    assistant_id: str,
    content: Any,
    client_id: str,
    busy: str | None = None,
    attachments: Any = None,
) -> CreatedMessage:
    """Store a member's message and start a run for it.

    `client_id` is an idempotency key: a repeated request returns the first message.
    `content` is text or content parts; `attachments` are files and the tools that use
    them. Without `thread_id` a new thread is created.

    `busy` decides what happens while a run is active: "reject", "queue" or "interrupt"
    (cancel the run, then answer this message); None uses the assistant's setting. A run
    that waits for approval is cancelled only by an explicit "interrupt": the assistant's
    setting queues the message and leaves the approval open.

    Raises:
        NotFound: the thread, assistant or a file does not exist.
        AssistantDisabled: the assistant is not offered in the chat page.
        ThreadFull: the thread has reached its message limit.
        InvalidInput: the content or an attachment is invalid; `param` names it.
        ThreadBusy: a run is active and `busy` is "reject".
        QueueFull: the thread has reached its limit of queued messages.
        TooManyRuns: the limit of active runs is reached.
        RateLimited: the principal exceeded the rate limit for messages.
    """
    request = MessageRequest(
        assistant_id=assistant_id,
        parts=clean_content(content),
        attachments=clean_attachments(attachments),
        client_id=client_id,
        busy=busy,
    )
    if principal.membership_id is None:
        raise NotFound()
    with tenant_scope(principal.tenant_id):
        try:
            count_run(principal)
        except RateLimited:
            sent = _find_repeated(principal, client_id)
            if sent is None:
                raise
            return sent
        return _create_or_find(principal, thread_id, request)


def _create_or_find(
    principal: Principal, thread_id: str | None, request: MessageRequest
) -> CreatedMessage:
    for _attempt in range(MAX_ATTEMPTS):
        try:
            with transaction.atomic():
                return _create_in_transaction(principal, thread_id, request)
        except IntegrityError:
            # The message was sent before, or another run started concurrently.
            sent = _find_repeated(principal, request.client_id)
        except AtriumError:
            sent = _find_repeated(principal, request.client_id)
            if sent is None:
                raise
        if sent is not None:
            return sent
    raise ThreadBusy()


@transaction.atomic
def _find_repeated(principal: Principal, client_id: str) -> CreatedMessage | None:
    message = (
        Message.objects.visible_to(principal)
        .select_related("thread", "assistant")
        .filter(sender=principal.membership_id, client_id=client_id)
        .first()
    )
    if message is None:
        return None
    run = (
        Run.objects.filter(thread_id=message.thread_id, through_position=message.position)
        .select_related("assistant")
        .order_by("created_at")
        .first()
    )
    return CreatedMessage(thread=message.thread, message=message, run=run)


def _create_in_transaction(
    principal: Principal, thread_id: str | None, request: MessageRequest
) -> CreatedMessage:
    thread = _get_or_create_thread(principal, thread_id, request)
    assistant = get_offered_assistant(request.assistant_id)
    if thread.last_position >= conf.messages_per_thread:
        raise ThreadFull()
    check_image_files(principal, request.parts, param="content")
    thread.title = thread.title or _get_image_title(request)
    add_attachments(principal, thread, request.attachments)
    message = Message(
        thread=thread,
        role="user",
        assistant=assistant,
        content=request.parts,
        attachments=request.attachments,
        client_id=request.client_id,
        sender=principal.membership_id,
        sender_key=principal.key_id,
    )
    assert principal.membership_id is not None
    active_id = get_active_run_id(thread.pk, member_id=principal.membership_id)
    if active_id is not None:
        active = Run.objects.select_related("assistant").get(pk=active_id)
        busy = request.busy or _get_busy_policy(assistant, active)
        return _queue_or_reject(principal, thread, message, active, busy)
    return _start_run(principal, thread, message, assistant)


def _get_image_title(request: MessageRequest) -> str:
    """Return the title for a thread that begins with an image and no text."""
    shown = [part["image_file"]["file_id"] for part in request.parts if "image_file" in part]
    name = File.objects.filter(pk__in=shown[:1]).values_list("filename", flat=True).first()
    return build_title(name or "")


def _get_or_create_thread(
    principal: Principal, thread_id: str | None, request: MessageRequest
) -> Thread:
    """Return the thread, locked, or a new one titled after the message."""
    if thread_id is None:
        thread = Thread(member=principal.membership, title=request.title)
        thread.save(force_insert=True)
        return thread
    found = _lock_thread.first(principal=principal, thread_id=thread_id)
    if found is None:
        raise NotFound(f"No thread found with id '{thread_id}'.", param="thread")
    if not found.title:
        found.title = request.title
    return found


@CompiledQuery
def _lock_thread(*, principal: Any, thread_id: Any) -> QuerySet[Thread]:
    rows: QuerySet[Thread] = Thread.objects.visible_to(principal).locked()
    return rows.filter(pk=thread_id)


def _start_run(
    principal: Principal, thread: Thread, message: Message, assistant: Assistant
) -> CreatedMessage:
    assert principal.membership_id is not None
    thread.last_position += 1
    thread.updated_at = message.created_at = message.completed_at = clock.now()
    message.position = thread.last_position
    message.save(force_insert=True)
    thread.save(update_fields=["title", "last_position", "updated_at"])
    run = insert_run(
        thread,
        assistant=assistant,
        member_id=principal.membership_id,
        key_id=message.sender_key,
        owner=worker.claim_owner,
    )
    launch(run, message=message)
    return CreatedMessage(thread=thread, message=message, run=run)


def _get_busy_policy(assistant: Assistant, active: Run) -> str:
    """Return the assistant's busy policy for a message that arrives during `active`.

    A default must not cancel an open approval: the member sees the approval card and did
    not ask to stop.
    """
    busy = assistant.busy_policy
    if busy == BusyPolicy.INTERRUPT and is_waiting_for_approval(active):
        return BusyPolicy.QUEUE
    return busy


def _queue_or_reject(
    principal: Principal, thread: Thread, message: Message, active: Run, busy: str
) -> CreatedMessage:
    if busy == BusyPolicy.REJECT:
        raise ThreadBusy(f"Can't add messages to {thread.pk} while a run {active.pk} is active.")
    # The thread is locked, so the count is still correct when the message is stored.
    if Message.objects.filter(thread=thread).queued().count() >= conf.queued_messages:
        raise QueueFull()
    thread.updated_at = message.created_at = clock.now()
    message.save(force_insert=True)
    thread.save(update_fields=["title", "updated_at"])
    notify_readers(
        principal.tenant_id, thread.pk, "atrium.message.queued", wire.message_object(message)
    )
    if busy == BusyPolicy.INTERRUPT:
        request_cancel(active, INTERRUPTED)
    message.refresh_from_db(fields=["position"])
    return CreatedMessage(thread=thread, message=message, run=None)


def delete_queued_message(principal: Principal, message_id: str) -> None:
    """Delete a queued message.

    Raises:
        NotFound: the message does not exist or is no longer queued.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        messages = Message.objects.visible_to(principal).queued()
        message = messages.select_for_update(of=("self",)).filter(pk=message_id).first()
        if message is None:
            raise NotFound(f"No queued message found with id '{message_id}'.", param="message")
        data = {"id": message.pk, "client_id": message.client_id}
        Message.objects.filter(pk=message.pk).delete()
        notify_readers(principal.tenant_id, message.thread_id, "atrium.message.withdrawn", data)
