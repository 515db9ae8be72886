"""The websocket, through a real server process."""

from __future__ import annotations

import json
from typing import Any

from tenants.db import in_db
from tests.server import Server
from tests.socket_client import chat_socket
from tests.world import Company, World


async def test_an_answer_is_pushed_as_it_is_made(world: World, server: Server) -> None:
    async with chat_socket(server, world.acme, "alice") as socket:
        sent = await socket.say("Hello", assistant=world.acme.assistant.pk)
        run = await socket.until_ended(sent["run"]["id"])
        assert run["status"] == "completed"
        message = (await socket.until_event("thread.message.completed"))["data"]
        assert socket.text_of(message["id"]) == message["content"][0]["text"]["value"]


async def test_a_message_too_long_for_a_frame_goes_over_http(world: World, server: Server) -> None:
    text = "word " * 30_000
    async with chat_socket(server, world.acme, "alice") as socket:
        await socket.connection.send(json.dumps({"type": "ping", "id": text}))
        refused = await socket.answer(None)
        assert refused["error"]["code"] == "invalid_json"
        assert (await socket.ask("ping"))["type"] == "ack"
        body = {
            "thread": None,
            "client_id": "long",
            "assistant": world.acme.assistant.pk,
            "content": text,
            "busy": None,
        }
        sent = await in_db(post_message, world.acme, body)
        cursor = {"run": sent["run"]["id"], "state": 0, "items": []}
        await socket.ask("subscribe", thread=sent["thread"]["id"], cursor=cursor)
        assert sent["message"]["content"][0]["text"]["value"] == text


def post_message(company: Company, body: dict[str, Any]) -> dict[str, Any]:
    client = company.client("alice")
    response = client.post("/page/messages", body, content_type="application/json")
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer
