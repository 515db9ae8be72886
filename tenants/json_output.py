"""Base of management commands that print a line of text or one JSON object."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError

from tenants.errors import AtriumError


class JsonCommand(BaseCommand):
    """Base of commands with `--json`; subclasses implement `perform`.

    Every error is one sentence on standard error, with exit status 1.
    """

    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Add --json, and report errors in the arguments like all other errors."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.error = self._fail  # type: ignore[method-assign]
        return parser

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Return the JSON object and the line of text."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        """Perform the command and print its result."""
        try:
            found, line = self.perform(**options)
        except AtriumError as error:
            self._fail(error.message)
        except (OperationalError, ProgrammingError) as error:
            words = str(error).strip().splitlines()[0]
            self._fail(f"The database is not ready ({words}). Run `make up` once.")
        self.stdout.write(json.dumps(found) if options["json"] else line)

    def _fail(self, message: str) -> NoReturn:
        if getattr(self, "_called_from_command_line", False):
            self.stderr.write(message)
            sys.exit(1)
        raise CommandError(message)
