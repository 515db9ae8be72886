"""Start-up of the tenants app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register


class TenantsConfig(AppConfig):
    """Tenants, authentication and permissions."""

    name = "tenants"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect signals and register system checks.

        Every database connection passes the tenant to row-level security.
        """
        from tenants import checks, db
        from tenants.accounts import adapter

        db.connect_signals()
        adapter.connect_signals()
        register(checks.check_tenant_models, Tags.models)
        register(checks.check_compiled_queries, Tags.compatibility)
        register(checks.check_row_level_security, Tags.database)
