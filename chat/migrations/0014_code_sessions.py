"""Where the state of a thread's code lies between two runs of it; its wall and its doors."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import tenants.constraints
from tenants.row_level_security import EnableRowLevelSecurity, SecurityDefinerFunction

# A membership that opens doors: as the watcher's door has it.
OPEN = """
    SELECT FROM tenants_membership m
    JOIN tenants_tenant t ON t.id = m.tenant_id
    LEFT JOIN tenants_user u ON u.id = m.user_id
    LEFT JOIN tenants_membership s ON s.id = m.sponsor_id
    LEFT JOIN tenants_user su ON su.id = s.user_id
    WHERE m.disabled_at IS NULL AND m.removed_at IS NULL
    AND s.disabled_at IS NULL AND s.removed_at IS NULL
    AND t.suspended_at IS NULL AND COALESCE(u.is_active, true) AND COALESCE(su.is_active, true)
    AND m.id =
"""


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0013_call_details"),
        ("tenants", "0003_programs"),
    ]

    operations = [
        migrations.CreateModel(
            name="CodeSession",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("backend", models.CharField(max_length=20)),
                ("state", models.CharField(max_length=32)),
                ("storage_key", models.CharField(blank=True, max_length=100)),
                ("bytes", models.BigIntegerField(default=0)),
                ("lost", models.JSONField(default=list)),
                ("inputs", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                (
                    "member",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.membership",
                    ),
                ),
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
                (
                    "thread",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="chat.thread",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "default_manager_name": "objects",
                "indexes": [
                    models.Index(fields=["expires_at"], name="codesession_expires"),
                    models.Index(fields=["state"], name="codesession_state"),
                ],
                "constraints": [
                    tenants.constraints.TenantKey(
                        fields=("tenant", "id"), name="codesession_tenant_key"
                    ),
                    tenants.constraints.TenantForeignKey(
                        field="thread", name="codesession_thread_same_tenant"
                    ),
                    tenants.constraints.TenantForeignKey(
                        field="member", name="codesession_member_same_tenant"
                    ),
                    models.UniqueConstraint(
                        fields=("tenant", "thread"), name="codesession_one_per_thread"
                    ),
                ],
            },
        ),
        EnableRowLevelSecurity(
            "codesession",
            door_columns=("id", "tenant_id", "thread_id", "member_id", "state", "expires_at"),
        ),
        # The threads whose state, as a process holds it, somebody may still go on with.
        SecurityDefinerFunction(
            "code_sessions_standing(states text[])",
            returns="TABLE (thread_id varchar)",
            body=f"""
            SELECT c.thread_id FROM chat_codesession c JOIN chat_thread h ON h.id = c.thread_id
            WHERE c.state = ANY (states) AND c.expires_at > now() AND h.deleted_at IS NULL
            AND EXISTS ({OPEN} c.member_id)
            """,  # nosec B608 - the parts are constants
        ),
        SecurityDefinerFunction(
            "code_sessions_to_remove(most integer)",
            returns="TABLE (session_id bigint, tenant_id uuid)",
            body="SELECT c.id, c.tenant_id FROM chat_codesession c WHERE c.expires_at < now() "
            "ORDER BY c.expires_at LIMIT most",
        ),
    ]
