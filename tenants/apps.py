"""Start-up of the tenants app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register


class TenantsConfig(AppConfig):
    """Who may come in."""

    name = "tenants"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Put the second wall's setting on each connection and its checks in place."""
        from tenants import checks, db
        from tenants.accounts import adapter

        db.connect_signals()
        adapter.connect_signals()
        register(checks.check_tenant_models, Tags.models)
        register(checks.check_walls, Tags.database)
