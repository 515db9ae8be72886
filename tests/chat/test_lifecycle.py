"""The transition table: every pair of statuses, and one winner of each race."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from chat.models import Run, RunStatus
from chat.models.runs import ACTIVE_STATUSES, CUT_SHORT_STATUSES
from chat.runs.state.claims import Claim
from chat.runs.state.lifecycle import TERMINAL, TRANSITIONS, advance, render_mermaid
from tests.world import Company, World

PAIRS = [(source, target) for source in RunStatus for target in RunStatus]


@pytest.fixture
def acme(world: World) -> Iterator[Company]:
    with world.acme.scope():
        yield world.acme


def make_run(company: Company, status: str = "queued", **fields: object) -> Run:
    run = Run(
        thread=company.threads["alice"],
        assistant_ref=company.assistant.pk,
        member=company.alice,
        model="m",
        upstream="demo",
        status=status,
        expires_at=timezone.now() + timedelta(minutes=10),
        **{"reason": "stopped" if status in CUT_SHORT_STATUSES else "", **fields},
    )
    run.save()
    return run


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_only_the_tables_edges(acme: Company, source: RunStatus, target: RunStatus) -> None:
    run = make_run(acme, source)
    moved = advance(run.pk, target, reason="stopped")
    run.refresh_from_db()
    assert moved == (target in TRANSITIONS[source])
    assert run.status == (target if moved else source)


def test_terminal_statuses_are_those_the_index_does_not_count() -> None:
    assert set(RunStatus) - TERMINAL == set(ACTIVE_STATUSES)


def test_a_second_active_run_is_refused_by_the_database(acme: Company) -> None:
    make_run(acme)
    with pytest.raises(IntegrityError, match="run_one_active_per_thread"), transaction.atomic():
        make_run(acme)


def test_a_lapsed_claim_moves_nothing(acme: Company) -> None:
    run = make_run(acme, "in_progress", owner=uuid4(), token=2)
    assert run.owner is not None
    lapsed = Claim(tenant_id=acme.tenant.pk, run_id=run.pk, owner=run.owner, token=1)
    assert not advance(run.pk, RunStatus.COMPLETED, claim=lapsed)
    assert advance(run.pk, RunStatus.COMPLETED, claim=Claim.of(run))


def test_each_change_counts_the_state(acme: Company) -> None:
    run = make_run(acme)
    advance(run.pk, RunStatus.IN_PROGRESS)
    advance(run.pk, RunStatus.COMPLETED)
    run.refresh_from_db()
    assert run.state == 2


def test_of_racing_ends_one_wins(world: World) -> None:
    with world.acme.scope():
        run = make_run(world.acme, "in_progress")

    def end(status: RunStatus) -> bool:
        try:
            with world.acme.scope():
                return advance(run.pk, status, reason="stopped")
        finally:
            connection.close()

    ends = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.EXPIRED, RunStatus.INCOMPLETE]
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(end, ends)) == 1


def test_the_diagram_in_the_docs_is_the_tables() -> None:
    page = Path(__file__).parents[2] / "docs" / "ARCHITECTURE.md"
    assert render_mermaid() in page.read_text()


@pytest.mark.parametrize("status", CUT_SHORT_STATUSES)
def test_the_database_refuses_an_end_without_its_reason(acme: Company, status: str) -> None:
    with pytest.raises(IntegrityError, match="run_end_has_reason"), transaction.atomic():
        make_run(acme, status, reason="")
