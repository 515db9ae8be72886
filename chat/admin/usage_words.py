"""Display texts of usage."""

from __future__ import annotations

from collections.abc import Collection

from django.utils.translation import gettext as _

from chat.models import UsageKind, UsageOutcome, VectorStore


def get_store_names(ids: Collection[str]) -> dict[str, str]:
    """Return the names of the company's collections; chats' own are hidden from admins."""
    rows = VectorStore.objects.filter(pk__in=ids, member=None)
    return {row.pk: str(row) for row in rows}


def get_usage_source(model: str, kind: str, names: dict[str, str]) -> str:
    """Return the display name of the model or collection that caused the usage."""
    if kind == UsageKind.STORAGE:
        return names.get(model, model)
    return "" if kind == UsageKind.CODE_SESSION else model


def get_outcome_label(outcome: str, *, estimated: bool) -> str:
    """Return the display text of a model call's outcome."""
    words = str(UsageOutcome(outcome).label) if outcome in UsageOutcome.values else outcome
    return _("{outcome}, estimated").format(outcome=words) if estimated else words


def get_kind_label(kind: str) -> str:
    """Return the display text of a kind of usage."""
    return str(UsageKind(kind).label) if kind in UsageKind.values else kind
