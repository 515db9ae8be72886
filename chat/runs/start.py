"""Insert a run for a thread: the one place where runs begin."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from chat.conf import conf
from chat.models import Assistant, Run, Thread


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a caller may set over the assistant's own settings; None keeps them."""

    model: str | None = None
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


def insert_run(
    thread: Thread,
    *,
    assistant: Assistant,
    member_id: UUID,
    key_id: UUID | None = None,
    owner: UUID | None = None,
    options: RunOptions | None = None,
) -> Run:
    """Insert a queued run that answers `thread` up to its last position.

    Must run inside the transaction that holds the thread's lock. `owner` claims
    it for that process at once. The settings of the assistant are copied, so a
    later change of it changes no run.

    Raises:
        IntegrityError: when the thread has an active run (partial unique index).
    """
    options = options or RunOptions()
    instructions = assistant.instructions if options.instructions is None else options.instructions
    if options.additional_instructions:
        instructions = f"{instructions}\n\n{options.additional_instructions}".strip()
    now = timezone.now()
    run = Run(
        thread=thread,
        assistant=assistant,
        assistant_ref=assistant.pk,
        member_id=member_id,
        key_id=key_id,
        model=options.model or assistant.model,
        upstream=assistant.upstream,
        instructions=instructions,
        tools=assistant.tools if options.tools is None else options.tools,
        metadata=options.metadata,
        temperature=assistant.temperature if options.temperature is None else options.temperature,
        top_p=assistant.top_p if options.top_p is None else options.top_p,
        reasoning_effort=options.reasoning_effort or assistant.reasoning_effort,
        response_format=options.response_format or assistant.response_format,
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
    )
    run.save(force_insert=True)
    return run
