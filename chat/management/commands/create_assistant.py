"""`manage.py create_assistant --tenant SLUG --name N --model M`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from chat.actions.assistants.manage import create_assistant
from tenants.authentication import get_console_principal
from tenants.json_output import JsonCommand


class Command(JsonCommand):
    """Command that creates an assistant for a company."""

    help = "Create an assistant for a company."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--name", required=True)
        parser.add_argument("--model", required=True)
        parser.add_argument("--instructions", default="")
        parser.add_argument("--tools", default="", help="names of tools, separated by commas")

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Create the assistant."""
        principal = get_console_principal(options["tenant"])
        tools = [name.strip() for name in options["tools"].split(",") if name.strip()]
        assistant = create_assistant(
            principal,
            name=options["name"],
            model=options["model"],
            upstream="",
            instructions=options["instructions"],
            tools=tools,
        )
        found = {
            "id": assistant.pk,
            "name": assistant.name,
            "model": assistant.model,
            "tenant": principal.tenant.slug,
            "tools": tools,
        }
        return found, f"{assistant.name} ({assistant.pk}) answers for {principal.tenant.name}."
