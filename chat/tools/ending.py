"""The end of a call as one statement: its row, its audit event, and its step with the last."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models.sql import UpdateQuery

from chat.models import RunStep, ToolCall
from tenants.managers import TenantQuerySet
from tenants.models import AuditEvent

ENDED = """
WITH ended AS ({update} RETURNING "chat_toolcall"."id"),
noted AS (INSERT INTO tenants_auditevent ({columns}) SELECT {values} FROM ended),
closed AS (
    UPDATE chat_runstep SET status = 'completed', ended_at = %s
    WHERE id = %s::text AND status = 'in_progress' AND EXISTS (SELECT FROM ended)
        AND NOT EXISTS (
            SELECT FROM chat_toolcall
            WHERE step_id = %s::text AND id <> %s AND ended_at IS NULL
        )
    RETURNING id
)
SELECT EXISTS (SELECT FROM ended), EXISTS (SELECT FROM closed)
"""


def end_call(
    rows: TenantQuerySet[ToolCall],
    call: ToolCall,
    changes: dict[str, Any],
    note: AuditEvent,
    *,
    step: RunStep | None,
) -> tuple[bool, bool]:
    """Change the call where it is among `rows`, then store `note` and close the `step` it was
    the last of; return whether the call ended by this, and whether its step did.

    Of two calls that end at the same moment neither is the last: whoever goes on closes the step.
    """
    ended_at: datetime = changes["ended_at"]
    update, of_update = _update(rows, changes)
    note.stamp_tenant()
    fields = note._meta.local_concrete_fields
    sql = ENDED.format(
        update=update,
        columns=", ".join(connection.ops.quote_name(str(field.column)) for field in fields),
        values=", ".join(["%s"] * len(fields)),
    )
    step_id = step.pk if step is not None else None
    values = [f.get_db_prep_save(getattr(note, f.attname), connection) for f in fields]
    with connection.cursor() as cursor:
        cursor.execute(sql, [*of_update, *values, ended_at, step_id, step_id, call.pk])
        ended, closed = cursor.fetchone()
    return ended, closed


def _update(rows: TenantQuerySet[ToolCall], changes: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_values(changes)
    sql, parameters = query.get_compiler(connection=connection).as_sql()
    return sql, tuple(parameters)
