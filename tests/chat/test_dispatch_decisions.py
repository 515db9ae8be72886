"""The first phase: what may run, what waits, what is refused, what was said before."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chat.models import TenantPolicy
from chat.tools import dispatch
from chat.tools.base import Effect, ToolContext
from chat.tools.registry import TOOLS, make_tool
from tests.chat.tool_runs import (
    audited,
    call,
    open_run,
    perform,
    perform_one,
    phase,
    prepare,
    stored,
)
from tests.world import World

Ran = list[str]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Tools of each effect that note their calls here."""
    notes: Ran = []

    def noting(name: str) -> Callable[..., Any]:
        def noted(ctx: ToolContext, word: str = "") -> dict[str, Any]:
            """Note the call."""
            notes.append(ctx.idempotency_key)
            return {"call": len(notes), "word": word}

        noted.__name__ = name
        return noted

    for effect in Effect:
        made = make_tool(noting(f"do_{effect}"), effect=effect)
        monkeypatch.setitem(TOOLS, made.name, made)
    return notes


ALL = ("do_read", "do_write_idempotent", "do_write_once", "do_destructive")


@pytest.mark.parametrize("name", ["do_read", "do_write_idempotent", "do_write_once"])
def test_what_destroys_nothing_starts_at_once(world: World, ran: Ran, name: str) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    (row,) = prepare(world.acme, ctx, call(name))
    assert (row.status, row.effect, ran) == ("started", name.removeprefix("do_"), [])


def test_what_destroys_waits_for_approval(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    row = perform_one(world.acme, ctx, "do_destructive")
    assert (row.status, ran) == ("waiting", [])
    assert row.approval_expires_at is not None
    assert row.approval_expires_at > timezone.now()


def test_the_tenant_lists_what_else_waits(world: World, ran: Ran) -> None:
    with world.acme.scope():
        TenantPolicy.objects.create(approval_tools=["do_read"])
    assert (
        perform_one(world.acme, open_run(world.acme, "alice", *ALL), "do_read").status == "waiting"
    )
    hers = open_run(world.globex, "gina", *ALL)
    assert perform_one(world.globex, hers, "do_read").status == "completed"


def test_unknown_and_switched_off_tools_get_the_same_answer(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", "do_read")
    rows = perform(world.acme, ctx, call("do_write_once"), call("nowhere", index=1))
    assert {(row.status, row.output) for row in rows} == {("refused", rows[0].output)}
    assert json.loads(rows[0].output or "")["error"]["code"] == "unknown_tool"
    assert ran == []


def test_a_client_s_own_function_is_left_to_the_client(world: World) -> None:
    ctx = open_run(world.acme, "alice", client=("open_door",))
    row = perform_one(world.acme, ctx, "open_door", "not even JSON")
    assert (row.status, row.output) == ("awaiting_output", None)


def test_bad_arguments_are_refused_before_anything_runs(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    row = perform_one(world.acme, ctx, "do_write_once", '{"word": 7}')
    assert (row.status, row.error_code, ran) == ("refused", "invalid_arguments", [])


@pytest.mark.parametrize("text", ["\x00", "\ud800", "{" * 90_000, '{"word": "\\u0000"}'], ids=ascii)
def test_what_a_model_sends_is_always_stored(world: World, ran: Ran, text: str) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    rows = perform(
        world.acme, ctx, call("do_read", text, server_id=text), call(f"x{text}", index=1)
    )
    assert {stored(world.acme, row).status for row in rows} == {"refused"}


def test_saying_who_asks_is_refused_and_recorded(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    row = perform_one(world.acme, ctx, "do_read", '{"word": "a", "tenant_id": "globex"}')
    assert (row.status, row.error_code, ran) == ("refused", "reserved_argument", [])
    assert audited(world.acme, row)["security.reserved_argument"]["names"] == ["tenant_id"]


def test_each_call_is_recorded_with_its_decision(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    row = perform_one(world.acme, ctx, "do_write_once", '{"word": "sesame"}')
    events = audited(world.acme, row)
    attempted = events["tool.attempted"]
    assert attempted["decision"] == "started"
    assert attempted["version"] == TOOLS["do_write_once"].version
    assert attempted["arguments"] == {"word": "sesame"}
    assert events["tool.ended"]["outcome"] == "completed"


def test_a_refused_call_is_recorded_too(world: World) -> None:
    ctx = open_run(world.acme, "alice")
    row = perform_one(world.acme, ctx, "nowhere", "broken")
    assert audited(world.acme, row)["tool.attempted"]["decision"] == "refused"


def test_the_same_call_again_is_answered_from_the_ledger(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    first = perform(world.acme, ctx, call("do_write_once", server_id="c1"))[0]
    again = perform(world.acme, ctx, call("do_write_once", server_id="c1", round=2))[0]
    assert (again.status, again.output, len(ran)) == ("completed", first.output, 1)
    assert again.pk != first.pk


@pytest.mark.parametrize(
    ("server_id", "arguments"), [("c1", '{"word": "b"}'), ("c2", "{}"), ("", "{}")]
)
def test_anything_else_is_a_new_call(
    world: World, ran: Ran, server_id: str, arguments: str
) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    perform(world.acme, ctx, call("do_read", server_id="c1" if server_id else ""))
    perform(world.acme, ctx, call("do_read", arguments, server_id=server_id, round=2))
    assert len(ran) == 2


def test_a_call_doubled_in_one_answer_runs_once(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    twice = [call("do_write_once", server_id="c1", index=index) for index in (0, 1)]
    rows = perform(world.acme, ctx, *twice)
    assert [row.error_code for row in rows] == ["", "duplicate_call"]
    assert len(ran) == 1


def test_ids_of_another_run_are_no_replay(world: World, ran: Ran) -> None:
    for name in ("alice", "bob"):
        ctx = open_run(world.acme, name, *ALL)
        perform(world.acme, ctx, call("do_write_once", server_id="c1"))
    assert len(ran) == 2


@pytest.mark.parametrize("name", ["do_read", "do_write_idempotent"])
def test_after_a_crash_what_may_be_repeated_is(world: World, ran: Ran, name: str) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    (row,) = prepare(world.acme, ctx, call(name))
    perform_key = phase(dispatch.resume_all)(ctx, [row])[0].status, ran[0]
    other = perform(world.acme, ctx, call(name, round=2))[0]
    assert perform_key[0] == other.status == "completed"
    assert ran[0] != ran[1]


def test_a_repeat_has_the_same_idempotency_key(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    (row,) = prepare(world.acme, ctx, call("do_write_idempotent"))
    phase(dispatch.execute)(ctx, row)
    row.status = "started"  # as a process that died before the commit would have left it
    with world.acme.scope():
        row.save(update_fields=["status"])
    phase(dispatch.recover)(ctx, row)
    assert ran[0] == ran[1]


def test_after_a_crash_what_happens_once_is_not_repeated(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    (row,) = prepare(world.acme, ctx, call("do_write_once"))
    ended = phase(dispatch.resume_all)(ctx, [row])[0]
    assert (ended.status, ran) == ("outcome_unknown", [])
    assert json.loads(ended.output)["error"]["code"] == "outcome_unknown"
    assert audited(world.acme, ended)["tool.ended"]["outcome"] == "outcome_unknown"


def test_an_approved_call_runs_when_the_run_goes_on(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    (row,) = prepare(world.acme, ctx, call("do_destructive"))
    with world.acme.scope():
        row.status = "approved"
        row.save(update_fields=["status"])
    ended = phase(dispatch.resume_all)(ctx, [row])[0]
    assert (ended.status, len(ran)) == ("completed", 1)
    assert ended.started_at is not None


@pytest.mark.parametrize("change", [{"version": "0" * 32}, {"arguments": '{"word": "other"}'}])
def test_an_approval_is_void_when_tool_or_arguments_changed(
    world: World, ran: Ran, change: dict[str, str]
) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    (row,) = prepare(world.acme, ctx, call("do_destructive"))
    row.status = "approved"
    for name, value in change.items():
        setattr(row, name, value)
    with world.acme.scope():
        row.save()
    ended = phase(dispatch.execute)(ctx, row)
    assert (ended.status, ended.error_code, ran) == ("refused", "approval_void", [])


def test_a_started_call_does_not_run_in_a_changed_tool(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    (row,) = prepare(world.acme, ctx, call("do_read"))
    row.version = "0" * 32
    ended = phase(dispatch.recover)(ctx, row)
    assert (ended.status, ended.error_code, ran) == ("refused", "tool_changed", [])


def test_an_approval_fits_only_what_was_shown(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    (row,) = prepare(world.acme, ctx, call("do_destructive"))
    tool, now = TOOLS["do_destructive"], timezone.now()
    seen = row.arguments_hash
    valid = dispatch.is_approval_valid
    assert valid(row, tool, arguments_hash=seen, now=now)
    assert not valid(row, tool, arguments_hash="0" * 64, now=now)
    assert not valid(row, None, arguments_hash=seen, now=now)
    assert not valid(row, TOOLS["do_read"], arguments_hash=seen, now=now)
    assert not valid(row, tool, arguments_hash=seen, now=now + timedelta(days=2))
    row.status = "declined"
    assert not valid(row, tool, arguments_hash=seen, now=now)


def test_a_declined_call_tells_the_model_so(world: World, ran: Ran) -> None:
    ctx = open_run(world.acme, "alice", *ALL)
    (row,) = prepare(world.acme, ctx, call("do_destructive"))
    dispatch.decline(row)
    assert row.status == "declined"
    assert json.loads(row.output or "")["error"]["code"] == "declined"
