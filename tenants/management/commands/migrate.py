"""`manage.py migrate` as the owner of the tables, if its connection is configured."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands import migrate
from django.db import connections


class Command(migrate.Command):
    """Django's command with the owner's connection: the app role cannot alter tables."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Default to the connection of MIGRATION_DATABASE_URL if it is set."""
        super().add_arguments(parser)
        if "owner" in connections.settings:
            parser.set_defaults(database="owner")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the migrations."""
        super().handle(*args, **options)
