"""Insert runs of a thread; the only place where runs are created."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Max, Q, QuerySet

from chat.conf import conf
from chat.errors import TooManyRuns
from chat.models import Assistant, Run, Thread
from tenants import clock
from tenants.compiled_queries import CompiledQuery


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options that override the assistant's settings; None keeps the assistant's value."""

    model: str | None = None
    upstream: str | None = None
    instructions: str | None = None
    additional_instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    temperature: float | None = None
    top_p: float | None = None
    reasoning_effort: str | None = None
    response_format: Any = None
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    truncation_strategy: dict[str, Any] = field(default_factory=dict)
    tool_choice: Any = None
    parallel_tool_calls: bool = True


@dataclass(frozen=True, kw_only=True)
class ActiveRun:
    """Active run of a thread, and its deadline."""

    run_id: str
    expires_at: datetime


def find_active(thread_id: str, *, member_id: UUID) -> ActiveRun | None:
    """Return the thread's active run; None if a new one may start.

    Queued runs are not counted and start regardless of the count. Two concurrent requests may both
    pass: the limit protects the system, it is not exact.

    Raises:
        TooManyRuns: no run of the thread is active, but the member or the tenant in scope has
            reached its limit of active runs.
    """
    counts = _active.first(thread_id=thread_id, member_id=member_id) or NO_RUNS
    if counts["here"] is not None:
        return ActiveRun(run_id=counts["here"], expires_at=counts["expires_at"])
    if counts["members"] >= conf.runs_per_member or counts["tenants"] >= conf.runs_per_tenant:
        raise TooManyRuns()
    return None


NO_RUNS: dict[str, Any] = {"here": None, "members": 0, "tenants": 0}


@CompiledQuery
def _active(*, thread_id: Any, member_id: Any) -> QuerySet[Any]:
    """Count the tenant's active runs; no row if there are none."""
    in_thread = Q(thread_id=thread_id)
    rows = Run.objects.active().order_by().values("tenant_id")
    counts: QuerySet[Any] = rows.annotate(
        here=Max("id", filter=in_thread),
        expires_at=Max("expires_at", filter=in_thread),
        members=Count("id", filter=Q(member_id=member_id)),
        tenants=Count("id"),
    )
    return counts


def insert_run(
    thread: Thread,
    *,
    assistant: Assistant | None,
    member_id: UUID,
    key_id: UUID | None = None,
    owner: UUID | None = None,
    options: RunOptions | None = None,
    additional_messages: list[dict[str, Any]] | None = None,
) -> Run:
    """Insert a queued run that answers `thread` up to its last position.

    Call within the transaction that holds the thread's lock. `owner` claims the run for that
    process at once. The assistant's settings are copied, so that later changes do not affect the
    run. Without an assistant the run has no model and fails with that reason. With
    `additional_messages`, even an empty list, the run waits until the thread's active run has
    ended; the messages are appended then.

    Raises:
        IntegrityError: the thread has an active run (partial unique index).
    """
    options = options or RunOptions()
    source = assistant or Assistant(id="")
    instructions = source.instructions if options.instructions is None else options.instructions
    if options.additional_instructions:
        instructions = f"{instructions}\n\n{options.additional_instructions}".strip()
    now = clock.now()
    run = Run(
        thread=thread,
        assistant=assistant,
        assistant_ref=source.pk,
        member_id=member_id,
        key_id=key_id,
        model=options.model or source.model,
        upstream=source.upstream if options.upstream is None else options.upstream,
        instructions=instructions,
        tools=source.tools if options.tools is None else options.tools,
        metadata=options.metadata,
        temperature=source.temperature if options.temperature is None else options.temperature,
        top_p=source.top_p if options.top_p is None else options.top_p,
        reasoning_effort=options.reasoning_effort or source.reasoning_effort,
        response_format=options.response_format or source.response_format,
        max_prompt_tokens=options.max_prompt_tokens,
        max_completion_tokens=options.max_completion_tokens,
        truncation_strategy=options.truncation_strategy,
        tool_choice=options.tool_choice,
        parallel_tool_calls=options.parallel_tool_calls,
        through_position=thread.last_position,
        created_at=now,
        expires_at=now + timedelta(seconds=conf.run_seconds),
        owner=owner,
        token=1 if owner else 0,
        waiting=additional_messages is not None,
        additional_messages=additional_messages or [],
    )
    run.save(force_insert=True)
    return run
