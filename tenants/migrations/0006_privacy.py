"""Reading periods, company factors, waivers, and whom an audit event concerns."""

from __future__ import annotations

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import tenants.constraints
from tenants.row_level_security import APP, EnableRowLevelSecurity


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0005_proven_addresses"),
    ]

    operations = [
        migrations.CreateModel(
            name="CompanyFactor",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("secret", models.TextField(editable=False)),
                ("last_counter", models.BigIntegerField(default=0)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "second factor",
                "verbose_name_plural": "second factors",
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="ReadingPeriod",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("started_by_id", models.UUIDField(null=True)),
                ("started_by", models.CharField(blank=True, max_length=200)),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by_id", models.UUIDField(null=True)),
                ("ended_by", models.CharField(blank=True, max_length=200)),
            ],
            options={
                "verbose_name": "reading period",
                "verbose_name_plural": "reading periods",
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
            },
        ),
        migrations.AddField(
            model_name="auditevent",
            name="concerns",
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name="membership",
            name="factor_waived_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="membership",
            name="reading_acknowledged_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="tenant",
            name="admins_read_threads",
            field=models.BooleanField(
                default=False,
                help_text="Off: only the member who writes a chat can read it. Every change is "
                "recorded, and members are notified. Only an owner can change this.",
                verbose_name="admins may read members' chats",
            ),
        ),
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(
                condition=models.Q(("concerns__isnull", False)),
                fields=["tenant", "concerns", "-created_at"],
                name="audit_concerning",
            ),
        ),
        migrations.AddField(
            model_name="companyfactor",
            name="member",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="tenants.membership",
            ),
        ),
        migrations.AddField(
            model_name="companyfactor",
            name="tenant",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddField(
            model_name="readingperiod",
            name="tenant",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddConstraint(
            model_name="companyfactor",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="company_factor_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="companyfactor",
            constraint=tenants.constraints.TenantForeignKey(
                field="member", name="company_factor_member_same_tenant", on_delete="CASCADE"
            ),
        ),
        migrations.AddConstraint(
            model_name="companyfactor",
            constraint=models.UniqueConstraint(
                fields=("tenant", "member"), name="company_factor_one_each"
            ),
        ),
        migrations.AddIndex(
            model_name="readingperiod",
            index=models.Index(fields=["tenant", "-started_at"], name="reading_period_newest"),
        ),
        migrations.AddConstraint(
            model_name="readingperiod",
            constraint=tenants.constraints.TenantKey(
                fields=("tenant", "id"), name="reading_period_tenant_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="readingperiod",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None)),
                fields=("tenant",),
                name="reading_period_one_open",
            ),
        ),
        EnableRowLevelSecurity("companyfactor"),
        EnableRowLevelSecurity("readingperiod", append_only=True),
        # A period is ended once; who began it and when stays as it was written.
        migrations.RunSQL(
            f"GRANT UPDATE (ended_at, ended_by_id, ended_by) ON tenants_readingperiod TO {APP}",
            migrations.RunSQL.noop,
        ),
    ]
