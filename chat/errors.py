"""Errors of chat. The class docstring is the default message, shown to users and programs."""

from __future__ import annotations

from tenants.errors import AtriumError
from tenants.errors import NotAllowed as NotAllowed
from tenants.errors import NotFound as NotFound
from tenants.outages import DiskFull


class ChatError(AtriumError):
    """That did not work."""

    code = "chat_error"


class InvalidInput(ChatError):
    """This value cannot be used."""

    code = "invalid_value"


class MissingParameter(InvalidInput):
    """A parameter that is needed is missing: the one that `param` names."""

    code = "missing_required_parameter"

    def __init__(self, *, param: str) -> None:
        super().__init__(f"Missing required parameter: '{param}'.", param=param)


class UnknownParameter(InvalidInput):
    """There is no such parameter."""

    code = "unknown_parameter"


class InvalidType(InvalidInput):
    """This value is of the wrong kind."""

    code = "invalid_type"


class UnknownModel(InvalidInput):
    """There is no such model here."""

    code = "model_not_found"


class PriceUnknown(InvalidInput):
    """The company limits the cost of a run, and this model has no price in US dollars."""

    code = "model_price_unknown"


class WrongMediaType(ChatError):
    """The body must be JSON in UTF-8: application/json."""

    code = "unsupported_media_type"
    http_status = 415


class InvalidJson(ChatError):
    """This is not well-formed JSON."""

    code = "invalid_json"


class ThreadBusy(ChatError):
    """The assistant is still answering: wait for it or stop it first."""

    code = "thread_busy"


class RunFinished(ChatError):
    """This answer has already ended."""

    code = "run_finished"


class NothingToRetry(ChatError):
    """The last answer is complete: write a new message instead."""

    code = "nothing_to_retry"


class TooManyRuns(ChatError):
    """Too many answers are under way: wait for one to end."""

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
    """This answer does not wait for anything."""

    code = "run_not_waiting"


class NothingToDecide(ChatError):
    """There is nothing to approve any more."""

    code = "nothing_to_decide"


class ApprovalChanged(ChatError):
    """What was to be approved has changed: look at it again."""

    code = "approval_changed"


class AssistantDisabled(ChatError):
    """This assistant is switched off: choose another."""

    code = "assistant_disabled"


class ThreadFull(ChatError):
    """This chat has reached its last message: start a new one."""

    code = "thread_full"


class QueueFull(ChatError):
    """Too many messages wait in this chat: wait for an answer, or withdraw one that waits."""

    code = "queue_full"


class ThreadTooLong(ChatError):
    """This thread is too long to be copied."""

    code = "thread_too_long"


class FileTooLarge(ChatError):
    """This file is too large."""

    code = "file_too_large"
    http_status = 413


class StorageFull(ChatError):
    """Your company keeps as many files as it may: delete some first."""

    code = "storage_full"


class StoreExpired(ChatError):
    """This vector store has expired: make a new one."""

    code = "vector_store_expired"


class UploadEnded(ChatError):
    """This upload has ended."""

    code = "upload_ended"


class Unavailable(ChatError):
    """This cannot be done right now: try again in a moment."""

    code = "unavailable"
    http_status = 503
    retryable = True


class StorageDiskFull(DiskFull, Unavailable):
    """The server has no room for files. Nothing can be stored until its operator makes room."""
