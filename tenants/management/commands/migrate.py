"""`migrate` as the owner of the tables, when its address is known."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands import migrate
from django.db import connections


class Command(migrate.Command):
    """Django's own command; the application's role may not change tables."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Default to MIGRATION_DATABASE_URL where it is set."""
        super().add_arguments(parser)
        if "owner" in connections.settings:
            parser.set_defaults(database="owner")

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate."""
        super().handle(*args, **options)
