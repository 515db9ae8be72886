"""Rows that are made and never changed, like keys and invitations."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpRequest

from tenants.admin import TenantScopedAdmin


class MadeOnceAdmin(TenantScopedAdmin):
    """Asks for little when a row is made, and shows the rest afterwards."""

    asked: ClassVar[tuple[str, ...]]
    shown: ClassVar[tuple[str, ...]]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return what is asked for, or what is shown."""
        return self.shown if obj else self.asked

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return what is shown."""
        return self.shown if obj else ()
