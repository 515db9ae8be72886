"""Jobs that remove what files, uploads and vector stores left behind."""

from __future__ import annotations

from functools import partial

from procrastinate.contrib.django import app

from chat import storage
from tenants.db import call_door, in_db
from tenants.scope import tenant_scope

# A body is whole before its row is made: what is left is a copy from one disk to another.
ARRIVE_SECONDS = 3600.0
AT_ONCE = 500


@app.periodic(cron="* * * * *")
@app.task(queue="upkeep", queueing_lock="erase_files")
async def erase_files(timestamp: int) -> None:
    """Erase files that were deleted, have expired, or never arrived whole."""
    for file_id, tenant_id in await in_db(call_door, "files_to_remove", ARRIVE_SECONDS, AT_ONCE):
        with tenant_scope(tenant_id):
            await in_db(partial(storage.erase, file_id, arrive_seconds=ARRIVE_SECONDS))
