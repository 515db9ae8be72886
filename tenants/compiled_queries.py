"""Compile a queryset's SQL once per process and re-run it with new parameters.

Compiling dominates the cost of our hot reads: Django takes longer to write the SQL than
PostgreSQL takes to answer. `COMPILED_QUERIES = False` runs the plain querysets instead.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import Any, Generic, TypeVar
from uuid import uuid4

from django.conf import settings
from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Expression
from django.db.models.sql.compiler import SQLCompiler

from tenants.managers import CurrentTenant
from tenants.scope import tenant_scope

M = TypeVar("M", bound=models.Model)

MAX_SHAPES = 64
# Minor versions of Django whose compiler this module was tested with; a system check compares.
TESTED_DJANGO = ((5, 2),)
# Placeholder for the tenant in scope while SQL is compiled; recognised by identity.
_ANY_TENANT = uuid4()
# All decorated queries, for `compile_queries`.
_queries: list[CompiledQuery[Any]] = []


class Param(Expression):
    """A parameter whose value is given on each execution."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Any:
        """Emit a placeholder that is replaced on each execution."""
        return "%s", (self,)


class AnyOf(models.Lookup):
    """`AnyOf(F("id"), ids)`: like `id__in=ids`, with the same SQL for any number of ids."""

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Any:
        """Return `column = ANY(array)`."""
        column, before = self.process_lhs(compiler, connection)
        values, after = self.process_rhs(compiler, connection)
        return f"{column} = ANY({values})", (*before, *after)


@dataclass(frozen=True)
class _PlaceholderPrincipal:
    """The principal that `visible_to` gets while SQL is compiled."""

    membership_id: Param


@dataclass(frozen=True, kw_only=True)
class _Statement:
    """Compiled SQL, its parameters, and the Django compiler that turns results into rows."""

    rows: models.QuerySet[Any]
    compiler: SQLCompiler
    converters: dict[int, Any]
    sql: str
    parameters: tuple[Any, ...]

    def read(self, values: dict[str, Any]) -> list[Any]:
        compiler, rows = copy(self.compiler), self.rows.all()
        compiler.connection = connections[self.rows.db]
        statement = (
            self.sql,
            tuple(_fill(parameter, values, compiler) for parameter in self.parameters),
        )
        # Skip what Django would compute again on each execution.
        vars(compiler).update(as_sql=lambda: statement, get_converters=lambda _: self.converters)
        vars(rows.query).update(get_compiler=lambda using: compiler)
        return list(rows)


class CompiledQuery(Generic[M]):
    """Decorator of a function that builds a queryset; runs it without compiling it again.

    Keyword arguments are values and must not change the SQL; compare lists of ids with `AnyOf`.
    `principal` is passed to `visible_to`. The positional arguments and the names of the given
    values form the shape of the query; the SQL is compiled once per shape.
    """

    def __init__(self, build: Callable[..., models.QuerySet[M]]) -> None:
        self.build = build
        self._compiled = lru_cache(MAX_SHAPES)(self._compile)
        _queries.append(self)

    def read(self, *shape: Any, **values: Any) -> list[M]:
        """Return the rows.

        Raises:
            TenantScopeError: The rows belong to a tenant, and there is no scope or transaction.
        """
        if not settings.COMPILED_QUERIES:
            return list(self.build(*shape, **values))
        return self._compiled(shape, tuple(values)).read(values)

    def first(self, *shape: Any, **values: Any) -> M | None:
        """Return the first row, or None; raises the same errors as `read`."""
        return next(iter(self.read(*shape, **values)), None)

    def compile(self) -> None:
        """Compile the SQL before the first read, if the query has only one shape."""
        parameters = signature(self.build).parameters.values()
        if all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters):
            self._compiled(
                (),
                tuple(
                    parameter.name
                    for parameter in parameters
                    if parameter.default is parameter.empty
                ),
            )

    def _compile(self, shape: tuple[Any, ...], names: tuple[str, ...]) -> _Statement:
        arguments: dict[str, Any] = {name: Param(name) for name in names}
        if "principal" in arguments:
            arguments["principal"] = _PlaceholderPrincipal(arguments["principal"])
        rows = self.build(*shape, **arguments)
        compiler = rows.query.get_compiler(rows.db)
        with tenant_scope(_ANY_TENANT):
            sql, parameters = compiler.as_sql()
        fields = [item[0] for item in compiler.select[: compiler.col_count]]
        return _Statement(
            rows=rows,
            compiler=compiler,
            converters=compiler.get_converters(fields),
            sql=sql,
            parameters=tuple(parameters),
        )


@transaction.atomic
def compile_queries() -> None:
    """Compile queries at start-up, so that the first request of a process does not wait."""
    if settings.COMPILED_QUERIES:
        for query in _queries:
            query.compile()


def _fill(parameter: Any, values: dict[str, Any], compiler: SQLCompiler) -> Any:
    if parameter is _ANY_TENANT:
        return CurrentTenant.value(compiler.connection)
    if not isinstance(parameter, Param):
        return parameter
    value = values[parameter.name]
    return value.membership_id if parameter.name == "principal" else value
