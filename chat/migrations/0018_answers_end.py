"""What a repeated request is answered with ends by itself, and goes with what it speaks of."""

from __future__ import annotations

from datetime import timedelta

from django.db import migrations, models
from django.db.models.functions import Now

import chat.models.idempotency
from tenants.row_level_security import DOORS, SecurityDefinerFunction


class Migration(migrations.Migration):
    dependencies = [("chat", "0017_what_goes_with_threads")]

    operations = [
        migrations.RemoveIndex(model_name="idempotencyrecord", name="idempotency_by_time"),
        migrations.AddField(
            model_name="idempotencyrecord",
            name="subject",
            field=models.CharField(db_default="", default="", max_length=40),
        ),
        migrations.AddField(
            model_name="idempotencyrecord",
            name="expires_at",
            field=models.DateTimeField(
                db_default=Now() + models.Value(timedelta(days=1)),
                default=chat.models.idempotency.in_a_day,
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencyrecord",
            index=models.Index(fields=["expires_at"], name="idempotency_by_end"),
        ),
        migrations.AddIndex(
            model_name="idempotencyrecord",
            index=models.Index(fields=["tenant", "subject"], name="idempotency_by_subject"),
        ),
        migrations.RunSQL(
            f"GRANT SELECT (expires_at) ON chat_idempotencyrecord TO {DOORS}",
            migrations.RunSQL.noop,
        ),
        SecurityDefinerFunction(
            "old_idempotency_records(keep_seconds double precision, most integer)",
            returns="TABLE (record_id bigint, tenant_id uuid)",
            body="SELECT r.id, r.tenant_id FROM chat_idempotencyrecord r "
            "WHERE r.expires_at < now() - make_interval(secs => keep_seconds) "
            "ORDER BY r.expires_at LIMIT most",
        ),
    ]
