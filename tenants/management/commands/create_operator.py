"""`manage.py create_operator EMAIL`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants.actions import create_operator
from tenants.json_output import JsonCommand
from tenants.password_links import describe_password


class Command(JsonCommand):
    """Command that creates a platform operator."""

    help = "Create a platform operator. An account with a verified address keeps its password."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("--password", help="of a new account; default: print a link to set one")
        parser.add_argument(
            "--existing", action="store_true", help="allow an account that is in a company"
        )

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Create the operator."""
        user, created = create_operator(
            options["email"], password=options["password"], existing=options["existing"]
        )
        found: dict[str, Any] = {"id": user.pk, "email": user.email, "created": created}
        line = f"{user.email} is an operator of this installation."
        added, says = describe_password(user, created, options["password"])
        return {**found, **added}, line + says
