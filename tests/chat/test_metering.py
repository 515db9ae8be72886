"""What is metered besides tokens: storage from second to second, prices, the export."""

from __future__ import annotations

import asyncio
import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.test import Client
from django.utils import timezone

from chat.actions.settings import set_price
from chat.admin.usage_export import escape_cell
from chat.errors import InvalidInput
from chat.models import File, Price, StorageChange, StoreFile, Usage, VectorStore
from chat.tasks.storage import meter_storage, meter_store
from tenants.db import call_privileged
from tests.world import Company, World

GB = 10**9
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 3, 12, tzinfo=UTC)


@pytest.fixture
def acme(world: World) -> Company:
    return world.acme


@pytest.fixture
def store(acme: Company) -> VectorStore:
    with acme.scope():
        made: VectorStore = VectorStore.objects.create(name="Policies")
    return made


def fill(company: Company, store: VectorStore, size: int) -> StoreFile:
    """Put a document of this size for searching into a store."""
    with company.scope():
        key = f"files/{store.pk}-{size}"
        file = File.objects.create(purpose="assistants", filename="a.txt", storage_key=key)
        row: StoreFile = StoreFile.objects.create(store=store, file=file)
        row.usage_bytes = size
        row.save()
    return row


def changes(company: Company) -> list[tuple[int, datetime]]:
    with company.scope():
        return list(StorageChange.objects.order_by("pk").values_list("bytes", "at"))


def happened(company: Company, *moments: datetime) -> None:
    """Let the changes so far have happened at these moments, in their order."""
    with company.scope():
        for row, at in zip(StorageChange.objects.order_by("pk"), moments, strict=True):
            StorageChange.objects.filter(pk=row.pk).update(at=at)


def metered(company: Company, store: VectorStore, until: datetime = MIDNIGHT) -> list[Any]:
    """Meter a store, and return the day and the quantity of each of its rows."""
    meter_store(company.tenant.pk, store.pk, until)
    with company.scope():
        rows = Usage.objects.filter(kind="storage", call=store.pk).order_by("pk")
        return [(row.created_at.day, row.quantity) for row in rows]


def test_every_way_in_and_out_of_a_store_is_noted(acme: Company, store: VectorStore) -> None:
    first, second, third = (fill(acme, store, size) for size in (500, 70, 9))
    with acme.scope():
        StoreFile.objects.filter(pk=first.pk).delete()
        File.objects.filter(pk=second.file_id).delete()
        VectorStore.objects.filter(pk=store.pk).delete()
    assert [size for size, _at in changes(acme)] == [500, 70, 9, -500, -70, -9]
    assert third.usage_bytes == 9


def test_what_holds_nothing_is_not_noted(acme: Company, store: VectorStore) -> None:
    fill(acme, store, 0)
    assert changes(acme) == []


def test_a_day_counts_by_the_second(acme: Company, store: VectorStore) -> None:
    row = fill(acme, store, 4 * GB)
    with acme.scope():
        StoreFile.objects.filter(pk=row.pk).delete()
    happened(acme, NOON, NOON + timedelta(hours=6))
    assert metered(acme, store) == [(10, Decimal(1))]


def test_days_without_a_change_count_too(acme: Company, store: VectorStore) -> None:
    fill(acme, store, 2 * GB)
    happened(acme, NOON)
    assert metered(acme, store) == [(10, Decimal(1)), (11, Decimal(2))]


def test_a_repeat_writes_nothing_down_twice(acme: Company, store: VectorStore) -> None:
    fill(acme, store, 2 * GB)
    happened(acme, NOON)
    assert metered(acme, store) == metered(acme, store)
    assert metered(acme, store, MIDNIGHT + DAY)[2:] == [(12, Decimal(2))]


def test_a_crash_leaves_all_or_nothing(
    acme: Company, store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(acme, store, 2 * GB)
    happened(acme, NOON)

    def dies(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(StorageChange, "save", dies)
        with pytest.raises(RuntimeError):
            metered(acme, store)
    assert metered(acme, store) == [(10, Decimal(1)), (11, Decimal(2))]


def test_what_is_too_little_to_write_down_is_carried(acme: Company, store: VectorStore) -> None:
    fill(acme, store, 1500)
    happened(acme, datetime(2026, 3, 10, tzinfo=UTC))
    millionth = Decimal("0.000001")
    assert metered(acme, store) == [(10, millionth), (11, 2 * millionth)]


def test_a_change_that_comes_to_light_late_is_made_up_for(
    acme: Company, store: VectorStore
) -> None:
    row = fill(acme, store, 4 * GB)
    happened(acme, NOON - DAY / 2)
    assert metered(acme, store, NOON + DAY / 2) == [(10, Decimal(4))]
    with acme.scope():
        StoreFile.objects.filter(pk=row.pk).delete()
        StorageChange.objects.filter(bytes__lt=0).update(at=NOON)
    # Two too many were written down for the tenth; nothing is held afterwards.
    fill(acme, store, 3 * GB)
    with acme.scope():
        StorageChange.objects.filter(bytes=3 * GB).update(at=NOON + DAY / 2)
    assert metered(acme, store)[1:] == [(11, Decimal(1))]


def test_only_days_that_are_over_are_found(acme: Company, store: VectorStore) -> None:
    fill(acme, store, 10)
    happened(acme, NOON)
    assert call_privileged("storage_to_meter", NOON, 10) == []
    assert call_privileged("storage_to_meter", MIDNIGHT, 10) == [(store.pk, acme.tenant.pk)]


def test_the_job_meters_all_companies_up_to_midnight(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOON + 2 * DAY)
    for company in (world.acme, world.globex):
        with company.scope():
            fill(company, VectorStore.objects.create(name="Mine"), GB)
        happened(company, NOON)
    asyncio.run(meter_storage.func(timestamp=0))
    for company in (world.acme, world.globex):
        with company.scope():
            days = Usage.objects.filter(kind="storage").order_by("created_at")
            assert [*days.values_list("quantity", flat=True)] == [Decimal("0.5"), Decimal(1)]


def test_storage_has_the_companys_own_price(acme: Company, store: VectorStore) -> None:
    owner = acme.principal("olga")
    set_price(owner, model="", kind="storage", price=Decimal("0.10"), currency="USD")
    fill(acme, store, GB)
    happened(acme, NOON)
    metered(acme, store)
    with acme.scope():
        row = Usage.objects.filter(kind="storage").latest("pk")
    assert (row.price, row.currency, row.unit, row.member_id) == (
        Decimal("0.10"),
        "USD",
        "GB-day",
        None,
    )


@pytest.mark.parametrize(("model", "kind"), [("gpt", "storage"), ("", "input_tokens")])
def test_a_price_names_a_model_for_tokens_only(acme: Company, model: str, kind: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        set_price(acme.principal("olga"), model=model, kind=kind, price=Decimal(1), currency="USD")
    assert refused.value.param == "model"


def test_owners_set_a_price_for_code_sessions(acme: Company) -> None:
    form = {"model": "", "kind": "code_session", "price": "0.03", "currency": "USD"}
    assert acme.client("olga").post("/admin/chat/price/add/", form).status_code == 302
    with acme.scope():
        assert Price.objects.get().kind == "code_session"


@pytest.fixture
def used(acme: Company, store: VectorStore) -> Client:
    """An admin of a company that stored something in March."""
    with acme.scope():
        Usage.objects.all().delete()
        Usage.objects.create(
            call=store.pk,
            model=store.pk,
            kind="storage",
            quantity=Decimal("1.5"),
            unit="GB-day",
            price=Decimal("0.1"),
            currency="USD",
            created_at=NOON,
        )
        acme.people["alice"].name = '=HYPERLINK("http://evil.example")'
        acme.people["alice"].save()
        Usage.objects.create(
            member=acme.people["alice"],
            call="c",
            model="+m",
            kind="input_tokens",
            quantity=10,
            unit="token",
            created_at=NOON,
        )
    return acme.client("adam")


def test_the_page_shows_storage_and_whose_it_is(used: Client) -> None:
    page = used.get("/admin/chat/usage/").content.decode()
    assert "1.500000 GB-day" in page
    assert "the company" in page
    assert "0.1 USD per GB-day" in page
    assert "/admin/chat/usage/export/?month=2026-03" in page


def test_a_session_of_code_is_no_request_to_the_model_server(acme: Company) -> None:
    run = acme.runs["alice"]
    with acme.scope():
        Usage.objects.create(
            member=acme.alice,
            run=run,
            call="call_1",
            model="code_session",
            kind="code_session",
            quantity=1,
            unit="session",
        )
    admin = acme.client("adam")
    trace = admin.get(f"/admin/chat/run/{quote(run.pk)}/change/")
    assert [request["model"] for request in trace.context["requests"]] == ["demo-scripted"]
    assert "1 code session<" in admin.get("/admin/chat/usage/").content.decode()


def exported(client: Client, month: str) -> list[list[str]]:
    response = client.get(f"/admin/chat/usage/export/?month={month}")
    return list(csv.reader(StringIO(response.content.decode())))[1:]


def test_the_export_has_sums_by_day_and_no_formulas(used: Client) -> None:
    lines = exported(used, "2026-03")
    assert ["2026-03-10", "", "Policies", "storage", "used", "1.5", "GB-day"] in [
        line[:7] for line in lines
    ]
    assert ['\'=HYPERLINK("http://evil.example")', "'+m"] in [line[1:3] for line in lines]
    assert exported(used, "2026-04") == []


@pytest.mark.parametrize("month", ["2026-13", "x", "99999-01", "2026-1", "0000-01"])
def test_no_month_is_no_server_error(used: Client, month: str) -> None:
    assert used.get(f"/admin/chat/usage/export/?month={month}").status_code == 400


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\n@x", "\uff1d1"]
)
def test_formulas_are_made_harmless(cell: str) -> None:
    assert escape_cell(cell) == f"'{cell}"


def test_plain_cells_stay_as_they_are() -> None:
    assert [escape_cell(cell) for cell in ("a=b", "", "3.5", "a-b")] == ["a=b", "", "3.5", "a-b"]
