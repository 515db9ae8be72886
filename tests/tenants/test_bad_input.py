"""Whatever is sent to an account page, the answer is a clear one."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import URLPattern

from tenants.accounts import account_urls, urls
from tests.world import World

KNOWN = {"token": "x", "uidb36": "1", "key": "x-y"}
FORM = "application/x-www-form-urlencoded"
BODIES: list[tuple[str, bytes]] = [
    (FORM, b""),
    (FORM, b"login=%00&password=%00&name=%00&membership=%00&email=%00&code=%00&next=%00"),
    (FORM, b"login=\xff\xfe&name=%ED%A0%80&email=%ED%A0%80&membership=%ff&zone=%ff"),
    (FORM, b"login=" + b"a" * 100_000 + b"@b.example&password=" + b"b" * 100_000),
    (FORM, b"&".join(b"x%d=1" % number for number in range(2000))),
    (FORM, b"next=http://[&name=x&password=grape-fresh-77&login=a@b.example"),
    ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a"),
    ("multipart/form-data", b"no boundary"),
    ("application/json", b'{"login": 1e400, "login": "\\ud800"}'),
    ("text/plain; charset=nonsense", b"\x00\x01"),
]


def paths() -> list[str]:
    found = []
    for prefix, module in (("/accounts/", account_urls), ("/", urls)):
        for pattern in module.urlpatterns:
            assert isinstance(pattern, URLPattern)
            route = str(pattern.pattern)
            if route.startswith("^"):
                route = "password/reset/key/1-x/"
            found.append(prefix + route.replace("<str:token>", KNOWN["token"]))
    return found


@pytest.mark.parametrize("path", paths())
def test_no_body_makes_a_page_fail(world: World, path: str) -> None:
    client = world.acme.client("alice")
    for kind, body in BODIES:
        answer = client.generic("POST", path, body, content_type=kind)
        assert answer.status_code < 500, (kind, body[:40])


@pytest.mark.parametrize("path", paths())
def test_no_body_of_a_stranger_makes_a_page_fail(world: World, path: str) -> None:
    for kind, body in BODIES:
        answer = Client().generic("POST", path, body, content_type=kind)
        assert answer.status_code < 500, (kind, body[:40])


QUERIES = ["next=%00", "next=http://[", "next=%ED%A0%80", "next=//evil.example", "membership=%ff"]


@pytest.mark.parametrize("path", paths())
def test_no_query_makes_a_page_fail_or_leads_away(world: World, path: str) -> None:
    for query in QUERIES:
        for client in (Client(), world.acme.client("alice")):
            answer = client.get(f"{path}?{query}")
            assert answer.status_code < 500, query
            assert not answer.headers.get("Location", "").startswith(("//", "http"))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"])
def test_other_methods_are_answered(world: World, method: str) -> None:
    client = world.acme.client("alice")
    for path in paths():
        assert client.generic(method, path).status_code < 500, path


@pytest.mark.parametrize(
    "header",
    [
        {"Accept-Language": "\x00;q=9" * 50},
        {"Authorization": "Bearer \u00ff"},
        {"Authorization": "Bearer"},
        {"X-Atrium-Membership": "\u00ff"},
        {"Cookie": "sessionid=;;;=\x7f"},
        {"User-Agent": "x" * 5000},
    ],
)
def test_odd_headers_are_answered(world: World, header: dict[str, str]) -> None:
    assert world.acme.client("alice").get("/profile/", headers=header).status_code < 500
