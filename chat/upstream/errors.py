"""Errors of model servers.

`code` belongs to a closed list that the run maps to its own reasons. The server's text goes to
`message_for_operators` only, truncated and with keys redacted: it may quote prompts, hosts or
secrets.
"""

from __future__ import annotations

import re

SECRETS = re.compile(
    r"(?i)\b(?:sk|pk|key|api|token)[-_][\w*.-]{8,}|bearer\s+[^\s\"']+|AIza[\w-]{20,}"
)
MAX_MESSAGE_LENGTH = 500
MIN_SECRET_LENGTH = 8


def redact(text: str, *secrets: str) -> str:
    """Redact `secrets` and anything that looks like a key; drop control characters; truncate."""
    for secret in secrets:
        if len(secret) >= MIN_SECRET_LENGTH:
            text = text.replace(secret, "[key]")
    text = SECRETS.sub("[key]", text)
    text = "".join(c if c.isprintable() else " " for c in text[: MAX_MESSAGE_LENGTH * 4])
    return " ".join(text.split())[:MAX_MESSAGE_LENGTH]


class UpstreamError(Exception):
    """The model server returned an unexpected answer."""

    code = "upstream_error"
    retryable = False
    is_outage = False
    accepted = False

    def __init__(
        self,
        message_for_operators: str = "",
        *,
        code: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        http_status: int | None = None,
        after_first_content: bool = False,
        is_outage: bool | None = None,
        accepted: bool | None = None,
    ) -> None:
        super().__init__(message_for_operators or (self.__doc__ or ""))
        self.message_for_operators = message_for_operators or (self.__doc__ or "")
        self.code = code or type(self).code
        self.retryable = type(self).retryable if retryable is None else retryable
        self.retry_after = retry_after
        """Seconds the server asked to wait, or None."""
        self.http_status = http_status
        self.after_first_content = after_first_content
        self.is_outage = type(self).is_outage if is_outage is None else is_outage
        """The server cannot be reached, does not answer in time, or answers 5xx."""
        self.accepted = type(self).accepted if accepted is None else accepted
        """The server may have begun to compute the answer, which it bills."""


class UpstreamRateLimited(UpstreamError):
    """The model server's rate limit was exceeded."""

    code = "rate_limited"
    retryable = True


class UpstreamUnavailable(UpstreamError):
    """The model server is currently unavailable."""

    code = "unavailable"
    retryable = True
    is_outage = True


class UpstreamTimeout(UpstreamError):
    """The model server did not answer in time."""

    code = "timeout"
    retryable = True
    is_outage = True


class UpstreamRefused(UpstreamError):
    """The model server refused the request."""

    code = "refused"


class ContextTooLong(UpstreamRefused):
    """The request exceeds the model's context length."""

    code = "context_too_long"


class ImagesRefused(UpstreamRefused):
    """The model cannot process these images, or any images."""

    code = "images_refused"


class ContentRefused(UpstreamRefused):
    """The model server's content filter refused the request."""

    code = "content_refused"


class StreamBroken(UpstreamError):
    """The answer was interrupted or could not be parsed."""

    code = "stream_broken"
    retryable = True
    accepted = True


class ConversationLost(UpstreamError):
    """The conversation on the model server is missing or no longer usable."""

    code = "conversation_lost"
