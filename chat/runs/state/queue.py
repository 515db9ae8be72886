"""Start the next queued run of a thread, and build its first events."""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from uuid import UUID

from django.db.models import OuterRef, Subquery

from chat import wire
from chat.conf import conf
from chat.models import Assistant, Message, Run, Thread
from chat.runs.state.claims import Claim, pending_claims
from chat.runs.state.create import insert_run
from chat.runs.state.enqueue import enqueue
from chat.runs.state.thread_end import append_to_thread
from chat.runs.state.turn import ClaimedRun, Event
from tenants import clock


def start_next_queued(thread_id: str, *, owner: UUID | None) -> ClaimedRun | None:
    """Start the oldest queued message or run of a locked thread.

    If no assistant is left, the run fails with that reason, so that no message waits forever.
    """
    messages, runs = Message.objects.queued(), Run.objects.pending()
    in_thread = {"thread": OuterRef("pk")}
    waiting = (
        Thread.objects.alive()
        .filter(pk=thread_id)
        .annotate(
            message=Subquery(messages.filter(**in_thread).values("pk")[:1]),
            run=Subquery(runs.filter(**in_thread).values("pk")[:1]),
        )
        .values_list("message", "run")
        .first()
    )
    if waiting is None or waiting == (None, None):
        return None
    message = messages.select_for_update(of=("self",)).filter(pk=waiting[0]).first()
    run = runs.select_related("assistant").filter(pk=waiting[1]).first()
    thread = Thread.objects.locked().get(pk=thread_id)
    if message is not None and (run is None or message.created_at < run.created_at):
        return _answer_message(thread, message, owner=owner)
    return _start_queued_run(thread, run, owner=owner) if run is not None else None


def _answer_message(thread: Thread, message: Message, *, owner: UUID | None) -> ClaimedRun | None:
    assistant = (
        Assistant.objects.filter(pk=message.assistant_id, enabled=True).first()
        or Assistant.objects.offered().first()
    )
    thread.last_position += 1
    message.position = thread.last_position
    message.created_at = clock.now()
    message.save(update_fields=["position", "created_at"])
    thread.updated_at = message.created_at
    thread.save(update_fields=["last_position", "updated_at"])
    if assistant is not None:
        message.assistant = assistant
    assert message.sender is not None  # a queued message always has a sender
    run = insert_run(
        thread,
        assistant=assistant,
        member_id=message.sender,
        key_id=message.sender_key,
        owner=owner,
    )
    return build_claimed_run(run, message=message)


def _start_queued_run(thread: Thread, run: Run, *, owner: UUID | None) -> ClaimedRun | None:
    """Start a queued run: append its messages to the thread and start its deadline."""
    append_to_thread(thread, run.additional_messages, sender=run.member_id, sender_key=run.key_id)
    run.waiting, run.additional_messages = False, []
    run.through_position = thread.last_position
    run.owner, run.token = owner, 1 if owner else 0
    run.expires_at = clock.now() + timedelta(seconds=conf.run_seconds)
    run.save(
        update_fields=[
            "waiting",
            "additional_messages",
            "through_position",
            "owner",
            "token",
            "expires_at",
        ]
    )
    return build_claimed_run(run)


def build_claimed_run(
    run: Run, *, message: Message | None = None, resumed: bool = False
) -> ClaimedRun | None:
    """Return a claimed run with its first events.

    For an unclaimed run, defer a job in the caller's transaction and return None.
    """
    if run.owner is None:
        enqueue(run.tenant_id, run.pk)
        return None
    claim = Claim.of(run)
    pending_claims.register(claim)
    announce: list[Event] = []
    if message is not None:
        announce.append(("thread.message.created", wire.message_object(message)))
    rendered = wire.run_object(run)
    if not resumed:
        announce.append(("thread.run.created", rendered))
    announce.append(("thread.run.queued", rendered))
    return ClaimedRun(
        claim=claim,
        thread_id=run.thread_id,
        state=run.state,
        seconds_left=(run.expires_at - clock.now()).total_seconds(),
        announce=tuple(announce),
        # A copy for the loop: the caller keeps using its row.
        run=None if resumed else copy(run),
    )
