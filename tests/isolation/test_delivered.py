"""What is delivered, to people and to the model server, while both companies are served at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.database import HEARTBEATS, TestDatabase
from tests.isolation.delivered import (
    QUICK,
    Delivered,
    answer_by_name,
    recorded_socket,
    scripted_assistant,
)
from tests.isolation.rows import Rows
from tests.server import Server, serve
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import Company

# Everybody asks at the same time; pat in two tabs, one for each company.
ASKING = {"acme": ("alice", "bob", "pat"), "globex": ("gina", "hugo", "pat")}


@pytest.fixture(scope="module")
def scripted_server(
    database: TestDatabase,
    _upstream_process: ScriptedServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    database.kept.update(HEARTBEATS)
    environment = {**QUICK, "OPENAI_BASE_URL": _upstream_process.base_url}
    with serve(
        database,
        tmp_path_factory.mktemp("delivered"),
        environment=environment,
        fixture="scripted_server",
    ) as server:
        yield server


@pytest.fixture
def delivered(rows: Rows, scripted_server: Server, upstream_server: ScriptedServer) -> Delivered:
    return Delivered(server=scripted_server, upstream=upstream_server)


async def ask(delivered: Delivered, company: Company, name: str, assistant: str) -> str:
    """Ask about order 1001 as this person; return the answer as it was streamed."""
    question = answer_by_name(delivered.upstream, company, name)
    async with recorded_socket(delivered, company, name) as socket:
        sent = await socket.say(question, assistant=assistant)
        run = await socket.until_ended(sent["run"]["id"])
        assert run["status"] == "completed", run
        done = (await socket.until_event("thread.message.completed"))["data"]
        assert {frame["thread"] for frame in socket.events} == {sent["thread"]["id"]}
        return socket.text_of(done["id"])


async def ask_at_once(delivered: Delivered, rows: Rows) -> dict[tuple[str, str], str]:
    companies = {"acme": rows.world.acme, "globex": rows.world.globex}
    assistants = {slug: await scripted_assistant(one) for slug, one in companies.items()}
    people = [(slug, name) for slug, names in ASKING.items() for name in names]
    answers = await asyncio.gather(
        *(ask(delivered, companies[slug], name, assistants[slug]) for slug, name in people)
    )
    return dict(zip(people, answers, strict=True))


async def test_every_frame_belongs_to_its_company(delivered: Delivered, rows: Rows) -> None:
    answers = await ask_at_once(delivered, rows)
    for (slug, _name), answer in answers.items():
        assert answer.count(f"CANARY-{slug.upper()}-WORD") == 20
    for slug, other in (("acme", "GLOBEX"), ("globex", "ACME")):
        frames = "".join(delivered.texts[slug])
        assert f"CANARY-{slug.upper()}-" in frames
        assert f"CANARY-{other}-" not in frames


async def test_model_server_is_sent_one_company_at_a_time(delivered: Delivered, rows: Rows) -> None:
    await ask_at_once(delivered, rows)
    bodies = delivered.asked_of_model()
    assert len(bodies) == 2 * sum(len(names) for names in ASKING.values())
    for body in bodies:
        assert ("CANARY-ACME-" in body) is not ("CANARY-GLOBEX-" in body)


async def test_the_same_order_number_is_each_companys_own(delivered: Delivered, rows: Rows) -> None:
    await ask_at_once(delivered, rows)
    for mark, person in (("ACME", "ALICE"), ("GLOBEX", "GINA")):
        asked = [b for b in delivered.asked_of_model() if f"CANARY-{mark}-ASK-{person}" in b]
        assert f"CANARY-{mark}-{person}-ADDRESS" in asked[-1]


async def test_a_model_that_names_the_other_company_gets_nothing(
    delivered: Delivered, rows: Rows
) -> None:
    theirs = rows.of["globex"]["gina"]
    tenant = str(rows.world.globex.tenant.pk)
    arguments = [
        {"order_number": 3003},
        {"order_number": 1001, "tenant_id": tenant},
        {"order_number": 1001, "customer": "CANARY-GLOBEX-GINA-CUSTOMER"},
        {"order_number": 1001, "address": "12 New Street, here", "member": theirs["membership"]},
        {"order_number": theirs["run"]},
        {"words": "globex", "thread": theirs["thread"]},
    ]
    names = ("get_order", "get_order", "get_order", "update_delivery_address", "get_order")
    calls = tuple(
        Call(name=name, arguments=json.dumps(given))
        for name, given in zip((*names, "search_thread"), arguments, strict=True)
    )
    delivered.upstream.expect(Answer(calls=calls, finish="tool_calls"))
    delivered.upstream.expect(say="Nothing found.")
    assistant = await scripted_assistant(rows.world.acme)
    async with recorded_socket(delivered, rows.world.acme, "alice") as socket:
        sent = await socket.say("Hello", assistant=assistant)
        await socket.until_ended(sent["run"]["id"])
    outputs = delivered.asked_of_model()[-1]
    for mark in ("GINA-ADDRESS", "HUGO", "GINA-CARRIER", "GINA-GOODS", "GLOBEX-COMPANY"):
        assert mark not in outputs
        assert mark not in "".join(delivered.texts["acme"])
