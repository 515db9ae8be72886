"""Cancel, update and retry runs."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from chat.actions.assistants.manage import get_offered_assistant
from chat.actions.fields import build_not_found, clean_metadata
from chat.actions.messages.append import lock_thread
from chat.errors import AssistantDisabled, NotFound, NothingToRetry, RunFinished, ThreadBusy
from chat.models import Assistant, Run, RunStatus, Thread
from chat.rates import count_run
from chat.runs.endings import CANCELLED, Ending
from chat.runs.engine.launch import get_active_run_id, launch, publish_run_row, submit_on_commit
from chat.runs.engine.worker import worker
from chat.runs.state import recovery
from chat.runs.state.create import insert_run
from chat.runs.state.lifecycle import advance
from tenants.authentication import Principal
from tenants.scope import tenant_scope


def cancel_run(principal: Principal, run_id: str, *, thread_id: str | None = None) -> Run:
    """Cancel a run; text generated so far is kept.

    Raises:
        NotFound: the thread or run does not exist.
        RunFinished: the run has already ended.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        run = lock_run(principal, run_id, thread_id=thread_id)
        if run.ended_at is not None:
            raise RunFinished(f"Cannot cancel run with status '{run.status}'.")
        request_cancel(run, CANCELLED)
        return run


def lock_run(principal: Principal, run_id: str, *, thread_id: str | None = None) -> Run:
    """Return one of the principal's runs, after locking its thread and then the run.

    All code that changes runs locks in this order. With `thread_id` the run must belong
    to that thread.

    Raises:
        NotFound: the thread or run does not exist.
    """
    runs = Run.objects.visible_to(principal).filter(pk=run_id)
    if thread_id is not None:
        runs = runs.filter(thread=lock_thread(principal, thread_id))
    else:
        of_run = runs.values_list("thread_id", flat=True).first()
        Thread.objects.locked().filter(pk=of_run).first()
    run: Run | None = (
        runs.select_related("assistant").select_for_update(of=("self",), no_key=True).first()
    )
    if run is None:
        raise build_not_found("run_", run_id, param="run_id" if thread_id else "run")
    return run


def update_run(principal: Principal, run_id: str, *, thread_id: str, metadata: Any) -> Run:
    """Replace a run's metadata; None keeps it.

    Raises:
        NotFound: the thread or run does not exist.
        InvalidInput: the metadata is invalid.
    """
    cleaned = clean_metadata(metadata)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        run = lock_run(principal, run_id, thread_id=thread_id)
        if metadata is not None:
            run.metadata = cleaned
            run.save(update_fields=["metadata"])
        return run


def request_cancel(run: Run, ending: Ending) -> None:
    """End an active run with `ending`, in the caller's transaction.

    If a process is executing the run, set the status to cancelling and let that process
    end it. If the run is waiting for approval or tool outputs, end it immediately. The
    caller must hold the thread's lock.
    """
    # Its process can move the run to requires_action without the thread's lock.
    current = Run.objects.select_for_update(no_key=True)
    run.refresh_from_db(fields=["status", "owner", "state"], from_queryset=current)
    if run.owner is None:
        following = recovery.end_row(run, ending, owner=worker.claim_owner)
        publish_run_row(run)
        submit_on_commit(following)
        return
    if run.status != RunStatus.CANCELLING and advance(
        run.pk,
        RunStatus.CANCELLING,
        cancel_requested_at=timezone.now(),
        reason=ending.reason or "",
    ):
        run.status, run.reason = RunStatus.CANCELLING, ending.reason or ""
        publish_run_row(run)
    transaction.on_commit(lambda: worker.end_run(run.pk, ending, owner=run.owner))


def retry_run(principal: Principal, thread_id: str, *, assistant_id: str | None = None) -> Run:
    """Create a new run for the thread's last message after a failed or cancelled run.

    Raises:
        NotFound: the thread or assistant does not exist, or the thread has no run.
        ThreadBusy: a run is active on the thread.
        NothingToRetry: the last run completed.
        TooManyRuns: the limit of active runs is reached.
        AssistantDisabled: the assistant is not offered, or no assistant is.
        RateLimited: the principal exceeded the rate limit for runs.
    """
    count_run(principal)
    with tenant_scope(principal.tenant_id):
        try:
            with transaction.atomic():
                return _retry(principal, thread_id, assistant_id)
        except IntegrityError:
            raise ThreadBusy() from None


def _retry(principal: Principal, thread_id: str, assistant_id: str | None) -> Run:
    thread = Thread.objects.visible_to(principal).locked().filter(pk=thread_id).first()
    last = Run.objects.filter(thread_id=thread_id).order_by("-created_at", "-id").first()
    if thread is None or last is None:
        raise NotFound(f"No thread found with id '{thread_id}'.", param="thread")
    assert principal.membership_id is not None
    if get_active_run_id(thread.pk, member_id=principal.membership_id) is not None:
        raise ThreadBusy()
    if last.status == RunStatus.COMPLETED:
        raise NothingToRetry()
    assistant = _get_assistant_for_retry(last, assistant_id)
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


def _get_assistant_for_retry(last: Run, assistant_id: str | None) -> Assistant:
    wanted = assistant_id or last.assistant_id
    if wanted is not None:
        return get_offered_assistant(wanted)
    # The run's assistant was deleted: use the default, as for a message without a choice.
    first: Assistant | None = Assistant.objects.offered().first()
    if first is None:
        raise AssistantDisabled()
    return first
