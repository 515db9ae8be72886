"""The cost limit of a company: it bounds each model call before it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from chat.actions.runs.create import create_thread_and_run
from chat.errors import PriceUnknown
from chat.models import Assistant, Price, Run, TenantPolicy, Usage
from chat.runs.billing import tenant_policy_cache
from tenants.db import in_db
from tests.chat.at_work import BACKENDS, Stored, assistant_on, idle, say, stored, working
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import Company, World

TOOLS = [{"type": "function", "function": {"name": "get_order"}}]
CALLING = (Call(name="get_order", arguments='{"order_number": 1042}'),)
# A hundred dollars for a million tokens.
DOLLARS = Decimal(100)
LIMIT_NAME = {"responses": "max_output_tokens", "chat": "max_tokens"}


@pytest.fixture(autouse=True)
def limits_read_anew() -> Iterator[None]:
    tenant_policy_cache.clear()
    yield
    tenant_policy_cache.clear()


def limit(
    company: Company,
    dollars: str,
    *,
    read: Decimal | None = Decimal(0),
    written: Decimal | None = DOLLARS,
    currency: str = "USD",
) -> None:
    """Set a cost limit and the prices of the scripted model for a million tokens."""
    with company.scope():
        TenantPolicy.objects.create(max_cost_per_run=Decimal(dollars))
        prices = {"input_tokens": read, "output_tokens": written}
        for kind, price in prices.items():
            if price is not None:
                Price.objects.create(model="test-model", kind=kind, price=price, currency=currency)
    tenant_policy_cache.clear()


async def ask(company: Company, format_: str = "responses", **options: Any) -> Stored:
    """Let a program ask for an answer, and return the run when it has ended."""
    run: Run = await in_db(
        create_thread_and_run,
        company.principal("alice"),
        assistant_id=await assistant_on(company, format_, tools=TOOLS),
        thread={"messages": [{"role": "user", "content": "Hello"}]},
        **options,
    )
    await idle()
    return await stored(company, run.pk)


def asked_for(upstream: ScriptedServer, format_: str = "responses") -> list[Any]:
    """Return the output limits of the requests that came."""
    return [request.body.get(LIMIT_NAME[format_]) for request in upstream.model_requests()]


def cost_of(run: Stored) -> Decimal:
    return sum((row.price * row.quantity for row in run.usage if row.price), Decimal(0))


@pytest.mark.parametrize("format_", BACKENDS)
async def test_the_output_limit_is_what_the_money_buys(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    await in_db(limit, world.acme, "0.01")
    upstream_server.expect(Answer(say=("So ", "far"), finish="length", usage=(11, 100, 0, 0)))
    async with working(monkeypatch, upstream_server):
        one = await ask(world.acme, format_)
    assert asked_for(upstream_server, format_) == [100]
    assert (one.run.status, one.run.reason) == ("incomplete", "budget")
    assert cost_of(one) == Decimal("0.01")


async def test_the_prompt_is_paid_first(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_db(limit, world.acme, "0.05", read=DOLLARS)
    upstream_server.expect(Answer(say=("Well.",)))
    async with working(monkeypatch, upstream_server):
        await ask(world.acme)
    [step] = (await last_run(world.acme)).steps
    [given] = asked_for(upstream_server)
    # The tool's definition is part of the prompt as well.
    assert 16 <= given < 500 - step.sent["estimated_tokens"]


async def last_run(company: Company) -> Stored:
    def read() -> str:
        with company.scope():
            return str(Run.objects.latest("created_at").pk)

    return await stored(company, await in_db(read))


async def test_the_smaller_limit_counts_with_its_own_reason(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_db(limit, world.acme, "1")
    upstream_server.expect(Answer(say=("So",), finish="length", usage=(11, 256, 0, 0)))
    async with working(monkeypatch, upstream_server):
        one = await ask(world.acme, max_completion_tokens=256)
    assert asked_for(upstream_server) == [256]
    assert (one.run.status, one.run.reason) == ("incomplete", "max_completion_tokens")


async def test_a_limit_of_the_servers_own_is_not_the_companys(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_db(limit, world.acme, "1")
    upstream_server.expect(Answer(say=("So",), finish="length", usage=(11, 4096, 0, 0)))
    async with working(monkeypatch, upstream_server):
        one = await ask(world.acme)
    assert asked_for(upstream_server) == [10_000]
    assert one.run.reason == "max_completion_tokens"


@pytest.mark.parametrize(
    ("dollars", "prices"),
    [
        # The prompt alone.
        ("0.001", {"read": Decimal(10_000), "written": Decimal(0)}),
        # 15 tokens: servers refuse to be asked for fewer than 16.
        ("0.0015", {}),
        ("0", {}),
    ],
)
async def test_a_call_that_the_limit_does_not_pay_is_not_made(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    dollars: str,
    prices: dict[str, Any],
) -> None:
    await in_db(limit, world.acme, dollars, **prices)
    async with working(monkeypatch, upstream_server):
        one = await ask(world.acme)
    assert (one.run.status, one.run.reason, one.usage) == ("incomplete", "budget", [])


async def test_each_round_has_what_the_earlier_ones_left(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_db(limit, world.acme, "0.1")
    upstream_server.expect(Answer(status=429, body="{}"))
    upstream_server.expect(Answer(calls=CALLING, usage=(11, 300, 0, 200)))
    upstream_server.expect(Answer(say=("Done.",)))
    async with working(monkeypatch, upstream_server):
        one = await ask(world.acme)
    assert asked_for(upstream_server) == [1000, 1000, 700]
    assert one.run.status == "completed"


async def test_a_session_of_code_counts(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(run: Run) -> None:
        with world.acme.scope():
            Usage.objects.create(
                run=run,
                member_id=run.member_id,
                call="call_1",
                model="code_session",
                kind="code_session",
                quantity=1,
                unit="session",
                price=Decimal("0.06"),
                currency="USD",
            )

    await in_db(limit, world.acme, "0.1")
    upstream_server.expect(Answer(say=("a", "b"), calls=CALLING, usage=(11, 7, 0, 0), held_after=1))
    upstream_server.expect(Answer(say=("Done.",)))
    async with working(monkeypatch, upstream_server) as told:
        asked = asyncio.create_task(ask(world.acme))
        await told.until("text")
        await in_db(use, (await last_run(world.acme)).run)
        upstream_server.go_on()
        await asked
    assert asked_for(upstream_server) == [1000, 1000 - 7 - 600]


@pytest.mark.parametrize("format_", BACKENDS)
async def test_a_server_that_ignores_the_limit_is_cut(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    await in_db(limit, world.acme, "0.01")
    upstream_server.expect(Answer(say=("word",) * 3000, pace=0.001))
    async with working(monkeypatch, upstream_server):
        one = await ask(world.acme, format_)
        assert await asyncio.to_thread(upstream_server.was_left)
    assert (one.run.status, one.run.reason) == ("incomplete", "budget")
    [(status, text)] = one.answers
    assert status == "incomplete"
    assert len(text) == 4 * one.run.completion_tokens
    # A quarter more than 100: what is received is only estimated.
    assert 125 < one.run.completion_tokens <= 3000 / 4
    assert {row.estimated for row in one.usage} == {True}


UNKNOWN = {
    "no price": {"read": None, "written": None},
    "half a price": {"written": None},
    "other currency": {"currency": "EUR"},
}


@pytest.mark.parametrize("prices", UNKNOWN.values(), ids=UNKNOWN)
async def test_an_unknown_price_is_refused_to_programs_and_told_to_people(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    prices: dict[str, Any],
) -> None:
    await in_db(limit, world.acme, "1", **prices)
    async with working(monkeypatch, upstream_server):
        with pytest.raises(PriceUnknown) as refused:
            await ask(world.acme)
        sent = await say(world.acme, assistant=await assistant_on(world.acme, "responses"))
        await idle()
    assert (refused.value.param, refused.value.http_status) == ("model", 400)
    assert sent.run is not None
    one = await stored(world.acme, sent.run.pk)
    assert (one.run.status, one.run.reason) == ("failed", "price_unknown")
    assert upstream_server.model_requests() == []


async def test_the_demonstration_costs_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_db(limit, world.acme, "0", read=None, written=None)
    async with working(monkeypatch):
        sent = await say(world.acme, assistant=world.acme.assistant.pk)
        await idle()
    assert sent.run is not None
    assert (await stored(world.acme, sent.run.pk)).run.status == "completed"


async def test_code_in_another_currency_is_an_unknown_price(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_price() -> None:
        with world.acme.scope():
            Price.objects.create(kind="code_session", price=1, currency="EUR")
        tenant_policy_cache.clear()

    await in_db(limit, world.acme, "1")
    await in_db(set_price)
    upstream_server.expect(Answer(say=("Well.",)))
    async with working(monkeypatch, upstream_server):
        with pytest.raises(PriceUnknown):
            await ask(world.acme, tools=[{"type": "code_interpreter"}])
        assert (await ask(world.acme)).run.status == "completed"


def test_a_published_price_is_known(world: World) -> None:
    from chat.runs.billing.prices import find_token_price

    with world.acme.scope():
        price = find_token_price("gpt-4.1-mini", "default")
        unknown = find_token_price("no-such-model", "default")
    assert price is not None
    assert (price.input, price.output) == (Decimal("0.0000004"), Decimal("0.0000016"))
    assert unknown is None


def test_the_form_names_the_models_without_a_price(world: World) -> None:
    with world.acme.scope():
        for model in ("priced", "unpriced", "foreign"):
            Assistant.objects.create(name=model, model=model, upstream="elsewhere")
        Assistant.objects.create(name="off", model="switched-off", enabled=False)
        for kind in ("input_tokens", "output_tokens"):
            Price.objects.create(model="priced", kind=kind, price=1)
            Price.objects.create(model="foreign", kind=kind, price=1, currency="EUR")
    tenant_policy_cache.clear()
    page = world.acme.client("olga").get("/admin/chat/tenantpolicy/add/").content.decode()
    assert "until an owner sets their price in US dollars: foreign, unpriced." in page
    assert "switched-off" not in page


def test_admins_who_only_see_the_limits_are_told_the_models_too(world: World) -> None:
    with world.acme.scope():
        TenantPolicy.objects.create(max_cost_per_run=Decimal(1))
        Assistant.objects.filter(pk=world.acme.assistant.pk).update(
            model="<b>own</b>", upstream="elsewhere"
        )
    tenant_policy_cache.clear()
    page = world.acme.client("adam").get("/admin/chat/tenantpolicy/", follow=True).content.decode()
    assert "cannot answer until an owner sets their price" in page
    assert "&lt;b&gt;own&lt;/b&gt;" in page
    assert "<b>own</b>" not in page
