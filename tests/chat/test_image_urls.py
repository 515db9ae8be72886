"""Pictures by address: refused wherever a message comes in, and left out of the prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from chat.actions.runs.create import create_run
from chat.models import Message, Thread
from chat.runs.prompt import images
from tenants.db import in_db
from tests.api.conftest import assert_error, program_of
from tests.chat.at_work import assistant_on, idle, working
from tests.isolation.socket_in_process import socket_of
from tests.upstream.server import ScriptedServer
from tests.world import World

METADATA = "http://169.254.169.254/latest/meta-data/"
PUBLIC = "https://images.example/a.png"


def showing(url: str) -> list[dict[str, Any]]:
    picture = {"type": "image_url", "image_url": {"url": url}}
    return [{"type": "text", "text": "What is it?"}, picture]


def said(url: str) -> dict[str, Any]:
    return {"role": "user", "content": showing(url)}


# Path and body of each request that brings messages, and how the parameter is named there.
REQUESTS: dict[str, Callable[[dict[str, str]], tuple[str, dict[str, Any], str]]] = {
    "message": lambda ids: (f"threads/{ids['thread']}/messages", said(METADATA), "content[1]"),
    "thread": lambda ids: (
        "threads",
        {"messages": [said(METADATA)]},
        "messages[0].content[1]",
    ),
    "run": lambda ids: (
        f"threads/{ids['thread']}/runs",
        {"assistant_id": ids["assistant"], "additional_messages": [said(METADATA)]},
        "additional_messages[0].content[1]",
    ),
    "queued run": lambda ids: (
        f"threads/{ids['thread']}/runs",
        {
            "assistant_id": ids["assistant"],
            "additional_messages": [said(METADATA)],
            "busy": "queue",
        },
        "additional_messages[0].content[1]",
    ),
    "thread and run": lambda ids: (
        "threads/runs",
        {"assistant_id": ids["assistant"], "thread": {"messages": [said(METADATA)]}},
        "thread.messages[0].content[1]",
    ),
}


def count_rows(world: World) -> tuple[int, int]:
    with world.acme.scope():
        return Message.objects.count(), Thread.objects.count()


@pytest.mark.parametrize("request_name", REQUESTS)
def test_programs_are_refused(world: World, request_name: str) -> None:
    alice = program_of(world.acme, "alice")
    ids = {"thread": world.acme.threads["alice"].pk, "assistant": world.acme.assistant.pk}
    path, body, place = REQUESTS[request_name](ids)
    before = count_rows(world)
    refused = alice.post(path, body)
    assert_error(refused, 400, param=f"{place}.image_url.url", code="invalid_value")
    assert count_rows(world) == before
    assert (
        alice.post(path, json.loads(json.dumps(body).replace(METADATA, PUBLIC))).status_code == 200
    )


def frame(world: World, url: str) -> dict[str, Any]:
    return {
        "thread": None,
        "client_id": "picture",
        "assistant": world.acme.assistant.pk,
        "content": showing(url),
    }


def test_the_page_is_refused(world: World) -> None:
    client: Client = world.acme.client("alice")
    refused = client.post("/page/messages", frame(world, METADATA), "application/json")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "content[1].image_url.url"


async def test_the_websocket_is_refused(world: World) -> None:
    async with socket_of(world.acme, "alice") as socket:
        asked = {"type": "message.create", "id": "1", **frame(world, METADATA)}
        [answer] = await socket.ask(asked)
    assert answer["type"] == "error"
    assert answer["error"]["param"] == "content[1].image_url.url"


async def sent_parts(
    world: World, server: ScriptedServer, patch: pytest.MonkeyPatch, url: str, **changes: Any
) -> list[Any]:
    """Return what the model server is sent of a stored message that shows `url`."""

    text = {"type": "text", "text": {"value": "What is it?", "annotations": []}}
    stored = [text, showing(url)[1]]

    def start(assistant: str) -> None:
        alice = world.acme.principal("alice")
        with world.acme.scope():
            thread = Thread.objects.create(member=world.acme.people["alice"], last_position=1)
            Message.objects.create(thread=thread, position=1, role="user", content=stored)
        create_run(alice, thread.pk, assistant_id=assistant)

    server.expect(say=("A walnut.",))
    async with working(patch, server, **changes):
        assistant = await assistant_on(world.acme, "responses")
        await in_db(start, assistant)
        await idle()
    [question] = server.model_requests()[-1].body["input"]
    parts: list[Any] = question["content"]
    return parts


WORDS = {"type": "input_text", "text": "What is it?"}
NOTE = {"type": "input_text", "text": images.NOT_SENT}


async def test_a_stored_picture_of_the_local_network_is_not_sent(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = await sent_parts(world, upstream_server, monkeypatch, METADATA)
    assert parts == [WORDS, NOTE]


async def test_a_stored_picture_of_the_web_is_sent(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = await sent_parts(world, upstream_server, monkeypatch, PUBLIC)
    assert parts == [WORDS, {"type": "input_image", "image_url": PUBLIC, "detail": "auto"}]


async def test_a_host_that_the_setting_names_is_sent(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://images.internal:8080/a.png"
    hosts = ["images.internal:8080"]
    parts = await sent_parts(world, upstream_server, monkeypatch, url, IMAGE_HOSTS=hosts)
    assert parts[1]["image_url"] == url


async def test_nothing_is_sent_where_the_setting_forbids_it(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = await sent_parts(world, upstream_server, monkeypatch, PUBLIC, IMAGE_URLS=False)
    assert parts == [WORDS, NOTE]


def test_nothing_is_accepted_where_the_setting_forbids_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "IMAGE_URLS", False)
    refused = program_of(world.acme, "alice").post("threads", {"messages": [said(PUBLIC)]})
    words = assert_error(
        refused, 400, param="messages[0].content[1].image_url.url", code="invalid_value"
    )
    assert "disabled" in words
