"""Programs and their users: memberships that nobody signs in to."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

import tenants.constraints
from tenants.row_level_security import DOORS, SecurityDefinerFunction

ALONE = models.Q(sponsor__isnull=True, external_id__isnull=True)
SPONSORED = models.Q(sponsor__isnull=False, external_id__isnull=False)


def operator_tenants(members: str) -> SecurityDefinerFunction:
    """Return the operator's list; `members` says which memberships count."""
    return SecurityDefinerFunction(
        "operator_tenants()",
        returns="TABLE (tenant_id uuid, slug varchar, name varchar, created_at timestamptz, "
        "suspended_at timestamptz, members bigint)",
        body="SELECT t.id, t.slug, t.name, t.created_at, t.suspended_at, "
        "(SELECT count(*) FROM tenants_membership m "
        f"WHERE m.tenant_id = t.id AND m.removed_at IS NULL{members}) "
        "FROM tenants_tenant t ORDER BY t.name",  # nosec B608 - the part comes from below
    )


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_walls")]

    operations = [
        migrations.RemoveConstraint("membership", "membership_one_per_external_id"),
        migrations.RemoveConstraint("membership", "membership_is_somebody"),
        migrations.AddField(
            "membership",
            "kind",
            models.CharField(
                choices=[
                    ("person", "Person"),
                    ("program", "Program"),
                    ("external", "External user"),
                ],
                default="person",
                editable=False,
                max_length=10,
                verbose_name="kind",
            ),
        ),
        migrations.AddField(
            "membership",
            "sponsor",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="tenants.membership",
            ),
        ),
        migrations.AddConstraint(
            "membership",
            tenants.constraints.TenantForeignKey(
                field="sponsor", name="membership_sponsor_same_tenant", on_delete="CASCADE"
            ),
        ),
        migrations.AddConstraint(
            "membership",
            models.UniqueConstraint(
                fields=("tenant", "sponsor", "external_id"), name="membership_one_per_external_id"
            ),
        ),
        migrations.AddConstraint(
            "membership",
            models.CheckConstraint(
                condition=models.Q(ALONE, kind="person", user__isnull=False)
                | models.Q(ALONE, kind="program", user__isnull=True)
                | models.Q(SPONSORED, kind="external", user__isnull=True),
                name="membership_is_somebody",
            ),
        ),
        migrations.AddConstraint(
            "membership",
            models.CheckConstraint(
                condition=models.Q(kind="person")
                | models.Q(kind="program", role__in=["member", "admin"])
                | models.Q(kind="external", role="member"),
                name="membership_role_fits_kind",
            ),
        ),
        migrations.RunSQL(
            f"GRANT SELECT (kind, sponsor_id) ON tenants_membership TO {DOORS}",
            migrations.RunSQL.noop,
        ),
        operator_tenants(members=" AND m.kind = 'person'"),
    ]
