"""The database commits, and the connection is lost with its answer: nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import Sum

from chat.models import Message, Run, RunStep, ToolCall, Usage
from chat.runs.state import transactions
from tenants.db import in_db
from tests.chat.test_cost import turn, working
from tests.world import Company, World


@pytest.fixture
def desk(world: World) -> Company:
    """A company whose assistant has a tool that reads and one that asks first."""
    tools = [{"type": "function", "function": {"name": n}} for n in ("list_orders", "cancel_order")]
    with world.acme.scope():
        world.acme.assistant.tools = tools
        world.acme.assistant.save()
    return world.acme


def lose_first_answer(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Have a phase commit and then fail, the first time; return the list of its calls."""
    phase: Callable[..., Any] = getattr(transactions, name)
    calls: list[str] = []

    def losing(*args: Any, **kwargs: Any) -> Any:
        result = phase(*args, **kwargs)
        calls.append(name)
        if len(calls) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return result

    monkeypatch.setattr(transactions, name, losing)
    return calls


def facts(company: Company, run_id: str) -> dict[str, Any]:
    """Return what there is of a run, counted."""
    with company.scope():
        run = Run.objects.get(pk=run_id)
        used = Usage.objects.filter(run=run, kind="input_tokens").aggregate(sum=Sum("quantity"))
        return {
            "status": run.status,
            "answers": Message.objects.filter(run_ref=run.pk, status="completed").count(),
            "steps": RunStep.objects.filter(run=run).count(),
            "calls": ToolCall.objects.filter(run=run).count(),
            "usage_is_the_runs": used["sum"] == run.prompt_tokens,
        }


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("finish", "hello", {"status": "completed", "answers": 1, "steps": 1, "calls": 0}),
        ("record_calls", "List my orders", {"status": "completed", "steps": 2, "calls": 1}),
        ("require_action", "Cancel order 1042", {"status": "requires_action", "calls": 1}),
    ],
)
async def test_a_phase_that_was_committed_unheard_is_done_once(
    desk: Company,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    text: str,
    expected: dict[str, Any],
) -> None:
    calls = lose_first_answer(monkeypatch, name)
    async with working(monkeypatch):
        sent = await turn(desk, text)
    assert len(calls) == 2
    assert sent.run is not None
    found = await in_db(facts, desk, sent.run.pk)
    assert found["usage_is_the_runs"]
    assert {key: found[key] for key in expected} == expected
