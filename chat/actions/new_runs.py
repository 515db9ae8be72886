"""Start a run that a program asked for, on a thread or together with a new one."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from chat.actions.fields import clean_id, clean_metadata, not_found
from chat.actions.resources import clean_tool_resources
from chat.actions.run_options import clean_run_options
from chat.actions.runs import locked_run
from chat.actions.thread_messages import append_messages, clean_messages
from chat.errors import AssistantDisabled, NotAllowed, ThreadBusy
from chat.models import Assistant, Run, Thread
from chat.runs.launch import launch
from chat.runs.start import active_run_of, insert_run
from chat.runs.worker import worker
from tenants.access import Principal
from tenants.scope import tenant_scope

Given = dict[str, Any]


def create_run(
    principal: Principal,
    thread_id: str,
    *,
    assistant_id: str,
    additional_messages: Any = None,
    busy: str | None = None,
    **options: Any,
) -> Run:
    """Add messages to a thread and let an assistant answer it.

    `options` are those of `clean_run_options`.

    Raises:
        NotFound: for an unknown thread or assistant.
        InvalidInput: naming the parameter.
        ThreadBusy: while another run is active on the thread.
        AssistantDisabled, ThreadFull, TooManyRuns: as they say.
    """
    messages = clean_messages(additional_messages, param="additional_messages")
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread: Thread | None = (
            Thread.objects.for_principal(principal).locked().filter(pk=thread_id).first()
        )
        if thread is None:
            raise not_found("thread_", thread_id, param="thread_id")
        return _start(principal, thread, assistant_id, messages, options)


def create_thread_and_run(
    principal: Principal,
    *,
    assistant_id: str,
    thread: Given | None = None,
    tool_resources: Any = None,
    **options: Any,
) -> Run:
    """Make a thread with its first messages, and a run on it: all of it or nothing.

    `thread` has the fields `messages`, `metadata` and `tool_resources`; those
    of the run win over these. Raises as `create_run` does.
    """
    given = thread or {}
    messages = clean_messages(given.get("messages"), param="thread.messages")
    resources = clean_tool_resources(given.get("tool_resources"), param="thread.tool_resources")
    resources |= clean_tool_resources(tool_resources, creating=False)
    metadata = clean_metadata(given.get("metadata"), param="thread.metadata")
    with tenant_scope(principal.tenant_id), transaction.atomic():
        made = Thread(member=principal.membership, metadata=metadata, tool_resources=resources)
        made.save(force_insert=True)
        return _start(principal, made, assistant_id, messages, options)


def _start(
    principal: Principal, thread: Thread, assistant_id: str, messages: list[Given], given: Given
) -> Run:
    if principal.membership_id is None:
        raise NotAllowed()
    active = active_run_of(thread.pk, member_id=principal.membership_id)
    if active is not None:
        raise ThreadBusy(f"Thread {thread.pk} already has an active run {active}.")
    assistant_id = clean_id(assistant_id, param="assistant_id", prefix="asst_")
    assistant: Assistant | None = (
        Assistant.objects.for_principal(principal).filter(pk=assistant_id).first()
    )
    if assistant is None:
        raise not_found("asst_", assistant_id, param="assistant_id")
    if not assistant.enabled:
        raise AssistantDisabled()
    options = clean_run_options(assistant, given)
    append_messages(principal, thread, messages)
    run = insert_run(
        thread,
        assistant=assistant,
        member_id=principal.membership_id,
        key_id=principal.key.pk if principal.key else None,
        owner=worker.claim_owner,
        options=options,
    )
    launch(run)
    return run


def update_run(principal: Principal, run_id: str, *, thread_id: str, metadata: Any) -> Run:
    """Replace a run's metadata; None keeps it.

    Raises:
        NotFound: for an unknown thread or run.
        InvalidInput: for what is no metadata.
    """
    cleaned = clean_metadata(metadata)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        run = locked_run(principal, run_id, thread_id=thread_id)
        if metadata is not None:
            run.metadata = cleaned
            run.save(update_fields=["metadata"])
        return run
