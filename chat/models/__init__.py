"""The tables of chat."""

from __future__ import annotations

from chat.models.assistants import Assistant
from chat.models.idempotency import IdempotencyRecord
from chat.models.runs import Process, Run, RunStatus, RunStep, StepStatus, ToolCall
from chat.models.threads import Message, MessageStatus, Thread, ThreadMapping
from chat.models.usage import Price, TenantPolicy, Usage

__all__ = [
    "Assistant",
    "IdempotencyRecord",
    "Message",
    "MessageStatus",
    "Price",
    "Process",
    "Run",
    "RunStatus",
    "RunStep",
    "StepStatus",
    "TenantPolicy",
    "Thread",
    "ThreadMapping",
    "ToolCall",
    "Usage",
]
