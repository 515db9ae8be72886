"""Reasons why a run ended, each with the sentence shown to the user."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Reason(models.TextChoices):
    """Reasons why a run ended. The label tells the user the cause and what to do about it."""

    STOPPED = "stopped", _("You stopped this answer.")
    INTERRUPTED = "interrupted", _("Your next message stopped this answer.")
    THREAD_DELETED = "thread_deleted", _("The chat was deleted.")
    ACCESS_ENDED = "access_ended", _("Your access ended while this was being answered.")
    NO_ASSISTANT = (
        "no_assistant",
        _("No assistant is switched on to answer this. Ask your admin, then try again."),
    )
    UPSTREAM_REMOVED = (
        "upstream_removed",
        _("The model server of this assistant is no longer set up. Ask your admin for another."),
    )
    DEADLINE = "deadline", _("This took longer than an answer may take. Try again.")
    APPROVAL_EXPIRED = (
        "approval_expired",
        _("Nobody approved this in time. Ask again if it is still needed."),
    )
    UPSTREAM_UNAVAILABLE = (
        "upstream_unavailable",
        _("The model server cannot be reached at the moment. Try again in a minute."),
    )
    UPSTREAM_TIMEOUT = "upstream_timeout", _("The model server did not answer in time. Try again.")
    UPSTREAM_RATE_LIMITED = (
        "upstream_rate_limited",
        _("The model server is busy. Try again in a minute."),
    )
    UPSTREAM_REFUSED = (
        "upstream_refused",
        _("The model server refused the request. Tell your admin: its settings need a look."),
    )
    STREAM_BROKEN = "stream_broken", _("The answer broke off. Try again.")
    CONTENT_REFUSED = (
        "content_refused",
        _("The model server's content filter refused this message. Put it in other words."),
    )
    CONTENT_FILTER = "content_filter", _("The content filter cut this answer short.")
    CONTEXT_TOO_LONG = (
        "context_too_long",
        _("This message is longer than the model can read. Send it in parts."),
    )
    IMAGES_REFUSED = (
        "images_refused",
        _("The model cannot look at the pictures of this chat. Start a new one without them."),
    )
    MAX_COMPLETION_TOKENS = (
        "max_completion_tokens",
        _("The answer reached its greatest length. Write “go on” for the rest."),
    )
    MAX_PROMPT_TOKENS = "max_prompt_tokens", _("The chat is longer than this answer may read.")
    PRICE_UNKNOWN = (
        "price_unknown",
        _(
            "Your company limits the cost of an answer, and the price of this model in US dollars "
            "is unknown. Ask an owner to set it."
        ),
    )
    BUDGET = "budget", _("This answer reached your company's limit for one answer.")
    LOOP = (
        "loop",
        _("The assistant kept repeating the same step, so it was stopped. Try other words."),
    )
    TOO_MANY_ROUNDS = (
        "too_many_rounds",
        _("The assistant needed too many steps. Ask for less at once."),
    )
    TOO_MANY_CALLS = (
        "too_many_calls",
        _("The assistant needed too many steps. Ask for less at once."),
    )
    POISON = "poison", _("This answer failed several times. Try other words.")
    SERVER_ERROR = "server_error", _("Something went wrong on our side. Try again.")
