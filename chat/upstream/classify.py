"""Mapping of server errors to UpstreamError. Servers agree on HTTP status and little else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from chat.upstream.errors import (
    ContentRefused,
    ContextTooLong,
    ConversationLost,
    ImagesRefused,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
    redact,
)

TOO_LONG = re.compile(
    r"context.?(length|size|window)|maximum context|too many (input )?tokens|prompt is too long"
    r"|input is too long|input.?tokens exceed|string_above_max_length"
    r"|exceeds? the (model|available)",
    re.IGNORECASE,
)
FILTERED = re.compile(
    r"content_filter|content_policy|content management policy|safety_violation", re.IGNORECASE
)
# The model does not accept images, or this image cannot be decoded: the messages of OpenAI,
# llama.cpp, Ollama, vLLM and others, some of them sent with status 500.
IMAGES = re.compile(
    r"image_url is only supported|unsupported content part type|unknown variant .?image_url"
    r"|images?( input)? (is|are) not (supported|enabled)|mmproj|at most 0 image"
    r"|not support(ed)?\b.{0,20}\b(images?|vision|multimodal)|not a multi-?modal model"
    r"|(invalid|unsupported)[_ ]image|image_parse_error"
    r"|(could not|failed to|unable to|cannot) (load|decode|process|identify) (the |an )?image",
    re.IGNORECASE,
)
CONVERSATION = re.compile(r"conversation", re.IGNORECASE)
# A kept conversation that ends in a call without output accepts no further input.
DANGLING_CALL = re.compile(r"no tool output found|no tool call found", re.IGNORECASE)
CODES = {401: "authentication_failed", 403: "authentication_failed", 404: "not_found"}
OVERLOADED = {408, 409, 425, 498, 499}


def build_status_error(
    status: int,
    body: object,
    headers: Mapping[str, str],
    *,
    secret: str = "",
) -> UpstreamError:
    """Return the error for a reply that is not 2xx. `body` is parsed JSON or text."""
    code, message = parse_error_body(body)
    message_text = redact(f"HTTP {status} {code} {message}", secret)
    wait = parse_retry_after(headers)
    if status == 429:
        if "insufficient_quota" in code:
            return UpstreamRateLimited(
                message_text, code="quota_exceeded", retryable=False, http_status=status
            )
        return UpstreamRateLimited(message_text, retry_after=wait, http_status=status)
    if IMAGES.search(f"{code} {message}"):
        return ImagesRefused(message_text, http_status=status)
    if status >= 500 or status in OVERLOADED:
        return UpstreamUnavailable(
            message_text, retry_after=wait, http_status=status, is_outage=status >= 500
        )
    kind = classify_refusal(f"{code} {message}", too_long=status == 413)
    named = CODES.get(status) if kind is UpstreamRefused else None
    return kind(message_text, code=named, http_status=status)


def classify_refusal(words: str, *, too_long: bool = False) -> type[UpstreamError]:
    """Return the error class for the text of a refusal."""
    if too_long or TOO_LONG.search(words):
        return ContextTooLong
    if FILTERED.search(words):
        return ContentRefused
    if IMAGES.search(words):
        return ImagesRefused
    return UpstreamRefused


def build_stream_error(error: object, *, secret: str = "") -> UpstreamError:
    """Return the error for an error event inside a stream; `error` is its JSON value."""
    code, message = parse_error_body(error)
    message_text = redact(f"In the stream: {code} {message}", secret)
    words = f"{code} {message}"
    kind = classify_refusal(words)
    if kind is not UpstreamRefused:
        return kind(message_text)
    if "insufficient_quota" in code:
        return UpstreamRateLimited(message_text, code="quota_exceeded", retryable=False)
    if "rate_limit" in code or code == "429":
        return UpstreamRateLimited(message_text)
    if code.startswith(("invalid_", "image_", "unsupported_", "authentication", "permission")):
        return UpstreamRefused(message_text)
    if code.isdecimal() and 400 <= int(code) < 500 and int(code) not in OVERLOADED:
        return UpstreamRefused(message_text)
    # The server can be reached, since it answered.
    return UpstreamUnavailable(message_text, is_outage=False)


def detect_lost_conversation(error: UpstreamError) -> UpstreamError:
    """Return ConversationLost if `error` means that the kept conversation is lost, else `error`."""
    if type(error) is not UpstreamRefused:
        return error
    message = error.message_for_operators
    gone = error.http_status == 404 and "model" not in message.lower()
    unusable = error.http_status == 400 and (
        DANGLING_CALL.search(message) or (CONVERSATION.search(message) and "not" in message)
    )
    if gone or unusable:
        return ConversationLost(message, http_status=error.http_status)
    return error


def parse_error_body(body: object) -> tuple[str, str]:
    """Return (code, message) of an error body in any of the usual shapes."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, str):
        return "", body
    if not isinstance(body, dict):
        return "", ""
    error: Any = body.get("error", body)
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", ""
    codes = [str(error[key]) for key in ("code", "type", "status") if error.get(key)]
    message = error.get("message") or error.get("detail") or ""
    return " ".join(codes), str(message)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `retry-after-ms` or `Retry-After` (number or date), or None."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if not value:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            seconds = _get_seconds_until(value)
        if 0 <= seconds < 86_400:
            return seconds
    return None


def _get_seconds_until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return -1.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
