"""Insert rows of several tables in one statement by chaining the ORM's INSERTs as CTEs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models.constants import OnConflict
from django.db.models.sql import InsertQuery

from tenants.managers import TenantModel


@dataclass(frozen=True, kw_only=True)
class Insert:
    """Rows of one model to insert; existing rows get the fields named in `changes` updated."""

    rows: Sequence[TenantModel]
    changes: Sequence[str] = ()

    def as_sql(self) -> tuple[str, Sequence[Any]]:
        """Return the statement and its parameters.

        Raises:
            TenantScopeError: There is no scope, or a row belongs to another tenant.
        """
        for row in self.rows:
            row.stamp_tenant()
        meta = self.rows[0]._meta
        query = InsertQuery(
            type(self.rows[0]),
            on_conflict=OnConflict.UPDATE if self.changes else None,
            update_fields=[meta.get_field(name) for name in self.changes],
            unique_fields=[meta.pk] if self.changes else [],
        )
        fields = [field for field in meta.local_concrete_fields if field is not meta.auto_field]
        query.insert_values(fields, list(self.rows))
        [(sql, parameters)] = query.get_compiler(connection=connection).as_sql()
        return sql, parameters


def insert_many_tables(inserts: Iterable[Insert]) -> None:
    """Insert all rows in one statement; foreign keys are checked at its end."""
    filled = [insert for insert in inserts if insert.rows]
    if not filled:
        return
    statements = [insert.as_sql() for insert in filled]
    *earlier, last = (sql for sql, _parameters in statements)
    named = ", ".join(f"part_{number} AS ({sql})" for number, sql in enumerate(earlier))
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH {named} {last}" if named else last,
            [value for _sql, parameters in statements for value in parameters],
        )
    for insert in filled:
        for row in insert.rows:
            row._state.adding, row._state.db = False, connection.alias
