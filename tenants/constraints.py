"""Composite foreign keys: a row of one tenant cannot point at a row of another.

PostgreSQL bypasses row-level security when it checks foreign keys, so a plain key would accept
another tenant's id. `(tenant_id, x_id)` cannot.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Columns, Statement, Table


class TenantKey(models.UniqueConstraint):
    """Unique (tenant, id): the target of composite foreign keys."""

    def __init__(self, *, name: str, fields: tuple[str, ...] = ("tenant", "id")) -> None:
        super().__init__(fields=fields, name=name)


class TenantForeignKey(models.BaseConstraint):
    """FOREIGN KEY (tenant_id, <field>_id) in addition to a ForeignKey(db_constraint=False).

    `on_delete` is the database's action when the referenced row is deleted:
    "NO ACTION", "CASCADE" or "SET NULL" (which keeps tenant_id).
    """

    def __init__(self, *, field: str, name: str, on_delete: str = "NO ACTION") -> None:
        super().__init__(name=name)
        self.field = field
        self.on_delete = on_delete

    def constraint_sql(
        self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> str:
        """Add nothing to CREATE TABLE; see `create_sql`."""
        self.create_sql(model, schema_editor)
        return ""

    def create_sql(  # type: ignore[override]
        self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> None:
        """Add the key at the end of the migration, when all tables and tenant keys exist."""
        assert model is not None and schema_editor is not None
        quote = schema_editor.quote_name
        field: Any = model._meta.get_field(self.field)
        target = field.related_model
        tenant: Any = model._meta.get_field("tenant")
        columns = [tenant.column, field.column]
        action = self.on_delete
        if action == "SET NULL":
            action = f"SET NULL ({quote(field.column)})"
        table = model._meta.db_table
        statement = Statement(
            "ALTER TABLE %(table)s ADD CONSTRAINT %(name)s FOREIGN KEY (%(columns)s) "
            "REFERENCES %(to_table)s (%(to_columns)s) ON DELETE %(action)s "
            "DEFERRABLE INITIALLY DEFERRED",
            table=Table(table, quote),
            name=quote(self.name),
            columns=Columns(table, columns, quote),
            to_table=Table(target._meta.db_table, quote),
            to_columns=Columns(
                target._meta.db_table,
                [target._meta.get_field("tenant").column, target._meta.pk.column],
                quote,
            ),
            action=action,
        )
        schema_editor.deferred_sql.append(statement)

    def remove_sql(  # type: ignore[override]
        self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> Statement:
        """Return the ALTER TABLE that drops the key."""
        assert model is not None and schema_editor is not None
        return Statement(
            "ALTER TABLE %(table)s DROP CONSTRAINT %(name)s",
            table=Table(model._meta.db_table, schema_editor.quote_name),
            name=schema_editor.quote_name(self.name),
        )

    def validate(
        self, model: Any, instance: Any, exclude: Any = None, using: str = "default"
    ) -> None:
        """Do nothing; forms already resolve choices through the tenant's manager."""

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """Return the arguments that a migration writes."""
        path, args, kwargs = super().deconstruct()
        kwargs["field"] = self.field
        if self.on_delete != "NO ACTION":
            kwargs["on_delete"] = self.on_delete
        return path, tuple(args), kwargs

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TenantForeignKey):
            return NotImplemented
        return self.deconstruct() == other.deconstruct()

    __hash__ = None  # type: ignore[assignment]


def build_tenant_constraints(table: str, **foreign_keys: str) -> list[models.BaseConstraint]:
    """Return the constraints that every tenant model needs.

    `table` is the prefix of the names. Each keyword is a foreign key to another tenant table and
    its `on_delete` action, e.g. `thread="CASCADE"`.
    """
    return [
        TenantKey(name=f"{table}_tenant_key"),
        *(
            TenantForeignKey(field=field, name=f"{table}_{field}_same_tenant", on_delete=action)
            for field, action in foreign_keys.items()
        ),
    ]
