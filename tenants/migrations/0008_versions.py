"""Rows that two people edit in a form have a version: a trigger counts it, whoever writes."""

from __future__ import annotations

from django.db import migrations, models

# The arguments are columns whose changes no form shows. A version never goes back.
FUNCTION = """
CREATE FUNCTION public.atrium_next_version() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $version$
DECLARE unseen text[] := coalesce(TG_ARGV, '{}');
BEGIN
    IF to_jsonb(OLD) - 'version' - unseen
        IS DISTINCT FROM to_jsonb(NEW) - 'version' - unseen
    THEN NEW.version := OLD.version + 1;
    ELSE NEW.version := greatest(OLD.version, NEW.version);
    END IF;
    RETURN NEW;
END $version$;
"""
TRIGGERS = """
CREATE TRIGGER next_version BEFORE UPDATE ON public.tenants_tenant FOR EACH ROW
EXECUTE FUNCTION public.atrium_next_version('suspended_at');
CREATE TRIGGER next_version BEFORE UPDATE ON public.tenants_membership FOR EACH ROW
EXECUTE FUNCTION public.atrium_next_version(
    'name', 'email', 'language', 'zone', 'created_at', 'signed_out_at', 'admits_unproven',
    'reading_acknowledged_at', 'factor_waived_until');
"""
NO_TRIGGERS = """
DROP TRIGGER next_version ON public.tenants_membership;
DROP TRIGGER next_version ON public.tenants_tenant;
"""


def version_of(model: str) -> migrations.AddField:
    """Return the operation that adds the column."""
    return migrations.AddField(
        model_name=model,
        name="version",
        field=models.IntegerField(db_default=1, default=1, editable=False),
    )


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_reading_history")]

    operations = [
        version_of("tenant"),
        version_of("membership"),
        migrations.RunSQL(FUNCTION, "DROP FUNCTION public.atrium_next_version()"),
        migrations.RunSQL(TRIGGERS, NO_TRIGGERS),
    ]
