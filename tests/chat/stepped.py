"""A worker, a model and a clock that a test moves step by step; the database is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.utils import timezone

from chat.models import Process, Run
from chat.runs import upstreams
from chat.runs.delivery.hub import hub
from chat.runs.endings import EXPIRED
from chat.runs.engine.worker import RunTask, worker
from chat.runs.state import recovery
from chat.tools.base import Effect, ToolContext
from chat.tools.registry import make_tool
from chat.upstream.base import AnswerEnd, Capabilities, Event, InputMessage, ModelRequest, TextPart
from chat.upstream.breaker import Breakers
from chat.upstream.errors import UpstreamError
from tenants.db import in_db
from tests.clock import WAIT_SECONDS
from tests.world import Company

NAME = "stepped"


@dataclass(eq=False)
class Stream:
    """One request under way; the test says what comes next."""

    request: ModelRequest
    steps: asyncio.Queue[list[Event] | UpstreamError] = field(default_factory=asyncio.Queue)
    waits: bool = False

    @property
    def asked(self) -> str:
        """The text of the last message by a person."""
        for item in reversed(self.request.items):
            if isinstance(item, InputMessage) and item.role == "user":
                return "".join(part.text for part in item.parts if isinstance(part, TextPart))
        raise AssertionError("Nobody asked anything.")


class SteppedUpstream:
    """A model server that says what it is told, when it is told."""

    name = NAME

    def __init__(self) -> None:
        self.streams: list[Stream] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Event], None]:
        stream = Stream(request)
        self.streams.append(stream)
        try:
            while True:
                stream.waits = True
                step = await stream.steps.get()
                stream.waits = False
                if isinstance(step, UpstreamError):
                    raise step
                yield step
                if isinstance(step[-1], AnswerEnd):
                    return
        finally:
            if stream in self.streams:
                self.streams.remove(stream)

    async def list_models(self) -> list[str]:
        return []

    async def probe(self, *, model: str | None = None) -> Capabilities:
        return Capabilities()

    async def warm_up(self) -> None: ...

    async def aclose(self) -> None: ...


@dataclass
class Clock:
    """Time that jumps when told."""

    real: Callable[[], datetime] = field(default=timezone.now)
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return self.real() + self.ahead


@dataclass
class Frozen:
    """A process that stopped in mid-work and does not know that it is dead."""

    tasks: list[asyncio.Task[None]]
    streams: list[Stream]


class House:
    """This process's worker on the stepped model, in an event loop that runs when called."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.model = SteppedUpstream()
        self.clock = Clock()
        self.frozen: list[Frozen] = []
        self.executed: list[str] = []
        self.runner = asyncio.Runner()

    def call(self, work: Any) -> Any:
        """Await `work` and then until everything under way waits for the test."""

        async def both() -> Any:
            # What is refused has changed nothing that would have to settle.
            async with asyncio.timeout(WAIT_SECONDS):
                done = await work
            await self._settle()
            return done

        return self.runner.run(both())

    async def _settle(self) -> None:
        # What was just asked for has begun after a few turns of the loop.
        await _turns(5)
        async with asyncio.timeout(WAIT_SECONDS):
            while not self._is_settled():
                await _turns(1, seconds=0.001)
        await _turns(5)

    def _is_settled(self) -> bool:
        waiting = [s for s in self.model.streams if s.waits and s.steps.empty()]
        return len(waiting) == len(self.model.streams) == len(worker.runs)

    def open(self) -> None:
        """Start the worker."""
        upstreams._breakers = Breakers(threshold=1_000_000)
        upstreams._upstreams[NAME] = self.model
        hub.channels.clear()
        self.call(worker.start())

    def close(self) -> None:
        """Stop the worker and whatever is frozen."""

        async def stop() -> None:
            await worker.drain()
            for frozen in self.frozen:
                for task in frozen.tasks:
                    task.cancel()
                await asyncio.gather(*frozen.tasks, return_exceptions=True)
            worker._abandoned.clear()

        self.call(stop())
        upstreams._upstreams.pop(NAME, None)
        upstreams._breakers = Breakers()
        hub.channels.clear()
        self.runner.close()

    def stream_of(self, text: str) -> Stream:
        """Return the request under way that answers this message."""
        [stream] = [s for s in self.model.streams if s.asked == text]
        return stream

    def say(self, text: str, *events: Event) -> None:
        """Let the model that answers `text` say something."""
        self._tell(text, list(events))

    def fail(self, text: str, error: UpstreamError) -> None:
        """Let the model that answers `text` fail."""
        self._tell(text, error)

    def _tell(self, text: str, step: list[Event] | UpstreamError) -> None:
        async def tell() -> None:
            self.stream_of(text).steps.put_nowait(step)

        self.call(tell())

    def crash(self) -> None:
        """Freeze the process with all it has under way; another one begins."""

        async def die() -> None:
            tasks = [run.task for run in worker.runs.values() if run.task is not None]
            self.frozen.append(Frozen(tasks, list(self.model.streams)))
            worker.runs = {}
            self.model.streams.clear()
            dead, worker.process_id = worker.process_id, uuid4()
            hub.channels.clear()
            await in_db(_bury, dead)
            await in_db(recovery.heartbeat, worker.process_id)

        self.call(die())

    def wake(self, *events: Event) -> None:
        """Let the frozen processes go on: their models say these, and they write what they may."""

        async def go_on() -> None:
            for frozen in self.frozen:
                for stream in frozen.streams:
                    stream.steps.put_nowait(list(events))
                if frozen.tasks:
                    await asyncio.wait(frozen.tasks, timeout=WAIT_SECONDS)
                assert all(task.done() for task in frozen.tasks)
            self.frozen.clear()

        self.call(go_on())

    def take_over(self, run_id: str) -> None:
        """Look at one run as the recovery of this process would."""

        async def look() -> None:
            for run in worker.runs.values():
                run.suspect_until = 0.0
            await worker.take_over(self.company.tenant.pk, run_id)

        self.call(look())

    def pass_time(self, time: timedelta) -> None:
        """Let time pass: the timers of what is under way here go off."""
        self.clock.ahead += time

        async def ring() -> None:
            for run_id, run in list(worker.runs.items()):
                if await in_db(self._is_due, run_id):
                    await self._end(run)

        self.call(ring())

    async def _end(self, run: RunTask) -> None:
        run.end(EXPIRED)

    def _is_due(self, run_id: str) -> bool:
        with self.company.scope():
            return bool(Run.objects.get(pk=run_id).expires_at <= self.clock.now())

    def make_tools(self) -> list[Any]:
        """Return `wipe`, which needs approval, and `look`, which does not."""

        def wipe(ctx: ToolContext, number: int) -> str:
            """Wipe it."""
            self.executed.append(ctx.call_id)
            return "wiped"

        def look(ctx: ToolContext, number: int) -> str:
            """Look at it."""
            return "seen"

        return [make_tool(wipe, effect=Effect.DESTRUCTIVE), make_tool(look, effect=Effect.READ)]


async def _turns(count: int, *, seconds: float = 0.0) -> None:
    for _turn in range(count):
        await asyncio.sleep(seconds)


def _bury(process: UUID) -> None:
    Process.objects.filter(id=process).delete()
