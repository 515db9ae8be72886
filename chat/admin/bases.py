"""Admin bases: rows that are only created, and settings that are one row per company."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from tenants.admin import TenantScopedAdmin


class CreateOnlyAdmin(TenantScopedAdmin):
    """Admin with a short form for a new row and a read-only page for an existing one."""

    asked: ClassVar[tuple[str, ...]]
    shown: ClassVar[tuple[str, ...]]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return the form's fields for a new row, else the displayed fields."""
        return self.shown if obj else self.asked

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return all displayed fields of an existing row."""
        return self.shown if obj else ()


class SingletonAdmin(TenantScopedAdmin):
    """Admin that opens the row directly, or the form that creates it."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Redirect to the row or the add form; without add permission show an empty list."""
        row = self.get_queryset(request).first()
        page = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        if row is not None:
            return redirect(f"{page}_change", quote(row.pk))
        if self.has_add_permission(request):
            return redirect(f"{page}_add")
        response: HttpResponseBase = super().changelist_view(request, extra_context)
        return response

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Redirect to the row if it exists by now."""
        row = self.get_queryset(request).first() if self.has_view_permission(request) else None
        if row is not None and request.method == "POST":
            # Keep the submitted values if another admin created the row first.
            changed: HttpResponseBase = self.change_view(
                request, quote(str(row.pk)), form_url, extra_context
            )
            return changed
        if row is not None:
            return self.changelist_view(request)
        response: HttpResponseBase = super().add_view(request, form_url, extra_context)
        return response

    def get_page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Use the menu title as the heading, because there is no list to name."""
        return {"heading": self.menu, "show_save_and_continue": False}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow adding only the first row."""
        return super().has_add_permission(request) and not self.model.objects.exists()
