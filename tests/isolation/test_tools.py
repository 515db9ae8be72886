"""Every registered tool, with arguments that mean another company's or person's rows.

Tools and parameters come from the registry; a parameter without a recipe fails the test.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings

from chat.demo.models import Order
from chat.models import Assistant, Thread, ToolCall
from chat.tools.base import Effect
from chat.tools.registry import TOOLS
from tests.chat.knowing import add_file, make_store
from tests.chat.tool_runs import open_run, perform_one
from tests.database import TestDatabase
from tests.isolation.rows import ORDERS, Rows, blotted, contents
from tests.world import Company, World

NOBODYS = 987_654
# Arguments of a call that works, by parameter; what another's row may be put in.
RECIPES: dict[str, dict[str, Any]] = {
    "list_orders": {"status": "placed"},
    "get_order": {"order_number": 1001},
    "update_delivery_address": {"order_number": 1001, "address": "12 New Street, Springfield"},
    "cancel_order": {"order_number": 1001},
    "search_thread": {"words": "FINISHED"},
    "code_interpreter": {"code": "20 + 22"},
    "file_search": {"query": "handbook"},
}
IDENTITIES = ("tenant_id", "tenant", "customer_id", "member_id", "user", "company", "id")


def others_orders(rows: Rows) -> list[int]:
    """Return the orders that only others have: of the other company, and a colleague's."""
    colleagues = [ORDERS["acme"]["bob"]] if rows.colleagues else []
    return [ORDERS["globex"]["hugo"], *colleagues]


def call(world: World, name: str, arguments: dict[str, Any]) -> ToolCall:
    run = open_run(world.acme, "alice", *RECIPES)
    try:
        return perform_one(world.acme, run, name, json.dumps(arguments))
    finally:
        with world.acme.scope():
            type(run.run).objects.filter(pk=run.run.pk).update(status="completed")


def test_every_tool_and_parameter_has_a_recipe() -> None:
    found = {tool.name: set(tool.schema["properties"]) for tool in TOOLS.values()}
    assert found == {name: set(recipe) for name, recipe in RECIPES.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_reach_rows(rows: Rows, name: str) -> None:
    row = call(rows.world, name, RECIPES[name])
    asks_first = TOOLS[name].effect == Effect.DESTRUCTIVE
    assert row.status == ("waiting" if asks_first else "completed"), row.output
    if {"order_number", "status"} & set(RECIPES[name]) and not asks_first:
        assert "1001" in (row.output or "")


@pytest.mark.parametrize("name", [name for name in RECIPES if "order_number" in RECIPES[name]])
def test_numbers_of_others_orders_are_unknown(
    rows: Rows, walls: str, database: TestDatabase, name: str
) -> None:
    before = contents(database)["demo_order"]
    outputs = []
    for number in (NOBODYS, *others_orders(rows)):
        row = call(rows.world, name, {**RECIPES[name], "order_number": number})
        outputs.append((row.status, row.error_code, blotted(row.output or "", str(number))))
    assert set(outputs) == {outputs[0]}
    assert contents(database)["demo_order"] == before


@pytest.mark.parametrize("name", RECIPES)
def test_no_output_holds_anything_of_another_company(rows: Rows, walls: str, name: str) -> None:
    output = call(rows.world, name, RECIPES[name]).output or ""
    assert rows.world.globex.canary not in output
    assert not any(str(number) in output for number in others_orders(rows))


def test_search_finds_only_the_own_chat(rows: Rows, walls: str) -> None:
    for words in (rows.world.globex.canary, "GINA BOB", "CANARY TEXT"):
        output = json.loads(call(rows.world, "search_thread", {"words": words}).output or "")
        text = json.dumps(output)
        assert rows.world.globex.canary not in text
        assert "BOB" not in text or not rows.colleagues


def test_file_search_finds_only_the_own_documents(
    rows: Rows, walls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "FILE_WAIT_SECONDS", 0)
    world = rows.world
    stores = [fill_store(company, name) for company, name in owners(rows)]
    everything = {"file_search": {"vector_store_ids": stores}}
    with world.acme.scope():
        Thread.objects.update(tool_resources=everything)
        Assistant.objects.update(tools=[{"type": "file_search"}], tool_resources=everything)
    row = call(world, "file_search", {"query": f"handbook {world.globex.canary} BOB"})
    found = json.dumps([row.output, row.details])
    assert row.status == "completed"
    assert "ACME-ALICE handbook" in found
    assert "ACME-COMPANY handbook" in found
    assert "GLOBEX-GINA" not in found
    assert "GLOBEX-COMPANY" not in found
    assert "ACME-BOB" not in found or not rows.colleagues


def owners(rows: Rows) -> list[tuple[Company, str | None]]:
    acme, globex = rows.world.acme, rows.world.globex
    return [(acme, "alice"), (acme, "bob"), (acme, None), (globex, "gina"), (globex, None)]


def fill_store(company: Company, owner: str | None) -> str:
    """Make a store of this person's, or of the company's, with a document that says whose it is."""
    store = make_store(company, owner=owner)
    whose = f"{company.tenant.slug}-{owner or 'company'}".upper()
    add_file(company, store, f"The {whose} handbook.", f"{whose}.md")
    return str(store.pk)


@pytest.mark.parametrize("name", RECIPES)
def test_naming_another_company_is_refused_like_naming_nobody(rows: Rows, name: str) -> None:
    theirs = str(rows.world.globex.tenant.pk)
    for identity in IDENTITIES:
        outcomes = []
        for value in (theirs, "nobody"):
            row = call(rows.world, name, {**RECIPES[name], identity: value})
            outcomes.append((row.status, row.error_code, row.output))
        assert outcomes[0] == outcomes[1]
        assert outcomes[0][0] == "refused"


def test_both_companies_change_their_own_order_of_the_same_number(rows: Rows) -> None:
    call(rows.world, "update_delivery_address", RECIPES["update_delivery_address"])
    for company, changed in ((rows.world.acme, True), (rows.world.globex, False)):
        with company.scope():
            address = Order.objects.get(number=1001).delivery_address
        assert address.startswith("12 New Street") is changed
