"""What readers of a real server get: the same in every tab, from any point, never too early."""

from __future__ import annotations

import random
from typing import Any

from chat.models import Message, Run, RunStep
from tenants.db import in_db
from tests.model_server import ModelServer, make_assistant
from tests.socket_client import ChatSocket, Frame, chat_socket
from tests.upstream.script import Answer, Call
from tests.world import Company, World

WORDS = tuple(f"wörd😀{number} " for number in range(80))
TEXT = "".join(WORDS)
OFTEN = 10
TOOLS = [{"type": "function", "function": {"name": "list_orders"}}]
SETTLED = {"completed", "incomplete", "failed", "cancelled", "expired", "requires_action"}


class Client:
    """A client that loses its place again and again."""

    def __init__(self) -> None:
        self.state, self.text, self.message = 0, "", ""

    def takes_the_last(self, frame: Frame) -> bool:
        """Apply an event; return whether it ends the run."""
        data, self.state = frame["data"], frame["state"]
        if frame["event"] == "thread.message.delta":
            self.message = data["id"]
            self.text += data["delta"]["content"][0]["text"]["value"]
        elif frame["event"] == "thread.message.completed":
            assert data["content"][0]["text"]["value"] == self.text
        return bool(frame["event"] == "thread.run.completed")

    def forget(self, chance: random.Random) -> None:
        """Have less of the text than arrived, cut anywhere, also inside what came as one piece."""
        self.text = self.text[: chance.randint(0, max(0, len(self.text) - 1))]

    def cursor(self, run: str) -> dict[str, Any]:
        items = [[self.message, 0, "text", len(self.text)]] if self.message else []
        return {"run": run, "state": self.state, "items": items}


async def test_a_reader_resumes_anywhere(world: World, model: ModelServer) -> None:
    chance = random.Random(20)
    model.upstream.expect(Answer(say=WORDS, pace=0.02, held_after=40))
    async with (
        chat_socket(model.server, world.acme, "alice") as writer,
        chat_socket(model.server, world.acme, "alice") as reader,
    ):
        sent = await writer.say("Hello", assistant=model.acme)
        thread, run = sent["thread"]["id"], sent["run"]["id"]
        client, resumed, ended = Client(), 0, False
        while not ended:
            await reader.ask("unsubscribe", thread=thread)
            reader.events.clear()
            client.forget(chance)
            await reader.ask("subscribe", thread=thread, cursor=client.cursor(run))
            resumed += 1
            if resumed == OFTEN:
                model.upstream.go_on()
            for seen in range(chance.randint(1, 6) if resumed > OFTEN else 1):
                ended = client.takes_the_last(await reader.until_more(seen))
                if ended:
                    break
        assert client.text == TEXT
        await writer.until_ended(run)


async def test_two_tabs_are_told_the_same(world: World, model: ModelServer) -> None:
    model.upstream.when("First", Answer(say=WORDS, pace=0.01, held_after=40))
    model.upstream.when("Second", Answer(say=WORDS[:5]))
    async with (
        chat_socket(model.server, world.acme, "alice") as one,
        chat_socket(model.server, world.acme, "alice") as other,
    ):
        sent = await one.say("First", assistant=model.acme)
        thread = sent["thread"]["id"]
        await other.ask("subscribe", thread=thread, cursor=None)
        await other.say("Second", assistant=model.acme, thread=thread)
        model.upstream.go_on()
        told = [await told_of_both(tab, sent["run"]["id"]) for tab in (one, other)]
        assert told[0] == told[1]
        assert TEXT in told[0][1].values()


async def told_of_both(tab: ChatSocket, first: str) -> tuple[list[Any], dict[str, str]]:
    """Wait for the end of both answers; return their events and texts."""
    second = await tab.until(lambda frame: frame["run"] not in (None, first))
    await tab.until_ended(second["run"])
    events = [
        (frame["run"], frame["state"], frame["event"])
        for frame in tab.events
        if frame["event"] != "thread.message.delta"
    ]
    done = {frame["data"]["id"] for frame in tab.events if "message.completed" in frame["event"]}
    return events, {message: tab.text_of(message) for message in done}


async def test_what_is_told_as_done_is_stored(world: World, model: ModelServer) -> None:
    model.upstream.expect(Answer(say=("Looking. ",), calls=(Call(name="list_orders"),)))
    model.upstream.expect(Answer(say=WORDS))
    assistant = await in_db(make_assistant, world.acme, tools=TOOLS)
    async with chat_socket(model.server, world.acme, "alice") as socket:
        sent = await socket.say("Hello", assistant=assistant)
        seen, event = 0, ""
        while event != "thread.run.completed":
            frame = await socket.until_more(seen)
            seen, event, data = seen + 1, frame["event"], frame["data"]
            if data.get("status") in SETTLED:
                assert await in_db(stored, world.acme, data) == (
                    data["status"],
                    data.get("content"),
                )
        assert sent["run"]["id"] == socket.events[-1]["run"]


def stored(company: Company, told: dict[str, Any]) -> Any:
    """Return status and content of the row that an object shows."""
    with company.scope():
        if told["object"] == "thread.message":
            message = Message.objects.get(pk=told["id"])
            return message.status, message.content
        rows = Run if told["object"] == "thread.run" else RunStep
        return rows.objects.get(pk=told["id"]).status, None
