from __future__ import annotations

from django.db import migrations

from tenants.row_level_security import SecurityDefinerFunction


class Migration(migrations.Migration):
    dependencies = [("chat", "0023_versions")]

    operations = [
        # Tenants take turns: one with many runs that wait does not hold up the others'.
        SecurityDefinerFunction(
            "lapsed_runs(lapse_seconds double precision, most integer)",
            returns="TABLE (run_id varchar, tenant_id uuid)",
            body="SELECT found.id, found.tenant_id FROM ("
            "SELECT r.id, r.tenant_id, r.expires_at, "
            "row_number() OVER (PARTITION BY r.tenant_id ORDER BY r.expires_at, r.id) AS turn "
            "FROM chat_run r LEFT JOIN chat_process p ON p.id = r.owner "
            "WHERE r.status IN ('queued', 'in_progress', 'requires_action', 'cancelling') "
            "AND NOT r.waiting AND ("
            "r.expires_at < now() OR (r.status <> 'requires_action' AND "
            "(p.id IS NULL OR p.beat_at < now() - make_interval(secs => lapse_seconds))))"
            ") AS found ORDER BY found.turn, found.expires_at LIMIT most",
        ),
    ]
