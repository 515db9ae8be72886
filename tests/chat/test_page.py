"""The page's JSON: own chats only, one error form, nothing changed by bad input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from django.test import Client

from chat.models import Thread, ToolCall
from chat.web.assets import MODULES
from chat.web.colours import (
    DARK_BACKGROUND,
    LIGHT_BACKGROUND,
    MIN_CONTRAST,
    compute_contrast,
    derive_accent,
)
from chat.web.words import WORDS
from tenants.actions.companies import update_tenant_settings
from tests.database import CHECKOUT
from tests.world import World

STATIC = CHECKOUT / "chat" / "web" / "static" / "chat"
# Strings whose names the scripts put together.
MADE_UP = ("signed_out", "company_changed", "problem_")
BAD_BODIES = [
    b"",
    b"[]",
    b"{",
    b'{"title": 1}',
    b'{"title": null}',
    b'{"title": "a", "title": "b"}',
    b'{"title": "a", "more": 1}',
    b'{"title": "\\u0000"}',
    b'{"title": "\\ud800"}',
    b'{"title": NaN}',
    b'{"title": 1e400}',
    b'{"title": ""}',
    b'{"title": "\xff"}',
    b'{"title": ' + b"9" * 5000 + b"}",
    b'{"title": ' + b"[" * 500 + b"]" * 500 + b"}",
    json.dumps({"title": "x" * 201}).encode(),
]


def post(client: Client, path: str, body: bytes = b"{}", **headers: str) -> Any:
    return client.post(path, body, content_type="application/json", headers=headers)


def test_threads_are_the_readers_own(world: World) -> None:
    listed = world.acme.client("alice").get("/page/threads").json()
    assert [thread["id"] for thread in listed["data"]] == [world.acme.threads["alice"].pk]


def test_threads_come_in_pages(world: World) -> None:
    with world.acme.scope():
        for number in range(35):
            Thread.objects.create(member=world.acme.alice, title=str(number))
    client = world.acme.client("alice")
    first = client.get("/page/threads").json()
    second = client.get("/page/threads", {"after": first["data"][-1]["id"]}).json()
    ids = [thread["id"] for thread in first["data"] + second["data"]]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert len(set(ids)) == len(ids) == 36


def test_history_carries_runs_and_steps(world: World) -> None:
    thread, run = world.acme.threads["alice"], world.acme.runs["alice"]
    page = world.acme.client("alice").get(f"/page/threads/{thread.pk}/messages").json()
    assert [message["role"] for message in page["data"]] == ["user", "assistant"]
    assert page["runs"][run.pk]["status"] == "completed"
    assert [step["type"] for step in page["steps"][run.pk]] == ["tool_calls", "message_creation"]
    assert page["after"] == {run.pk: page["data"][0]["id"]}


def test_a_call_with_arguments_that_nest_too_deeply_hides_no_message(world: World) -> None:
    thread, run = world.acme.threads["alice"], world.acme.runs["alice"]
    deep = '{"code": ' + "[" * 5_000 + "]" * 5_000 + "}"
    with world.acme.scope():
        call = ToolCall.objects.filter(run=run)
        call.update(name="code_interpreter", version="1", arguments=deep, details=None)
    page = world.acme.client("alice").get(f"/page/threads/{thread.pk}/messages").json()
    assert [message["role"] for message in page["data"]] == ["user", "assistant"]
    [call] = page["steps"][run.pk][0]["step_details"]["tool_calls"]
    assert call["code_interpreter"]["input"] == ""


@pytest.mark.parametrize("whose", ["bob", "gina", "nobody"])
def test_foreign_chats_are_unknown(world: World, whose: str) -> None:
    threads = {**world.acme.threads, **world.globex.threads}
    thread = threads[whose].pk if whose in threads else "thread_" + "0" * 24
    client = world.acme.client("alice")
    answers = [
        client.get(f"/page/threads/{thread}/messages"),
        client.get("/page/threads", {"after": thread}),
        post(client, f"/page/threads/{thread}/rename", b'{"title": "x"}'),
        post(client, f"/page/threads/{thread}/delete"),
        post(client, f"/page/threads/{thread}/restore"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert {answer.json()["error"]["code"] for answer in answers} == {"not_found"}
    assert client.get(f"/threads/{thread}").status_code == 404


@pytest.mark.parametrize("name", ["x", "thread_%00", "thread_" + "ä" * 24, "msg_" + "0" * 24])
def test_malformed_ids_are_unknown(world: World, name: str) -> None:
    client = world.acme.client("alice")
    assert client.get(f"/page/threads/{name}/messages").status_code == 404
    assert post(client, f"/page/threads/{name}/delete").status_code == 404
    own = world.acme.threads["alice"].pk
    assert client.get(f"/page/threads/{own}/messages?before={name}").status_code == 404


@pytest.mark.parametrize("body", BAD_BODIES)
def test_bad_input_is_one_clear_error(world: World, body: bytes) -> None:
    thread = world.acme.threads["alice"]
    answer = post(world.acme.client("alice"), f"/page/threads/{thread.pk}/rename", body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    with world.acme.scope():
        assert Thread.objects.get(pk=thread.pk).title == thread.title


def test_members_are_told_who_reads_their_chats(world: World) -> None:
    client = world.acme.client("alice")
    assert "Only you can read your chats." in client.get("/").content.decode()
    update_tenant_settings(world.acme.principal("olga"), admins_read_threads=True)
    assert "company admins can read your chats." in client.get("/").content.decode()


def test_unknown_parameters_are_refused(world: World) -> None:
    answer = world.acme.client("alice").get("/page/threads", {"tenant": "globex"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tenant")


def test_signed_out_callers_get_an_error_object(world: World) -> None:
    answer = Client().get("/page/threads")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "signed_out")


def test_programs_use_the_api_not_the_page(world: World) -> None:
    secret = world.acme.key_secrets["alice"]
    answer = Client().get("/page/threads", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 403


def test_the_wrong_method_is_refused(world: World) -> None:
    thread = world.acme.threads["alice"].pk
    answer = world.acme.client("alice").get(f"/page/threads/{thread}/delete")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


def test_a_page_of_another_company_is_told_so(world: World) -> None:
    header = {"X-Atrium-Membership": str(world.globex.pat.pk)}
    answer = world.acme.client("pat").get("/page/threads", headers=header)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "company_changed")


def test_a_deleted_chat_can_be_restored(world: World) -> None:
    client, thread = world.acme.client("alice"), world.acme.threads["alice"].pk
    assert post(client, f"/page/threads/{thread}/delete").status_code == 200
    assert client.get("/page/threads").json()["data"] == []
    assert post(client, f"/page/threads/{thread}/restore").json()["id"] == thread
    assert len(client.get("/page/threads").json()["data"]) == 1


@pytest.mark.parametrize(
    "colour", ["#000000", "#ffffff", "#ffff00", "#2563eb", "#777777", "#00ff00"]
)
def test_the_accent_is_readable_in_both_schemes(colour: str) -> None:
    accent = derive_accent(colour)
    assert compute_contrast(accent.light, LIGHT_BACKGROUND) >= MIN_CONTRAST
    assert compute_contrast(accent.dark, DARK_BACKGROUND) >= MIN_CONTRAST


def test_the_theme_needs_no_sign_in_and_no_company(client: Client) -> None:
    answer = client.get("/page/theme/ffff00.css")
    assert answer.headers["Content-Type"].startswith("text/css")
    assert b"--accent-light:#" in answer.content


def test_every_module_is_fetched_ahead() -> None:
    present = {f"chat/{path.name}" for path in STATIC.glob("*.js")} | {"chat/vendor/markdown.js"}
    assert set(MODULES) == present


def test_every_string_of_the_scripts_exists() -> None:
    source = "\n".join(path.read_text() for path in STATIC.glob("*.js"))
    used = set(re.findall(r'\bt\("(\w+)"', source))
    assert used <= set(WORDS)
    assert all(f'"{key}"' in source or key.startswith(MADE_UP) for key in WORDS)


def test_vendored_files_are_as_recorded() -> None:
    script = CHECKOUT / "chat" / "web" / "vendor" / "renew.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
