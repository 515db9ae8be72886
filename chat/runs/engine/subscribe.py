"""Subscribe to a thread from a client's cursor; used by the websocket and the API's streams.

A subscriber gets the backlog first and then new events, in whichever process the thread's run is
executed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from chat.runs.delivery.hub import Reader as Reader
from chat.runs.delivery.hub import hub
from chat.runs.delivery.replication import cluster
from chat.runs.engine.launch import end_overdue_run
from chat.runs.events import Cursor
from chat.runs.state.recovery import is_overdue
from chat.runs.state.snapshots import StoredThread, read_thread
from tenants.authentication import Principal
from tenants.db import in_db


async def follow(
    principal: Principal,
    thread_id: str,
    *,
    cursor: Cursor | None = None,
    run_id: str | None = None,
) -> tuple[StoredThread, Reader]:
    """Return the stored thread, and a reader of the events after `cursor`.

    Without a cursor the reader gets the whole run `run_id`: every event while the process that
    executed it still has them (a few seconds after its end), later the state in its rows. The
    thread's active run is sent from its beginning unless the cursor names it. The caller closes
    the reader.

    Raises:
        NotFound: the principal has no thread of this id.
    """
    # Subscribe before reading the rows, so that no event is missed in between.
    reader = hub.subscribe(principal.tenant_id, thread_id)
    try:
        await cluster.wait_until_joined(reader.channel)
        wanted_run = cursor.run if cursor else run_id
        stored = await in_db(read_thread, principal, thread_id, run_id=wanted_run)
        if stored.active_run is not None and _is_overdue(stored.active_run):
            await in_db(end_overdue_run, principal.tenant_id, thread_id)
            stored = await in_db(
                read_thread, principal, thread_id, run_id=wanted_run or stored.active_run["id"]
            )
        await cluster.fill(reader.channel, stored.active)
        reader.seek(stored.events, cursor=cursor, run_id=run_id)
    except BaseException:
        reader.close()
        raise
    return stored, reader


def _is_overdue(run: dict[str, Any]) -> bool:
    deadline = run["expires_at"]
    return deadline is not None and is_overdue(datetime.fromtimestamp(deadline, UTC))
