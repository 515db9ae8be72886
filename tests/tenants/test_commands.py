"""The commands that make companies, people, keys and operators."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from tenants.authentication import authenticate_key
from tenants.models import Membership, User
from tests.database import CHECKOUT, TestDatabase
from tests.world import World


def run(*arguments: str) -> dict[str, Any]:
    """Return the one JSON object that a command prints."""
    out = StringIO()
    call_command(*arguments, "--json", stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_create_tenant(world: World) -> None:
    found = run("create_tenant", "initech", "--name", "Initech")
    assert (found["slug"], found["name"]) == ("initech", "Initech")


def test_create_user_can_sign_in(world: World) -> None:
    found = run(
        "create_user", "New@acme.example", "--tenant", "acme", "--role", "admin",
        "--password", "grape-fresh-77",
    )  # fmt: skip
    assert (found["email"], found["role"], found["created"]) == (
        "new@acme.example",
        "admin",
        True,
    )
    client = Client()
    client.post("/accounts/login/", {"login": found["email"], "password": "grape-fresh-77"})
    assert client.session["membership"]["id"] == found["id"]


def test_create_user_joins_an_account_that_exists(world: World) -> None:
    found = run("create_user", "gina@globex.example", "--tenant", "acme")
    assert found["created"] is False
    with world.acme.scope():
        assert Membership.objects.get(pk=found["id"]).user_id == world.globex.gina.user_id


def test_create_user_without_password_gives_a_link_that_sets_one(world: World) -> None:
    found = run("create_user", "new@acme.example", "--tenant", "acme")
    path = found["password_link"].removeprefix("http://127.0.0.1:8000")
    assert "Set a new password" in Client().get(path, follow=True).content.decode()


def test_create_api_key_opens_the_door(world: World) -> None:
    found = run(
        "create_api_key", "--tenant", "acme", "--user", "bob@acme.example", "--name", "Script",
        "--scopes", "read,admin",
    )  # fmt: skip
    principal = authenticate_key(found["key"])
    assert principal.membership_id == world.acme.bob.pk
    assert found["scopes"] == ["read", "admin"]


def test_keys_of_one_program_act_as_one_member(world: World) -> None:
    program = ("create_api_key", "--tenant", "acme", "--program", "Shop", "--name", "Script")
    first, second = (authenticate_key(run(*program)["key"]) for _time in range(2))
    assert first.membership_id == second.membership_id
    assert first.membership is not None and first.membership.kind == "program"


def test_a_key_without_scopes_does_what_its_member_may(world: World) -> None:
    asked = ("create_api_key", "--tenant", "acme", "--user", "adam@acme.example", "--name", "X")
    assert run(*asked)["scopes"] == ["read", "write", "admin"]


def test_create_operator(world: World) -> None:
    found = run("create_operator", "root@atrium.example", "--password", "grape-fresh-77")
    assert User.objects.get(pk=found["id"]).is_superuser


REFUSED = [
    ("create_user", "gina@globex.example", "--tenant", "acme", "--password", "grape-fresh-77"),
    ("create_operator", "operator@atrium.example", "--password", "grape-fresh-77"),
    ("create_operator", "alice@acme.example"),
    ("create_tenant", "acme", "--name", "Again"),
    ("create_tenant", "Not A Slug", "--name", "X"),
    ("create_tenant", "initech", "--name", ""),
    ("create_tenant", "initech"),
    ("create_user", "x", "--tenant", "acme"),
    ("create_user", "new@acme.example", "--tenant", "nowhere"),
    ("create_user", "new@acme.example", "--tenant", "acme", "--role", "emperor"),
    ("create_user", "new@acme.example", "--tenant", "acme", "--password", "short"),
    ("create_user", "alice@acme.example", "--tenant", "acme"),
    ("create_api_key", "--tenant", "acme", "--user", "gina@globex.example", "--name", "X"),
    ("create_api_key", "--tenant", "acme", "--user", "bob@acme.example", "--name", ""),
    ("create_api_key", "--tenant", "acme", "--program", "", "--name", "X"),
    ("create_api_key", "--tenant", "acme", "--name", "X"),
    (
        "create_api_key", "--tenant", "acme", "--user", "bob@acme.example", "--name", "X",
        "--scopes", "root",
    ),
    ("create_operator", "nobody"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_refusal_is_one_sentence(world: World, arguments: tuple[str, ...]) -> None:
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(*arguments, stdout=out)
    assert out.getvalue() == ""
    assert "\n" not in str(caught.value)


def test_refusal_on_the_command_line_is_status_one(world: World, database: TestDatabase) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "create_tenant", "acme", "--name", "Again", "--json"],
        cwd=CHECKOUT,
        env={**os.environ, "DATABASE_URL": database.app_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "A company with the short name acme already exists.\n"
