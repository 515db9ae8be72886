"""`manage.py waive_second_factor EMAIL --tenant SLUG`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import transaction

from tenants.actions import waive_second_factor
from tenants.authentication import get_console_principal
from tenants.errors import NotFound
from tenants.json_output import JsonCommand
from tenants.models import Membership
from tenants.scope import tenant_scope
from tenants.validation import clean_email_address


class Command(JsonCommand):
    """Command that waives the second factor for a member's next sign-in to one company."""

    help = "Waive the second factor once for a member's next sign-in to one company."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("--tenant", required=True, metavar="SLUG")

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Waive the second factor."""
        principal = get_console_principal(options["tenant"])
        address = clean_email_address(options["email"])
        with tenant_scope(principal.tenant_id), transaction.atomic():
            member = Membership.objects.filter(email=address, removed_at=None).first()
        if member is None:
            raise NotFound(f"{address} is not a member of {principal.tenant.slug}.")
        waived = waive_second_factor(principal, member.pk)
        assert waived.factor_waived_until is not None
        found = {
            "email": waived.email,
            "tenant": principal.tenant.slug,
            "until": waived.factor_waived_until.isoformat(),
        }
        line = (
            f"{waived.email} can sign in to {principal.tenant.name} once without two-factor "
            "authentication, within three days."
        )
        return found, line
