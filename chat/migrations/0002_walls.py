"""The second wall around the tables of chat, and the doors of recovery and revocation."""

from __future__ import annotations

from django.db import migrations

from tenants.row_level_security import DOORS, EnableRowLevelSecurity, SecurityDefinerFunction


class Migration(migrations.Migration):
    dependencies = [("chat", "0001_tables")]

    operations = [
        EnableRowLevelSecurity("assistant"),
        EnableRowLevelSecurity("thread", door_columns=("id", "tenant_id", "deleted_at")),
        EnableRowLevelSecurity("message"),
        EnableRowLevelSecurity("threadmapping"),
        EnableRowLevelSecurity(
            "run",
            door_columns=(
                "id",
                "tenant_id",
                "thread_id",
                "member_id",
                "key_id",
                "status",
                "owner",
                "expires_at",
                "cancel_requested_at",
            ),
        ),
        EnableRowLevelSecurity("runstep"),
        EnableRowLevelSecurity("toolcall"),
        EnableRowLevelSecurity("usage"),
        EnableRowLevelSecurity("price"),
        EnableRowLevelSecurity("tenantpolicy"),
        migrations.RunSQL(f"GRANT SELECT ON chat_process TO {DOORS}", migrations.RunSQL.noop),
        # Runs nobody executes any more, or whose time is over.
        SecurityDefinerFunction(
            "lapsed_runs(lapse_seconds double precision, most integer)",
            returns="TABLE (run_id varchar, tenant_id uuid)",
            body="SELECT r.id, r.tenant_id FROM chat_run r "
            "LEFT JOIN chat_process p ON p.id = r.owner "
            "WHERE r.status IN ('queued', 'in_progress', 'requires_action', 'cancelling') AND ("
            "r.expires_at < now() OR (r.status <> 'requires_action' AND "
            "(p.id IS NULL OR p.beat_at < now() - make_interval(secs => lapse_seconds)))) "
            "ORDER BY r.expires_at LIMIT most",
        ),
        # One question every two seconds: what of these is over?
        SecurityDefinerFunction(
            "watch(memberships uuid[], keys uuid[], sign_ins text[], runs text[])",
            returns="TABLE (kind text, id text, at timestamptz)",
            body="""
            SELECT 'membership', wanted::text, NULL::timestamptz FROM unnest(memberships) wanted
            WHERE NOT EXISTS (
                SELECT FROM tenants_membership m
                JOIN tenants_tenant t ON t.id = m.tenant_id
                LEFT JOIN tenants_user u ON u.id = m.user_id
                WHERE m.id = wanted AND m.disabled_at IS NULL AND m.removed_at IS NULL
                AND t.suspended_at IS NULL AND COALESCE(u.is_active, true))
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
                NOT EXISTS (
                    SELECT FROM tenants_membership m
                    JOIN tenants_tenant t ON t.id = m.tenant_id
                    LEFT JOIN tenants_user u ON u.id = m.user_id
                    WHERE m.id = r.member_id AND m.disabled_at IS NULL AND m.removed_at IS NULL
                    AND t.suspended_at IS NULL AND COALESCE(u.is_active, true))
                OR EXISTS (
                    SELECT FROM tenants_apikey k WHERE k.id = r.key_id
                    AND (k.revoked_at IS NOT NULL OR k.expires_at <= now())))
            """,
        ),
        # Threads whose undo is over.
        SecurityDefinerFunction(
            "deleted_threads(keep_seconds double precision, most integer)",
            returns="TABLE (thread_id varchar, tenant_id uuid)",
            body="SELECT t.id, t.tenant_id FROM chat_thread t WHERE t.deleted_at IS NOT NULL "
            "AND t.deleted_at < now() - make_interval(secs => keep_seconds) "
            "ORDER BY t.deleted_at LIMIT most",
        ),
    ]
