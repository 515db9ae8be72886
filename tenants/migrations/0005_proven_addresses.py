"""Accounts whose address was proven, and what an account without proof opens.

Accounts that are there already: those that an invitation made stay without proof, for the link
may have been shown to an admin, and go on opening the company that made them. All others were
made by the operator and count as proven since then (decision 0016).
"""

from __future__ import annotations

from django.db import migrations, models

from tenants.row_level_security import SecurityDefinerFunction

# Accepting an invitation makes the account and notes the acceptance in one transaction.
MADE_THE_ACCOUNT = (
    "i.email = u.email AND i.accepted_at BETWEEN u.date_joined - interval '1 minute' "
    "AND u.date_joined + interval '1 minute'"
)
PROVE_ACCOUNTS = f"""
    UPDATE tenants_user u SET address_proven_at = u.date_joined
    WHERE NOT EXISTS (SELECT FROM tenants_invitation i WHERE {MADE_THE_ACCOUNT})
"""  # nosec B608 - constants of this file
ADMIT_UNPROVEN = f"""
    UPDATE tenants_membership m SET admits_unproven = true
    FROM tenants_user u, tenants_invitation i
    WHERE m.user_id = u.id AND i.tenant_id = m.tenant_id AND {MADE_THE_ACCOUNT}
"""  # nosec B608 - constants of this file


class Migration(migrations.Migration):
    dependencies = [("tenants", "0004_external_members")]

    operations = [
        migrations.AddField(
            "user", "address_proven_at", models.DateTimeField(editable=False, null=True)
        ),
        migrations.AddField(
            "membership", "admits_unproven", models.BooleanField(default=False, editable=False)
        ),
        migrations.AddField(
            "invitation", "proves_address", models.BooleanField(default=False, editable=False)
        ),
        migrations.RunSQL(PROVE_ACCOUNTS, migrations.RunSQL.noop),
        migrations.RunSQL(ADMIT_UNPROVEN, migrations.RunSQL.noop),
        # The operator's commands ask which companies an account belongs to, disabled there or not.
        SecurityDefinerFunction(
            "present_memberships_of(wanted bigint)",
            returns="TABLE (membership_id uuid, tenant_id uuid)",
            body="SELECT m.id, m.tenant_id FROM tenants_membership m WHERE m.user_id = wanted "
            "AND m.removed_at IS NULL",
        ),
    ]
