"""Database access: the tenant setting of each transaction, and `in_db` for async code."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from enum import Enum
from functools import partial
from time import monotonic
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import Cursor
from django.db.backends.signals import connection_created
from psycopg.pq import TransactionStatus

from tenants import clock
from tenants.fair_executor import FairExecutor
from tenants.row_level_security import TENANT_SETTING
from tenants.scope import TenantScopeError, get_scoped_tenant_id
from tenants.turns import end_turn

P = ParamSpec("P")
T = TypeVar("T")


class DatabasePool(Enum):
    """Separate thread pools, so slow tools or large files cannot block other work or heartbeats."""

    WORK = "in_db"
    TOOLS = "tools"
    FILES = "files"
    WATCH = "watch"
    AUTOSAVE = "autosave"


POOL_THREADS = {DatabasePool.WATCH: 1, DatabasePool.FILES: 2, DatabasePool.AUTOSAVE: 1}
RETRY_SECONDS = 60.0
RETRY_INTERVAL_SECONDS = 0.3
LOCK_NOT_AVAILABLE = "55P03"

log = structlog.get_logger(__name__)

_executors: dict[DatabasePool, FairExecutor] = {}
_pool_tenant: contextvars.ContextVar[UUID | None] = contextvars.ContextVar(
    "atrium_lane_tenant", default=None
)


class TenantSetting:
    """Execute wrapper that sets the tenant for row-level security once per transaction.

    The setting is transaction-local and ends with COMMIT or ROLLBACK, so a pooled connection
    never keeps a tenant.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.sent: UUID | None = None

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        """Send the setting first if this transaction does not have it yet.

        Raises:
            TenantScopeError: The transaction already belongs to another tenant.
        """
        if isinstance(sql, str) and sql.startswith("ROLLBACK TO SAVEPOINT"):
            # The rollback also reverts a setting made inside the savepoint; send it again.
            self.sent = None
            return execute(sql, params, many, context)
        tenant_id = self._get_unsent_tenant_id() if self.connection.in_atomic_block else None
        if tenant_id is None:
            return execute(sql, params, many, context)
        setting = f"SELECT set_config('{TENANT_SETTING}', '{tenant_id}', true)"
        if many or not isinstance(sql, str) or type(context["cursor"].cursor) is not Cursor:
            execute(setting, None, False, context)
            result = execute(sql, params, many, context)
        else:
            # Send both in one round trip.
            result = execute(f"{setting}; {sql}", params, many, context)
            context["cursor"].nextset()
        self.sent = tenant_id
        return result

    def _get_unsent_tenant_id(self) -> UUID | None:
        """Return the tenant that still has to be set in this transaction, or None."""
        raw: Any = self.connection.connection
        status = raw.info.transaction_status
        if status == TransactionStatus.IDLE:
            self.sent = None
        tenant_id = get_scoped_tenant_id()
        if tenant_id is None or status == TransactionStatus.INERROR or tenant_id == self.sent:
            return None
        if self.sent is None:
            return tenant_id
        raise TenantScopeError("A transaction cannot access two tenants.")


def install_tenant_setting(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Install the wrapper on a new connection (receiver of `connection_created`)."""
    if connection.alias != "owner" and not any(
        isinstance(wrapper, TenantSetting) for wrapper in connection.execute_wrappers
    ):
        connection.execute_wrappers.append(TenantSetting(connection))
    if not clock.is_measured() and connection.vendor == "postgresql":
        with connection.wrap_database_errors:
            clock.measure_offset(connection.connection)


def connect_signals() -> None:
    """Install the wrapper on every new connection."""
    connection_created.connect(install_tenant_setting, dispatch_uid="tenants.db")


def _run_and_release(fn: Callable[[], T]) -> T:
    try:
        return fn()
    except (InterfaceError, OperationalError) as error:
        if is_connection_lost(error):
            _drain_pool()
        raise
    finally:
        _close_connections()


def _wait_for_locks(fn: Callable[[], T]) -> T:
    """Retry `fn` on lock timeouts, for a minute at most; this blocks only the files pool."""
    deadline = monotonic() + RETRY_SECONDS
    while True:
        try:
            return fn()
        except OperationalError as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state != LOCK_NOT_AVAILABLE or monotonic() > deadline:
                raise


def release_connection() -> None:
    """Return this thread's connections to the pool, and end its request's turn.

    A connection inside a transaction is kept.
    """
    _close_connections()
    end_turn()


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def is_connection_lost(error: BaseException) -> bool:
    """Return True if the connection was lost, and not only the statement failed."""
    state: str | None = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(("08", "57P"))


def _drain_pool() -> None:
    """Drop the idle connections: the same server is gone, so each would fail once."""
    pool = getattr(connections["default"], "pool", None)
    if pool is not None:
        pool.drain()


async def in_db(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `fn` in the database executor with this context, and return its result.

    Async code must use this for database access: asgiref would run all calls outside a request
    on one thread. The connection returns to the pool when `fn` ends. Cancelling the caller does
    not stop `fn`; its transaction finishes.
    """
    return await run_in_pool(DatabasePool.WORK, fn, *args, **kwargs)


async def run_in_pool(
    pool: DatabasePool, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run `fn` like `in_db`, on the threads of `pool`, fair among tenants."""
    if pool not in _executors:
        threads = POOL_THREADS.get(pool, settings.DATABASE_THREADS)
        _executors[pool] = FairExecutor(threads, name=pool.value)
    context = contextvars.copy_context()
    work = partial(fn, *args, **kwargs)
    if pool is DatabasePool.FILES:
        work = partial(_wait_for_locks, work)
    call = partial(context.run, _run_and_release, work)
    tenant_id = get_scoped_tenant_id() or _pool_tenant.get()
    return await asyncio.wrap_future(_executors[pool].submit(tenant_id, call))


def set_pool_tenant(tenant_id: UUID) -> None:
    """Attribute this task's work in the pools to the tenant, also outside its scope."""
    _pool_tenant.set(tenant_id)


async def run_with_retry(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `fn` like `in_db`, but retry for up to a minute while the database is unreachable.

    `fn` must be one idempotent transaction: it may run again after a commit whose confirmation
    was lost.

    Raises:
        OperationalError, InterfaceError: The database was unreachable for a minute.
    """
    deadline = monotonic() + RETRY_SECONDS
    while True:
        try:
            return await in_db(fn, *args, **kwargs)
        except (InterfaceError, OperationalError) as error:
            if monotonic() > deadline:
                raise
            log.warning("database_away", work=fn.__name__, error=type(error).__qualname__)
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)


def call_privileged(name: str, *args: Any) -> list[tuple[Any, ...]]:
    """Call the SECURITY DEFINER function `name` (schema `doors`) and return its rows."""
    placeholders = ", ".join(["%s"] * len(args))
    with connections["default"].cursor() as cursor:
        # The name is a constant of our code; arguments are passed as parameters.
        cursor.execute(f"SELECT * FROM doors.{name}({placeholders})", args)  # nosec B608
        return list(cursor.fetchall())


async def run_uncancelled(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `fn` like `run_with_retry`; a cancelled caller waits until `fn` is done.

    The code that handles the cancellation writes the same rows, so it must not run concurrently.
    """
    work = asyncio.ensure_future(run_with_retry(fn, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        if not work.cancelled() and work.exception() is not None:
            log.info("cancelled_transaction_failed", error=type(work.exception()).__qualname__)
        raise
