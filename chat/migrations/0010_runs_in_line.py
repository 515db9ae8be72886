"""A run may wait for its turn on a thread that answers another one."""

from __future__ import annotations

from django.db import migrations, models

from tenants.row_level_security import DOORS, SecurityDefinerFunction

ACTIVE = ("queued", "in_progress", "requires_action", "cancelling")


class Migration(migrations.Migration):
    dependencies = [("chat", "0009_idempotency")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="waiting",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="run",
            name="additional_messages",
            field=models.JSONField(db_default=[], default=list),
        ),
        migrations.RemoveConstraint(model_name="run", name="run_one_active_per_thread"),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ACTIVE), ("waiting", False)),
                fields=("tenant", "thread"),
                name="run_one_active_per_thread",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("waiting", True)),
                fields=["tenant", "thread", "created_at"],
                name="run_in_line",
            ),
        ),
        migrations.RunSQL(f"GRANT SELECT (waiting) ON chat_run TO {DOORS}", migrations.RunSQL.noop),
        # What waits for its turn is nobody's to take over: its time has not begun.
        SecurityDefinerFunction(
            "lapsed_runs(lapse_seconds double precision, most integer)",
            returns="TABLE (run_id varchar, tenant_id uuid)",
            body="SELECT r.id, r.tenant_id FROM chat_run r "
            "LEFT JOIN chat_process p ON p.id = r.owner "
            "WHERE r.status IN ('queued', 'in_progress', 'requires_action', 'cancelling') "
            "AND NOT r.waiting AND ("
            "r.expires_at < now() OR (r.status <> 'requires_action' AND "
            "(p.id IS NULL OR p.beat_at < now() - make_interval(secs => lapse_seconds)))) "
            "ORDER BY r.expires_at LIMIT most",
        ),
    ]
