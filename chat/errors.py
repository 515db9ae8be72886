"""Errors of chat. The class docstring is the default message, shown to users and programs."""

from __future__ import annotations

from tenants.errors import AtriumError
from tenants.errors import NotAllowed as NotAllowed
from tenants.errors import NotFound as NotFound
from tenants.outages import DiskFull


class ChatError(AtriumError):
    """The request failed."""

    code = "chat_error"


class InvalidInput(ChatError):
    """This value is invalid."""

    code = "invalid_value"


class MissingParameter(InvalidInput):
    """A required parameter is missing; `param` names it."""

    code = "missing_required_parameter"

    def __init__(self, *, param: str) -> None:
        super().__init__(f"Missing required parameter: '{param}'.", param=param)


class UnknownParameter(InvalidInput):
    """Unknown parameter."""

    code = "unknown_parameter"


class InvalidType(InvalidInput):
    """This value has the wrong type."""

    code = "invalid_type"


class UnknownModel(InvalidInput):
    """This model does not exist or is not available."""

    code = "model_not_found"


class PriceUnknown(InvalidInput):
    """Your company limits the cost per run, and this model has no price in US dollars."""

    code = "model_price_unknown"


class WrongMediaType(ChatError):
    """The request body must be JSON (application/json, UTF-8)."""

    code = "unsupported_media_type"
    http_status = 415


class InvalidJson(ChatError):
    """The request body is not valid JSON."""

    code = "invalid_json"


class ThreadBusy(ChatError):
    """The assistant is still answering. Wait for the answer or stop it first."""

    code = "thread_busy"


class RunFinished(ChatError):
    """This answer has already ended."""

    code = "run_finished"


class NothingToRetry(ChatError):
    """The last answer is complete. Send a new message instead."""

    code = "nothing_to_retry"


class TooManyRuns(ChatError):
    """Too many answers are in progress. Wait for one to finish."""

    code = "too_many_runs"
    http_status = 429
    retryable = True


class RateLimited(ChatError):
    """Too many requests."""

    code = "rate_limit_exceeded"
    http_status = 429
    retryable = True

    def __init__(self, message: str | None = None, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RunNotWaiting(ChatError):
    """This run is not waiting for input."""

    code = "run_not_waiting"


class ApprovalNotPending(ChatError):
    """This approval is no longer pending."""

    code = "nothing_to_decide"


class ApprovalChanged(ChatError):
    """The request has changed. Please review it again."""

    code = "approval_changed"


class AssistantDisabled(ChatError):
    """This assistant is disabled. Choose another one."""

    code = "assistant_disabled"


class ThreadFull(ChatError):
    """This chat has reached its message limit. Start a new one."""

    code = "thread_full"


class QueueFull(ChatError):
    """Too many messages are queued in this chat. Wait for an answer or remove one."""

    code = "queue_full"


class ThreadTooLong(ChatError):
    """This thread is too long to copy."""

    code = "thread_too_long"


class FileTooLarge(ChatError):
    """This file is too large."""

    code = "file_too_large"
    http_status = 413


class StorageFull(ChatError):
    """Your company's storage is full. Delete some files first."""

    code = "storage_full"


class StoreExpired(ChatError):
    """This vector store has expired. Create a new one."""

    code = "vector_store_expired"


class UploadClosed(ChatError):
    """This upload is no longer open."""

    code = "upload_ended"


class Unavailable(ChatError):
    """This is temporarily unavailable. Try again in a moment."""

    code = "unavailable"
    http_status = 503
    retryable = True


class StorageDiskFull(DiskFull, Unavailable):
    """The server's disk is full. Files cannot be stored until the operator frees space."""
