"""This process's own worker at work on the scripted model server: the real loop, no server process.

Quicker than a server, and a test can hold it at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings

from chat.actions.send_message import CreatedMessage
from chat.models import Message, Run, RunStep, ToolCall, Usage
from chat.runs import upstreams
from chat.runs.delivery.hub import LiveRun, hub
from chat.runs.engine.worker import worker
from chat.tools.code_sessions import get_code_sessions
from chat.upstream.breaker import Breakers
from tenants.db import in_db
from tests import clock
from tests.chat.saying import said
from tests.model_server import make_assistant
from tests.upstream.server import ScriptedServer
from tests.world import Company

BACKENDS = {
    "responses": "chat.upstream.responses.ResponsesUpstream",
    "chat": "chat.upstream.chat_completions.ChatCompletionsUpstream",
}
QUIET = {
    "HEARTBEAT_SECONDS": 3600.0,
    "WATCH_SECONDS": 3600.0,
    "DRAIN_SECONDS": 0,
    "UPSTREAM_BACKOFF_SECONDS": 0.001,
}
# Longer than anything is waited for, and short of a run's own time.
PATIENCE = 100.0


@dataclass
class Told:
    """What readers were told, in order: (run, event, data); deltas of text as "text"."""

    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    async def until(self, event: str, *, run: str | None = None) -> dict[str, Any]:
        """Return the data of the first event of that name, told or to come."""

        def first() -> dict[str, Any] | None:
            found = (data for one, name, data in self.events if (one, name) == (run or one, event))
            return next(found, None)

        return await clock.until(first) or {}

    @property
    def text(self) -> str:
        """What was written, of all runs."""
        return "".join(data["text"] for _run, name, data in self.events if name == "text")

    async def until_said(self, text: str) -> None:
        """Wait until what was written is this, or begins with it."""
        await clock.until(lambda: self.text.startswith(text))

    def of(self, run: str) -> list[str]:
        """Return the names of a run's events, neighbouring pieces of text as one."""
        names: list[str] = []
        for one, name, _data in self.events:
            if one == run and not (name == "text" and names[-1:] == ["text"]):
                names.append(name)
        return names


def make_upstream(server: ScriptedServer, wire: str) -> dict[str, Any]:
    """Return the settings of a model server that may be silent for long."""
    waits = {f"{name}_timeout": PATIENCE for name in ("connect", "first_byte", "idle")}
    return {
        "BACKEND": BACKENDS[wire],
        "MODEL": "test-model",
        "OPTIONS": {"base_url": server.base_url, **waits},
    }


def lose_patience() -> None:
    """Let the model server have been silent for too long."""
    clock.pass_time(2 * PATIENCE + 1)


@asynccontextmanager
async def working(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedServer | None = None, **changes: object
) -> AsyncIterator[Told]:
    """Run this process's worker, quietly; `changes` are to settings.CHAT."""
    for name, value in {**QUIET, **changes}.items():
        monkeypatch.setitem(settings.CHAT, name, value)
    if server is not None:
        made = {wire: make_upstream(server, wire) for wire in BACKENDS}
        monkeypatch.setitem(settings.CHAT, "UPSTREAMS", {**settings.CHAT["UPSTREAMS"], **made})
    monkeypatch.setattr(upstreams, "_breakers", Breakers())
    told = listen(monkeypatch)
    hub.channels.clear()
    await worker.start()
    try:
        yield told
    finally:
        await worker.drain()
        await get_code_sessions().close_all()
        await upstreams.close_all()
        hub.channels.clear()


def listen(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Note what runs publish."""
    told = Told()
    publish, write = LiveRun.publish, LiveRun.text

    def noted(live: LiveRun, event: str, data: dict[str, Any]) -> None:
        told.events.append((live.run_id, event, data))
        publish(live, event, data)

    def written(live: LiveRun, message_id: str, text: str, *, part: int = 0) -> None:
        told.events.append((live.run_id, "text", {"id": message_id, "text": text}))
        write(live, message_id, text, part=part)

    monkeypatch.setattr(LiveRun, "publish", noted)
    monkeypatch.setattr(LiveRun, "text", written)
    return told


async def say(
    company: Company,
    text: str = "Hello",
    *,
    name: str = "alice",
    assistant: str | None = None,
    thread: str | None = None,
    busy: str | None = None,
) -> CreatedMessage:
    """Send a message as this person."""
    return await in_db(said, company, text, by=name, assistant=assistant, thread=thread, busy=busy)


async def idle() -> None:
    """Wait until nothing is under way here.

    Raises:
        TimeoutError: when something still is after a long time.
    """
    async with asyncio.timeout(clock.WAIT_SECONDS):
        while worker.runs:
            await asyncio.wait({run.task for run in worker.runs.values() if run.task})


async def assistant_on(company: Company, wire: str, **fields: object) -> str:
    """Make an assistant on the scripted model server in one of its wire formats."""
    return await in_db(make_assistant, company, upstream=wire, **fields)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A run as its rows have it."""

    run: Run
    messages: list[Message]
    steps: list[RunStep]
    calls: list[ToolCall]
    usage: list[Usage]

    @property
    def answers(self) -> list[tuple[str, str]]:
        """Status and text of what the run wrote."""
        return [(m.status, m.text()) for m in self.messages if m.run_ref == self.run.pk]

    def spent(self, outcome: str) -> list[int]:
        """Return input and output tokens by rows of this outcome: used or failed."""
        kinds = ("input_tokens", "output_tokens")
        rows = [row for row in self.usage if row.outcome == outcome]
        return [sum(int(row.quantity) for row in rows if row.kind == kind) for kind in kinds]

    def attempts(self, outcome: str) -> int:
        """Return how many upstream calls had this outcome."""
        return len({row.call for row in self.usage if row.outcome == outcome})


async def stored(company: Company, run_id: str) -> Stored:
    """Return a run with all that belongs to it."""

    def read() -> Stored:
        with company.scope():
            run = Run.objects.select_related("assistant").get(pk=run_id)
            messages = Message.objects.filter(thread_id=run.thread_id)
            return Stored(
                run=run,
                messages=list(messages.order_by("position", "created_at")),
                steps=list(RunStep.objects.filter(run=run).order_by("index")),
                calls=list(ToolCall.objects.filter(run=run).order_by("round", "index")),
                usage=list(Usage.objects.filter(run=run)),
            )

    return await in_db(read)
