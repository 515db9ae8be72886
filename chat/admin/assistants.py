"""Admin of assistants: identity, model, tools, knowledge and availability."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from chat.actions.assistants.manage import (
    EFFORTS,
    create_assistant,
    delete_assistant,
    set_default_assistant,
    update_assistant,
)
from chat.admin import collection_choice as knowledge
from chat.admin.offered_models import (
    get_server_label,
    list_known_models,
    list_server_choices,
    test_connection,
)
from chat.admin.tool_choice import ToolChoiceField, filter_registered
from chat.conf import conf
from chat.errors import ChatError
from chat.models import Assistant, Run
from tenants.admin import Button, Group, TenantForm, TenantScopedAdmin, site
from tenants.authentication import Principal
from tenants.models import Role

COUNTED_DAYS = 30


class ConnectionFailed(ChatError):
    """The model server did not answer."""

    code = "connection_failed"


class SuggestingInput(UnfoldAdminTextInputWidget):
    """Text input that suggests known values and accepts any other."""

    template_name = "admin/widgets/suggesting.html"
    suggestions: ClassVar[list[str]] = []

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        """Add the datalist that the input refers to."""
        context: dict[str, Any] = super().get_context(name, value, attrs)
        context["widget"]["attrs"]["list"] = f"{name}-offered"
        return {**context, "list_id": f"{name}-offered", "suggestions": self.suggestions}


class AssistantForm(TenantForm):
    """Form of an assistant: tools by label, prompts as one per line."""

    upstream = forms.ChoiceField(
        label=gettext_lazy("Model server"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy(
            "Where the model runs. Operators of this installation can add servers."
        ),
    )
    model = forms.CharField(
        label=gettext_lazy("Model"),
        max_length=256,
        widget=SuggestingInput,
        help_text=gettext_lazy(
            "A model of that server. After a connection test, its models are suggested."
        ),
    )
    tools = ToolChoiceField(
        label=gettext_lazy("Tools"),
        required=False,
        help_text=gettext_lazy(
            "What the assistant can look up or do, with the permissions of the member who asks."
        ),
    )
    file_search = forms.BooleanField(
        label=gettext_lazy("Answers from documents"),
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text=gettext_lazy(
            "It searches its collection and attached files, and cites its sources."
        ),
    )
    collection = forms.ChoiceField(
        label=gettext_lazy("Document collection"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("Everyone who uses this assistant gets answers from it."),
    )
    code_interpreter = forms.BooleanField(
        label=gettext_lazy("Code interpreter"),
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text=gettext_lazy(
            "It writes code for calculations, tables and charts. Code runs in a sandbox without "
            "network access."
        ),
    )
    code_files = forms.MultipleChoiceField(
        label=gettext_lazy("Files for code"),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("Available to code under /mnt/data, together with attached files."),
    )
    suggested_prompts = forms.CharField(
        label=gettext_lazy("Suggested prompts"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5}),
        help_text=gettext_lazy(
            "One per line, at most 12. Shown in an empty chat; one click sends a prompt."
        ),
    )
    reasoning_effort = forms.ChoiceField(
        label=gettext_lazy("Reasoning effort"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        choices=[(value, value or gettext_lazy("Model default")) for value in EFFORTS],
        help_text=gettext_lazy(
            "How long the model may reason first. Models without reasoning ignore it."
        ),
    )

    class Meta:
        model = Assistant
        fields = (
            "name",
            "description",
            "instructions",
            "upstream",
            "model",
            "tools",
            "suggested_prompts",
            "temperature",
            "top_p",
            "reasoning_effort",
            "busy_policy",
            "enabled",
            "in_page",
            "is_default",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].required = True
        upstream: Any = self.fields["upstream"]
        upstream.choices = list_server_choices(self.instance.upstream)
        self.fields["model"].widget.suggestions = list_known_models()
        knowledge.fill_choices(self.fields, self.instance, self.principal)
        if self.instance.pk:
            self.initial["tools"] = filter_registered(self.instance.list_function_names())
            self.initial.update(knowledge.get_initial(self.instance))
            self.initial["suggested_prompts"] = "\n".join(self.instance.suggested_prompts)

    def clean_suggested_prompts(self) -> list[str]:
        """Return the non-empty lines; the action enforces the limits."""
        text: str = self.cleaned_data["suggested_prompts"]
        return [line.strip() for line in text.splitlines() if line.strip()]


@admin.register(Assistant, site=site)
class AssistantAdmin(TenantScopedAdmin):
    """Admin of assistants, with counts of their answers and failures."""

    group = Group.ASSISTANTS
    icon = "smart_toy"
    may_add = may_change = may_delete = Role.ADMIN
    form = AssistantForm
    list_display = ("title", "answering", "render_enabled", "render_default", "answers", "failures")
    list_filter = ("enabled", "in_page")
    search_fields = ("name", "description", "model")
    ordering = ("name", "id")
    fieldsets = (
        (
            gettext_lazy("General"),
            {"fields": ("name", "description", "instructions", "suggested_prompts")},
        ),
        (gettext_lazy("Knowledge"), {"fields": ("file_search", "collection")}),
        (
            gettext_lazy("Capabilities"),
            {"fields": ("tools", "code_interpreter", "code_files")},
        ),
        (
            gettext_lazy("Model settings"),
            {
                "fields": (
                    *("upstream", "model", "temperature", "top_p", "reasoning_effort"),
                    "busy_policy",
                )
            },
        ),
        (gettext_lazy("Availability"), {"fields": ("enabled", "in_page", "is_default")}),
    )

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the assistants, annotated with their answers and failures of the last 30 days."""
        since = timezone.now() - timedelta(days=COUNTED_DAYS)
        runs = Run.objects.filter(assistant=OuterRef("pk"), created_at__gte=since).order_by()
        counted = runs.values("assistant")
        queryset: models.QuerySet[Any] = Assistant.objects.visible_to(principal).annotate(
            answers_lately=Coalesce(Subquery(counted.annotate(n=Count("pk")).values("n")[:1]), 0),
            failures_lately=Coalesce(
                Subquery(
                    counted.annotate(n=Count("pk", filter=Q(status="failed"))).values("n")[:1]
                ),
                0,
            ),
        )
        return queryset

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Preselect the model of the installation's default server."""
        return {"model": conf.upstream("")["MODEL"]}

    def write(
        self, principal: Principal, row: Any, form: AssistantForm, *, change: bool
    ) -> Assistant:
        """Create or update the assistant."""
        fields = knowledge.to_action_fields(form.cleaned_data)
        if change:
            return update_assistant(principal, row.pk, version=form.version, **fields)
        return create_assistant(principal, **fields)

    def erase(self, principal: Principal, row: Any) -> None:
        """Delete the assistant; its chats are kept."""
        delete_assistant(principal, row.pk)

    @display(description=gettext_lazy("name"), ordering="name")
    def title(self, row: Assistant) -> str:
        """Return the name, with the description below it."""
        return format_html(
            '<div><span class="font-semibold">{}</span><span class="admin-under">{}</span></div>',
            row.name or row.pk,
            row.description,
        )

    @display(description=gettext_lazy("model"), ordering="model")
    def answering(self, row: Assistant) -> str:
        """Return the model, with its server below it."""
        return (
            format_html(
                '<div>{}<span class="admin-under">{}</span></div>',
                row.model,
                get_server_label(row.upstream or ""),
            )
            if row.upstream
            else row.model
        )

    @display(description=gettext_lazy("enabled"), boolean=True, ordering="enabled")
    def render_enabled(self, row: Assistant) -> bool:
        """Return True if the assistant is enabled."""
        return row.enabled

    @display(description=gettext_lazy("default"), label=True)
    def render_default(self, row: Assistant) -> str:
        """Return a label for the assistant that new chats start with."""
        return _("default") if row.is_default else ""

    @display(description=gettext_lazy("answers, 30 days"), ordering="answers_lately")
    def answers(self, row: Any) -> int:
        """Return the number of answers in the last 30 days."""
        return int(row.answers_lately)

    @display(description=gettext_lazy("failed, 30 days"), ordering="failures_lately")
    def failures(self, row: Any) -> int:
        """Return the number of failed answers in the last 30 days."""
        return int(row.failures_lately)

    @staticmethod
    def make_default(principal: Principal, row: Assistant) -> str:
        """Handle the “Make default” button."""
        set_default_assistant(principal, row.pk)
        return _("{name} is now the default assistant.").format(name=row.name)

    @staticmethod
    def try_connection(principal: Principal, row: Assistant) -> str:
        """Handle the “Test the connection” button."""
        works, sentence = test_connection(row.upstream, row.model)
        if not works:
            raise ConnectionFailed(sentence)
        return sentence

    buttons = (
        Button(
            name="test",
            label=gettext_lazy("Test the connection"),
            says=gettext_lazy("Checks that the model server answers with this model."),
            do=try_connection,
        ),
        Button(
            name="default",
            label=gettext_lazy("Make default"),
            says=gettext_lazy("New chats of all members start with this assistant."),
            do=make_default,
            shown=lambda principal, row: row.enabled and row.in_page and not row.is_default,
        ),
    )
