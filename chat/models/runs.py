"""Runs, their steps and tool calls, and the processes that execute them."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat import ids
from chat.models.assistants import Assistant
from chat.models.threads import Message, Thread
from tenants.authentication import Principal
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet
from tenants.models import ApiKey, Membership


class RunStatus(models.TextChoices):
    """Run statuses of the Assistants API; transitions are in chat.runs.state.lifecycle."""

    QUEUED = "queued", _("waiting")
    IN_PROGRESS = "in_progress", _("answering")
    REQUIRES_ACTION = "requires_action", _("waiting for somebody")
    CANCELLING = "cancelling", _("stopping")
    CANCELLED = "cancelled", _("stopped")
    COMPLETED = "completed", _("complete")
    INCOMPLETE = "incomplete", _("cut short")
    FAILED = "failed", _("failed")
    EXPIRED = "expired", _("ran out of time")


ACTIVE_STATUSES = ("queued", "in_progress", "requires_action", "cancelling")
CUT_SHORT_STATUSES = ("cancelled", "incomplete", "failed", "expired")


class StepStatus(models.TextChoices):
    """Run step statuses of the Assistants API."""

    IN_PROGRESS = "in_progress", _("running")
    COMPLETED = "completed", _("complete")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("stopped")
    EXPIRED = "expired", _("ran out of time")


class RunQuerySet(TenantQuerySet["Run"]):
    """Runs of the tenant in scope."""

    def active(self) -> RunQuerySet:
        """Return the active runs: not pending behind another run and not ended."""
        return self.filter(status__in=ACTIVE_STATUSES, waiting=False)

    def pending(self) -> RunQuerySet:
        """Return the runs pending until their thread's active run ends, oldest first."""
        return self.filter(status=RunStatus.QUEUED, waiting=True).order_by("created_at", "id")

    def visible_to(self, principal: Principal) -> RunQuerySet:
        """Return the runs of the principal's own threads."""
        return self.filter(thread__member_id=principal.membership_id, thread__deleted_at=None)


class Run(TenantModel):
    """One answer in progress or done.

    The row is the source of truth; tasks, queues and sockets are only wake-up signals.
    `member` and `key` identify the principal, fixed at creation. `owner` is the process
    that executes the run. `token` is a fencing token incremented by each claim: a write
    with an outdated token changes nothing.
    """

    id = models.CharField(primary_key=True, max_length=40, default=ids.run_id, editable=False)
    thread = models.ForeignKey(
        Thread, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    assistant = models.ForeignKey(
        Assistant, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    # The assistant's ID as requested; kept when the assistant is deleted.
    assistant_ref = models.CharField(max_length=40)
    member = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    key = models.ForeignKey(
        ApiKey, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    status = models.CharField(max_length=16, choices=RunStatus.choices, default=RunStatus.QUEUED)
    # A chat.models.reasons.Reason: why the run ended, or why it is being cancelled.
    reason = models.CharField(max_length=32, blank=True)
    state = models.BigIntegerField(default=0)

    model = models.CharField(max_length=256)
    upstream = models.CharField(max_length=64)
    instructions = models.TextField(blank=True)
    tools = models.JSONField(default=list)
    metadata = models.JSONField(default=dict)
    temperature = models.FloatField(null=True)
    top_p = models.FloatField(null=True)
    reasoning_effort = models.CharField(max_length=10, blank=True)
    response_format = models.JSONField(null=True)
    max_prompt_tokens = models.IntegerField(null=True)
    max_completion_tokens = models.IntegerField(null=True)
    truncation_strategy = models.JSONField(default=dict)
    tool_choice = models.JSONField(null=True)
    parallel_tool_calls = models.BooleanField(default=True)

    # A queued run is pending while another run of its thread is active; its additional
    # messages are appended when it starts.
    waiting = models.BooleanField(default=False, db_default=False)
    additional_messages = models.JSONField(default=list, db_default=[])

    # The newest message the run answers; later ones belong to later runs.
    through_position = models.BigIntegerField(default=0)
    rounds = models.IntegerField(default=0)
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    # True if some token counts are estimates because the model server reported none.
    usage_estimated = models.BooleanField(default=False, db_default=False)
    # Time of the next request while the model server is unavailable.
    retry_at = models.DateTimeField(null=True)

    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    cancel_requested_at = models.DateTimeField(null=True)

    owner = models.UUIDField(null=True)
    token = models.BigIntegerField(default=0)
    takeovers = models.IntegerField(default=0)

    objects: ClassVar[TenantManager] = TenantManager.of(RunQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("answer")
        verbose_name_plural = _("answers")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints(
                "run", thread="CASCADE", assistant="SET NULL", member="NO ACTION", key="SET NULL"
            ),
            models.UniqueConstraint(
                fields=["tenant", "thread"],
                condition=models.Q(status__in=ACTIVE_STATUSES, waiting=False),
                name="run_one_active_per_thread",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=RunStatus.values), name="run_status_known"
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=CUT_SHORT_STATUSES) | ~models.Q(reason=""),
                name="run_end_has_reason",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant", "thread", "-created_at", "-id"], name="run_newest"),
            models.Index(fields=["tenant", "-created_at"], name="run_by_time"),
            models.Index(
                fields=["tenant", "thread", "created_at"],
                condition=models.Q(waiting=True),
                name="run_in_line",
            ),
            models.Index(
                fields=["owner"],
                condition=models.Q(status__in=ACTIVE_STATUSES),
                name="run_active_owner",
            ),
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def is_active(self) -> bool:
        """True if the run is not pending behind another run and has not ended."""
        return self.status in ACTIVE_STATUSES and not self.waiting


class RunStep(TenantModel):
    """A step of a run: a message or a round of tool calls, ordered by `index`."""

    id = models.CharField(primary_key=True, max_length=40, default=ids.step_id, editable=False)
    run = models.ForeignKey(
        Run, on_delete=models.DO_NOTHING, db_constraint=False, related_name="steps"
    )
    message = models.ForeignKey(
        Message, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    index = models.IntegerField()
    type = models.CharField(max_length=20)
    status = models.CharField(
        max_length=12, choices=StepStatus.choices, default=StepStatus.IN_PROGRESS
    )
    error_code = models.CharField(max_length=32, blank=True)
    error_message = models.TextField(blank=True)
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    # Trace of the request to the model server: IDs and sizes, never a second copy of text.
    sent = models.JSONField(default=dict)
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("step", run="CASCADE", message="SET NULL"),
            models.UniqueConstraint(fields=["tenant", "run", "index"], name="step_one_per_index"),
        ]

    def __str__(self) -> str:
        return self.id


class CallStatus(models.TextChoices):
    """Statuses of a tool call."""

    AWAITING_OUTPUT = "awaiting_output", _("waiting for a program")
    WAITING = "waiting", _("waiting for approval")
    APPROVED = "approved", _("approved")
    DECLINED = "declined", _("declined")
    STARTED = "started", _("running")
    COMPLETED = "completed", _("complete")
    FAILED = "failed", _("failed")
    REFUSED = "refused", _("refused")
    OUTCOME_UNKNOWN = "outcome_unknown", _("outcome unknown")
    CANCELLED = "cancelled", _("stopped")


# Calls that wait for a program's output or a person's approval.
PENDING_STATUSES = (CallStatus.AWAITING_OUTPUT, CallStatus.WAITING)


class ToolCall(TenantModel):
    """A tool call, committed as started before the tool runs and as ended afterwards.

    `arguments` are those sent by the model, `bound` those passed to the tool.
    """

    id = models.CharField(primary_key=True, max_length=40, default=ids.call_id, editable=False)
    run = models.ForeignKey(
        Run, on_delete=models.DO_NOTHING, db_constraint=False, related_name="calls"
    )
    step = models.ForeignKey(
        RunStep, on_delete=models.DO_NOTHING, db_constraint=False, related_name="calls"
    )
    round = models.IntegerField()
    index = models.IntegerField()
    server_call_id = models.CharField(max_length=200, blank=True)
    name = models.CharField(max_length=128)
    version = models.CharField(max_length=32, blank=True)
    effect = models.CharField(max_length=20, blank=True)
    arguments = models.TextField(blank=True)
    arguments_hash = models.CharField(max_length=64, blank=True)
    bound = models.JSONField(null=True)
    # The tool's results for subscribers and the chat page; the model receives only `output`.
    details = models.JSONField(null=True)
    status = models.CharField(max_length=16, choices=CallStatus.choices)
    output = models.TextField(null=True)
    error_code = models.CharField(max_length=32, blank=True)
    decided_by = models.UUIDField(null=True)
    approval_expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        verbose_name = _("tool call")
        verbose_name_plural = _("tool calls")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("call", run="CASCADE", step="CASCADE"),
            models.UniqueConstraint(
                fields=["tenant", "run", "round", "index"], name="call_one_per_place"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"

    @property
    def duration_ms(self) -> int | None:
        """The duration in milliseconds, None until the call has ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return round((self.ended_at - self.started_at).total_seconds() * 1000)


class Process(models.Model):
    """A server process and its heartbeat.

    Not under row-level security: the table contains no tenant data.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    started_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.id)
