"""Reasons why a run ended, each with the sentence shown to the user."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Reason(models.TextChoices):
    """Reasons why a run ended. The label tells the user the cause and what to do about it."""

    STOPPED = "stopped", _("You stopped this answer.")
    INTERRUPTED = "interrupted", _("Your next message stopped this answer.")
    THREAD_DELETED = "thread_deleted", _("The chat was deleted.")
    ACCESS_ENDED = "access_ended", _("Your access was revoked while this was being answered.")
    NO_ASSISTANT = (
        "no_assistant",
        _("No assistant is enabled to answer this. Ask your admin, then try again."),
    )
    UPSTREAM_REMOVED = (
        "upstream_removed",
        _("This assistant's model server is no longer configured. Contact your admin."),
    )
    DEADLINE = "deadline", _("This answer timed out. Try again.")
    APPROVAL_EXPIRED = (
        "approval_expired",
        _("The approval expired. Ask again if it is still needed."),
    )
    UPSTREAM_UNAVAILABLE = (
        "upstream_unavailable",
        _("The model server is unavailable. Try again in a minute."),
    )
    UPSTREAM_TIMEOUT = "upstream_timeout", _("The model server timed out. Try again.")
    UPSTREAM_RATE_LIMITED = (
        "upstream_rate_limited",
        _("The model server is busy. Try again in a minute."),
    )
    UPSTREAM_REFUSED = (
        "upstream_refused",
        _("The model server rejected the request. Ask your admin to check its settings."),
    )
    STREAM_BROKEN = "stream_broken", _("The answer was interrupted. Try again.")
    CONTENT_REFUSED = (
        "content_refused",
        _("The model server's content filter blocked this message. Try rephrasing it."),
    )
    CONTENT_FILTER = "content_filter", _("The content filter cut this answer short.")
    CONTEXT_TOO_LONG = (
        "context_too_long",
        _("This message is too long for the model. Send it in parts."),
    )
    IMAGES_REFUSED = (
        "images_refused",
        _("This model cannot process the images in this chat. Start a new one without them."),
    )
    MAX_COMPLETION_TOKENS = (
        "max_completion_tokens",
        _("The answer reached the maximum length. Write “continue” for the rest."),
    )
    MAX_PROMPT_TOKENS = "max_prompt_tokens", _("The chat is too long for this answer.")
    PRICE_UNKNOWN = (
        "price_unknown",
        _(
            "Your company limits the cost of an answer, and this model has no price in US "
            "dollars. Ask an owner to set one."
        ),
    )
    BUDGET = "budget", _("This answer reached your company's limit per answer.")
    LOOP = (
        "loop",
        _("The assistant kept repeating the same step. Try rephrasing your question."),
    )
    TOO_MANY_ROUNDS = (
        "too_many_rounds",
        _("The assistant needed too many steps. Try a smaller request."),
    )
    TOO_MANY_CALLS = (
        "too_many_calls",
        _("The assistant needed too many steps. Try a smaller request."),
    )
    POISON = "poison", _("This answer failed several times. Try rephrasing your question.")
    SERVER_ERROR = "server_error", _("Something went wrong on our side. Try again.")
