"""`manage.py create_tenant SLUG --name NAME`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants.actions import create_tenant
from tenants.json_output import JsonCommand


class Command(JsonCommand):
    """Command that creates a company (tenant)."""

    help = "Create a company (tenant)."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("slug", metavar="SLUG", help="short name: letters, digits, hyphens")
        parser.add_argument("--name", required=True, help="display name")

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Create the company."""
        tenant = create_tenant(None, options["slug"], name=options["name"])
        found = {"id": str(tenant.pk), "slug": tenant.slug, "name": tenant.name}
        return found, f"Created the company {tenant.name} ({tenant.slug})."
