"""Stop an answer, change what is noted on it, or ask for one again."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from chat.actions.appending import lock_thread
from chat.actions.assistants import get_offered_assistant
from chat.actions.fields import clean_metadata, not_found
from chat.errors import AssistantDisabled, NotFound, NothingToRetry, RunFinished, ThreadBusy
from chat.models import Assistant, Run, RunStatus, Thread
from chat.rates import count_run
from chat.runs.endings import CANCELLED, Ending
from chat.runs.engine.launch import active_run_of, announce_row, launch, submit_on_commit
from chat.runs.engine.worker import worker
from chat.runs.state import recovery
from chat.runs.state.create import insert_run
from chat.runs.state.lifecycle import advance
from tenants.authentication import Principal
from tenants.scope import tenant_scope


def cancel_run(principal: Principal, run_id: str, *, thread_id: str | None = None) -> Run:
    """Stop a run; what was written so far is kept.

    Raises:
        NotFound: for an unknown thread or run.
        RunFinished: when it has ended already.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        run = lock_run(principal, run_id, thread_id=thread_id)
        if run.ended_at is not None:
            raise RunFinished(f"Cannot cancel run with status '{run.status}'.")
        request_cancel(run, CANCELLED)
        return run


def lock_run(principal: Principal, run_id: str, *, thread_id: str | None = None) -> Run:
    """Return a run of the principal (of that thread) with its thread and then itself locked.

    Everything that changes runs locks in this order.

    Raises:
        NotFound: for an unknown thread or run.
    """
    runs = Run.objects.for_principal(principal).filter(pk=run_id)
    if thread_id is not None:
        runs = runs.filter(thread=lock_thread(principal, thread_id))
    else:
        of_run = runs.values_list("thread_id", flat=True).first()
        Thread.objects.locked().filter(pk=of_run).first()
    run: Run | None = (
        runs.select_related("assistant").select_for_update(of=("self",), no_key=True).first()
    )
    if run is None:
        raise not_found("run_", run_id, param="run_id" if thread_id else "run")
    return run


def update_run(principal: Principal, run_id: str, *, thread_id: str, metadata: Any) -> Run:
    """Replace a run's metadata; None keeps it.

    Raises:
        NotFound: for an unknown thread or run.
        InvalidInput: for what is no metadata.
    """
    cleaned = clean_metadata(metadata)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        run = lock_run(principal, run_id, thread_id=thread_id)
        if metadata is not None:
            run.metadata = cleaned
            run.save(update_fields=["metadata"])
        return run


def request_cancel(run: Run, ending: Ending) -> None:
    """Bring an active run towards `ending`, in the caller's transaction.

    A run that a process executes goes to cancelling with its reason, and that
    process ends it; one that waits for somebody ends here and now. The caller
    holds the thread's lock.
    """
    # Its process may let it wait for somebody without the thread's lock.
    current = Run.objects.select_for_update(no_key=True)
    run.refresh_from_db(fields=["status", "owner", "state"], from_queryset=current)
    if run.owner is None:
        following = recovery.end_row(run, ending, owner=worker.claim_owner)
        announce_row(run)
        submit_on_commit(following)
        return
    if run.status != RunStatus.CANCELLING and advance(
        run.pk,
        RunStatus.CANCELLING,
        cancel_requested_at=timezone.now(),
        reason=ending.reason or "",
    ):
        run.status, run.reason = RunStatus.CANCELLING, ending.reason or ""
        announce_row(run)
    transaction.on_commit(lambda: worker.end_run(run.pk, ending, owner=run.owner))


def retry_run(principal: Principal, thread_id: str, *, assistant_id: str | None = None) -> Run:
    """Answer the thread's last message again, after an answer that failed or was stopped.

    Raises:
        NotFound: for an unknown thread or assistant, or an empty thread.
        ThreadBusy: while an answer is under way.
        NothingToRetry: when the last answer is complete.
        TooManyRuns: while as many answers are under way as there may be.
        AssistantDisabled: when its assistant is switched off.
        RateLimited: for more answers in a minute than there may be.
    """
    count_run(principal)
    with tenant_scope(principal.tenant_id):
        try:
            with transaction.atomic():
                return _retry(principal, thread_id, assistant_id)
        except IntegrityError:
            raise ThreadBusy() from None


def _retry(principal: Principal, thread_id: str, assistant_id: str | None) -> Run:
    thread = Thread.objects.for_principal(principal).locked().filter(pk=thread_id).first()
    last = Run.objects.filter(thread_id=thread_id).order_by("-created_at", "-id").first()
    if thread is None or last is None:
        raise NotFound(f"No thread found with id '{thread_id}'.", param="thread")
    assert principal.membership_id is not None
    if active_run_of(thread.pk, member_id=principal.membership_id) is not None:
        raise ThreadBusy()
    if last.status == RunStatus.COMPLETED:
        raise NothingToRetry()
    assistant = _assistant_for_retry(last, assistant_id)
    thread.updated_at = timezone.now()
    thread.save(update_fields=["updated_at"])
    run = insert_run(
        thread,
        assistant=assistant,
        member_id=principal.membership_id,
        key_id=principal.key_id,
        owner=worker.claim_owner,
    )
    launch(run)
    return run


def _assistant_for_retry(last: Run, assistant_id: str | None) -> Assistant:
    wanted = assistant_id or last.assistant_id
    if wanted is not None:
        return get_offered_assistant(wanted)
    # There was none, or it was deleted: as for a message without a choice.
    first: Assistant | None = Assistant.objects.offered().first()
    if first is None:
        raise AssistantDisabled()
    return first
