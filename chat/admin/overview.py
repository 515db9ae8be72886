"""Overview page: answers, failures and costs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Q, Sum
from django.urls import reverse
from django.utils import timezone

from chat.models import Assistant, Run, Usage
from chat.models.reasons import Reason
from tenants.admin import site
from tenants.authentication import Principal

UNSUCCESSFUL = ("failed", "expired", "incomplete")


def build_overview(principal: Principal) -> dict[str, Any]:
    """Return the context of the overview page for the tenant in scope."""
    now = timezone.localtime()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    week = now - timedelta(days=7)
    answers = Run.objects.filter(created_at__gte=min(today, week)).aggregate(
        today=Count("pk", filter=Q(created_at__gte=today)),
        week=Count("pk", filter=Q(created_at__gte=week)),
        failed_today=Count("pk", filter=Q(created_at__gte=today, status="failed")),
        failed=Count("pk", filter=Q(created_at__gte=week, status="failed")),
        people=Count("member", filter=Q(created_at__gte=week), distinct=True),
    )
    return {
        "answers": answers,
        "failures": _count_failures(week),
        "used": _sum_usage(today.replace(day=1)),
        "month": today,
        "assistants": Assistant.objects.filter(enabled=True).count(),
        "runs_address": reverse("admin:chat_run_changelist"),
        "add_assistant_address": reverse("admin:chat_assistant_add"),
    }


def _count_failures(since: datetime) -> list[dict[str, Any]]:
    """Return the most frequent failure reasons since `since`."""
    rows = (
        Run.objects.filter(created_at__gte=since, status__in=UNSUCCESSFUL)
        .values("reason")
        .annotate(count=Count("pk"))
        .order_by("-count")[:8]
    )
    return [{"count": row["count"], "sentence": _get_reason_label(row["reason"])} for row in rows]


def _get_reason_label(reason: str) -> str:
    return str(Reason(reason).label) if reason in Reason.values else reason


def _sum_usage(since: datetime) -> list[dict[str, Any]]:
    """Return the sums since `since` by kind and currency."""
    return list(
        Usage.objects.filter(created_at__gte=since)
        .values("kind", "currency")
        .annotate(used=Sum("quantity"), cost=Sum(F("quantity") * F("price")))
        .order_by("kind", "currency")
    )


site.overview = build_overview
