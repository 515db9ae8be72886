"""Texts on the page about who can read a member's chats."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from tenants.models import Membership
from tenants.reading import list_reading_periods
from tenants.reading_periods import ReadingPeriod, get_reading_notice


def describe_readers(membership: Membership) -> dict[str, Any]:
    """Return the line about readers, and the notice with the time that acknowledges it.

    `notice` is an empty list and `through` is "" if there is nothing to acknowledge. Call within
    the tenant's scope and a transaction.
    """
    periods = list_reading_periods(membership)
    notice = get_reading_notice(membership, periods)
    newest = periods[0] if periods else None
    return {
        "can_read": newest is not None and newest.ended_at is None,
        "could_read": newest is not None,
        "line": _describe_newest(newest),
        "notice": [_describe(period) for period in notice.periods] if notice else [],
        "through": notice.through.isoformat() if notice else "",
    }


def _describe_newest(period: ReadingPeriod | None) -> str:
    if period is None:
        return _("Only you can read your chats.")
    start = _format_moment(period.started_at, "DATE_FORMAT")
    if period.ended_at is None:
        return _("Since {start}, company admins can read your chats.").format(start=start)
    end = _format_moment(period.ended_at, "DATE_FORMAT")
    if start == end:
        former = _("On {start}, admins could read them.").format(start=start)
    else:
        former = _("From {start} to {end}, admins could read them.").format(start=start, end=end)
    return f"{_('Only you can read your chats.')} {former}"


def _describe(period: ReadingPeriod) -> str:
    start = _format_moment(period.started_at, "DATETIME_FORMAT")
    if period.ended_at is None:
        text = _("Since {start}, company admins can read your chats, including past ones.")
        return text.format(start=start)
    text = _("From {start} to {end}, company admins could read your chats.")
    return text.format(start=start, end=_format_moment(period.ended_at, "DATETIME_FORMAT"))


def _format_moment(moment: datetime, style: str) -> str:
    return str(date_format(localtime(moment), style))
