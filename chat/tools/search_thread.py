"""The thread search tool: finds older messages that no longer fit the prompt."""

from __future__ import annotations

from typing import Annotated, Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from chat.models import Message
from chat.models.threads import ContentText, escape_json_text
from chat.tools.base import Effect, Limits, ToolContext
from chat.tools.registry import tool

_MAX_RESULTS, _MAX_WORDS = 10, 8
_BEFORE, _AFTER = 120, 280


@tool(effect=Effect.READ, label=_("Search earlier messages"), always=True)
def search_thread(ctx: ToolContext, words: Annotated[str, Limits(1, 200)]) -> dict[str, Any]:
    """Find earlier messages of this chat that are no longer shown to you.

    Args:
        words: A few words that the message contains, in any order.
    """
    # Marks alone would match the quotes and commas of the stored JSON.
    wanted = [word for word in dict.fromkeys(words.split()) if any(map(str.isalnum, word))]
    wanted = wanted[:_MAX_WORDS]
    found = (
        Message.objects.visible_to(ctx.principal)
        .in_thread()
        .filter(thread=ctx.thread, position__lt=ctx.run.through_position)
        .annotate(words_found=_build_word_count(wanted))
        .filter(words_found__gt=0)
        .order_by("-words_found", "-position")[:_MAX_RESULTS]
    )
    return {
        "messages": [
            {
                "id": message.pk,
                "role": message.role,
                "date": message.created_at.date(),
                "excerpt": _build_excerpt(message.text(), wanted),
            }
            for message in found
        ]
    }


def _build_word_count(wanted: list[str]) -> models.Expression:
    text = ContentText(models.F("content"))
    count: Any = models.Value(0)
    for word in wanted:
        contained = models.Q(models.lookups.IContains(text, escape_json_text(word)))
        count = count + models.Case(models.When(contained, then=1), default=0)
    expression: models.Expression = models.ExpressionWrapper(
        count, output_field=models.IntegerField()
    )
    return expression


def _build_excerpt(text: str, wanted: list[str]) -> str:
    low = text.lower()
    places = [place for word in wanted if (place := low.find(word.lower())) >= 0]
    start = max(0, min(places, default=0) - _BEFORE)
    end = start + _BEFORE + _AFTER
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
