"""Form field of tools: checkboxes with a description of each tool's effect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from chat.tools import registry

EFFECTS = {
    "read": _("Read-only."),
    "write_idempotent": _("Makes changes; safe to repeat."),
    "write_once": _("Makes changes."),
    "destructive": _("Deletes or cancels something; always requires approval."),
}


class ToolChoiceField(forms.MultipleChoiceField):
    """Choice of registered tools, read per form because apps may register tools at any time."""

    widget = UnfoldAdminCheckboxSelectMultipleWidget

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=list_tool_choices, **kwargs)


def list_tool_choices() -> list[tuple[str, Any]]:
    """Return every registered tool with its label and a description of its effect."""
    return [
        (
            tool.name,
            format_html(
                '<strong>{}</strong> <code>{}</code> <span class="admin-under">{}</span>',
                tool.label,
                tool.name,
                EFFECTS[tool.effect.value],
            ),
        )
        for tool in registry.list_tools()
    ]


def filter_registered(names: Iterable[str]) -> list[str]:
    """Return the names that are registered here."""
    return [name for name in names if registry.find(name) is not None]
