"""`manage.py procrastinate worker`: a process of its own that executes what no server holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from chat.models import Message, Run
from tests.chat.saying import unclaimed_run
from tests.clock import WAIT_SECONDS
from tests.database import CHECKOUT, TestDatabase
from tests.world import World


def test_a_worker_process_answers_what_was_deferred(
    world: World, database: TestDatabase, tmp_path: Path
) -> None:
    run = unclaimed_run(world.acme)
    assert run.owner is None
    environment = {
        **os.environ,
        "DATABASE_URL": database.app_url,
        "SECRET_KEY": settings.SECRET_KEY,
        "FIELD_ENCRYPTION_KEYS": "test",
        "ATRIUM_DATA_DIR": str(tmp_path),
        "ATRIUM_DEMO_TOKENS_PER_SECOND": "0",
    }
    command = [sys.executable, "manage.py", "procrastinate", "worker", "--one-shot"]
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, timeout=3 * WAIT_SECONDS)
    with world.acme.scope():
        assert Run.objects.get(pk=run.pk).status == "completed"
        answer = Message.objects.get(thread_id=run.thread_id, position=2)
        assert answer.status == "completed"
