"""`manage.py remove_second_factor EMAIL`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tenants.actions import remove_second_factor
from tenants.json_output import JsonCommand


class Command(JsonCommand):
    """Command that removes every second factor of an account."""

    help = "Remove every second factor of an account. Its password alone then signs in."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("email", metavar="EMAIL")

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Remove the second factors."""
        remove_second_factor(None, options["email"])
        found = {"email": options["email"], "second_factor": False}
        return found, f"Removed every second factor of {options['email']}."
