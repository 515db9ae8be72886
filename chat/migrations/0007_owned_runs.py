"""A door to the runs that name a process: it looks for those it does not know of."""

from __future__ import annotations

from django.db import migrations

from tenants.row_level_security import SecurityDefinerFunction


class Migration(migrations.Migration):
    dependencies = [("chat", "0006_in_page")]

    operations = [
        SecurityDefinerFunction(
            "owned_runs(process uuid, known text[])",
            returns="TABLE (run_id varchar, tenant_id uuid)",
            body="SELECT r.id, r.tenant_id FROM chat_run r WHERE r.owner = process "
            "AND r.status IN ('queued', 'in_progress', 'cancelling') AND NOT r.id = ANY (known)",
        ),
    ]
