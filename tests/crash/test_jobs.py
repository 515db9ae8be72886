"""Jobs whose process was killed while it did them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from procrastinate.contrib.django import app as jobs
from procrastinate.exceptions import AlreadyEnqueued

from tenants.db import in_db
from tests.clock import wait_until
from tests.crash.clients import accept_here
from tests.crash.stand import Stand
from tests.server import Server, suspended

AGE = """
UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour'
WHERE id IN (SELECT worker_id FROM procrastinate_jobs WHERE status = 'doing') RETURNING id
"""
LEFT = "SELECT task_name, status::text FROM procrastinate_jobs WHERE status IN ('doing', 'todo')"
# What a process leaves that dies in a job of the clock, after which the clock asked again.
AGAIN = """
INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, args, status, worker_id)
VALUES ('runs', 'chat.tasks.recover_runs', 'recover_runs', '{"timestamp": 0}', 'doing', NULL),
       ('runs', 'chat.tasks.recover_runs', 'recover_runs', '{"timestamp": 1}', 'todo', NULL)
ON CONFLICT DO NOTHING RETURNING id
"""


async def test_a_killed_worker_leaves_its_run_and_jobs_to_another(
    stand: Stand, survivor: Server, held_answer: None
) -> None:
    with suspended(survivor):
        with stand.worker("--one-shot") as killed:
            run = await in_db(accept_here, stand, "a job half done")
            await asyncio.to_thread(wait_until, lambda: stand.answers(run))
            killed.kill()
        assert ("chat.tasks.execute_run", "doing") in await in_db(stand.query, LEFT)
        await in_db(stand.query, AGE)
        await in_db(stand.query, AGAIN)
    with suppress(AlreadyEnqueued):  # by the clock
        await in_db(lambda: jobs.configure_task("chat.tasks.tidy_jobs").defer(timestamp=0))
    await asyncio.to_thread(wait_until, lambda: stand.query(LEFT) == [])
    # The job of a process that goes on ends before the run that it began.
    await asyncio.to_thread(wait_until, stand.is_settled)
    ended = await in_db(stand.run, run)
    assert (ended["status"], ended["reason"]) == ("completed", "")
