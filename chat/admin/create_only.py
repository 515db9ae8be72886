"""Admin base for rows that are created and never edited, such as keys and invitations."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpRequest

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
