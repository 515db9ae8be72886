"""Every page complies with its strict Content Security Policy and has security headers."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import Client

from tests.database import CHECKOUT
from tests.isolation.test_admin_walker import every_address, walked
from tests.isolation.test_routes import RECIPES
from tests.world import PASSWORD, World

__all__ = ["walked"]

# Required directives, none of them looser: no inline code, no eval, no other host.
ALLOWED = {"'none'", "'self'", "data:"}
LINKED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "form": "action"}
# The admin's theme needs exactly these two in addition.
IN_ADMIN = {"script-src": {"'unsafe-eval'"}, "style-src": {"'unsafe-inline'"}}


class Offences(HTMLParser):
    """HTML parser that collects content a strict policy blocks, and links to other hosts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check one element."""
        values = dict(attrs)
        if tag == "script" and "src" not in values and values.get("type") != "application/json":
            self.found.append("inline script")
        if tag == "style":
            self.found.append("style sheet in the page")
        for name, value in attrs:
            text = (value or "").strip().lower()
            if name == "style":
                self.found.append(f"style attribute: {text}")
            elif name.startswith("on"):
                self.found.append(f"{name} attribute: {text}")
            elif name in ("href", "src", "action", "formaction") and text.startswith("javascript:"):
                self.found.append(text)
        place = urlsplit(values.get(LINKED.get(tag, "")) or "")
        if place.scheme not in ("", "data") or place.netloc:
            self.found.append(f"{tag} from elsewhere: {place.geturl()}")


def assert_strict(response: Any, url: str, *, in_admin: bool = False) -> None:
    policy = response.headers["Content-Security-Policy"]
    rules = {rule.split()[0]: set(rule.split()[1:]) for rule in policy.split(";")}
    if in_admin:
        rules = {name: values - IN_ADMIN.get(name, set()) for name, values in rules.items()}
    assert rules["default-src"] == {"'none'"}, url
    assert rules["script-src"] == rules["style-src"] == {"'self'"}, url
    assert rules["frame-ancestors"] == rules["base-uri"] == {"'none'"}, url
    assert rules["form-action"] == {"'self'"}, url
    assert set().union(*rules.values()) <= ALLOWED, url
    assert "Content-Security-Policy-Report-Only" not in response.headers
    assert response.headers["X-Content-Type-Options"] == "nosniff", url
    assert response.headers["X-Frame-Options"] == "DENY", url
    assert response.headers["Referrer-Policy"] == "same-origin", url
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin", url
    if "html" in response.headers.get("Content-Type", ""):
        found = Offences(response.content.decode()).found
        assert [item for item in found if not (in_admin and item.startswith("style"))] == [], url


def page_urls(world: World) -> list[str]:
    ids = {"{id}": world.acme.threads["alice"].pk, "{own thread}": world.acme.threads["alice"].pk}
    found = [ask.url for asks in RECIPES.values() for ask in asks]
    found.append(f"/invitations/{world.acme.invitation_token}/")
    for mark, value in ids.items():
        found = [url.replace(mark, value) for url in found]
    return [*dict.fromkeys(found), "/nowhere", "/admin/nowhere"]


@pytest.mark.parametrize("who", ["alice", "olga", "operator", "nobody"])
def test_every_page_is_strict(world: World, who: str) -> None:
    client = {"operator": world.operator_client, "nobody": Client}.get(
        who, lambda: world.acme.client(who)
    )()
    for url in page_urls(world):
        cache.clear()
        assert_strict(client.get(url), url)


@pytest.mark.parametrize("who", ["olga", "operator"])
def test_every_page_of_the_admin_is_strict(walked: World, who: str) -> None:
    client = walked.acme.client("olga") if who == "olga" else walked.operator_client()
    for url in every_address(walked):
        assert_strict(client.get(url), url, in_admin=True)


def test_refusals_are_strict(world: World) -> None:
    client = Client(enforce_csrf_checks=True)
    for method, url in (("post", "/accounts/login/"), ("put", "/"), ("post", "/switch/")):
        assert_strict(getattr(client, method)(url), url)
    assert_strict(client.get("/", headers={"Host": "evil.example"}), "another host")
    assert_strict(client.get("/page/threads", headers={"Authorization": "Bearer x"}), "a key")


def test_own_failure_is_strict_and_tells_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError(f"{world.acme.canary}broken")

    monkeypatch.setattr("chat.web.views.build_page_data", broken)
    client = world.acme.client("alice")
    client.raise_request_exception = False
    response = client.get("/")
    assert response.status_code == 500
    assert_strict(response, "/")
    assert "RuntimeError" not in response.content.decode()
    assert world.acme.canary not in response.content.decode()


def test_pages_of_people_are_kept_by_no_cache(world: World) -> None:
    client = world.acme.client("alice")
    thread = world.acme.threads["alice"].pk
    for url in ("/", f"/threads/{thread}", "/page/threads", "/profile/", "/companies/"):
        kept = client.get(url).headers.get("Cache-Control", "")
        assert "no-store" in kept or "private" in kept, url


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(world: World) -> None:
    client = Client()
    client.get("/accounts/login/")
    client.post("/accounts/login/", {"login": "alice@acme.example", "password": PASSWORD})
    session, token = client.cookies["sessionid"], client.cookies["csrftoken"]
    assert session["httponly"]
    assert (session["samesite"], token["samesite"]) == ("Lax", "Lax")
    assert session["domain"] == token["domain"] == ""


def test_cookies_and_transport_are_secure_behind_https() -> None:
    code = (
        "from django.conf import settings as s; import json; print(json.dumps([s.SESSION_COOKIE_"
        "SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_HSTS_SECONDS >= 31536000]))"
    )
    environment = {
        "PUBLIC_URL": "https://chat.example.com",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "SECRET_KEY": "x" * 50,
    }
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, env=environment, capture_output=True, check=True
    )
    assert shown.stdout.strip() == b"[true, true, true]"
    assert not settings.DEBUG
