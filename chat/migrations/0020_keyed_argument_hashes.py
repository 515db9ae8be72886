"""Replace hashes of tool arguments that can be guessed: an unkeyed one of a few digits is them."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from tenants.keyed_hash import hash_private

# Their arguments are still to be compared: after an approval, or before a tool runs.
OPEN = ("waiting", "approved", "started", "awaiting_output")


def replace_hashes(apps: Any, schema_editor: Any) -> None:
    """Hash the arguments of open calls with the company's key, and forget the others' hashes."""
    execute = schema_editor.connection.cursor().execute
    execute(
        "UPDATE chat_toolcall SET arguments_hash = '' "
        "WHERE arguments_hash <> '' AND NOT status = ANY(%s)",
        [list(OPEN)],
    )
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, tenant_id, run_id, arguments FROM chat_toolcall "
            "WHERE arguments_hash <> '' AND status = ANY(%s)",
            [list(OPEN)],
        )
        for call_id, tenant_id, run_id, arguments in cursor.fetchall():
            hashed = hash_private(tenant_id, "tool arguments", f"{run_id}:{arguments}")
            execute("UPDATE chat_toolcall SET arguments_hash = %s WHERE id = %s", [hashed, call_id])


class Migration(migrations.Migration):
    dependencies = [("chat", "0019_metering")]

    operations = [migrations.RunPython(replace_hashes, migrations.RunPython.noop)]
