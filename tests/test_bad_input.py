"""Bad input to any URL causes one clear error, changes nothing and is never a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bad_json import ID_FORMS, WRONG_VALUES, build_bad_bodies
from tests.database import TestDatabase
from tests.isolation.rows import contents
from tests.isolation.test_routes import RECIPES
from tests.world import PASSWORD, World

JSON = "application/json"
# URLs that accept JSON, each with a field it accepts, or "" if it has no fields.
JSON_ADDRESSES = {"rename": "title", "delete": "", "restore": "", "send": "content"}
# URLs that accept forms, each with the fields of a valid form.
FORMS: dict[str, dict[str, str]] = {
    "/accounts/login/": {"login": "alice@acme.example", "password": PASSWORD},
    "/accounts/logout/": {},
    "/accounts/reauthenticate/": {"password": PASSWORD},
    "/accounts/password/change/": {
        "oldpassword": PASSWORD,
        "password1": "another-horse-43",
        "password2": "another-horse-43",
    },
    "/accounts/password/reset/": {"email": "alice@acme.example"},
    "/accounts/second-factor/code/": {"code": "123456"},
    "/accounts/second-factor/confirm/": {"code": "123456"},
    "/accounts/second-factor/app/on/": {"code": "123456"},
    "/accounts/second-factor/app/off/": {},
    "/accounts/second-factor/recovery-codes/new/": {},
    "/accounts/sign-ins/": {},
    "/profile/": {"name": "Alice", "language": "en", "zone": "UTC", "next": "/"},
    "/switch/": {"membership": "x", "next": "/"},
    "/notices/seen/": {},
}
TEXTS = (
    "", "\x00", "a\x00b", "x" * 300, "x" * 100_000, "\ud800".encode("utf-8", "surrogatepass"),
    b"\xff\xfe", "\u202e", "'; DROP TABLE x; --", "{{ 7*7 }}", "%00", "999999999999999999999",
    "-1", "NaN", "//evil.example/", "javascript:alert(1)", "\r\nSet-Cookie: a=b",
)  # fmt: skip


def thread_url(world: World, action: str) -> str:
    if action == "send":
        return "/page/messages"
    return f"/page/threads/{world.acme.threads['alice'].pk}/{action}"


def assert_one_error(response: Any, *, status: range = range(400, 500)) -> None:
    """Assert that the response is one error in the format of the page."""
    assert response.status_code in status, response.content
    assert response.headers["Content-Type"] == JSON
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["code"] and body["error"]["message"]


@pytest.mark.parametrize("action", JSON_ADDRESSES)
def test_bad_json_changes_nothing(world: World, database: TestDatabase, action: str) -> None:
    before = contents(database)
    client = world.acme.client("alice")
    bodies = build_bad_bodies(JSON_ADDRESSES[action] or "title")
    for raw in bodies.values():
        response = client.post(thread_url(world, action), raw, content_type=JSON)
        assert_one_error(response)
        assert response.json()["error"]["code"] == "invalid_json", raw[:100]
    assert contents(database) == before


@pytest.mark.parametrize("action", JSON_ADDRESSES)
def test_wrong_fields_change_nothing(world: World, database: TestDatabase, action: str) -> None:
    before = contents(database)
    client = world.acme.client("alice")
    for value in (v for v in WRONG_VALUES if not isinstance(v, str) or v in ("", "x" * 300)):
        body = {"title": value}
        assert_one_error(client.post(thread_url(world, action), body, content_type=JSON))
    for body in ({"unknown": 1}, {"title": "x", "tenant": "globex"}, {"": ""}):
        assert_one_error(client.post(thread_url(world, action), body, content_type=JSON))
    assert contents(database) == before


def sound_message(world: World) -> dict[str, Any]:
    thread, assistant = world.acme.threads["alice"].pk, world.acme.assistant.pk
    return {"thread": thread, "assistant": assistant, "content": "x", "client_id": "c"}


def test_wrong_fields_of_a_message_change_nothing(world: World, database: TestDatabase) -> None:
    before = contents(database)
    client = world.acme.client("alice")
    for field in ("thread", "assistant", "content", "client_id", "busy"):
        free = field in ("content", "client_id")
        for value in (v for v in WRONG_VALUES if not free or not isinstance(v, str) or not v):
            if value is None and field in ("thread", "busy"):
                continue  # null means a new chat or the default
            body = {**sound_message(world), field: value}
            assert_one_error(client.post("/page/messages", body, content_type=JSON))
    assert contents(database) == before


def test_bodies_of_another_kind_change_nothing(world: World, database: TestDatabase) -> None:
    before = contents(database)
    client = world.acme.client("alice")
    url = thread_url(world, "rename")
    assert_one_error(client.post(url, {"title": "From a form"}))
    assert_one_error(client.post(url, "title=x", content_type="application/x-www-form-urlencoded"))
    for kind in ("text/plain", "application/json; charset=utf-16", "", "x" * 500, "\xff"):
        assert_one_error(client.post(url, b'{"title": "Hidden"}', content_type=kind))
        message = json.dumps(sound_message(world)).encode()
        assert_one_error(client.post("/page/messages", message, content_type=kind))
    assert contents(database) == before


def test_ids_of_wrong_form_are_unknown(world: World, database: TestDatabase) -> None:
    before = contents(database)
    client = world.acme.client("alice")
    for form in ID_FORMS:
        assert client.get(f"/threads/{form}").status_code in (400, 404), form
        for url in (f"/page/threads/{form}/messages", f"/page/threads?after={form}"):
            assert_one_error(client.get(url))
        url = f"{thread_url(world, 'messages')}?before={form}"
        assert_one_error(client.get(url))
        for action in set(JSON_ADDRESSES) - {"send"}:
            body = {"title": "x"} if action == "rename" else {}
            url = f"/page/threads/{form}/{action}"
            assert_one_error(client.post(url, body, content_type=JSON))
    assert contents(database) == before


def test_unknown_and_repeated_parameters_are_refused(world: World) -> None:
    client = world.acme.client("alice")
    thread = world.acme.threads["alice"].pk
    for url in ("/page/threads", "/page/assistants", f"/page/threads/{thread}/messages"):
        for query in ("?x=1", "?limit=99999999999", "?%00=1", "?%ff=%fe", "?tenant=globex"):
            assert_one_error(client.get(url + query))
    assert_one_error(client.get(f"/page/threads?after={thread}&after={thread}"))


def every_url(world: World) -> Iterator[str]:
    thread = world.acme.threads["alice"].pk
    for asks in RECIPES.values():
        yield asks[0].url.replace("{id}", thread).replace("{own thread}", thread)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "BREW"])
def test_no_method_is_a_fault(world: World, database: TestDatabase, method: str) -> None:
    before = contents(database)
    client = world.acme.client("alice")
    for url in every_url(world):
        cache.clear()
        response = client.generic(method, url, b"{}", content_type=JSON)
        assert response.status_code < 500, url
        if url.startswith("/page/threads") and method != "HEAD":
            assert_one_error(response, status=range(405, 406))
    assert contents(database) == before


@pytest.mark.parametrize("url", FORMS)
def test_bad_forms_change_nothing(world: World, database: TestDatabase, url: str) -> None:
    before = contents(database)
    client = world.acme.client("alice")
    for name in (*FORMS[url], "tenant", "next"):
        for value in TEXTS:
            if (name, value) in (("password", PASSWORD), ("next", "")):
                continue
            cache.clear()
            answer = client.post(url, {**FORMS[url], name: value, "broken": value})
            assert answer.status_code < 500, (name, value)
            assert "evil.example" not in answer.headers.get("Location", "")
            if url in ("/accounts/logout/", "/profile/", "/accounts/sign-ins/"):
                client = world.acme.client("alice")
    assert without_profiles(contents(database)) == without_profiles(before)


def without_profiles(found: dict[str, Any]) -> dict[str, Any]:
    """Exclude the tables that a form changes with its other, valid fields."""
    changing = ("tenants_membership", "tenants_auditevent")
    return {table: rows for table, rows in found.items() if table not in changing}


@pytest.mark.parametrize("url", FORMS)
def test_bodies_that_are_no_forms_are_no_fault(world: World, url: str) -> None:
    client = world.acme.client("alice")
    multipart = "multipart/form-data; boundary="
    for body, kind in (
        (b"\xff\xfe=\x00&%ff=%00", "application/x-www-form-urlencoded"),
        (b"a=" + b"%" * 1000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a=1" for _ in range(2000)), "application/x-www-form-urlencoded"),
        (b"--x\r\nbroken", f"{multipart}x"),
        (b"--x\r\nbroken", multipart),
        (b"--x\r\n" * 3000, f"{multipart}x"),
        (b"{}", JSON),
        (b"\x00", "text/plain; charset=nonsense"),
        (b"a=\xff", "application/x-www-form-urlencoded; charset=utf-16"),
    ):
        cache.clear()
        response = client.generic("POST", url, body, content_type=kind)
        assert response.status_code < 500, (body[:40], kind)


def test_bad_headers_are_no_fault(world: World) -> None:
    client = world.acme.client("alice")
    for headers in (
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer \x00"},
        {"Authorization": "Bearer atr_" + "x" * 5000},
        {"Authorization": "Bearer \xff"},
        {"Authorization": "Basic !!!"},
        {"X-Atrium-Membership": "\x00"},
        {"X-Atrium-Membership": "x" * 5000},
        {"Accept-Language": "\xff;q=9" * 50},
        {"Cookie": "sessionid=\x00; csrftoken=\xff"},
        {"Cookie": "=;;=;\xff" * 100},
        {"Cookie": "sessionid=" + "x" * 5000},
        {"Host": "evil.example"},
        {"Host": "\x00"},
        {"Content-Type": "\x00"},
        {"Accept": "\x00"},
        {"Origin": "null"},
        {"Referer": "\xff"},
    ):
        for url in ("/", "/page/threads", "/profile/"):
            response = client.get(url, headers=headers)
            assert response.status_code < 500, (headers, url)
            if url == "/page/threads" and response.status_code >= 400:
                assert_one_error(response)


def test_paths_that_mean_nothing_are_no_fault(world: World) -> None:
    client = world.acme.client("alice")
    for path in (
        *(f"/{form}" for form in ID_FORMS),
        *(f"/threads/{form}" for form in ID_FORMS),
        *(f"/invitations/{form}/" for form in ID_FORMS),
        *(f"/admin/chat/run/{form}/change/" for form in ID_FORMS),
        *(f"/accounts/password/reset/key/{form}-{form}/" for form in ID_FORMS),
        *(f"/static/{form}" for form in ID_FORMS),
        "/page/theme/GGGGGG.css",
        "/accounts/password/reset/key/zzzzzzzzzzzzzzzzzzzzzzzz-x/",
        "//evil.example",
        "/%",
        "/" + "a/" * 2000,
    ):
        cache.clear()
        assert client.get(path).status_code < 500, path


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_whatever_json_is_sent_answers(world: World) -> None:
    client = world.acme.client("alice")

    @settings(
        max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(body=st.dictionaries(st.sampled_from(["title", "Title", "x"]) | st.text(), NESTED))
    def send(body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode("utf-8", "surrogatepass")
        response = client.post(thread_url(world, "rename"), raw, content_type=JSON)
        if response.status_code != 200:
            assert_one_error(response)
        else:
            assert set(body) == {"title"}
            assert isinstance(body["title"], str)

    send()


def test_signed_out_people_get_the_same_shape_of_error(world: World) -> None:
    for url in (thread_url(world, "messages"), "/page/threads", "/page/assistants"):
        assert_one_error(Client().get(url), status=range(401, 402))
