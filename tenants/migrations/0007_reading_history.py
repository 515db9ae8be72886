"""Fill the reading periods from the audit log, and drop hashes that can be guessed from it."""

from __future__ import annotations

from django.db import migrations

# Each change of the setting is in the audit log with its time: a period is an "on" up to the
# next "off".
PERIODS_FROM_AUDIT = """
INSERT INTO tenants_readingperiod
    (id, tenant_id, started_at, started_by_id, started_by, ended_at, ended_by_id, ended_by)
SELECT gen_random_uuid(), tenant_id, created_at, actor_id, actor,
    next_at, next_actor_id, coalesce(next_actor, '')
FROM (
    SELECT tenant_id, created_at, actor_id, actor,
        (data ->> 'admins_read_threads')::boolean AS on_now,
        lead(created_at) OVER changes AS next_at,
        lead(actor_id) OVER changes AS next_actor_id,
        lead(actor) OVER changes AS next_actor
    FROM tenants_auditevent
    WHERE action = 'tenant.changed' AND data ->> 'admins_read_threads' IN ('true', 'false')
    WINDOW changes AS (PARTITION BY tenant_id ORDER BY created_at, id)
) AS change
WHERE on_now
"""

# The setting itself is what held: where the log does not tell of it, the tenant's own columns
# do. The moment of switching off overwrote that of switching on, so that such a period counts
# from the company's first day.
END_OF_PERIODS = """
UPDATE tenants_readingperiod p
SET ended_at = greatest(p.started_at, coalesce(t.admins_read_threads_since, p.started_at))
FROM tenants_tenant t
WHERE t.id = p.tenant_id AND p.ended_at IS NULL AND NOT t.admins_read_threads
"""
PERIODS_FROM_COLUMNS = """
INSERT INTO tenants_readingperiod
    (id, tenant_id, started_at, started_by, ended_at, ended_by)
SELECT gen_random_uuid(), t.id,
    CASE WHEN t.admins_read_threads
        THEN coalesce(t.admins_read_threads_since, t.created_at) ELSE t.created_at END,
    '', CASE WHEN t.admins_read_threads THEN NULL ELSE t.admins_read_threads_since END, ''
FROM tenants_tenant t
WHERE (t.admins_read_threads AND NOT EXISTS (
        SELECT FROM tenants_readingperiod p WHERE p.tenant_id = t.id AND p.ended_at IS NULL))
    OR (NOT t.admins_read_threads AND t.admins_read_threads_since IS NOT NULL AND NOT EXISTS (
        SELECT FROM tenants_readingperiod p WHERE p.tenant_id = t.id))
"""

# An unkeyed hash of a few digits is as good as the digits.
DROP_GUESSABLE_HASHES = """
UPDATE tenants_auditevent SET data = data - 'arguments_hash' WHERE data ? 'arguments_hash'
"""

STATEMENTS = (PERIODS_FROM_AUDIT, END_OF_PERIODS, PERIODS_FROM_COLUMNS, DROP_GUESSABLE_HASHES)


class Migration(migrations.Migration):
    dependencies = [("tenants", "0006_privacy")]

    operations = [
        *(migrations.RunSQL(statement, migrations.RunSQL.noop) for statement in STATEMENTS),
        migrations.RemoveField("tenant", "admins_read_threads_since"),
    ]
