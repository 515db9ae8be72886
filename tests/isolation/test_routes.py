"""Every address, asked with ids of another company or another person: as for unknown ids.

Addresses come from the resolver; one without a recipe here fails the test. Those of the admin
are walked in test_admin_walker, those of the API in test_api.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tenants.admin import site
from tests.database import TestDatabase
from tests.isolation.rows import PEOPLE, Rows, blotted, contents, unknown


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request with `{id}` where an id of `kind` goes; without a kind it takes no id."""

    url: str
    method: str = "get"
    kind: str = ""
    form: dict[str, str] = field(default_factory=dict)
    json: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    signed_out: bool = False

    def send(self, client: Client, row_id: str) -> Any:
        """Send it and return the response."""
        cache.clear()  # so that no rate limit answers in the place of the view
        body: dict[str, Any] = {"data": {k: _put(v, row_id) for k, v in self.form.items()}}
        if self.json:
            body = {"data": _put(self.json, row_id), "content_type": "application/json"}
        headers = {k: _put(v, row_id) for k, v in self.headers.items()}
        if self.method == "get":
            body = {}
        send = getattr(client, self.method)
        return send(_put(self.url, row_id), headers=headers, **body)


def _put(text: str, row_id: str) -> str:
    return text.replace("{id}", row_id)


def page(url: str, *, kind: str = "", method: str = "get", json: str = "") -> Ask:
    return Ask(url=url, kind=kind, method=method, json=json)


def plain(url: str) -> tuple[Ask, ...]:
    """An address that takes no id: what it shows is looked at, and that posting harms nobody."""
    return (Ask(url=url), Ask(url=url, method="post"))


def _message(
    *, thread: str = "null", assistant: str = "{own assistant}", more: str = '"content": "hi"'
) -> str:
    asked = f'"client_id": "{{id}}", "assistant": "{assistant}", {more}'
    return f'{{"thread": {thread}, {asked}}}'


ATTACHED = '"content": "hi", "attachments": [{"file_id": "{id}", "tools": []}]'
SHOWN = '"content": [{"type": "image_file", "image_file": {"file_id": "{id}"}}]'
MEMBERSHIP = {"X-Atrium-Membership": "{id}"}
THREADS = "/page/threads/{id}/"

RECIPES: dict[str, tuple[Ask, ...]] = {
    "accounts/login/": (
        *plain("/accounts/login/"),
        Ask(
            url="/accounts/login/",
            method="post",
            kind="email",
            form={"login": "{id}", "password": "wrong"},
            signed_out=True,
        ),
    ),
    "accounts/logout/": (Ask(url="/accounts/logout/"),),
    "accounts/inactive/": plain("/accounts/inactive/"),
    "accounts/reauthenticate/": plain("/accounts/reauthenticate/"),
    "accounts/password/change/": plain("/accounts/password/change/"),
    "accounts/password/reset/": (
        *plain("/accounts/password/reset/"),
        Ask(
            url="/accounts/password/reset/",
            method="post",
            kind="email",
            form={"email": "{id}"},
            signed_out=True,
        ),
    ),
    "accounts/password/reset/done/": plain("/accounts/password/reset/done/"),
    "accounts/^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>[^/]+)/$": (
        Ask(url="/accounts/password/reset/key/{id}-d1abcd-0123456789/", kind="user"),
        Ask(url="/accounts/password/reset/key/{id}-set-password/", kind="user", signed_out=True),
    ),
    "accounts/password/reset/key/done/": plain("/accounts/password/reset/key/done/"),
    "accounts/second-factor/": plain("/accounts/second-factor/"),
    "accounts/second-factor/code/": plain("/accounts/second-factor/code/"),
    # Without a sign-in that waits for a code it answers everybody alike: see test_waiver.
    "accounts/second-factor/waived/": plain("/accounts/second-factor/waived/"),
    "accounts/second-factor/company/": plain("/accounts/second-factor/company/"),
    "accounts/second-factor/confirm/": plain("/accounts/second-factor/confirm/"),
    "accounts/second-factor/app/on/": plain("/accounts/second-factor/app/on/"),
    "accounts/second-factor/app/off/": plain("/accounts/second-factor/app/off/"),
    "accounts/second-factor/recovery-codes/": plain("/accounts/second-factor/recovery-codes/"),
    "accounts/second-factor/recovery-codes/new/": plain(
        "/accounts/second-factor/recovery-codes/new/"
    ),
    "accounts/second-factor/recovery-codes/file/": plain(
        "/accounts/second-factor/recovery-codes/file/"
    ),
    "accounts/sign-ins/": (Ask(url="/accounts/sign-ins/"),),
    "companies/": plain("/companies/"),
    "switch/": (
        Ask(url="/switch/", method="post", kind="membership", form={"membership": "{id}"}),
    ),
    "no-company/": plain("/no-company/"),
    "profile/": (*plain("/profile/"), Ask(url="/profile/", kind="membership", headers=MEMBERSHIP)),
    "keys/": (*plain("/keys/"), Ask(url="/keys/", kind="membership", headers=MEMBERSHIP)),
    "keys/<uuid:key_id>/revoke/": (Ask(url="/keys/{id}/revoke/", method="post", kind="key"),),
    # The token of an invitation is a credential: only its row's id is an id.
    "invitations/<str:token>/": (Ask(url="/invitations/{id}/", kind="invitation"),),
    "": (Ask(url="/"), Ask(url="/", kind="membership", headers=MEMBERSHIP)),
    "threads/<str:thread_id>": (
        page("/threads/{id}", kind="thread"),
        page("/threads/{id}", kind="busy_thread"),
        page("/threads/{id}", kind="deleted_thread"),
    ),
    "^page/theme/(?P<colour>[0-9a-f]{6})\\.css$": plain("/page/theme/2563eb.css"),
    "page/reading/acknowledge": (
        *plain("/page/reading/acknowledge"),
        Ask(url="/page/reading/acknowledge", kind="membership", headers=MEMBERSHIP),
    ),
    "page/readers": (
        *plain("/page/readers"),
        Ask(url="/page/readers", kind="membership", headers=MEMBERSHIP),
    ),
    "page/assistants": (
        *plain("/page/assistants"),
        Ask(url="/page/assistants", kind="membership", headers=MEMBERSHIP),
    ),
    "page/messages": tuple(
        page("/page/messages", kind=kind, method="post", json=body)
        for kind, body in (
            ("thread", _message(thread='"{id}"')),
            ("deleted_thread", _message(thread='"{id}"')),
            ("assistant", _message(assistant="{id}")),
            ("file", _message(more=ATTACHED)),
            ("picture", _message(more=SHOWN)),
        )
    ),
    "page/files": (
        page("/page/files?ids={id}", kind="file"),
        Ask(url="/page/files", kind="membership", headers=MEMBERSHIP),
        *plain("/page/files"),
    ),
    "page/files/<str:file_id>": (page("/page/files/{id}", kind="second_file", method="delete"),),
    "page/files/<str:file_id>/content": (
        page("/page/files/{id}/content", kind="file"),
        page("/page/files/{id}/content?show=1", kind="picture"),
    ),
    "page/files/<str:file_id>/passage": (
        page("/page/files/{id}/passage?start=0&end=4", kind="file"),
    ),
    "page/threads": (
        page("/page/threads"),
        page("/page/threads?after={id}", kind="thread"),
        page("/page/threads?after={id}", kind="deleted_thread"),
        Ask(url="/page/threads", kind="membership", headers=MEMBERSHIP),
    ),
    "page/threads/<str:thread_id>/messages": (
        page(f"{THREADS}messages", kind="thread"),
        page(f"{THREADS}messages", kind="busy_thread"),
        page("/page/threads/{own thread}/messages?before={id}", kind="message"),
        page("/page/threads/{own thread}/messages?before={id}", kind="queued"),
    ),
    "page/threads/<str:thread_id>/rename": (
        page(f"{THREADS}rename", kind="thread", method="post", json='{"title": "Mine"}'),
        page(f"{THREADS}rename", kind="busy_thread", method="post", json='{"title": "Mine"}'),
    ),
    "page/threads/<str:thread_id>/delete": (
        page(f"{THREADS}delete", kind="thread", method="post", json="{}"),
        page(f"{THREADS}delete", kind="busy_thread", method="post", json="{}"),
    ),
    "page/threads/<str:thread_id>/restore": (
        page(f"{THREADS}restore", kind="deleted_thread", method="post", json="{}"),
    ),
}

ASKED = [(route, ask) for route, asks in RECIPES.items() for ask in asks]
WITH_ID = [ask for _route, ask in ASKED if ask.kind]
WITHOUT_ID = [ask for _route, ask in ASKED if not ask.kind]


def routes() -> Iterator[str]:
    """Yield every address of the resolver, as it is written."""

    def walk(patterns: list[Any], before: str) -> Iterator[str]:
        for pattern in patterns:
            here = before + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, here)
            else:
                assert isinstance(pattern, URLPattern)
                yield here

    yield from walk(get_resolver().url_patterns, "")


def test_every_address_has_a_recipe() -> None:
    outside = {route for route in routes() if not route.startswith(("admin/", "v1/"))}
    assert outside == set(RECIPES)


def test_every_address_of_the_admin_is_the_walkers() -> None:
    walked = {"admin/" + str(url.pattern) for url in site.get_urls()}
    for route in routes():
        if route.startswith("admin/"):
            assert any(route.startswith(item) for item in walked), route


@pytest.fixture(params=PEOPLE)
def person(request: pytest.FixtureRequest) -> str:
    """Somebody who acts for acme: a member, an admin, and one who is in globex too."""
    return str(request.param)


@pytest.fixture
def client(rows: Rows, person: str) -> Client:
    return rows.world.acme.client(person)


def seen(client: Client, ask: Ask, rows: Rows, person: str, row_id: str, *ids: str) -> Any:
    """Return everything of an answer that may be compared; globex's marks must not be in it."""
    filled = {"url": own(ask.url, rows, person), "json": own(ask.json, rows, person)}
    ask = Ask(**{**vars(ask), **filled})
    response = ask.send(Client() if ask.signed_out else client, row_id)
    body = blotted(b"".join(response).decode(), *ids)
    headers = str(response.headers)
    assert rows.world.globex.canary not in without_own_names(body + headers, rows, person), ask
    assert response.status_code != 500, ask
    place = blotted(response.headers.get("Location", ""), *ids)
    return response.status_code, sorted(response.headers), sorted(response.cookies), place, body


def without_own_names(text: str, rows: Rows, person: str) -> str:
    """Take out what somebody in both companies may see of the other: its name, and their own."""
    if person in rows.world.globex.people:
        for name in (rows.world.globex.tenant.name, rows.world.globex.people[person].name):
            text = text.replace(name, "")
    return text


def own(text: str, rows: Rows, person: str) -> str:
    mine = rows.of["acme"][person]
    for kind in ("thread", "assistant"):
        text = text.replace(f"{{own {kind}}}", str(mine[kind]))
    return text


def test_ids_of_others_answer_like_unknown_ones(
    rows: Rows, person: str, client: Client, walls: str, database: TestDatabase
) -> None:
    before = contents(database)
    for ask in WITH_ID:
        missing = unknown(ask.kind)
        others = list(rows.others(person, ask.kind))
        assert others, ask
        for other in others:
            theirs = seen(client, ask, rows, person, other, other, missing)
            assert theirs == seen(client, ask, rows, person, missing, other, missing), (ask, other)
    assert contents(database) == before


def test_the_recipes_reach_rows_where_the_id_is_ones_own(rows: Rows) -> None:
    client = rows.world.acme.client("alice")
    for ask in WITH_ID:
        own_id, missing = rows.of["acme"]["alice"][ask.kind], unknown(ask.kind)
        answer = seen(client, ask, rows, "alice", own_id, own_id, missing)
        elsewhere = seen(client, ask, rows, "alice", missing, own_id, missing)
        # One's own address, number and invitation tell a stranger nothing, deleted chats are
        # there for nothing but undo, and what is queued has no place in the history.
        silent = ("email", "user", "invitation", "queued")
        reachable = ask.kind not in silent and ("deleted" not in ask.kind or "restore" in ask.url)
        assert (answer != elsewhere) is reachable, ask


def test_addresses_without_ids_show_nothing_of_another_company(
    rows: Rows, person: str, client: Client, walls: str, database: TestDatabase
) -> None:
    before = contents(database)
    for ask in WITHOUT_ID:
        seen(client, ask, rows, person, "")
    assert contents(database) == before
