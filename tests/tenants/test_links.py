"""Links lead to this installation, whatever a request calls it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core import mail
from django.test import Client
from pytest_django import Settings

from tenants.accounts.adapter import get_base_url
from tests.tenants.test_commands import run
from tests.world import World

POISONED = "localhost:6666"


def links_of(page: str) -> set[str]:
    """Return the beginnings of the absolute links that a page shows."""
    return set(re.findall(r"https?://[^/\s<\"']+(?=/(?:invitations|accounts|v1))", page))


def shown_by(world: World, path: str, data: dict[str, str], name: str) -> set[str]:
    client = world.acme.client(name) if name else world.operator_client()
    return links_of(client.post(path, data, HTTP_HOST=POISONED).content.decode())


PAGES = [
    ("/admin/tenants/invitation/add/", {"email": "n@acme.example", "role": "member"}, "adam"),
    ("/keys/", {"name": "X", "days": "30"}, "alice"),
    ("/admin/companies/reset-link/", {"reset-email": "alice@acme.example"}, ""),
    ("/admin/companies/add/", {"name": "I", "slug": "i", "email": "o@i.example"}, ""),
]


@pytest.mark.parametrize(("path", "data", "name"), PAGES)
def test_a_link_has_nothing_of_the_host_header(
    world: World, path: str, data: dict[str, str], name: str
) -> None:
    assert shown_by(world, path, data, name) == {"http://testserver"}


@pytest.mark.parametrize(("path", "data", "name"), PAGES)
def test_a_link_leads_to_the_public_address(
    world: World, settings: Settings, path: str, data: dict[str, str], name: str
) -> None:
    settings.PUBLIC_URL = "https://chat.example.com"
    assert shown_by(world, path, data, name) == {"https://chat.example.com"}


def test_a_mail_has_nothing_of_the_host_header(world: World, settings: Settings) -> None:
    settings.EMAIL_URL = "smtp://mail.example"
    settings.PUBLIC_URL = "https://chat.example.com"
    form = {"email": "alice@acme.example"}
    Client().post("/accounts/password/reset/", form, HTTP_HOST=POISONED)
    (message,) = mail.outbox
    assert POISONED not in f"{message.subject}{message.body}"
    assert links_of(str(message.body)) == {"https://chat.example.com"}


@pytest.mark.parametrize(
    ("name", "port", "base"),
    [
        ("127.0.0.1", "8001", "http://127.0.0.1:8001"),
        ("::1", "8001", "http://[::1]:8001"),
        ("chat.lan", "80", "http://chat.lan"),
        ("/run/atrium.sock", "None", "http://127.0.0.1:8000"),
    ],
)
def test_the_address_is_where_the_server_took_the_connection(
    world: World, name: str, port: str, base: str
) -> None:
    client = world.acme.client("alice")
    request = client.get("/profile/", SERVER_NAME="localhost").wsgi_request
    request.META.update(SERVER_NAME=name, SERVER_PORT=port)
    assert get_base_url(request) == base


@pytest.mark.parametrize(
    ("announced", "base"),
    [
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("http://0.0.0.0:8001", "http://127.0.0.1:8001"),
        ("", "http://127.0.0.1:8000"),
    ],
)
def test_a_command_prints_the_address_at_which_up_serves(
    world: World, settings: Settings, tmp_path: Path, announced: str, base: str
) -> None:
    settings.DATA_DIR = tmp_path
    (tmp_path / "up.lock").write_text(announced)
    found = run("create_user", "new@acme.example", "--tenant", "acme")
    assert links_of(found["password_link"]) == {base}
