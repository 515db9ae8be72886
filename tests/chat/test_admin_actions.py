"""What admins do with assistants, limits and prices: rules, not pages."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from chat.actions.assistants.manage import (
    create_assistant,
    delete_assistant,
    set_default_assistant,
    update_assistant,
)
from chat.actions.settings import delete_price, set_price, update_limits
from chat.errors import InvalidInput, NotFound
from chat.models import Assistant, Message, Price, Run, TenantPolicy
from tenants.errors import NotAllowed
from tenants.models import AuditEvent
from tests.world import World


def actions_recorded() -> list[str]:
    return list(AuditEvent.objects.order_by("created_at").values_list("action", flat=True))


def test_the_first_assistant_becomes_the_default(world: World) -> None:
    with world.acme.scope():
        Assistant.objects.all().delete()
        made = create_assistant(world.acme.principal("adam"), name="A", model="m", upstream="")
        second = create_assistant(world.acme.principal("adam"), name="B", model="m", upstream="")
    assert made.is_default
    assert not second.is_default


def test_a_new_default_takes_the_place_of_the_old(world: World) -> None:
    with world.acme.scope():
        made = create_assistant(world.acme.principal("adam"), name="A", model="m", upstream="")
        set_default_assistant(world.acme.principal("adam"), made.pk)
        assert list(Assistant.objects.filter(is_default=True)) == [made]


def test_a_disabled_assistant_cannot_become_the_default(world: World) -> None:
    with world.acme.scope():
        off = create_assistant(
            world.acme.principal("adam"), name="A", model="m", upstream="", enabled=False
        )
        with pytest.raises(InvalidInput):
            set_default_assistant(world.acme.principal("adam"), off.pk)


def test_an_assistant_for_programs_alone_is_never_the_default(world: World) -> None:
    adam = world.acme.principal("adam")
    with world.acme.scope():
        Assistant.objects.all().delete()
        made = create_assistant(adam, name="A", model="m", upstream="", in_page=False)
        assert not made.is_default
        with pytest.raises(InvalidInput):
            set_default_assistant(adam, made.pk)


def test_changes_are_recorded_by_name_of_the_field(world: World) -> None:
    with world.acme.scope():
        update_assistant(world.acme.principal("adam"), world.acme.assistant.pk, temperature=0.5)
        event = AuditEvent.objects.get(action="assistant.changed")
    assert event.data["fields"] == ["temperature"]
    assert event.subject == world.acme.assistant.pk


def test_saving_without_a_change_records_nothing(world: World) -> None:
    with world.acme.scope():
        update_assistant(world.acme.principal("adam"), world.acme.assistant.pk, enabled=True)
        assert "assistant.changed" not in actions_recorded()


def test_members_change_nothing(world: World) -> None:
    member = world.acme.principal("alice")
    with world.acme.scope():
        with pytest.raises(NotAllowed):
            create_assistant(member, name="A", model="m", upstream="")
        with pytest.raises(NotAllowed):
            update_assistant(member, world.acme.assistant.pk, name="B")
        with pytest.raises(NotAllowed):
            delete_assistant(member, world.acme.assistant.pk)


def test_another_companys_assistant_is_gone_to_us(world: World) -> None:
    with world.acme.scope():
        with pytest.raises(NotFound):
            update_assistant(world.acme.principal("olga"), world.globex.assistant.pk, name="B")
        with pytest.raises(NotFound):
            delete_assistant(world.acme.principal("olga"), world.globex.assistant.pk)


def test_deleting_keeps_the_chats(world: World) -> None:
    with world.acme.scope():
        delete_assistant(world.acme.principal("adam"), world.acme.assistant.pk)
        assert not Assistant.objects.exists()
        assert Message.objects.filter(assistant=None).count() == Message.objects.count() > 0
        assert Run.objects.filter(assistant=None, assistant_ref=world.acme.assistant.pk).exists()


def test_a_programs_own_tools_stay_when_an_admin_chooses(world: World) -> None:
    theirs = {"type": "function", "function": {"name": "their_own", "parameters": {}}}
    with world.acme.scope():
        Assistant.objects.update(tools=[theirs])
        row = update_assistant(world.acme.principal("adam"), world.acme.assistant.pk, tools=[])
    assert row.tools == [theirs]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x" * 257),
        ("name", "a\x00b"),
        ("name", "\ud800"),
        ("name", 7),
        ("description", "x" * 513),
        ("instructions", "x" * 256_001),
        ("model", ""),
        ("upstream", "nowhere"),
        ("tools", ["no_such_tool"]),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", True),
        ("top_p", -0.1),
        ("reasoning_effort", "extreme"),
        ("response_format", {"type": "xml"}),
        ("metadata", {str(number): "v" for number in range(17)}),
        ("metadata", {"k": "x" * 513}),
        ("suggested_prompts", ["x" * 301]),
        ("suggested_prompts", ["x"] * 13),
        ("suggested_prompts", "one"),
        ("busy_policy", "shrug"),
        ("enabled", "yes"),
        ("owner", "me"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(world: World, field: str, value: Any) -> None:
    with world.acme.scope():
        with pytest.raises(InvalidInput) as refused:
            update_assistant(
                world.acme.principal("adam"), world.acme.assistant.pk, **{field: value}
            )
        assert str(refused.value.param).split(".")[0] == field
        unchanged = Assistant.objects.get()
    assert unchanged.name == world.acme.assistant.name


def test_limits_are_the_owners(world: World) -> None:
    limits: dict[str, Any] = {
        "max_tokens_per_run": 9000,
        "max_cost_per_run": Decimal("0.25"),
        "approval_tools": [],
    }
    with world.acme.scope():
        with pytest.raises(NotAllowed):
            update_limits(world.acme.principal("adam"), **limits)
        update_limits(world.acme.principal("olga"), **limits)
        update_limits(world.acme.principal("olga"), **{**limits, "max_tokens_per_run": None})
        policy = TenantPolicy.objects.get()
    assert policy.max_tokens_per_run is None
    assert policy.max_cost_per_run == Decimal("0.25")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens_per_run": 0},
        {"max_tokens_per_run": 2**63},
        {"max_cost_per_run": Decimal("NaN")},
        {"max_cost_per_run": Decimal(-1)},
        {"approval_tools": ["no_such_tool"]},
    ],
)
def test_limits_that_cannot_work_are_refused(world: World, wrong: dict[str, Any]) -> None:
    limits: dict[str, Any] = {
        "max_tokens_per_run": None,
        "max_cost_per_run": None,
        "approval_tools": [],
    }
    with world.acme.scope():
        with pytest.raises(InvalidInput) as refused:
            update_limits(world.acme.principal("olga"), **{**limits, **wrong})
        assert not TenantPolicy.objects.exists()
    assert refused.value.param == next(iter(wrong))


def test_a_price_takes_the_place_of_the_earlier_one(world: World) -> None:
    owner = world.acme.principal("olga")
    with world.acme.scope():
        for price in ("1.5", "2"):
            set_price(owner, model="m", kind="input_tokens", price=Decimal(price), currency="EUR")
        row = Price.objects.get()
        assert row.price == 2
        delete_price(owner, row.pk)
        with pytest.raises(NotFound):
            delete_price(owner, row.pk)


@pytest.mark.parametrize(
    "wrong", [{"price": Decimal(-1)}, {"currency": "euro"}, {"kind": "x"}, {"model": ""}]
)
def test_prices_that_cannot_work_are_refused(world: World, wrong: dict[str, Any]) -> None:
    price: dict[str, Any] = {
        "model": "m",
        "kind": "input_tokens",
        "price": Decimal(1),
        "currency": "USD",
    }
    with world.acme.scope(), pytest.raises(InvalidInput), transaction.atomic():
        set_price(world.acme.principal("olga"), **{**price, **wrong})
