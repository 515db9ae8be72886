"""A server whose model is scripted, and everything it gave away: to people and to the model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from chat.models import Assistant
from tenants.db import in_db
from tests.server import Server
from tests.socket_client import ChatSocket, chat_socket
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import Company

TOOLS = ("list_orders", "get_order", "update_delivery_address")
QUICK = {
    "OPENAI_API_KEY": "sk-canary-upstream-key-000000000000",
    "ATRIUM_MODEL": "test-model",
    "ATRIUM_UPSTREAM_BACKOFF_SECONDS": "0.01",
}


@dataclass(kw_only=True)
class Delivered:
    """What people of each company were sent, as text: `texts["acme"]`."""

    server: Server
    upstream: ScriptedServer
    texts: dict[str, list[str]] = field(default_factory=lambda: {"acme": [], "globex": []})

    def asked_of_model(self) -> list[str]:
        """Return the bodies of the requests that the model server got."""
        return [json.dumps(request.body) for request in self.upstream.model_requests()]


@asynccontextmanager
async def recorded_socket(
    delivered: Delivered, company: Company, name: str
) -> AsyncIterator[ChatSocket]:
    """Open a socket of which every frame, answers too, is kept."""
    async with chat_socket(delivered.server, company, name) as socket:
        receive = socket.connection.recv

        async def kept() -> str:
            raw = str(await receive())
            delivered.texts[company.tenant.slug].append(raw)
            return raw

        socket.connection.recv = kept  # type: ignore[method-assign,assignment]
        yield socket


def answer_by_name(upstream: ScriptedServer, company: Company, name: str) -> str:
    """Have the model look up order 1001 for this person; return what they have to ask."""
    question = f"{company.canary}ASK-{name.upper()}: where is order 1001?"
    calls = (Call(name="get_order", arguments='{"order_number": 1001}'), Call(name="list_orders"))
    words = tuple(f"{company.canary}WORD-{number} " for number in range(20))
    upstream.when(question, Answer(calls=calls, finish="tool_calls"), Answer(say=words, pace=0.005))
    return question


async def scripted_assistant(company: Company) -> str:
    """Make an assistant with the order desk's tools on the scripted model."""

    def make() -> str:
        tools = [{"type": "function", "function": {"name": name}} for name in TOOLS]
        with company.scope():
            made = Assistant.objects.create(
                name=f"{company.canary}SCRIPTED",
                model="test-model",
                instructions=f"{company.canary}INSTRUCTIONS",
                tools=tools,
            )
            return str(made.pk)

    return await in_db(make)
