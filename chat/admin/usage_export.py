"""CSV export of a month's usage."""

from __future__ import annotations

import csv
import re
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Count, F, Sum
from django.db.models.functions import TruncDay
from django.http import HttpResponse
from django.utils import timezone

from chat.admin.usage_words import get_store_names, get_usage_source
from chat.models import UsageKind

MAX_LINES = 100_000
CSV_HEADER = (
    "day",
    "member",
    "model or collection",
    "kind",
    "outcome",
    "quantity",
    "unit",
    "cost",
    "currency",
    "rows",
    "estimated",
)
# Spreadsheets evaluate a cell as a formula also after leading blanks.
FORMULA = re.compile(r"[\s\x00]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_MONTH = re.compile(r"([12]\d{3})-(0[1-9]|1[0-2])\Z")


def parse_month(text: str) -> datetime | None:
    """Return the start of a month like "2026-11" in the current time zone; "" is this month."""
    if not text:
        return timezone.localtime().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found = _MONTH.match(text)
    zone = timezone.get_current_timezone()
    return datetime(int(found[1]), int(found[2]), 1, tzinfo=zone) if found else None


def export_usage_csv(rows: models.QuerySet[Any], month: datetime) -> HttpResponse:
    """Return the sums of each day of a month by member, model, kind and currency."""
    year, past = divmod(month.month, 12)
    end = month.replace(year=month.year + year, month=past + 1)
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="usage-{month:%Y-%m}.csv"'
    table = csv.writer(response)
    table.writerow(CSV_HEADER)
    keys = ("day", "member__name", "model", "kind", "outcome", "estimated", "unit", "currency")
    sums = (
        rows.filter(created_at__gte=month, created_at__lt=end)
        .annotate(day=TruncDay("created_at"))
        .values(*keys)
        .annotate(used=Sum("quantity"), cost=Sum(F("quantity") * F("price")), count=Count("pk"))
        .order_by(*keys)[:MAX_LINES]
    )
    found = list(sums)
    names = get_store_names({row["model"] for row in found if row["kind"] == UsageKind.STORAGE})
    for row in found:
        cost = "" if row["cost"] is None else f"{row['cost']:.6f}"
        table.writerow(
            escape_cell(cell)
            for cell in (
                f"{row['day']:%Y-%m-%d}",
                row["member__name"] or "",
                get_usage_source(row["model"], row["kind"], names),
                row["kind"],
                row["outcome"],
                f"{row['used'].normalize():f}",
                row["unit"],
                cost,
                row["currency"],
                str(row["count"]),
                "yes" if row["estimated"] else "no",
            )
        )
    return response


def escape_cell(text: str) -> str:
    """Return the cell, with a leading quote if a spreadsheet would evaluate it as a formula."""
    return f"'{text}" if FORMULA.match(text) else text
