"""Create runs over the API, on an existing thread or together with a new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from chat.actions.assistants.tool_resources import clean_tool_resources, resolve_tool_resources
from chat.actions.fields import clean_metadata, get_row
from chat.actions.messages.append import (
    append_messages,
    attach_message_files,
    clean_messages,
    lock_thread,
)
from chat.actions.runs.manage import lock_run, request_cancel
from chat.actions.runs.options import clean_run_options
from chat.conf import conf
from chat.errors import (
    AssistantDisabled,
    NotAllowed,
    PriceUnknown,
    ThreadBusy,
    ThreadFull,
    TooManyRuns,
)
from chat.models import Assistant, Run, Thread
from chat.models.assistants import BusyPolicy
from chat.rates import count_run
from chat.runs.billing import tenant_policy_cache
from chat.runs.billing.limits import has_unknown_price
from chat.runs.endings import INTERRUPTED
from chat.runs.engine.launch import get_active_run_id, launch
from chat.runs.engine.worker import worker
from chat.runs.state.create import RunOptions, insert_run
from tenants.authentication import Principal
from tenants.scope import tenant_scope

JsonObject = dict[str, Any]
MAX_WAITING_RUNS = 100  # pending runs per thread


def create_run(
    principal: Principal,
    thread_id: str,
    *,
    assistant_id: str,
    additional_messages: Any = None,
    busy: str | None = None,
    **options: Any,
) -> Run:
    """Append messages to a thread and create a run of an assistant on it.

    `options` are those of `clean_run_options`. `busy` decides what happens while
    another run is active: "reject" (the default), "queue" (the new run is pending
    until the active one ends; an open approval stays open) or "interrupt" (cancel the
    active run, then start the new one).

    Raises:
        NotFound: the thread, assistant or a file does not exist.
        InvalidInput: a parameter is invalid; `param` names it.
        ThreadBusy: another run is active on the thread and `busy` is "reject".
        AssistantDisabled: the assistant is disabled.
        ThreadFull: the messages would exceed the thread's message limit.
        TooManyRuns: the limit of active or pending runs is reached.
        RateLimited: the principal exceeded the rate limit for runs.
        NotAllowed: the principal has no membership.
    """
    messages = clean_messages(additional_messages, param="additional_messages")
    count_run(principal)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        thread = lock_thread(principal, thread_id)
        active = get_active_run_id(thread.pk, member_id=_get_membership_id(principal))
        request = _build_request(principal, thread, assistant_id, options)
        if active is None:
            return _start_run(principal, request, messages, param="additional_messages")
        if busy in (None, BusyPolicy.REJECT):
            raise ThreadBusy(f"Thread {thread.pk} already has an active run {active}.")
        interrupt = busy == BusyPolicy.INTERRUPT
        return _queue_run(principal, request, messages, behind=active, interrupt=interrupt)


def create_thread_and_run(
    principal: Principal,
    *,
    assistant_id: str,
    thread: JsonObject | None = None,
    tool_resources: Any = None,
    **options: Any,
) -> Run:
    """Create a thread with its first messages and a run on it, in one transaction.

    `thread` has the fields `messages`, `metadata` and `tool_resources`. The run's
    `tool_resources` override those of the thread. Raises like `create_run`.
    """
    given = thread or {}
    messages = clean_messages(given.get("messages"), param="thread.messages")
    first = clean_tool_resources(given.get("tool_resources"), param="thread.tool_resources")
    second = clean_tool_resources(tool_resources, creating=False)
    metadata = clean_metadata(given.get("metadata"), param="thread.metadata")
    count_run(principal)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        _get_membership_id(principal)
        created = Thread(member=principal.membership, metadata=metadata)
        for resources in (first, second):
            created.tool_resources |= resolve_tool_resources(
                principal, resources, owner=principal.membership
            )
        created.save(force_insert=True)
        get_active_run_id(created.pk, member_id=_get_membership_id(principal))
        return _start_run(
            principal,
            _build_request(principal, created, assistant_id, options),
            messages,
            param="thread.messages",
        )


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A validated request for a run: thread, assistant and options."""

    thread: Thread
    assistant: Assistant
    options: RunOptions


def _get_membership_id(principal: Principal) -> UUID:
    if principal.membership_id is None:
        raise NotAllowed()
    return principal.membership_id


def _build_request(
    principal: Principal, thread: Thread, assistant_id: str, given: JsonObject
) -> RunRequest:
    rows = Assistant.objects.visible_to(principal)
    assistant = get_row(rows, assistant_id, param="assistant_id", prefix="asst_")
    if not assistant.enabled:
        raise AssistantDisabled()
    options = clean_run_options(assistant, given)
    _check_price(assistant, options)
    return RunRequest(thread=thread, assistant=assistant, options=options)


def _check_price(assistant: Assistant, options: RunOptions) -> None:
    """Reject a run of unknown price if the company limits the cost of a run."""
    policy = tenant_policy_cache.get_policy()
    if policy is None or policy.max_cost_per_run is None:
        return
    model = options.model or assistant.model
    upstream = assistant.upstream if options.upstream is None else options.upstream
    tools = assistant.tools if options.tools is None else options.tools
    if has_unknown_price(model, upstream, tools):
        raise PriceUnknown(
            f"Your company limits the cost per run, and the model '{model}' has no price in US "
            "dollars. An owner can set one in Administration, under Prices.",
            param="model",
        )


def _start_run(
    principal: Principal, request: RunRequest, messages: list[JsonObject], *, param: str
) -> Run:
    append_messages(principal, request.thread, messages, param=param)
    run = _insert_run(principal, request, owner=worker.claim_owner)
    launch(run)
    return run


def _queue_run(
    principal: Principal,
    request: RunRequest,
    messages: list[JsonObject],
    *,
    behind: str,
    interrupt: bool,
) -> Run:
    """Queue a run behind the active one, and cancel the active one if `interrupt`."""
    thread = request.thread
    pending = Run.objects.pending().filter(thread=thread).count()
    if pending >= MAX_WAITING_RUNS:
        raise TooManyRuns()
    if thread.last_position + len(messages) > conf.messages_per_thread:
        raise ThreadFull()
    attach_message_files(principal, thread, messages, param="additional_messages")
    run = _insert_run(principal, request, additional_messages=messages)
    if interrupt:
        request_cancel(lock_run(principal, behind, thread_id=thread.pk), INTERRUPTED)
    run.refresh_from_db(fields=["waiting", "owner", "token", "through_position", "expires_at"])
    return run


def _insert_run(principal: Principal, request: RunRequest, **more: Any) -> Run:
    return insert_run(
        request.thread,
        assistant=request.assistant,
        member_id=_get_membership_id(principal),
        key_id=principal.key_id,
        options=request.options,
        **more,
    )
