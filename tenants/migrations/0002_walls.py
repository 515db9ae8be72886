"""The second wall around the tenants' tables, and the doors of sign-in."""

from __future__ import annotations

from django.db import migrations

from tenants.row_level_security import DOORS, EnableRowLevelSecurity, SecurityDefinerFunction


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial"), ("sessions", "0001_initial")]

    operations = [
        EnableRowLevelSecurity(
            "tenant",
            column="id",
            door_columns=("id", "slug", "name", "created_at", "suspended_at"),
        ),
        EnableRowLevelSecurity(
            "membership",
            door_columns=(
                "id",
                "tenant_id",
                "user_id",
                "disabled_at",
                "removed_at",
                "signed_out_at",
            ),
        ),
        EnableRowLevelSecurity("invitation", door_columns=("id", "tenant_id", "token_hash")),
        EnableRowLevelSecurity(
            "apikey",
            door_columns=(
                "id",
                "tenant_id",
                "membership_id",
                "secret_hash",
                "revoked_at",
                "expires_at",
            ),
        ),
        EnableRowLevelSecurity("auditevent", append_only=True),
        migrations.RunSQL(
            f"GRANT SELECT (id, is_active) ON tenants_user TO {DOORS};"
            f"GRANT SELECT (session_key, expire_date) ON django_session TO {DOORS};",
            migrations.RunSQL.noop,
        ),
        # Sign-in and the switch: which memberships a user may choose from.
        SecurityDefinerFunction(
            "memberships_of(wanted bigint)",
            returns="TABLE (membership_id uuid, tenant_id uuid)",
            body="SELECT m.id, m.tenant_id FROM tenants_membership m WHERE m.user_id = wanted "
            "AND m.disabled_at IS NULL AND m.removed_at IS NULL",
        ),
        # A key's hash names its tenant; the key itself is then read behind the wall.
        SecurityDefinerFunction(
            "tenant_of_key(wanted text)",
            returns="TABLE (key_id uuid, tenant_id uuid)",
            body="SELECT k.id, k.tenant_id FROM tenants_apikey k WHERE k.secret_hash = wanted",
        ),
        SecurityDefinerFunction(
            "tenant_of_invitation(wanted text)",
            returns="TABLE (invitation_id uuid, tenant_id uuid)",
            body="SELECT i.id, i.tenant_id FROM tenants_invitation i WHERE i.token_hash = wanted",
        ),
        # Commands name a tenant by its slug.
        SecurityDefinerFunction(
            "tenant_of_slug(wanted text)",
            returns="TABLE (tenant_id uuid)",
            body="SELECT t.id FROM tenants_tenant t WHERE t.slug = wanted",
        ),
        # The operator's list: names and counts, no content.
        SecurityDefinerFunction(
            "operator_tenants()",
            returns="TABLE (tenant_id uuid, slug varchar, name varchar, created_at timestamptz, "
            "suspended_at timestamptz, members bigint)",
            body="SELECT t.id, t.slug, t.name, t.created_at, t.suspended_at, "
            "(SELECT count(*) FROM tenants_membership m "
            "WHERE m.tenant_id = t.id AND m.removed_at IS NULL) "
            "FROM tenants_tenant t ORDER BY t.name",
        ),
    ]
