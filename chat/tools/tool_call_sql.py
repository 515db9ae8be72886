"""The SQL statement that ends a tool call, with its audit event and the end of its step."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models.sql import UpdateQuery

from chat.models import RunStep, ToolCall
from tenants.managers import TenantQuerySet
from tenants.models import AuditEvent

END_CALL_SQL = """
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
    """Update the call if it is among `rows`, insert the audit event `note`, and close `step`.

    The step is closed if this was its last open call. Return whether this ended the call, and
    whether it closed the step. If two calls end at the same time, neither sees itself as the
    last; the code that continues the run closes the step then.
    """
    ended_at: datetime = changes["ended_at"]
    update, of_update = _compile_update(rows, changes)
    note.stamp_tenant()
    fields = note._meta.local_concrete_fields
    sql = END_CALL_SQL.format(
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


def _compile_update(
    rows: TenantQuerySet[ToolCall], changes: dict[str, Any]
) -> tuple[str, tuple[Any, ...]]:
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_values(changes)
    sql, parameters = query.get_compiler(connection=connection).as_sql()
    return sql, tuple(parameters)
