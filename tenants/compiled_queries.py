"""Reads whose SQL is written once: Django takes longer for it than PostgreSQL for the answer."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import Any, Generic, TypeVar
from uuid import uuid4

from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Expression
from django.db.models.sql.compiler import SQLCompiler

from tenants.managers import CurrentTenant
from tenants.scope import tenant_scope

M = TypeVar("M", bound=models.Model)

SHAPES = 64
# Stands for the tenant in scope while SQL is written; it is told from others by identity.
_ANY_TENANT = uuid4()
# What decorates, for `write_reads`.
_known: list[CompiledQuery[Any]] = []


class Param(Expression):
    """A value that comes with each run of a read."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Any:
        """Leave itself among the parameters."""
        return "%s", (self,)


class AnyOf(models.Lookup):
    """`Among(F("id"), ids)`: what `id__in=ids` says, in the same SQL however many there are."""

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Any:
        """Compare with an array."""
        column, before = self.process_lhs(compiler, connection)
        values, given = self.process_rhs(compiler, connection)
        return f"{column} = ANY({values})", (*before, *given)


@dataclass(frozen=True)
class _PlaceholderPrincipal:
    """What `for_principal` sees of a principal while SQL is written."""

    membership_id: Param


@dataclass(frozen=True, kw_only=True)
class _Statement:
    """SQL with the parameters to fill in, and Django's compiler, which makes rows of what comes."""

    rows: models.QuerySet[Any]
    compiler: SQLCompiler
    converters: dict[int, Any]
    sql: str
    parameters: tuple[Any, ...]

    def read(self, values: dict[str, Any]) -> list[Any]:
        compiler, rows = copy(self.compiler), self.rows.all()
        compiler.connection = connections[self.rows.db]
        made = self.sql, tuple(_fill(parameter, values, compiler) for parameter in self.parameters)
        # What Django would find out anew each time.
        vars(compiler).update(as_sql=lambda: made, get_converters=lambda _: self.converters)
        vars(rows.query).update(get_compiler=lambda using: compiler)
        return list(rows)


class CompiledQuery(Generic[M]):
    """Decorates what builds a queryset, and reads it without writing its SQL anew.

    Keyword arguments are values, by which its SQL must not differ; where they are ids in a list,
    compare by `AnyOf`. `principal` is there for `for_principal`. Positional arguments, and which
    of the values are given, are its shape: the SQL is written once for each.
    """

    def __init__(self, build: Callable[..., models.QuerySet[M]]) -> None:
        self.build = build
        self._written = lru_cache(SHAPES)(self._write)
        _known.append(self)

    def read(self, *shape: Any, **values: Any) -> list[M]:
        """Return the rows.

        Raises:
            TenantScopeError: for a tenant's rows, outside any scope or transaction.
        """
        return self._written(shape, tuple(values)).read(values)

    def one(self, *shape: Any, **values: Any) -> M | None:
        """Return the first row, None where there is none; raises as `read`."""
        return next(iter(self.read(*shape, **values)), None)

    def write(self) -> None:
        """Write the SQL ahead of the first read, if it has but one shape."""
        parameters = signature(self.build).parameters.values()
        if all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters):
            self._written(
                (),
                tuple(
                    parameter.name
                    for parameter in parameters
                    if parameter.default is parameter.empty
                ),
            )

    def _write(self, shape: tuple[Any, ...], names: tuple[str, ...]) -> _Statement:
        given: dict[str, Any] = {name: Param(name) for name in names}
        if "principal" in given:
            given["principal"] = _PlaceholderPrincipal(given["principal"])
        rows = self.build(*shape, **given)
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
def write_reads() -> None:
    """Write what can be written ahead: the first request of a process is not to wait for it."""
    for item in _known:
        item.write()


def _fill(parameter: Any, values: dict[str, Any], compiler: SQLCompiler) -> Any:
    if parameter is _ANY_TENANT:
        return CurrentTenant.value(compiler.connection)
    if not isinstance(parameter, Param):
        return parameter
    value = values[parameter.name]
    return value.membership_id if parameter.name == "principal" else value
