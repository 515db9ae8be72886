"""`manage.py create_operator EMAIL`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants.accounts import base_url
from tenants.actions import create_operator, make_reset_link
from tenants.json_output import JsonCommand


class Command(JsonCommand):
    """Makes an account the platform operator's."""

    help = "Makes a platform operator; an account that exists keeps its password."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument(
            "--password", help="of a new account; without it a link to set one is printed"
        )

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Make it."""
        user, created = create_operator(options["email"], password=options["password"])
        found: dict[str, Any] = {"id": user.pk, "email": user.email, "created": created}
        line = f"{user.email} is an operator of this installation."
        if created and options["password"] is None:
            found["password_link"] = make_reset_link(None, user.email, base_url=base_url(None))
            line += f"\nTo set a password: {found['password_link']}"
        elif not created:
            line += " The account was there already and keeps its password."
        return found, line
