"""`manage.py db`: start, stop, url, roles, backup, restore and upgrade of embedded PostgreSQL."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.local import backup, embedded
from config.local.database_roles import APP, OWNER, build_roles_sql
from config.local.environment import serving
from config.local.postgres_programs import EmbeddedError

_ROLES = {"app": APP, "owner": OWNER, "superuser": embedded.SUPERUSER}


class Command(BaseCommand):
    """Command with one subcommand per operation; --json prints exactly one JSON object."""

    help = "Manage the embedded PostgreSQL server; `roles` prints the SQL for another server."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the subcommands."""
        shared = CommandParser(add_help=False)
        shared.add_argument("--json", action="store_true", help="print one JSON object")
        subcommands = parser.add_subparsers(dest="thing", required=True, metavar="THING")
        for name, text in (
            ("start", "start the server and leave it running"),
            ("stop", "stop the server"),
            ("roles", "print the SQL that prepares another server"),
            ("upgrade", "migrate the data of an older PostgreSQL version"),
        ):
            subcommands.add_parser(name, help=text, parents=[shared])
        url = subcommands.add_parser("url", help="print a connection URL", parents=[shared])
        url.add_argument("--role", choices=list(_ROLES), default="app")
        for name in ("backup", "restore"):
            file = subcommands.add_parser(name, help=f"{name} the database", parents=[shared])
            file.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the subcommand and print its result."""
        thing = options["thing"]
        if thing != "roles" and os.environ.get("DATABASE_URL"):
            raise CommandError("DATABASE_URL is set; `db` manages the embedded server only.")
        try:
            answer, sentence = getattr(self, f"_{thing}")(Path(settings.DATA_DIR), options)
        except EmbeddedError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(json.dumps(answer) if options["json"] else sentence)

    def _start(self, data_dir: Path, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        cluster = embedded.ensure_running(data_dir)
        embedded.keep_running(cluster, keep=True)
        answer = {"running": True, "data_dir": str(data_dir)}
        return answer, "PostgreSQL is running until `manage.py db stop`."

    def _stop(self, data_dir: Path, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        with serving(data_dir):
            cluster = embedded.open_any_major(data_dir)
            if cluster is not None:
                embedded.keep_running(cluster, keep=False)
                cluster.stop()
        return {"running": False, "data_dir": str(data_dir)}, "PostgreSQL is stopped."

    def _url(self, data_dir: Path, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        cluster = embedded.locate(data_dir)
        if cluster is None:
            raise EmbeddedError(f"There is no embedded database in {data_dir} yet.")
        address = cluster.url(_ROLES[options["role"]])
        return {"url": address, "running": cluster.is_running()}, address

    def _roles(self, data_dir: Path, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        return {"sql": build_roles_sql()}, build_roles_sql().rstrip()

    def _backup(self, data_dir: Path, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        if embedded.locate(data_dir) is None:
            raise EmbeddedError(f"There is no embedded database in {data_dir} yet.")
        with embedded.running(data_dir) as cluster:
            backup.backup(cluster, options["file"])
        answer = {"file": str(options["file"]), "bytes": options["file"].stat().st_size}
        return answer, (
            f"Saved the database to {options['file']}. Keep {data_dir / 'secrets.json'} with it: "
            "it decrypts the encrypted columns."
        )

    def _restore(self, data_dir: Path, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        with serving(data_dir), embedded.running(data_dir) as cluster:
            backup.restore(cluster, options["file"])
        return {"restored": str(options["file"])}, f"Restored the database from {options['file']}."

    def _upgrade(self, data_dir: Path, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
        with serving(data_dir):
            kept = backup.upgrade(data_dir)
        return {"old_files": str(kept)}, f"Upgraded. The old files are still in {kept}."
