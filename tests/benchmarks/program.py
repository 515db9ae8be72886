"""A program that reads answers over the API, as server-sent events."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.measures import RATE, Bench, Load, load
from tests.benchmarks.streams import Arrivals, set_pace

HEADERS = {"OpenAI-Beta": "assistants=v2"}
DELTA, FAILED = b"event: thread.message.delta\n", (b"event: error", b"event: thread.run.failed")


async def load_on_api(bench: Bench, *, streams: int, seconds: float) -> Load:
    """Many streamed runs at once, each on a thread of its own."""
    await set_pace(bench.client, bench.stand.upstream, tokens=1, rate=RATE)
    threads = [await _new_thread(bench) for _ in range(streams)]

    def reader(thread: str) -> Any:
        async def read(arrivals: Arrivals) -> None:
            await _run(bench, thread, arrivals)

        return read

    return await load(bench, [reader(thread) for thread in threads], bench.atrium.process, seconds)


async def _new_thread(bench: Bench) -> str:
    said = {"messages": [{"role": "user", "content": "Hello"}]}
    async with bench.client.post(_url(bench, ""), json=said, headers=_headers(bench)) as answer:
        answer.raise_for_status()
        return str((await answer.json())["id"])


async def _run(bench: Bench, thread: str, arrivals: Arrivals) -> None:
    ask = {"assistant_id": bench.stand.assistant, "stream": True}
    rest = b""
    url = _url(bench, f"/{thread}/runs")
    async with bench.client.post(url, json=ask, headers=_headers(bench)) as answer:
        answer.raise_for_status()
        async for chunk in answer.content.iter_any():
            *events, rest = (rest + chunk).split(b"\n\n")
            for event in events:
                if DELTA in event:
                    arrivals.take(event)
                elif any(word in event for word in FAILED):
                    raise RuntimeError(event.decode())


async def start_run(bench: Bench) -> None:
    """Start a run in a thread of its own, and do not wait for its answer."""
    thread = {"messages": [{"role": "user", "content": "Hello"}]}
    ask = {"assistant_id": bench.stand.assistant, "thread": thread}
    async with bench.client.post(_url(bench, "/runs"), json=ask, headers=_headers(bench)) as answer:
        answer.raise_for_status()


def _url(bench: Bench, path: str) -> str:
    return f"{bench.atrium.url}/v1/threads{path}"


def _headers(bench: Bench) -> dict[str, str]:
    return HEADERS | {"Authorization": f"Bearer {bench.stand.key}"}
