"""The plans of the hot queries, as the application's role behind row-level security.

A comparison that is not leakproof cannot use an index under a policy: what
reads a table whole here would do so with a million rows too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from chat.models import Assistant, Message, Run, Thread, ToolCall
from chat.web import history
from tests.world import Company, World

HOT: dict[str, Callable[[Company], QuerySet[Any]]] = {
    "thread list": lambda acme: Thread.objects.visible_to(acme.principal("alice")).newest_first()[
        :31
    ],
    "thread list, next page": lambda acme: Thread.objects.visible_to(
        acme.principal("alice")
    ).newest_first(after=acme.threads["alice"])[:31],
    "thread by id": lambda acme: Thread.objects.visible_to(acme.principal("alice")).filter(
        pk=acme.threads["alice"].pk
    ),
    "history page": lambda acme: history._newest_messages.build(
        thread_id=acme.threads["alice"].pk, below=50
    ),
    "runs of a history page": lambda acme: history._runs_for_messages.build(
        thread_id=acme.threads["alice"].pk,
        named=[acme.runs["alice"].pk],
        first=1,
        last=40,
        since=timezone.now(),
    ),
    "first message": lambda acme: (
        Message.objects.in_thread()
        .filter(thread=acme.threads["alice"], role="user")
        .order_by("position")[:1]
    ),
    "queued messages": lambda acme: history._list_queued_messages.build(
        thread_id=acme.threads["alice"].pk
    ),
    "repeated message": lambda acme: Message.objects.filter(sender=acme.alice.pk, client_id="x"),
    "active run": lambda acme: Run.objects.active().filter(thread=acme.threads["alice"]),
    "steps of runs": lambda acme: history._steps_by_run.build(runs=[acme.runs["alice"].pk]),
    "calls of runs": lambda acme: history._calls_by_run.build(runs=[acme.runs["alice"].pk]),
    "searches of a thread": lambda acme: ToolCall.objects.filter(
        run__thread=acme.threads["alice"], name="file_search"
    ).order_by("-created_at"),
    "answers by time": lambda acme: Run.objects.filter(created_at__lt=timezone.now()).order_by(
        "-created_at"
    )[:50],
    "offered assistants": lambda acme: Assistant.objects.filter(pk=acme.assistant.pk),
}


@pytest.mark.parametrize("name", HOT)
def test_hot_queries_use_an_index(world: World, name: str) -> None:
    with world.acme.scope(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        plan = HOT[name](world.acme).explain()
    assert "Seq Scan" not in plan, plan
    assert "Index Cond" in plan, plan


@pytest.mark.parametrize("name", ["thread list", "thread list, next page", "history page"])
def test_pages_come_in_the_indexs_order(world: World, name: str) -> None:
    with world.acme.scope(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        # A handful of rows may as well be sorted; millions may not, where an order is there.
        cursor.execute("SET LOCAL enable_sort = off")
        plan = HOT[name](world.acme).explain()
    assert "Sort" not in plan, plan


def test_answers_under_way_are_found_by_an_index_of_theirs_alone(world: World) -> None:
    with world.acme.scope(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = Run.objects.active().explain()
    assert "run_one_active_per_thread" in plan or "run_active_owner" in plan, plan
