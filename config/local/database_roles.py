"""SQL that creates the three database roles and the initial contents of a database.

It is used for the embedded cluster and printed by `manage.py db roles` for any other server.
"""

from __future__ import annotations

OWNER, APP, DOORS = "atrium_owner", "atrium_app", "atrium_doors"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def build_role_statements(*, owner_password: str, app_password: str) -> list[str]:
    """Return the statements that create the roles; they are idempotent."""
    weak = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION"
    return [
        *(
            f"DO $do$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $do$"
            for role in (OWNER, APP, DOORS)
        ),
        f"ALTER ROLE {OWNER} LOGIN {weak} PASSWORD {_quote(owner_password)}",
        f"ALTER ROLE {APP} LOGIN {weak} NOINHERIT PASSWORD {_quote(app_password)}",
        f"ALTER ROLE {DOORS} NOLOGIN {weak}",
        f"GRANT {DOORS} TO {OWNER}",
    ]


def build_access_statements(database: str) -> list[str]:
    """Return the grants to connect; a new database does not inherit them from its template."""
    return [
        f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC',
        f'GRANT CONNECT ON DATABASE "{database}" TO {APP}',
    ]


def build_content_statements() -> list[str]:
    """Return the statements that a superuser runs once in a new database."""
    defaults = f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER}"
    return [
        "CREATE EXTENSION IF NOT EXISTS vector",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}",
        f"GRANT USAGE ON SCHEMA public TO {APP}, {DOORS}",
        f"{defaults} IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {APP}",
        f"{defaults} IN SCHEMA public GRANT USAGE ON SEQUENCES TO {APP}",
        # PUBLIC has EXECUTE by default, and only a default for all schemas can revoke it.
        f"{defaults} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
        f"{defaults} IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO {APP}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {DOORS} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
        f"CREATE SCHEMA IF NOT EXISTS doors AUTHORIZATION {DOORS}",
        f"GRANT USAGE ON SCHEMA doors TO {APP}",
    ]


def build_roles_sql(database: str = "atrium") -> str:
    """Return a psql script that prepares another PostgreSQL server, to be run by a superuser."""
    roles = build_role_statements(
        owner_password="REPLACE-THE-OWNER-PASSWORD",
        app_password="REPLACE-THE-APP-PASSWORD",
    )
    lines = [
        "-- Roles and database of Atrium. Replace both passwords; run with psql as a superuser.",
        *(f"{statement};" for statement in roles),
        f"CREATE DATABASE \"{database}\" OWNER {OWNER} TEMPLATE template0 ENCODING 'UTF8';",
        *(f"{statement};" for statement in build_access_statements(database)),
        f'\\connect "{database}"',
        *(f"{statement};" for statement in build_content_statements()),
    ]
    return "\n".join(lines) + "\n"
