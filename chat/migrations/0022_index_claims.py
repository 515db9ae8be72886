"""Claims on files to index: a fencing token, and the next file of each company for a fair share."""

from __future__ import annotations

from django.db import migrations, models

from tenants.row_level_security import SecurityDefinerFunction


class Migration(migrations.Migration):
    dependencies = [("chat", "0021_metered_estimates")]

    operations = [
        migrations.AddField(
            model_name="storefile",
            name="token",
            field=models.IntegerField(db_default=0, default=0),
        ),
        # The oldest file of each company that nobody reads, or whose reader died. Processes of
        # the version before still call files_to_index.
        SecurityDefinerFunction(
            "next_files_to_index(lapse_seconds double precision, skipped uuid[], most integer)",
            returns="TABLE (store_file_id bigint, tenant_id uuid)",
            body="SELECT n.id, n.tenant_id FROM ("
            "SELECT DISTINCT ON (f.tenant_id) f.id, f.tenant_id, f.created_at "
            "FROM chat_storefile f WHERE f.status = 'in_progress' "
            "AND f.tenant_id <> ALL (skipped) AND (f.claimed_at IS NULL "
            "OR f.claimed_at < now() - make_interval(secs => lapse_seconds)) "
            "ORDER BY f.tenant_id, f.created_at, f.id) n "
            "ORDER BY n.created_at, n.id LIMIT most",
        ),
    ]
