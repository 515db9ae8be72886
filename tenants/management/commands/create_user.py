"""`manage.py create_user EMAIL --tenant SLUG --role ROLE`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants.actions import add_member
from tenants.authentication import get_console_principal
from tenants.json_output import JsonCommand
from tenants.models import Role
from tenants.password_links import describe_password


class Command(JsonCommand):
    """Command that adds a user to a company, with an existing account or a new one."""

    help = "Add a user to a company. An account with a verified address keeps its password."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--role", choices=Role.values, default=Role.MEMBER.value)
        parser.add_argument("--name", help="display name; default: the address up to the @")
        parser.add_argument("--password", help="of a new account; default: print a link to set one")

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Add the user."""
        principal = get_console_principal(options["tenant"])
        membership, created = add_member(
            principal,
            options["email"],
            role=options["role"],
            name=options["name"],
            password=options["password"],
        )
        found = {
            "id": str(membership.pk),
            "email": membership.email,
            "name": membership.name,
            "tenant": principal.tenant.slug,
            "role": membership.role,
            "created": created,
        }
        line = f"{membership.email} is {membership.role} of {principal.tenant.name}."
        assert membership.user is not None
        added, says = describe_password(membership.user, created, options["password"])
        return {**found, **added}, line + says
