"""What a turn costs the database: statements, durable commits, and no write for a token."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db.backends.signals import connection_created

from chat.actions.send_message import CreatedMessage, create_message
from chat.conf import conf
from chat.runs import upstreams
from chat.runs.billing import tenant_policy_cache
from chat.runs.delivery.hub import hub
from chat.runs.engine.autosave import CHECKS_PER_INTERVAL
from chat.runs.engine.worker import worker
from chat.runs.state import drafts
from chat.runs.state.drafts import DraftSnapshot
from tenants.db import in_db
from tests.model_server import make_assistant
from tests.world import Company, World

FREE = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK", "SELECT set_config")

LIST_ORDERS = {"type": "function", "function": {"name": "list_orders"}}


class Statements(list[str]):
    """The statements of all connections, without transaction control."""

    def __call__(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        # The tenant's setting and a transaction's first statement are sent as one.
        told = sql.partition("; ")[2] if sql.startswith("SELECT set_config(") else sql
        if told and not told.startswith(FREE):
            self.append(told)
        return execute(sql, *rest)


@contextmanager
def counted() -> Iterator[Statements]:
    statements = Statements()

    def install(connection: Any, **kwargs: Any) -> None:
        if statements not in connection.execute_wrappers:
            connection.execute_wrappers.append(statements)

    connection_created.connect(install, weak=False, dispatch_uid="test_cost")
    try:
        yield statements
    finally:
        connection_created.disconnect(dispatch_uid="test_cost")


def rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep out of the count what is no part of a turn.

    These are the worker's periodic jobs, autosaves of slow texts, and the renewal of the
    tenant's limits and prices every ten seconds.
    """

    async def never(*_work: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(worker, "_repeat", never)
    monkeypatch.setitem(settings.CHAT, "PARTIAL_SECONDS", 3600.0)
    monkeypatch.setattr(tenant_policy_cache, "FRESH_SECONDS", math.inf)


@asynccontextmanager
async def working(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Run this process's worker for turns alone."""
    rest(monkeypatch)
    monkeypatch.setitem(conf.upstreams["demo"]["OPTIONS"], "tokens_per_second", 0)
    await worker.start()
    try:
        yield
    finally:
        await worker.drain()
        await upstreams.close_all()


async def turn(
    company: Company, text: str, thread: str | None = None, *, assistant: str | None = None
) -> CreatedMessage:
    """Send a message and wait for its answer's end."""
    sent = await in_db(
        create_message,
        company.principal("alice"),
        thread,
        assistant_id=assistant or company.assistant.pk,
        content=text,
        client_id=str(uuid4()),
    )
    assert sent.run is not None
    while True:
        run = worker.runs.get(sent.run.pk)
        if run is None or run.task is None:
            return sent
        await run.task


async def test_a_plain_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(monkeypatch):
        first = await turn(world.acme, "hello")
        with counted() as statements:
            await turn(world.acme, "hello again", first.thread.pk)
            made = list(statements)
    assert len(made) <= 13, "\n".join(made)
    assert all(channel.writer is None for channel in hub.channels.values())


async def test_a_turn_long_after_another_costs_as_much(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    now = time.monotonic
    async with working(monkeypatch):
        first = await turn(world.acme, "hello")
        for seconds_later in (0.0, 3600.0):
            monkeypatch.setattr(tenant_policy_cache, "monotonic", lambda: now() + seconds_later)  # noqa: B023
            with counted() as statements:
                await turn(world.acme, "hello again", first.thread.pk)
                counts.append(len(statements))
    assert counts[0] == counts[1]


@pytest.fixture
def order_desk(world: World) -> str:
    """An assistant of the first company with a tool that only reads."""
    return make_assistant(world.acme, upstream="demo", tools=[LIST_ORDERS])


async def test_a_tool_round(world: World, order_desk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    async with working(monkeypatch):
        first = await turn(world.acme, "hello", assistant=order_desk)
        for text in ("hello", "Show my orders"):
            with counted() as statements:
                await turn(world.acme, text, first.thread.pk, assistant=order_desk)
                counts.append(len(statements))
    # One of them is the tool's own.
    assert 2 < counts[1] - counts[0] <= 7, "\n".join(statements)


async def test_more_words_are_not_more_writes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    async with working(monkeypatch):
        first = await turn(world.acme, "hello")
        for text in ("short", "long " * 2000):
            with counted() as statements:
                await turn(world.acme, text, first.thread.pk)
                counts.append(len(statements))
    assert counts[0] == counts[1]


async def test_texts_that_grow_are_stored_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def update_copies(copies: Sequence[DraftSnapshot]) -> set[str]:
        counts.append(len(copies))
        return drafts.update_snapshots(copies)

    monkeypatch.setattr("chat.runs.engine.autosave.update_snapshots", update_copies)
    async with working(monkeypatch):
        monkeypatch.setitem(settings.CHAT, "PARTIAL_SECONDS", 0.2)
        monkeypatch.setitem(conf.upstreams["demo"]["OPTIONS"], "tokens_per_second", 20)
        # One more than there are looks: two of them are due at the same.
        await asyncio.gather(
            *(turn(world.acme, "What can you do?") for _ in range(CHECKS_PER_INTERVAL + 1))
        )
    assert max(counts) > 1
