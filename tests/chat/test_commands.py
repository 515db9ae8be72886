"""The commands of chat."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from chat.conf import conf
from chat.models import Assistant
from tests.upstream.script import Answer
from tests.upstream.server import ScriptedServer
from tests.world import World


def run(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command(*arguments, "--json", stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_create_assistant(world: World) -> None:
    found = run(
        *("create_assistant", "--tenant", "acme", "--name", "Desk", "--model", "m"),
        *("--tools", "get_order,list_orders"),
    )
    with world.acme.scope():
        made = Assistant.objects.get(pk=found["id"])
        assert made.list_function_names() == ["get_order", "list_orders"]
    with world.globex.scope():
        assert not Assistant.objects.filter(name="Desk").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tenant", "nobody", "--name", "Desk", "--model", "m"),
        ("--tenant", "acme", "--name", "Desk", "--model", "m", "--tools", "drop_tables"),
    ],
)
def test_create_assistant_refuses_in_a_sentence(world: World, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r"^[A-Z].*\.$"):
        call_command("create_assistant", *arguments)


@pytest.mark.usefixtures("committed")
def test_check_upstream_says_what_it_found(
    upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"base_url": upstream_server.base_url, "api_key": "k"}
    backend = "chat.upstream.responses.ResponsesUpstream"
    server = {"BACKEND": backend, "MODEL": "test-model", "OPTIONS": options}
    monkeypatch.setitem(conf.upstreams, "default", server)
    monkeypatch.setitem(settings.CHAT, "DEFAULT_UPSTREAM", "default")
    upstream_server.fallback = Answer(say=("ok",))
    found = run("check_upstream")
    assert found["upstream"] == "default"
    assert "test-model" in found["models"]
    assert found["responses"]
