"""The websocket, through a real server process."""

from __future__ import annotations

from tests.server import Server
from tests.socket_client import chat_socket
from tests.world import World


async def test_an_answer_is_pushed_as_it_is_made(world: World, server: Server) -> None:
    async with chat_socket(server, world.acme, "alice") as socket:
        sent = await socket.say("Hello", assistant=world.acme.assistant.pk)
        run = await socket.until_ended(sent["run"]["id"])
        assert run["status"] == "completed"
        message = (await socket.until_event("thread.message.completed"))["data"]
        assert socket.text_of(message["id"]) == message["content"][0]["text"]["value"]
