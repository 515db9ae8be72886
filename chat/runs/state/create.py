"""Insert a run for a thread: the one place where runs begin."""

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
    """What a caller may set over the assistant's own settings; None keeps them."""

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
    """A thread's active run, and by when it has to end."""

    run_id: str
    expires_at: datetime


def find_active(thread_id: str, *, member_id: UUID) -> ActiveRun | None:
    """Return the thread's active run; None where a new one may begin.

    What waits in a queue is not counted, and goes on whatever the count is. Two
    that ask at the same moment may both pass: it is a guard, not an account.

    Raises:
        TooManyRuns: when none is active, but as many of the member's or of the
            tenant in scope as there may be.
    """
    active = _active.one(thread_id=thread_id, member_id=member_id) or NO_RUNS
    if active["here"] is not None:
        return ActiveRun(run_id=active["here"], expires_at=active["expires_at"])
    if active["members"] >= conf.runs_per_member or active["tenants"] >= conf.runs_per_tenant:
        raise TooManyRuns()
    return None


NO_RUNS: dict[str, Any] = {"here": None, "members": 0, "tenants": 0}


@CompiledQuery
def _active(*, thread_id: Any, member_id: Any) -> QuerySet[Any]:
    """The tenant's active runs, counted; no row where there are none."""
    here = Q(thread_id=thread_id)
    rows = Run.objects.active().order_by().values("tenant_id")
    counted: QuerySet[Any] = rows.annotate(
        here=Max("id", filter=here),
        expires_at=Max("expires_at", filter=here),
        members=Count("id", filter=Q(member_id=member_id)),
        tenants=Count("id"),
    )
    return counted


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

    Must run inside the transaction that holds the thread's lock. `owner` claims
    it for that process at once. The settings of the assistant are copied, so a
    later change of it changes no run. Without an assistant the run names no
    model, and ends with that as its reason. With `additional_messages`, even
    none, it waits for its turn behind the thread's active run, to add them then.

    Raises:
        IntegrityError: when the thread has an active run (partial unique index).
    """
    options = options or RunOptions()
    has = assistant or Assistant(id="")
    instructions = has.instructions if options.instructions is None else options.instructions
    if options.additional_instructions:
        instructions = f"{instructions}\n\n{options.additional_instructions}".strip()
    now = clock.now()
    run = Run(
        thread=thread,
        assistant=assistant,
        assistant_ref=has.pk,
        member_id=member_id,
        key_id=key_id,
        model=options.model or has.model,
        upstream=has.upstream if options.upstream is None else options.upstream,
        instructions=instructions,
        tools=has.tools if options.tools is None else options.tools,
        metadata=options.metadata,
        temperature=has.temperature if options.temperature is None else options.temperature,
        top_p=has.top_p if options.top_p is None else options.top_p,
        reasoning_effort=options.reasoning_effort or has.reasoning_effort,
        response_format=options.response_format or has.response_format,
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
