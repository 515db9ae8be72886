"""Event streams of two companies at once: each holds its own company's words and no others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tests.api.conftest import Api, program_of
from tests.api.streaming import raw_events
from tests.model_server import ModelServer
from tests.upstream.script import Answer
from tests.world import Company, World

WORDS = 40


def mark_of(company: Company, name: str) -> str:
    return f"{company.canary}STREAM-{name.upper()}"


def streamed(model: ModelServer, program: Api, mark: str, assistant: str) -> str:
    """Ask in a person's own words and return everything that came back."""
    thread = {"messages": [{"role": "user", "content": mark}]}
    body: dict[str, Any] = {"assistant_id": assistant, "stream": True, "thread": thread}
    told = list(raw_events(model, program, "threads/runs", body=body))
    run = next(event.data for event in told if event.name == "thread.run.created")
    path = f"threads/{run['thread_id']}/runs/{run['id']}/events"
    return str([*told, *raw_events(model, program, path)])


def test_streams_hold_their_own_companys_words(model: ModelServer, world: World) -> None:
    asking = [
        (company, name, assistant)
        for company, assistant in ((world.acme, model.acme), (world.globex, model.globex))
        for name in (*company.member_names[:2], "pat")
    ]
    programs = [program_of(company, name) for company, name, _assistant in asking]
    marks = [mark_of(company, name) for company, name, _assistant in asking]
    for mark in marks:
        model.upstream.when(mark, Answer(say=(f"{mark}-WORD ",) * WORDS, pace=0.01))
    assistants = [assistant for _company, _name, assistant in asking]
    with ThreadPoolExecutor(len(asking)) as pool:
        texts = list(pool.map(partial(streamed, model), programs, marks, assistants))
    for (company, _name, _assistant), own, text in zip(asking, marks, texts, strict=True):
        assert f"{own}-WORD" in text
        assert not [mark for mark in marks if mark != own and f"{mark}-WORD" in text]
        other = world.globex if company is world.acme else world.acme
        assert other.canary not in text
