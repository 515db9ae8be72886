"""Transparency for members: when admins could read their chats, and when they did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from tenants.authentication import Principal
from tenants.models import CHAT_OPENED, AuditEvent, Membership
from tenants.reading_periods import ReadingPeriod

MAX_PERIODS = 50
MAX_READINGS = 100

# Returns the titles of a member's existing chats by id.
Titles = Callable[[Principal, Iterable[str]], dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """An admin's access to a member's chats.

    `chats` are pairs of id and title; the title is "" for a deleted chat. `opened` is False if
    only titles or message previews were shown in a list.
    """

    at: datetime
    reader: str
    opened: bool
    chats: list[tuple[str, str]]


class _ChatTitles:
    """Source of chat titles, registered at start-up by the app that has chats."""

    def __init__(self) -> None:
        self.titles: Titles = lambda _principal, _ids: {}


_chat_titles = _ChatTitles()


def provide_titles(titles: Titles) -> None:
    """Register `titles` as the source of chat titles."""
    _chat_titles.titles = titles


def list_reading_periods(membership: Membership) -> list[ReadingPeriod]:
    """Return when admins could read a member's chats, newest first. Call in the tenant scope."""
    periods = ReadingPeriod.objects.all()
    return list(periods.concerning(membership)[:MAX_PERIODS])


def list_readings(principal: Principal) -> list[Reading]:
    """Return the latest accesses of admins to the principal's chats."""
    membership_id = principal.membership_id
    assert membership_id is not None
    with transaction.atomic():
        events = list(AuditEvent.objects.all().readings_of(membership_id)[:MAX_READINGS])
        ids = {event.pk: _get_chat_ids(event) for event in events}
        titles = _chat_titles.titles(
            principal, {chat_id for chat_ids in ids.values() for chat_id in chat_ids}
        )
    return [
        Reading(
            at=event.created_at,
            reader=event.actor,
            opened=event.action == CHAT_OPENED,
            chats=[(chat_id, titles.get(chat_id, "")) for chat_id in ids[event.pk]],
        )
        for event in events
    ]


def _get_chat_ids(event: AuditEvent) -> list[str]:
    if event.action == CHAT_OPENED:
        return [event.subject]
    return [str(chat_id) for chat_id in event.data.get("threads", [])]
