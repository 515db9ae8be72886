"""`manage.py load_demo`: load the demonstration companies and print their sign-ins."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError

from chat.demo.load import DemoSignIn, list_sign_ins, load


class Command(BaseCommand):
    """Command that loads the missing data and prints the sign-ins."""

    help = "Load the two demonstration companies and print their sign-ins."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Load the demonstration and print the sign-ins."""
        try:
            loaded = load()
        except ProgrammingError:
            raise CommandError("The tables do not exist yet. Run manage.py migrate.") from None
        people = list_sign_ins()
        if options["json"]:
            listed = [asdict(person) for person in people]
            self.stdout.write(json.dumps({"loaded": loaded, "sign_ins": listed}))
        else:
            self.stdout.write(format_sign_ins(people))


def format_sign_ins(people: list[DemoSignIn]) -> str:
    """Return the sign-ins as text, by company."""
    width = max(len(person.email) for person in people)
    lines = [f"Demonstration sign-ins, all with the password {people[0].password}"]
    for company, members in groupby(people, key=lambda person: person.company):
        lines += ["", f"  {company}"]
        lines += [f"    {person.email:<{width}}  {person.role}" for person in members]
    return "\n".join(lines)
