"""Assistants: model, instructions, tools and settings."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.validators import MaxLengthValidator, MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat import ids
from chat.models.resources import Resources
from tenants.authentication import Principal
from tenants.constraints import build_tenant_constraints
from tenants.managers import TenantManager, TenantModel, TenantQuerySet


class BusyPolicy(models.TextChoices):
    """How a new message is handled while a run is active."""

    REJECT = "reject", _("Refuse it")
    QUEUE = "queue", _("Let it wait")
    INTERRUPT = "interrupt", _("Stop the answer and take it")


class AssistantQuerySet(TenantQuerySet["Assistant"]):
    """Assistants of the tenant in scope."""

    def visible_to(self, principal: Principal) -> AssistantQuerySet:
        """Return the enabled assistants for members, all for admins."""
        return self.all() if principal.is_admin else self.filter(enabled=True)

    def offered(self) -> AssistantQuerySet:
        """Return the assistants offered in the chat page, the default first."""
        return self.filter(enabled=True, in_page=True).order_by("-is_default", "name", "id")


class Assistant(TenantModel):
    """An assistant. Field limits are those of the Assistants API (docs/decisions/0003)."""

    id = models.CharField(primary_key=True, max_length=40, default=ids.assistant_id, editable=False)
    name = models.CharField(
        _("name"), max_length=256, blank=True, help_text=_("People choose the assistant by it.")
    )
    description = models.CharField(
        _("description"),
        max_length=512,
        blank=True,
        help_text=_("One line under the name that says what it can do."),
    )
    instructions = models.TextField(
        _("instructions"),
        blank=True,
        validators=[MaxLengthValidator(256_000)],
        help_text=_("Goes to the model ahead of every chat: tone, rules, what to refuse."),
    )
    model = models.CharField(
        _("model"), max_length=256, help_text=_("Which language model answers.")
    )
    upstream = models.CharField(
        _("model server"),
        max_length=64,
        blank=True,
        help_text=_("Empty: the installation's own. A named one is used instead."),
    )
    tools = models.JSONField(_("tools"), default=list, blank=True)
    tool_resources = models.JSONField(default=dict, blank=True)
    temperature = models.FloatField(
        _("temperature"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(2)],
        help_text=_("0 to 2. Lower is more predictable; empty leaves it to the model."),
    )
    top_p = models.FloatField(
        _("top p"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text=_("0 to 1. Considers only the likeliest words; empty leaves it to the model."),
    )
    reasoning_effort = models.CharField(_("reasoning effort"), max_length=10, blank=True)
    response_format = models.JSONField(default=None, null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    suggested_prompts = models.JSONField(
        _("suggested prompts"),
        default=list,
        blank=True,
        help_text=_("Shown in an empty chat; one click sends them."),
    )
    busy_policy = models.CharField(
        _("a message while it answers"),
        max_length=10,
        choices=BusyPolicy.choices,
        default=BusyPolicy.QUEUE,
        help_text=_("What happens when somebody writes before the answer has ended."),
    )
    enabled = models.BooleanField(
        _("enabled"),
        default=True,
        help_text=_("Off: nobody can choose it; its chats stay readable."),
    )
    in_page = models.BooleanField(
        _("offered in the chat page"),
        default=True,
        db_default=True,
        help_text=_(
            "Off: programs alone use it. The page cannot answer the functions of a program."
        ),
    )
    is_default = models.BooleanField(
        _("default"), default=False, help_text=_("New chats begin with this one.")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    # Incremented by a trigger on each change of a field that a form shows.
    version = models.IntegerField(default=1, db_default=1, editable=False)

    objects: ClassVar[TenantManager] = TenantManager.of(AssistantQuerySet)

    class Meta(TenantModel.Meta):
        verbose_name = _("assistant")
        verbose_name_plural = _("assistants")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *build_tenant_constraints("assistant"),
            models.UniqueConstraint(
                fields=["tenant"],
                condition=models.Q(is_default=True),
                name="assistant_one_default",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="assistant_newest"),
        ]

    def __str__(self) -> str:
        return self.name or self.id

    @property
    def is_offered(self) -> bool:
        """True if the assistant is offered in the chat page."""
        return self.enabled and self.in_page

    def list_function_names(self) -> list[str]:
        """Return the names of the assistant's function tools."""
        return [tool["function"]["name"] for tool in self.tools if tool["type"] == "function"]

    def get_usable_resources(self) -> Resources:
        """Return the tool resources, without those of tools that are not enabled.

        A run can add a tool itself; resources of a tool that admins disabled stay unavailable.
        """
        types = {tool["type"] for tool in self.tools}
        return {tool: part for tool, part in self.tool_resources.items() if tool in types}

    def describe(self) -> dict[str, Any]:
        """Return the data that the assistant picker shows."""
        return {"id": self.id, "name": self.name, "description": self.description}
