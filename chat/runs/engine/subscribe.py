"""Follow a thread from where a client is: the one way in for the websocket and the API's streams.

Whoever follows gets what is lacking first, and then what happens, wherever the
thread's run is executed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from chat.runs.delivery.hub import Reader as Reader
from chat.runs.delivery.hub import hub
from chat.runs.delivery.replication import elsewhere
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
    """Return a thread as its rows have it, and a reader of what a client at `cursor` lacks.

    Without a cursor the run `run_id` is told whole, from its first event as long
    as the process that executed it remembers it (some seconds after its end),
    and by its rows later. The thread's active run is told from its beginning
    unless the cursor names it. The caller closes the reader.

    Raises:
        NotFound: for an unknown thread.
    """
    # The reader is placed before the rows are read, so nothing falls between.
    reader = hub.subscribe(principal.tenant_id, thread_id)
    try:
        await elsewhere.wait_until_joined(reader.channel)
        named = cursor.run if cursor else run_id
        stored = await in_db(read_thread, principal, thread_id, run_id=named)
        if stored.active_run is not None and _is_overdue(stored.active_run):
            await in_db(end_overdue_run, principal.tenant_id, thread_id)
            stored = await in_db(
                read_thread, principal, thread_id, run_id=named or stored.active_run["id"]
            )
        await elsewhere.fill(reader.channel, stored.active)
        reader.place(stored.events, cursor=cursor, run_id=run_id)
    except BaseException:
        reader.close()
        raise
    return stored, reader


def _is_overdue(run: dict[str, Any]) -> bool:
    deadline = run["expires_at"]
    return deadline is not None and is_overdue(datetime.fromtimestamp(deadline, UTC))
