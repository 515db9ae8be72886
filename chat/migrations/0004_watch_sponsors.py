"""The watcher's door knows sponsors: whose program is shut out, is shut out too."""

from __future__ import annotations

from django.db import migrations

from tenants.row_level_security import SecurityDefinerFunction

# A membership that opens doors: present, its company and account too, and its sponsor's.
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
    dependencies = [("chat", "0003_time_indexes"), ("tenants", "0003_programs")]

    operations = [
        SecurityDefinerFunction(
            "watch(memberships uuid[], keys uuid[], sign_ins text[], runs text[])",
            returns="TABLE (kind text, id text, at timestamptz)",
            body=f"""
            SELECT 'membership', wanted::text, NULL::timestamptz FROM unnest(memberships) wanted
            WHERE NOT EXISTS ({OPEN} wanted)
            UNION ALL
            SELECT 'signed_out', m.id::text, m.signed_out_at FROM tenants_membership m
            WHERE m.id = ANY (memberships) AND m.signed_out_at IS NOT NULL
            UNION ALL
            SELECT 'key', wanted::text, NULL FROM unnest(keys) wanted
            WHERE NOT EXISTS (
                SELECT FROM tenants_apikey k WHERE k.id = wanted AND k.revoked_at IS NULL
                AND (k.expires_at IS NULL OR k.expires_at > now()))
            UNION ALL
            SELECT 'sign_in', wanted, NULL FROM unnest(sign_ins) wanted
            WHERE NOT EXISTS (
                SELECT FROM django_session s
                WHERE s.session_key = wanted AND s.expire_date > now())
            UNION ALL
            SELECT 'cancel', r.id, r.cancel_requested_at FROM chat_run r
            JOIN chat_thread t ON t.id = r.thread_id
            WHERE r.id = ANY (runs) AND (r.status = 'cancelling' OR t.deleted_at IS NOT NULL)
            UNION ALL
            SELECT 'revoked', r.id, NULL FROM chat_run r
            WHERE r.id = ANY (runs) AND (
                NOT EXISTS ({OPEN} r.member_id)
                OR EXISTS (
                    SELECT FROM tenants_apikey k WHERE k.id = r.key_id
                    AND (k.revoked_at IS NOT NULL OR k.expires_at <= now())))
            """,  # nosec B608 - both parts are constants
        ),
    ]
