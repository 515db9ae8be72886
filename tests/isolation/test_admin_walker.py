"""Every page of the admin, walked with another company's ids: nothing of it shows or changes.

The walk is made from the site's own registry and addresses; a page without a recipe fails.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.db import models
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

import chat.admin  # noqa: F401 - registers the pages
from chat.ids import new_id
from chat.models import File, Price, StoreFile, TenantPolicy, VectorStore
from tenants.admin import TenantScopedAdmin, site
from tests.database import TestDatabase
from tests.isolation.conftest import take_first_wall_away
from tests.world import Company, World

PAGES = list(site._registry.values())
LABELS = [page.opts.label for page in PAGES]
ROW_PAGES = {"change", "history", "delete", "do", "upload", "content"}
LIST_PAGES = {"changelist", "add", "export"}
TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="[^"]+"')


@pytest.fixture
def walked(world: World) -> World:
    """The world with a row in each company for every page."""
    for company in (world.acme, world.globex):
        with company.scope():
            Price.objects.create(
                model=f"{company.canary}MODEL", kind="input_tokens", price=Decimal(1)
            )
            TenantPolicy.objects.create(approval_tools=[f"{company.canary}TOOL"])
            _collection(company)
    return world


def _collection(company: Company) -> None:
    """Make a document of the company's in a collection; its bytes are nowhere."""
    store = VectorStore.objects.create(name=f"{company.canary}STORE")
    file = File.objects.create(
        purpose="assistants",
        filename=f"{company.canary}FILE",
        media_type="text/plain",
        storage_key=f"files/{uuid.uuid4().hex}",
        stored_at=timezone.now(),
    )
    StoreFile.objects.create(store=store, file=file, text=f"{company.canary}READ")
    company.collection, company.document = store, file  # type: ignore[attr-defined]


@pytest.fixture(params=PAGES, ids=LABELS)
def page(request: pytest.FixtureRequest) -> TenantScopedAdmin:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=["olga", "adam"])
def visitor(request: pytest.FixtureRequest, walked: World) -> Client:
    return walked.acme.client(request.param)


@pytest.fixture
def owner(walked: World) -> Client:
    """Who sees every form and every row of acme."""
    return walked.acme.client("olga")


def rows_of(page: TenantScopedAdmin, company: Company) -> list[models.Model]:
    with company.scope():
        rows = list(page.model.objects.all())
    assert rows, f"{page.opts.label}: the world has no row, so the walk would prove nothing."
    return rows


def unknown_id(row: models.Model) -> str:
    if isinstance(row._meta.pk, models.UUIDField):
        return str(uuid.uuid4())
    if isinstance(row._meta.pk, models.AutoField):
        return "987654321"
    return new_id(re.sub(r"[^_]+$", "", str(row.pk)))


def address(page: TenantScopedAdmin, *parts: str) -> str:
    path = f"/admin/{page.opts.app_label}/{page.opts.model_name}/"
    return path + "".join(f"{part}/" for part in parts)


def row_addresses(page: TenantScopedAdmin, row_id: str) -> Iterator[str]:
    for name in sorted(names_of(page) & ROW_PAGES - {"do"}):
        yield address(page, quote(row_id), name)
    for button in page.buttons:
        yield address(page, quote(row_id), "do", button.name)


def names_of(page: TenantScopedAdmin) -> set[str]:
    return {url.name.rpartition("_")[2] for url in page.get_urls() if url.name}


def answer(client: Client, method: str, url: str, *ids: str) -> tuple[Any, ...]:
    """Return all of an answer that may be compared, with `ids` blotted out."""
    response = getattr(client, method)(url, {"post": "yes"}, follow=True)
    body = TOKEN.sub(b"", response.content)
    hops = [(url, status) for url, status in response.redirect_chain]
    for row_id in (form for item in ids for form in (item, quote(item))):
        alone = re.compile(rf"(?<![\w%.-]){re.escape(row_id)}(?![\w%.-])")
        body = alone.sub("ID", body.decode()).encode()
        hops = [(alone.sub("ID", url), status) for url, status in hops]
    return response.status_code, hops, sorted(response.headers), body


def contents(database: TestDatabase, company: Company) -> list[Any]:
    """Return everything the company has, as the database's owner sees it."""
    found = []
    for model in (page.model for page in PAGES):
        column = "id" if model._meta.label == "tenants.Tenant" else "tenant_id"
        query = f"SELECT t::text FROM {model._meta.db_table} t WHERE {column} = %s ORDER BY 1"
        found.append(database.owner.execute(query, [company.tenant.pk]).fetchall())
    return found


def test_every_page_is_of_a_kind_the_walk_knows(page: TenantScopedAdmin) -> None:
    assert isinstance(page, TenantScopedAdmin)
    assert names_of(page) <= ROW_PAGES | LIST_PAGES
    assert page.actions is None
    assert not page.autocomplete_fields
    assert not page.inlines


@pytest.mark.parametrize("method", ["get", "post"])
def test_foreign_rows_answer_like_unknown_ones(
    page: TenantScopedAdmin, walked: World, visitor: Client, database: TestDatabase, method: str
) -> None:
    foreign = rows_of(page, walked.globex)[0]
    before = contents(database, walked.globex)
    foreign_id, other_id = str(foreign.pk), unknown_id(foreign)
    pairs = zip(row_addresses(page, foreign_id), row_addresses(page, other_id), strict=True)
    for named, missing in pairs:
        theirs = answer(visitor, method, named, foreign_id, other_id)
        assert theirs == answer(visitor, method, missing, foreign_id, other_id), named
        assert walked.globex.canary.encode() not in theirs[3]
    assert contents(database, walked.globex) == before


def lists_of(page: TenantScopedAdmin, company: Company) -> Iterator[str]:
    """Yield the list and what can be asked of it: search, filters, orders, forged lookups."""
    row = rows_of(page, company)[0]
    yield from ("", "?p=1", "?all=", "?o=1", "?o=-1.2")
    # The page repeats what was searched for: small letters find the canary and are not it.
    yield f"?q={company.canary.lower()}"
    for item in page.list_filter:
        if isinstance(item, str):
            yield f"?{item}__exact={getattr(row, item)}"
        else:
            yield f"?{item.parameter_name}={getattr(row, item.parameter_name)}"
    yield from (f"?pk__in={row.pk}", f"?id__exact={row.pk}", f"?tenant__id={company.tenant.pk}")
    yield from ("?tenant__name__startswith=G", "?user__password__startswith=p", "?_to_field=tenant")


def assert_nothing_of(company: Company, page: TenantScopedAdmin, body: bytes) -> None:
    assert company.canary.encode() not in body
    for row in rows_of(page, company):
        if len(str(row.pk)) > 8:
            assert str(row.pk).encode() not in body


def test_lists_searches_filters_and_choices_hold_no_foreign_byte(
    page: TenantScopedAdmin, walked: World, owner: Client
) -> None:
    for question in lists_of(page, walked.globex):
        response = owner.get(address(page) + question, follow=True)
        assert response.status_code in (200, 400)
        assert_nothing_of(walked.globex, page, response.content)
    for name in names_of(page) & LIST_PAGES - {"changelist"}:
        assert_nothing_of(walked.globex, page, owner.get(address(page, name)).content)


def test_own_rows_hold_no_foreign_byte(
    page: TenantScopedAdmin, walked: World, owner: Client
) -> None:
    for row in rows_of(page, walked.acme):
        for url in row_addresses(page, str(row.pk)):
            assert_nothing_of(walked.globex, page, owner.get(url, follow=True).content)


def test_bulk_actions_do_nothing(
    page: TenantScopedAdmin, walked: World, owner: Client, database: TestDatabase
) -> None:
    before = contents(database, walked.globex), contents(database, walked.acme)
    chosen = [str(rows_of(page, company)[0].pk) for company in (walked.globex, walked.acme)]
    data = {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}
    owner.post(address(page), data)
    assert (contents(database, walked.globex), contents(database, walked.acme)) == before


def test_autocomplete_finds_no_foreign_row(
    page: TenantScopedAdmin, walked: World, owner: Client
) -> None:
    for field in page.opts.get_fields():
        if not field.is_relation:
            continue
        asked = {
            "app_label": page.opts.app_label,
            "model_name": page.opts.model_name,
            "field_name": field.name,
            "term": "",
        }
        response = owner.get("/admin/autocomplete/", asked)
        assert walked.globex.canary.encode() not in response.content
        assert response.status_code in (200, 403, 404)


def test_row_level_security_alone_holds(
    page: TenantScopedAdmin, walked: World, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = str(rows_of(page, walked.acme)[0].pk)
    foreign = str(rows_of(page, walked.globex)[0].pk)
    take_first_wall_away(monkeypatch)
    lists = (address(page, name) for name in sorted(names_of(page) & LIST_PAGES - {"changelist"}))
    urls = [address(page), *lists, *row_addresses(page, own)]
    for url in [*urls, *row_addresses(page, foreign)]:
        response = owner.get(url, follow=True)
        assert walked.globex.canary.encode() not in response.content, url


# What the forms below take, but for the choice.
FITTING = {
    "name": "A",
    "color": "#112233",
    "rights": "read",
    "valid_for": "",
    "model": "demo-scripted",
    "busy_policy": "queue",
}
FORGED: dict[str, tuple[str, Callable[[Company], Any]]] = {
    "tenants/tenant": ("default_assistant", lambda company: company.assistant.pk),
    "tenants/apikey": ("member_id", lambda company: company.people["pat"].pk),
    "chat/assistant": ("collection", lambda company: company.collection.pk),
    "chat/assistant/": ("code_files", lambda company: company.document.pk),
}


@pytest.mark.parametrize("where", FORGED)
def test_foreign_choices_in_forms_answer_like_unknown_ones(
    where: str, walked: World, database: TestDatabase
) -> None:
    field, foreign_of = FORGED[where]
    url = f"/admin/{where.strip('/')}/add/"
    if where == "tenants/tenant":
        url = f"/admin/{where}/{walked.acme.tenant.pk}/change/"
    foreign = str(foreign_of(walked.globex))
    prefix = re.match(r"[a-z]+[_-]", foreign)
    other = str(uuid.uuid4()) if field == "member_id" or prefix is None else new_id(prefix[0])
    before = contents(database, walked.globex), contents(database, walked.acme)
    client = walked.acme.client("olga")
    seen = client.get(url).context["adminform"].form["seen"].value() or ""
    bodies = []
    for chosen in (foreign, other):
        data = {**FITTING, field: chosen, "seen": seen}
        response = client.post(url, data)
        assert response.status_code == 200
        bodies.append(TOKEN.sub(b"", response.content).replace(chosen.encode(), b"ID"))
    assert bodies[0] == bodies[1]
    assert (contents(database, walked.globex), contents(database, walked.acme)) == before


def every_address(world: World) -> Iterator[str]:
    """Yield each address of the site with ids of acme's rows filled in."""
    for page in PAGES:
        row_id = quote(str(rows_of(page, world.acme)[0].pk))
        yield from (address(page, *parts) for parts in ((), ("add",), (row_id,)))
        for name in names_of(page) & LIST_PAGES - {"changelist"}:
            yield address(page, name)
        for name in names_of(page) & ROW_PAGES - {"do"}:
            yield address(page, row_id, name)
        yield address(page, row_id, "do", "anything")
    for url in site.get_urls():
        if isinstance(url, URLPattern):
            yield "/admin/" + filled(url, world)


def filled(url: URLPattern, world: World) -> str:
    known = {"company": str(world.acme.tenant.pk), "app_label": "chat", "url": "anything"}
    route = str(url.pattern)
    if not url.pattern.converters and "(?P<" in route:
        route = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", route).strip("^$").removesuffix("/?")
    for name in re.findall(r"<(?:\w+:)?(\w+)>", route):
        assert name in known, f"The walk has no value for {name} in {route}."
        route = re.sub(rf"<(?:\w+:)?{name}>", known[name], route)
    return route


def test_the_walk_meets_every_address_of_the_site(walked: World) -> None:
    resolver = get_resolver()
    met = {resolver.resolve(url).route for url in every_address(walked)}
    registered: set[str] = set()
    for url in site.get_urls():
        inner = url.url_patterns if isinstance(url, URLResolver) else [None]
        for item in inner:
            route = str(url.pattern) + (str(item.pattern) if item else "")
            registered.add("admin/" + route.removeprefix("^"))
    assert registered <= met


@pytest.mark.parametrize("method", ["get", "post"])
def test_members_get_in_nowhere(walked: World, method: str, database: TestDatabase) -> None:
    before = contents(database, walked.acme)
    client = walked.acme.client("alice")
    for url in every_address(walked):
        response = getattr(client, method)(url)
        outside = response.status_code == 302 and "/accounts/" in response["Location"]
        assert response.status_code == 403 or outside, url
    assert contents(database, walked.acme) == before


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_signed_out_and_keys_get_in_nowhere(walked: World, method: str) -> None:
    secret = walked.acme.key_secrets["olga"]
    for headers in ({}, {"Authorization": f"Bearer {secret}"}):
        client = Client(headers=headers)
        for url in every_address(walked):
            response = getattr(client, method)(url)
            assert response.status_code == 302, url
            assert response["Location"].startswith("/accounts/"), url


def test_operators_pages_are_for_operators(walked: World) -> None:
    client = walked.acme.client("olga")
    for name in (
        "",
        "add/",
        "leave/",
        "reset-link/",
        "second-factor/",
        f"{walked.globex.tenant.pk}/enter/",
    ):
        for method in ("get", "post"):
            assert getattr(client, method)(f"/admin/companies/{name}").status_code == 403
