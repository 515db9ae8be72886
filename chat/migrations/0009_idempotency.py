"""Answers to programs' requests, kept for a day so that a repeated request does nothing twice."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import tenants.constraints
from tenants.row_level_security import EnableRowLevelSecurity, SecurityDefinerFunction


class Migration(migrations.Migration):
    dependencies = [("chat", "0008_awaiting_output"), ("tenants", "0003_programs")]

    operations = [
        migrations.CreateModel(
            name="IdempotencyRecord",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("slot", models.CharField(max_length=64)),
                ("body_hash", models.CharField(max_length=64)),
                ("answer", models.JSONField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
                "indexes": [models.Index(fields=["created_at"], name="idempotency_by_time")],
                "constraints": [
                    tenants.constraints.TenantKey(
                        fields=("tenant", "id"), name="idempotency_tenant_key"
                    ),
                    models.UniqueConstraint(
                        fields=("tenant", "slot"), name="idempotency_one_per_slot"
                    ),
                ],
            },
        ),
        EnableRowLevelSecurity("idempotencyrecord", door_columns=("id", "tenant_id", "created_at")),
        SecurityDefinerFunction(
            "old_idempotency_records(keep_seconds double precision, most integer)",
            returns="TABLE (record_id bigint, tenant_id uuid)",
            body="SELECT r.id, r.tenant_id FROM chat_idempotencyrecord r "
            "WHERE r.created_at < now() - make_interval(secs => keep_seconds) "
            "ORDER BY r.created_at LIMIT most",
        ),
    ]
