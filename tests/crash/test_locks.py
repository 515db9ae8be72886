"""Rows that somebody holds stop those who want them, and nobody else."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from tests.crash.clients import send
from tests.crash.stand import NAME, Stand
from tests.socket_client import Frame, chat_socket

BLOCKED = 4  # as many as the server has threads


async def test_blocked_statements_do_not_stop_a_process(stand: Stand) -> None:
    acme = stand.world.acme
    with stand.server(ATRIUM_DATABASE_THREADS=str(BLOCKED), ATRIUM_LOCK_SECONDS="0.5") as server:
        async with AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(chat_socket(server, acme, "alice"))
                for _socket in range(BLOCKED + 1)
            ]
            sent = await send(stand, sockets[0], "before it is held")
            await sockets[0].until_ended(sent["run"]["id"])
            thread = sent["thread"]["id"]
            with stand.cluster.connect_as_superuser(NAME) as holder, holder.transaction():
                holder.execute("SELECT FROM chat_thread WHERE id = %s FOR UPDATE", [thread])
                asked = [
                    asyncio.create_task(send(stand, socket, "held", thread=thread))
                    for socket in sockets[1:]
                ]
                # The row is held until these are through.
                other = await send(stand, sockets[0], "beside what is held")
                await sockets[0].until_ended(other["run"]["id"])
                refused: list[Frame] = await asyncio.gather(*asked)
            again = await send(stand, sockets[1], "free again", thread=thread)
            await sockets[1].until_ended(again["run"]["id"])
    assert [frame["error"]["code"] for frame in refused] == ["unavailable"] * BLOCKED
    assert "Traceback" not in server.logged()
    assert '"event": "database_away"' in server.logged()
