"""`manage.py up`: run all of Atrium in the foreground."""

from __future__ import annotations

import ipaddress
import os
from io import StringIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from config.local import embedded
from config.local.environment import announce
from config.local.supervisor import (
    Supervisor,
    check_databases,
    check_port,
    check_tenant_isolation,
    collect_static,
    find_model_servers,
    migrate,
)


class Command(BaseCommand):
    """Command that prepares tables, demonstration and static files, then serves until stopped."""

    help = "Start Atrium: database, tables, demonstration companies, server and worker."
    requires_system_checks: list[str] = []  # row-level security is checked after migrating

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, help="default: the variable PORT, or 8000")
        parser.add_argument(
            "--no-demo", action="store_true", help="do not load the demonstration companies"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until SIGINT or SIGTERM."""
        host: str = options["host"]
        port = options["port"] or _get_port_from_environment()
        data_dir = Path(settings.DATA_DIR)
        demo = not options["no_demo"]
        if not _is_loopback(host):
            self._refuse_demonstration(host, data_dir, asked=demo)
        check_port(host, port)
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        announce(data_dir, address)
        sign_ins = self._prepare(data_dir, demo=demo)
        database = data_dir if embedded.is_app_url(data_dir, os.environ["DATABASE_URL"]) else None
        supervisor = Supervisor(host=host, port=port, say=self._say, database=database)
        supervisor.run(on_ready=lambda: self._greet(address, port, sign_ins))
        self._say("Stopped.")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _refuse_demonstration(self, host: str, data_dir: Path, *, asked: bool) -> None:
        if asked:
            raise CommandError(
                f"The demonstration's passwords are printed, so it cannot be served on {host}. "
                "Add --no-demo."
            )
        if (data_dir / "demo.loaded").exists():
            raise CommandError(
                f"{data_dir} contains the demonstration companies, whose passwords were printed. "
                f"Use another ATRIUM_DATA_DIR to serve on {host}."
            )

    def _prepare(self, data_dir: Path, *, demo: bool) -> str:
        """Prepare the database and static files; return the demonstration's sign-ins."""
        printed = StringIO()
        check_databases()
        try:
            migrate(self._say)
            check_tenant_isolation()
            if demo and "load_demo" in get_commands():
                call_command("load_demo", stdout=printed)
                (data_dir / "demo.loaded").touch()
        finally:
            connections.close_all()
        collect_static(self._say)
        return printed.getvalue().strip()

    def _greet(self, address: str, port: int, sign_ins: str) -> None:
        self._say(f"\nAtrium is ready: {address}")
        if sign_ins:
            self._say(f"\n{sign_ins}")
        if not os.environ.get("OPENAI_API_KEY") and not os.environ.get("OPENAI_BASE_URL"):
            self._say(
                "\nNo model server is connected: a demonstration provider answers, which is not a "
                "language model."
            )
            for line in find_model_servers(except_port=port):
                self._say(f"Found {line}. Connect it with OPENAI_BASE_URL and ATRIUM_MODEL.")
        self._say("\nCtrl-C stops everything.")


def _get_port_from_environment() -> int:
    text = os.environ.get("PORT") or "8000"
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ImproperlyConfigured("PORT must be a number from 1 to 65535.")
    return int(text)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
