"""Every registered tool, with what belongs to the other tenant in every argument."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.utils import timezone

from chat.demo.models import Contact, Customer, Order
from chat.tools import dispatch, registry
from chat.tools.registry import TOOLS
from tenants.managers import TenantModel
from tests.chat.tool_runs import audited, call, open_run, phase, prepare
from tests.world import Company, World

FOREIGN_NUMBER, UNKNOWN_NUMBER = 7001, 7002
# What a tool needs to be called at all, by parameter; one that is missing here fails the test.
FITTING: dict[str, dict[str, Any]] = {
    "search_thread": {"words": "tent"},
    "list_orders": {"status": "placed"},
    "get_order": {"order_number": 1},
    "update_delivery_address": {"order_number": 1, "address": "5 Elm Street"},
    "cancel_order": {"order_number": 1},
}


@pytest.fixture
def shops(world: World) -> World:
    """An order of globex with a number that acme does not have."""
    with world.globex.scope():
        customer = Customer.objects.create(name=f"{world.globex.canary}CUSTOMER")
        Contact.objects.create(customer=customer, member=world.globex.gina)
        Order.objects.create(
            number=FOREIGN_NUMBER,
            customer=customer,
            status="placed",
            ordered_on=timezone.localdate(),
            delivery_address=f"{world.globex.canary}ADDRESS",
        )
    return world


def foreign_texts(world: World) -> dict[str, str]:
    """Return what a model might know of globex, and an unknown thing of the same form."""
    other = world.globex
    return {
        other.tenant.slug: "nowhere",
        str(other.tenant.pk): "00000000-0000-4000-8000-000000000000",
        other.tenant.name: "Nobody",
        other.threads["gina"].pk: "thread_" + "0" * 24,
        other.runs["gina"].pk: "run_" + "0" * 24,
        other.assistant.pk: "asst_" + "0" * 24,
        str(other.gina.pk): "00000000-0000-4000-8000-000000000001",
        "gina@globex.example": "nobody@nowhere.example",
        f"{other.canary}CUSTOMER": "Nobody's",
    }


def attempts(world: World, name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield arguments that name something of globex, and the same with something unknown."""
    fitting = FITTING[name]
    for parameter in TOOLS[name].schema["properties"]:
        if isinstance(fitting[parameter], int):
            yield {**fitting, parameter: FOREIGN_NUMBER}, {**fitting, parameter: UNKNOWN_NUMBER}
        for foreign, unknown in foreign_texts(world).items():
            yield {**fitting, parameter: foreign}, {**fitting, parameter: unknown}
    for extra in ("tenant_id", "organization", "user_id", "role", "x"):
        for foreign, unknown in foreign_texts(world).items():
            yield {**fitting, extra: foreign}, {**fitting, extra: unknown}


def everything_of(company: Company) -> dict[str, list[Any]]:
    """Return all rows of a tenant."""
    with company.scope():
        return {
            model._meta.label: sorted(map(repr, model._default_manager.values_list()))
            for model in apps.get_models()
            if issubclass(model, TenantModel)
        }


def test_every_tool_has_a_recipe() -> None:
    for name, tool in TOOLS.items():
        assert FITTING.get(name, {}).keys() == tool.schema["properties"].keys(), name


@pytest.mark.parametrize("name", sorted(FITTING))
def test_naming_what_is_foreign_is_naming_nothing(shops: World, name: str) -> None:
    names = [each.name for each in registry.all_tools()]
    ctx = open_run(shops.acme, "adam", *names)
    before = everything_of(shops.globex)
    pairs = list(attempts(shops, name))
    proposed = [
        call(name, json.dumps(arguments), index=index)
        for index, arguments in enumerate(each for pair in pairs for each in pair)
    ]
    rows = prepare(shops.acme, ctx, *proposed)
    for row in rows:  # as if somebody had approved what waits
        row.status = "approved" if row.status == "waiting" else row.status
    with shops.acme.scope():
        type(rows[0]).objects.bulk_update(rows, ["status"])
    ended = phase(dispatch.execute_all)(ctx, rows)
    for (foreign, unknown), seen, plain in zip(pairs, ended[::2], ended[1::2], strict=True):
        assert (seen.status, seen.error_code) == (plain.status, plain.error_code)
        assert _masked(seen.output, foreign) == _masked(plain.output, unknown)
        assert shops.globex.canary not in _masked(seen.output, foreign)
    assert everything_of(shops.globex) == before
    assert "tool.attempted" in audited(shops.acme, ended[0])


def _masked(output: str, arguments: dict[str, Any]) -> str:
    """Take out what the model itself had written."""
    for value in arguments.values():
        output = output.replace(json.dumps(value, ensure_ascii=False).strip('"'), "…")
    return output
