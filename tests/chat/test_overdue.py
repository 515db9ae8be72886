"""Without any worker, whoever reads a run whose deadline passed finds it ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from chat.conf import conf
from chat.models import Run
from chat.runs.engine.subscribe import follow
from tenants.db import in_db
from tests.api.conftest import program_of
from tests.chat.saying import said, unclaimed_run
from tests.world import World


@pytest.fixture
def late(world: World) -> Run:
    """A run whose deadline passed longer ago than a lapse."""
    run = unclaimed_run(world.acme)
    set_deadline(world, run, seconds=conf.lapse_seconds + 1)
    return run


def set_deadline(world: World, run: Run, *, seconds: float) -> None:
    with world.acme.scope():
        Run.objects.filter(pk=run.pk).update(expires_at=timezone.now() - timedelta(seconds=seconds))


def status_of(world: World, run: Run) -> tuple[str, str]:
    with world.acme.scope():
        found = Run.objects.get(pk=run.pk)
        return found.status, found.reason


def read_by_program(path: str) -> Callable[[World, Run], Any]:
    """Return a read of /v1/threads/{thread}/`path`."""

    def read(world: World, run: Run) -> Any:
        program = program_of(world.acme, "alice")
        answer = program.get(f"threads/{run.thread_id}/{path.format(run=run.pk)}")
        assert answer.status_code == 200, answer.content
        return answer.json()

    return read


def write_by_program(world: World, run: Run) -> Any:
    program = program_of(world.acme, "alice")
    path = f"threads/{run.thread_id}/messages"
    return program.made(path, role="user", content="Anybody?")


def read_page(world: World, run: Run) -> Any:
    answer = world.acme.client("alice").get(f"/page/threads/{run.thread_id}/messages")
    assert answer.status_code == 200, answer.content
    return answer.json()


DOORS = {
    "run": read_by_program("runs/{run}"),
    "runs": read_by_program("runs"),
    "steps": read_by_program("runs/{run}/steps"),
    "message": write_by_program,
    "page": read_page,
}


@pytest.mark.parametrize("read", DOORS.values(), ids=DOORS)
def test_a_read_ends_an_overdue_run(world: World, late: Run, read: Callable[..., Any]) -> None:
    read(world, late)
    assert status_of(world, late) == ("expired", "deadline")


def test_what_is_read_is_the_run_as_it_ended(world: World, late: Run) -> None:
    listed = read_by_program("runs")(world, late)
    assert [run["status"] for run in listed["data"]] == ["expired"]
    assert read_by_program("runs/{run}")(world, late)["status"] == "expired"


def test_the_page_tells_of_no_active_run(world: World, late: Run) -> None:
    page = read_page(world, late)
    assert (page["active_run"], page["runs"][late.pk]["status"]) == (None, "expired")


async def test_a_socket_that_subscribes_ends_an_overdue_run(world: World, late: Run) -> None:
    stored, reader = await follow(world.acme.principal("alice"), late.thread_id)
    reader.close()
    assert stored.active_run is None
    assert await in_db(status_of, world, late) == ("expired", "deadline")


def test_the_next_message_has_its_turn(world: World, late: Run) -> None:
    said(world.acme, "And then?", thread=late.thread_id, busy="queue")
    with world.acme.scope():
        assert Run.objects.filter(thread_id=late.thread_id).count() == 2


@pytest.mark.parametrize("read", DOORS.values(), ids=DOORS)
def test_a_run_within_a_lapse_of_its_deadline_is_left_to_its_process(
    world: World, late: Run, read: Callable[..., Any]
) -> None:
    set_deadline(world, late, seconds=-3600)
    if read is write_by_program:
        answer = program_of(world.acme, "alice").post(
            f"threads/{late.thread_id}/messages", role="user", content="Anybody?"
        )
        assert answer.status_code == 400
    else:
        read(world, late)
    assert status_of(world, late)[0] == "queued"


def test_a_stranger_ends_nothing(world: World, late: Run) -> None:
    answer = program_of(world.globex, "gina").get(f"threads/{late.thread_id}/runs/{late.pk}")
    assert answer.status_code == 404
    with transaction.atomic():
        pass
    assert status_of(world, late)[0] == "queued"
