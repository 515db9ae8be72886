"""What was used, in words."""

from __future__ import annotations

from collections.abc import Collection

from django.utils.translation import gettext as _

from chat.models import UsageKind, UsageOutcome, VectorStore


def names_of_stores(ids: Collection[str]) -> dict[str, str]:
    """Return what the company's collections are called; chats' own have no name for admins."""
    rows = VectorStore.objects.filter(pk__in=ids, member=None)
    return {row.pk: str(row) for row in rows}


def what_of(model: str, kind: str, names: dict[str, str]) -> str:
    """Return what used something, in words."""
    if kind == UsageKind.STORAGE:
        return names.get(model, model)
    return "" if kind == UsageKind.CODE_SESSION else model


def outcome_in_words(outcome: str, *, estimated: bool) -> str:
    """Return what became of a model call, for people."""
    words = str(UsageOutcome(outcome).label) if outcome in UsageOutcome.values else outcome
    return _("{outcome}, estimated").format(outcome=words) if estimated else words


def in_words(kind: str) -> str:
    """Return what was used, for people."""
    return str(UsageKind(kind).label) if kind in UsageKind.values else kind
