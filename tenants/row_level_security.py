"""Migration operations for row-level security and SECURITY DEFINER functions.

Role names are fixed; `manage.py db roles` creates the roles.
"""

from __future__ import annotations

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

OWNER, APP, DOORS = "atrium_owner", "atrium_app", "atrium_doors"
TENANT_SETTING = "atrium.tenant_id"
CURRENT_TENANT_SQL = f"NULLIF(current_setting('{TENANT_SETTING}', true), '')::uuid"


class EnableRowLevelSecurity(Operation):
    """Enable and force row-level security on a model's table.

    `append_only` also revokes UPDATE and DELETE from the application's role.
    `door_columns` are the only columns that SECURITY DEFINER functions may read.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(
        self,
        model_name: str,
        *,
        column: str = "tenant_id",
        append_only: bool = False,
        door_columns: tuple[str, ...] = (),
    ) -> None:
        self.model_name = model_name
        self.column = column
        self.append_only = append_only
        self.door_columns = door_columns

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Do nothing: row-level security does not change model state."""

    def _table(self, app_label: str, state: ProjectState) -> str:
        model = state.apps.get_model(app_label, self.model_name)
        return str(model._meta.db_table)

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Enable row-level security and create the policies."""
        table = self._table(app_label, to_state)
        own = f"{self.column} = {CURRENT_TENANT_SQL}"
        statements = [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY tenant_wall ON {table} TO {APP} USING ({own}) WITH CHECK ({own})",
            # Data migrations run as the owner, to whom policies apply because of FORCE.
            f"CREATE POLICY owner_migrates ON {table} TO {OWNER} USING (true) WITH CHECK (true)",
        ]
        if self.append_only:
            statements.append(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {APP}")
        if self.door_columns:
            columns = ", ".join(self.door_columns)
            statements += [
                f"GRANT SELECT ({columns}) ON {table} TO {DOORS}",
                f"CREATE POLICY doors_read ON {table} FOR SELECT TO {DOORS} USING (true)",
            ]
        for statement in statements:
            schema_editor.execute(statement)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Keep row-level security: the table is dropped next, and would leak without it."""

    def describe(self) -> str:
        """Return the line that `migrate` prints."""
        return f"Row-level security on {self.model_name}"


class SecurityDefinerFunction(Operation):
    """A SECURITY DEFINER function in schema `doors`, run as the definer role `atrium_doors`.

    `signature` is e.g. "memberships_of(wanted bigint)", `returns` e.g.
    "TABLE (membership_id uuid, tenant_id uuid)"; `body` is one SQL query.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, signature: str, *, returns: str, body: str) -> None:
        self.signature = signature
        self.returns = returns
        self.body = body

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Do nothing: functions do not change model state."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Create the function, owned by the definer role, executable by the app role only."""
        name = f"doors.{self.signature}"
        for statement in (
            f"SET LOCAL ROLE {DOORS}",
            f"CREATE OR REPLACE FUNCTION {name} RETURNS {self.returns} LANGUAGE sql STABLE "
            "SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp "
            f"AS $door$ {self.body} $door$",
            f"REVOKE ALL ON FUNCTION {self._get_call_signature()} FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {self._get_call_signature()} TO {APP}",
            "RESET ROLE",
        ):
            schema_editor.execute(statement)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Drop the function."""
        schema_editor.execute(f"SET LOCAL ROLE {DOORS}")
        schema_editor.execute(f"DROP FUNCTION {self._get_call_signature()}")
        schema_editor.execute("RESET ROLE")

    def _get_call_signature(self) -> str:
        """Return name(types), because GRANT and DROP ignore argument names and defaults."""
        name, _, arguments = self.signature.partition("(")
        types = [
            argument.split(" ", 1)[1] for argument in arguments.rstrip(")").split(", ") if argument
        ]
        return f"doors.{name}({', '.join(types)})"

    def describe(self) -> str:
        """Return the line that `migrate` prints."""
        return f"SECURITY DEFINER function {self.signature}"
