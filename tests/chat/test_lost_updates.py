"""Two people who save the same form: one of them is told, and decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import count

import pytest
from django.db import models
from django.test import Client

from chat.actions.assistants.manage import create_assistant, set_default_assistant
from chat.actions.settings import set_price, update_limits
from chat.models import Assistant, Price, TenantPolicy, VectorStore
from tenants.models import AuditEvent, Membership, Tenant
from tests.api.conftest import Api, assert_error, program_of
from tests.api.racing import at_once
from tests.chat.test_admin_pages import assistant_data, page_of
from tests.retrieval.conftest import make_store
from tests.world import Company, World


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form: the row it changes, what is typed, and which field two people disagree about."""

    row: Callable[[Company], models.Model]
    data: dict[str, str]
    field: str
    values: tuple[str, str]
    quoted: tuple[str, str]


def make_limits(company: Company) -> TenantPolicy:
    owner = company.principal("olga")
    return update_limits(owner, max_tokens_per_run=100, max_cost_per_run=None, approval_tools=[])


def make_price(company: Company) -> Price:
    owner = company.principal("olga")
    return set_price(owner, model="m", kind="input_tokens", price=Decimal(1), currency="USD")


FORMS = {
    "assistant": Form(
        row=lambda company: company.assistant,
        data=assistant_data(),
        field="instructions",
        values=("Be <b>short</b>.", "Be long."),
        quoted=("Be &lt;b&gt;short&lt;/b&gt;.", "Be long."),
    ),
    "limits": Form(
        row=make_limits,
        data={},
        field="max_tokens_per_run",
        values=("7001", "7002"),
        quoted=("7001", "7002"),
    ),
    "price": Form(
        row=make_price,
        data={"currency": "USD"},
        field="price",
        values=("2.5", "3.5"),
        quoted=("2.500000", "3.5"),
    ),
    "collection": Form(
        row=make_store,
        data={"name": "Rules"},
        field="description",
        values=("First", "Second"),
        quoted=("First", "Second"),
    ),
    "member": Form(
        row=lambda company: company.alice,
        data={},
        field="role",
        values=("admin", "owner"),
        quoted=("Admin", "Owner"),
    ),
    "company": Form(
        row=lambda company: company.tenant,
        data={"color": "#112233", "default_assistant": ""},
        field="name",
        values=("First name", "Second name"),
        quoted=("First name", "Second name"),
    ),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return FORMS[request.param]


def owners(company: Company, number: int) -> list[Client]:
    """Return people who may change everything."""
    with company.scope():
        Membership.objects.filter(pk=company.people["adam"].pk).update(role="owner")
    return [company.client(name) for name in ("olga", "adam")] * (number // 2)


def open_page(client: Client, row: models.Model) -> str:
    """Open the page of a row, and return the version that its form carries."""
    return str(client.get(page_of(row)).context["adminform"].form["seen"].value())


def stored(company: Company, row: models.Model, field: str) -> str:
    with company.scope():
        return str(type(row)._default_manager.values_list(field, flat=True).get(pk=row.pk))


def test_the_second_of_two_is_told_and_saves_again(world: World, form: Form) -> None:
    row = form.row(world.acme)
    olga, adam = owners(world.acme, 2)
    seen = open_page(olga, row)
    first, second = ({**form.data, form.field: value, "seen": seen} for value in form.values)
    assert adam.post(page_of(row), first).status_code == 302
    refused = olga.post(page_of(row), second)
    assert refused.status_code == 200
    page = refused.content.decode()
    assert f"{world.acme.people['adam'].name} changed this in the meantime (" in page
    now, typed = form.quoted
    assert f"the saved value is “{now}”, yours is “{typed}”." in page
    shown = refused.context["adminform"].form
    assert shown[form.field].value() == form.values[1]
    before = stored(world.acme, row, form.field)
    again = olga.post(page_of(row), {**second, "seen": shown["seen"].value()})
    assert again.status_code == 302
    assert stored(world.acme, row, form.field) != before


def test_only_what_differs_is_quoted_however_lines_end(world: World) -> None:
    row = world.acme.assistant
    with world.acme.scope():
        type(row).objects.filter(pk=row.pk).update(suggested_prompts=["Hello", "Bye"])
    olga, adam = owners(world.acme, 2)
    seen = open_page(olga, row)
    # Browsers send the lines of a text area with CRLF.
    lines = {"suggested_prompts": "Hello\r\nBye", "seen": seen}
    assert (
        adam.post(page_of(row), assistant_data(instructions="A\r\nB", **lines)).status_code == 302
    )
    refused = olga.post(page_of(row), assistant_data(instructions="A\r\nC", **lines))
    page = refused.content.decode()
    assert "Instructions</strong>: the saved value is" in page
    assert "Suggested prompts</strong>: the saved value is" not in page
    same = olga.post(page_of(row), assistant_data(instructions="A\r\nB", **lines))
    assert "changed this in the meantime" in same.content.decode()
    assert "</strong>: the saved value is" not in same.content.decode()
    assert "<p>Nothing was saved. Your values are below" in page
    # Nothing has to be corrected, so that nobody is asked to.
    assert "Please correct the error" not in page


def test_of_eight_at_once_one_wins(world: World, form: Form) -> None:
    row = form.row(world.acme)
    clients = owners(world.acme, 8)
    seen = open_page(clients[0], row)
    waiting = iter(clients)
    numbers = count()

    def save() -> int:
        client = Client()
        client.cookies = next(waiting).cookies
        value = form.values[next(numbers) % 2]
        answer = client.post(page_of(row), {**form.data, form.field: value, "seen": seen})
        return answer.status_code

    assert sorted(at_once(8, save)) == [200] * 7 + [302]


@pytest.mark.parametrize("seen", [None, "", "x", "-1", "1.0", "9" * 5000, "\x00"])
def test_a_form_that_does_not_say_what_was_seen_is_refused(
    world: World, form: Form, seen: str | None
) -> None:
    row = form.row(world.acme)
    (olga, _adam) = owners(world.acme, 2)
    data = {**form.data, form.field: form.values[0]}
    before = stored(world.acme, row, form.field)
    answer = olga.post(page_of(row), data if seen is None else {**data, "seen": seen})
    assert answer.status_code == 200
    assert stored(world.acme, row, form.field) == before


def test_a_change_by_the_api_is_noticed_by_the_form(world: World) -> None:
    adam = world.acme.client("adam")
    seen = open_page(adam, world.acme.assistant)
    program_of(world.acme, "olga").made(
        f"assistants/{world.acme.assistant.pk}", description="By a program"
    )
    answer = adam.post(page_of(world.acme.assistant), {**assistant_data(), "seen": seen})
    page = answer.content.decode()
    assert "the saved value is “By a program”, yours is “”." in page
    with world.acme.scope():
        assert Assistant.objects.get().description == "By a program"


def test_what_no_form_shows_is_no_change(world: World) -> None:
    store = make_store(world.acme)
    (olga, _adam) = owners(world.acme, 2)
    seen = open_page(olga, store), open_page(olga, world.acme.alice)
    with world.acme.scope():
        VectorStore.objects.update(last_active_at=world.acme.tenant.created_at)
        Membership.objects.filter(pk=world.acme.alice.pk).update(language="de")
    assert (open_page(olga, store), open_page(olga, world.acme.alice)) == seen


def test_two_first_limits_are_no_exception(world: World) -> None:
    olga, adam = owners(world.acme, 2)
    address = "/admin/chat/tenantpolicy/add/"
    for client in (olga, adam):
        assert client.get(address).context["adminform"].form["seen"].value() == 0
    assert olga.post(address, {"max_tokens_per_run": "7001", "seen": "0"}).status_code == 302
    refused = adam.post(address, {"max_tokens_per_run": "7002", "seen": "0"})
    assert "the saved value is “7001”, yours is “7002”." in refused.content.decode()
    shown = refused.context["adminform"].form
    data = {"max_tokens_per_run": "7002", "seen": shown["seen"].value()}
    assert adam.post(address, data).status_code == 302
    with world.acme.scope():
        assert TenantPolicy.objects.get().max_tokens_per_run == 7002


def test_a_price_that_is_there_is_not_set_again_unseen(world: World) -> None:
    make_price(world.acme)
    (olga, _adam) = owners(world.acme, 2)
    data = {"model": "m", "kind": "input_tokens", "price": "9", "currency": "USD", "seen": "0"}
    refused = olga.post("/admin/chat/price/add/", data)
    assert "the saved value is “1.000000”, yours is “9”." in refused.content.decode()
    again = {**data, "seen": refused.context["adminform"].form["seen"].value()}
    assert olga.post("/admin/chat/price/add/", again).status_code == 302
    with world.acme.scope():
        assert Price.objects.get().price == 9


def test_another_default_assistant_is_a_change_of_the_company(world: World) -> None:
    adam = world.acme.principal("adam")
    other = create_assistant(adam, name="Other", model="demo-scripted", upstream="")
    (olga, _adam) = owners(world.acme, 2)
    seen = open_page(olga, world.acme.tenant)
    set_default_assistant(adam, other.pk)
    chosen = {"default_assistant": world.acme.assistant.pk, "name": "A", "color": "#112233"}
    refused = olga.post(page_of(world.acme.tenant), {**chosen, "seen": seen})
    assert "changed this in the meantime" in refused.content.decode()
    with world.acme.scope():
        assert Assistant.objects.get(is_default=True).pk == other.pk


def test_the_default_assistant_stays_the_default_when_it_is_saved(world: World) -> None:
    (olga, _adam) = owners(world.acme, 2)
    set_default_assistant(world.acme.principal("adam"), world.acme.assistant.pk)
    seen = open_page(olga, world.acme.assistant)
    data = {**assistant_data(), "in_page": "on", "is_default": "on", "seen": seen}
    assert olga.post(page_of(world.acme.assistant), data).status_code == 302
    with world.acme.scope():
        assert Assistant.objects.get().is_default


def test_who_lost_the_default_is_in_the_audit_log(world: World) -> None:
    adam = world.acme.principal("adam")
    set_default_assistant(adam, world.acme.assistant.pk)
    other = create_assistant(adam, name="Other", model="demo-scripted", upstream="")
    set_default_assistant(adam, other.pk)
    with world.acme.scope():
        events = AuditEvent.objects.filter(subject=world.acme.assistant.pk)
        newest = events.order_by("created_at").last()
    assert newest is not None
    assert (newest.action, newest.data["fields"]) == ("assistant.changed", ["is_default"])


def test_simultaneous_partial_updates_of_a_program_both_survive(world: World) -> None:
    assistant = world.acme.assistant.pk
    secret = program_of(world.acme, "adam").secret
    fields = iter(
        [
            {"name": "N"},
            {"description": "D"},
            {"instructions": "I"},
            {"metadata": {"a": "b"}},
            {"temperature": 0.5},
            {"top_p": 0.25},
            {"model": "demo-scripted"},
            {"tools": [{"type": "code_interpreter"}]},
        ]
    )

    def change() -> int:
        api = Api(secret=secret, client=Client())
        return int(api.post(f"assistants/{assistant}", next(fields)).status_code)

    assert at_once(8, change) == [200] * 8
    found = Api(secret=secret).get(f"assistants/{assistant}").json()
    assert (found["name"], found["description"], found["instructions"]) == ("N", "D", "I")
    assert (found["metadata"], found["temperature"], found["top_p"]) == ({"a": "b"}, 0.5, 0.25)
    assert found["tools"] == [{"type": "code_interpreter"}]


def conditional(api: Api, etag: str) -> Api:
    """Return the program with a condition on its next requests."""
    return Api(secret=api.secret, headers={**api.headers, "If-Match": etag})


@pytest.mark.parametrize("kind", ["assistants", "vector_stores"])
def test_a_program_changes_only_what_it_has_seen(world: World, kind: str) -> None:
    api = program_of(world.acme, "adam")
    made = api.made(kind, **({"model": "demo-scripted"} if kind == "assistants" else {}))
    path = f"{kind}/{made['id']}"
    seen = api.get(path)["ETag"]
    changed = conditional(api, seen).post(path, {"name": "First"})
    assert changed.status_code == 200
    assert changed["ETag"] == api.get(path)["ETag"] != seen
    refused = conditional(api, seen).post(path, {"name": "Second"})
    assert_error(refused, 412, code="changed_meanwhile")
    assert api.get(path).json()["name"] == "First"
    assert conditional(api, "*").post(path, {"name": "Third"}).status_code == 200
    for bad in ("", "3", '"x"', 'W/"1"', '"1", "2"', '"' + "9" * 5000 + '"'):
        assert_error(conditional(api, bad).post(path, {"name": "No"}), 400, code="invalid_value")


def test_a_program_wins_against_no_other_unseen(world: World) -> None:
    path = f"assistants/{world.acme.assistant.pk}"
    secret = program_of(world.acme, "adam").secret
    seen = Api(secret=secret).get(path)["ETag"]
    numbers = count()

    def change() -> int:
        api = conditional(Api(secret=secret, client=Client()), seen)
        return int(api.post(path, {"name": f"N{next(numbers)}"}).status_code)

    assert sorted(at_once(8, change)) == [200] + [412] * 7


def test_a_version_never_goes_back(world: World) -> None:
    with world.acme.scope():
        old = Tenant.objects.get()
        Tenant.objects.update(name="Changed")
        current = Tenant.objects.get().version
        old.suspended_at = None
        old.save(update_fields=["suspended_at", "version"])
        assert Tenant.objects.get().version == current > old.version
