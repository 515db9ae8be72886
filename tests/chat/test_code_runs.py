"""Code within answers: what the model is told, and what comes with its next message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings

from chat.actions.send_message import create_message
from chat.api.events import Sequencer
from chat.models import Message
from chat.runs.events import Entry
from chat.runs.state.snapshots import read_runs
from chat.tools.code_sessions import get_code_sessions
from tenants.db import in_db
from tests.chat.at_work import Stored, assistant_on, idle, say, stored, working
from tests.chat.coding import CODE, add_input, give_assistant
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import World

pytestmark = pytest.mark.usefixtures("stored", "monty")

CHART = "chart('bar', [{'x': 'a', 'y': 1}])"
WRITES = "open('sums.csv', 'w').write('a,1')\nopen('notes.txt', 'w').write('b')\nNone"


def running(*sources: str) -> Answer:
    """Return an answer that runs these pieces of code."""
    calls = (Call(name="code_interpreter", arguments=json.dumps({"code": s})) for s in sources)
    return Answer(calls=tuple(calls))


async def answered(
    world: World,
    server: ScriptedServer,
    *answers: Answer,
    thread: str | None = None,
    files: tuple[str, ...] = (),
) -> Stored:
    """Ask as alice somebody who may run code; return the run once it has ended."""
    for answer in answers:
        server.expect(answer)
    coder = await assistant_on(world.acme, "responses", tools=[CODE])
    if files:
        await in_db(give_assistant, world.acme, coder, *files)
    sent = await say(world.acme, assistant=coder, thread=thread)
    await idle()
    assert sent.run is not None
    return await stored(world.acme, sent.run.pk)


def last_message(run: Stored) -> Message:
    return run.messages[-1]


async def test_a_picture_comes_before_the_text_of_the_next_message(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server) as told:
        run = await answered(
            world, upstream_server, running(CHART), Answer(say=("Here ", "it is."))
        )
    assert run.calls[0].details is not None
    [picture] = run.calls[0].details["images"]
    shown, text = last_message(run).content
    assert shown["image_file"]["file_id"] == picture
    assert text["text"]["value"] == "Here it is."
    begun = await told.until("thread.message.in_progress", run=run.run.pk)
    assert begun["content"] == [shown]


async def test_a_stream_brings_the_picture_then_the_text(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server):
        run = await answered(world, upstream_server, running(CHART), Answer(say=("Here.",)))
    entries = await in_db(read_runs, world.acme.tenant.pk, run.run.thread_id, [run.run.pk])
    deltas = message_deltas(entries)
    assert [(part["index"], part["type"]) for part in deltas] == [(0, "image_file"), (1, "text")]


def message_deltas(entries: tuple[Entry, ...]) -> list[dict[str, Any]]:
    """Return the content parts that a stream of these events brings."""
    sequencer = Sequencer(entries[-1].data)
    found = []
    for event in sequencer.events(entries):
        if b"event: thread.message.delta" in event:
            data = json.loads(event.split(b"data: ", 1)[1])
            found += data["delta"]["content"]
    return found


async def test_a_file_is_linked_or_attached(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Answer(say=("See [sums](sandbox:/mnt/data/sums.csv).",))
    async with working(monkeypatch, upstream_server):
        run = await answered(world, upstream_server, running(WRITES), said)
    assert run.calls[0].details is not None
    ids = {file["name"]: file["file_id"] for file in run.calls[0].details["files"]}
    message = last_message(run)
    [link] = message.content[0]["text"]["annotations"]
    assert link["file_path"] == {"file_id": ids["sums.csv"]}
    attached = {"file_id": ids["notes.txt"], "tools": [{"type": "code_interpreter"}]}
    assert message.attachments == [attached]


async def test_what_two_rounds_made_comes_with_one_message(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = running("open('sums.csv', 'w').write('a,2')\nNone", CHART)
    async with working(monkeypatch, upstream_server):
        run = await answered(
            world, upstream_server, running(WRITES, CHART), again, Answer(say=("Done.",))
        )
    message = last_message(run)
    assert [part["type"] for part in message.content] == ["image_file", "image_file", "text"]
    assert len(message.attachments) == 2


async def test_variables_are_there_in_the_next_answer(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(monkeypatch, upstream_server):
        first = await answered(world, upstream_server, running("total = 41"), Answer(say=("Yes.",)))
        thread = first.run.thread_id
        second = await answered(
            world, upstream_server, running("total + 1"), Answer(say=("42.",)), thread=thread
        )
    assert second.calls[0].details is not None
    assert second.calls[0].details["logs"] == "42"


async def test_the_model_is_told_where_its_files_are(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = await in_db(add_input, world.acme, b"1", owner=None, name="rates.csv")
    async with working(monkeypatch, upstream_server):
        await answered(world, upstream_server, Answer(say=("Hello.",)), files=(rates,))
    [tool] = upstream_server.model_requests()[-1].body["tools"]
    assert tool["name"] == "code_interpreter"
    assert "small interpreter of Python's core" in tool["description"]
    assert "\n- /mnt/data/rates.csv" in tool["description"]


async def test_a_file_that_came_with_the_message_is_there_for_the_code(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await in_db(add_input, world.acme, b"month,total\n1,20\n", owner="alice")
    upstream_server.expect(running("print(open('/mnt/data/sales.csv').read())"))
    upstream_server.expect(Answer(say=("20.",)))
    async with working(monkeypatch, upstream_server):
        coder = await assistant_on(world.acme, "responses", tools=[CODE])
        sent = await in_db(
            create_message,
            world.acme.principal("alice"),
            None,
            assistant_id=coder,
            content="What is the total?",
            client_id="with-a-file",
            attachments=[{"file_id": mine, "tools": [CODE]}],
        )
        await idle()
    assert sent.run is not None
    run = await stored(world.acme, sent.run.pk)
    assert run.calls[0].details is not None
    assert run.calls[0].details["logs"] == "month,total\n1,20\n\n"


TOTALS = """
import pandas as pd
import matplotlib.pyplot as plt
sales = pd.read_csv("/mnt/data/sales.csv", parse_dates=["day"])
by_month = sales.groupby(sales.day.dt.strftime("%Y-%m")).total.sum()
by_month.plot.bar(title="Totals")
print(by_month.to_string())
"""
ONLY_2025 = 'print(by_month[by_month.index.str.startswith("2025")].to_string())'
SALES = b"day,total\n2024-12-30,5\n2025-01-02,20\n2025-01-09,22\n2025-02-01,7\n"


async def test_a_table_is_added_up_and_drawn_and_the_next_message_goes_on(
    world: World,
    bubblewrap: None,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = await in_db(add_input, world.acme, SALES, owner=None)
    async with working(monkeypatch, upstream_server):
        first = await answered(
            world, upstream_server, running(TOTALS), Answer(say=("Here.",)), files=(table,)
        )
        await get_code_sessions().close_all()
        again = await answered(
            world,
            upstream_server,
            running(ONLY_2025),
            Answer(say=("Here.",)),
            thread=first.run.thread_id,
            files=(table,),
        )
    assert (first.calls[0].details or {})["logs"].split()[1:] == [
        *("2024-12", "5", "2025-01", "42", "2025-02", "7")
    ]
    assert [part["type"] for part in last_message(first).content] == ["image_file", "text"]
    assert (again.calls[0].details or {})["logs"].split()[1:] == ["2025-01", "42", "2025-02", "7"]


async def test_the_step_tells_input_outputs_and_what_was_left_out(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "STORAGE_BYTES", 1)
    source = f"print('one')\n{CHART}"
    async with working(monkeypatch, upstream_server) as told:
        run = await answered(world, upstream_server, running(source), Answer(say=("Done.",)))
    steps = [data for _run, name, data in told.events if name == "thread.run.step.completed"]
    [call] = steps[0]["step_details"]["tool_calls"]
    assert call["code_interpreter"]["input"] == source
    assert call["code_interpreter"]["outputs"] == [{"type": "logs", "logs": "one\n"}]
    assert call["atrium"]["notes"][-1] == "The company's storage is full. Not saved: chart.svg."
    assert run.run.status == "completed"
