"""Which run of a thread starts next, and what its readers are told first."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from chat import wire
from chat.models import Assistant, Message, Run, Thread
from chat.runs.claims import Claim
from chat.runs.start import insert_run
from chat.runs.turn import Announcement, Started
from chat.runs.wake import wake


def start_next_queued(thread_id: str, *, owner: UUID | None) -> Started | None:
    """Place the oldest queued message of a locked thread and start its run.

    Several in a row are answered by one run each, in their order. Where no
    assistant is left the run ends with that, so that none waits for ever.
    """
    message = (
        Message.objects.queued()
        .filter(thread_id=thread_id, thread__deleted_at=None)
        .select_for_update(of=("self",))
        .first()
    )
    if message is None:
        return None
    thread = Thread.objects.locked().get(pk=thread_id)
    assistant = (
        Assistant.objects.filter(pk=message.assistant_id, enabled=True).first()
        or Assistant.objects.offered().first()
    )
    thread.last_position += 1
    message.position = thread.last_position
    message.created_at = timezone.now()
    message.save(update_fields=["position", "created_at"])
    thread.updated_at = message.created_at
    thread.save(update_fields=["last_position", "updated_at"])
    if assistant is not None:
        message.assistant = assistant
    assert message.sender is not None  # a message waits only where somebody sent it
    run = insert_run(
        thread,
        assistant=assistant,
        member_id=message.sender,
        key_id=message.sender_key,
        owner=owner,
    )
    return started(run, message=message)


def started(run: Run, *, message: Message | None = None, resumed: bool = False) -> Started | None:
    """Return a claimed run with what its readers are told first.

    An unclaimed one is left to any process, in the caller's transaction: None.
    """
    if run.owner is None:
        wake(run.tenant_id, run.pk)
        return None
    announce: list[Announcement] = []
    if message is not None:
        announce.append(("thread.message.created", wire.message_object(message)))
    rendered = wire.run_object(run)
    if not resumed:
        announce.append(("thread.run.created", rendered))
    announce.append(("thread.run.queued", rendered))
    return Started(
        claim=Claim.of(run),
        thread_id=run.thread_id,
        state=run.state,
        seconds_left=(run.expires_at - timezone.now()).total_seconds(),
        announce=tuple(announce),
    )
