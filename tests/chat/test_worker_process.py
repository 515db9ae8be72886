"""`manage.py procrastinate worker`: a process of its own that executes what no server holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from django.conf import settings

from chat.actions.messages import create_message
from chat.models import Message, Run
from tests.database import CHECKOUT, TestDatabase
from tests.world import World


def test_a_worker_process_answers_what_was_deferred(
    world: World, database: TestDatabase, tmp_path: Path
) -> None:
    sent = create_message(
        world.acme.principal("alice"),
        None,
        assistant_id=world.acme.assistant.pk,
        text="hello",
        client_id=str(uuid4()),
    )
    assert sent.run is not None
    assert sent.run.owner is None
    environment = {
        **os.environ,
        "DATABASE_URL": database.app_url,
        "SECRET_KEY": settings.SECRET_KEY,
        "FIELD_ENCRYPTION_KEYS": "test",
        "ATRIUM_DATA_DIR": str(tmp_path),
        "ATRIUM_DEMO_TOKENS_PER_SECOND": "0",
    }
    command = [sys.executable, "manage.py", "procrastinate", "worker", "--one-shot"]
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, timeout=60)
    with world.acme.scope():
        assert Run.objects.get(pk=sent.run.pk).status == "completed"
        answer = Message.objects.get(thread_id=sent.thread.pk, position=2)
        assert answer.status == "completed"
