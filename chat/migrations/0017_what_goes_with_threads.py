"""Files and stores that go with their chats; expired stores lose what was made for searching."""

from __future__ import annotations

from django.db import migrations, models

from tenants.row_level_security import DOORS, SecurityDefinerFunction


class Migration(migrations.Migration):
    dependencies = [("chat", "0016_search_at_size")]

    operations = [
        migrations.AddField(
            model_name="file",
            name="goes_with_threads",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="vectorstore",
            name="goes_with_threads",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="vectorstore",
            name="emptied_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="vectorstore",
            index=models.Index(
                condition=models.Q(("emptied_at", None), ("expires_days__isnull", False)),
                fields=["last_active_at"],
                name="vectorstore_expiring",
            ),
        ),
        migrations.RunSQL(
            "GRANT SELECT (last_active_at, expires_days, emptied_at) "
            f"ON chat_vectorstore TO {DOORS}",
            migrations.RunSQL.noop,
        ),
        # Stores whose time is over, and that still hold what was made for searching them.
        SecurityDefinerFunction(
            "stores_to_empty(most integer)",
            returns="TABLE (store_id varchar, tenant_id uuid)",
            body="SELECT s.id, s.tenant_id FROM chat_vectorstore s "
            "WHERE s.deleted_at IS NULL AND s.emptied_at IS NULL AND s.expires_days IS NOT NULL "
            "AND s.last_active_at + make_interval(days => s.expires_days) < now() "
            "ORDER BY s.last_active_at LIMIT most",
        ),
    ]
