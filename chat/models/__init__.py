"""Models of chat."""

from __future__ import annotations

from chat.models.assistants import Assistant
from chat.models.code import CodeSession
from chat.models.files import File, StorageUse
from chat.models.idempotency import IdempotencyRecord
from chat.models.runs import Process, Run, RunStatus, RunStep, StepStatus, ToolCall
from chat.models.stores import Chunk, FileBatch, IndexStatus, StoreFile, VectorStore
from chat.models.threads import Message, MessageStatus, Thread, ThreadMapping
from chat.models.uploads import Upload, UploadPart, UploadStatus
from chat.models.usage import Price, StorageChange, TenantPolicy, Usage, UsageKind, UsageOutcome
from chat.models.vectors import Vector

__all__ = [
    "Assistant",
    "Chunk",
    "CodeSession",
    "File",
    "FileBatch",
    "IdempotencyRecord",
    "IndexStatus",
    "Message",
    "MessageStatus",
    "Price",
    "Process",
    "Run",
    "RunStatus",
    "RunStep",
    "StepStatus",
    "StorageChange",
    "StorageUse",
    "StoreFile",
    "TenantPolicy",
    "Thread",
    "ThreadMapping",
    "ToolCall",
    "Upload",
    "UploadPart",
    "UploadStatus",
    "Usage",
    "UsageKind",
    "UsageOutcome",
    "Vector",
    "VectorStore",
]
