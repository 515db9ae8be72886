"""What a tool is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from django.db import models, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from chat.errors import ChatError
from chat.models import Run, Thread
from tenants.authentication import Principal
from tenants.models import Tenant
from tenants.scope import tenant_scope

M = TypeVar("M", bound=models.Model)


class Effect(models.TextChoices):
    """What a call does to the world; decides about approval and about repeating after a crash."""

    READ = "read", _("only reads")
    WRITE_IDEMPOTENT = "write_idempotent", _("changes something; a repeat does no harm")
    WRITE_ONCE = "write_once", _("changes something, once")
    DESTRUCTIVE = "destructive", _("cannot be undone; asks first")


REPEATABLE = frozenset({Effect.READ, Effect.WRITE_IDEMPOTENT})


class ToolError(ChatError):
    """What a tool tells the model instead of a result: a stable code and a plain sentence."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """What a tool may return in place of a bare value: `output` is for the model.

    `details` is kept with the call, for the step that shows it; JSON.
    """

    output: Any
    details: dict[str, Any] | None = None


@dataclass(frozen=True)
class DeferredResult:
    """What an async tool returns that has to store something together with its call's end.

    `settle` runs in the transaction that ends the call, in the tenant's scope,
    and returns the result; where the call is no longer this process's, all of it
    is rolled back. It may run again when the connection was lost. `ended` is
    called after it, however that went.
    """

    settle: Callable[[], ToolResult]
    ended: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class ToolContext:
    """First parameter of every tool. The principal is the run's; no argument changes it.

    `idempotency_key` is the same when a call is repeated after a crash.
    """

    principal: Principal
    thread: Thread
    run: Run
    call_id: str
    idempotency_key: str

    @property
    def tenant(self) -> Tenant:
        """The tenant the call acts for."""
        return self.principal.tenant

    @property
    def role(self) -> str:
        """The role of the person the call acts for."""
        return self.principal.role

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Open the tenant's scope and a transaction, for the `in_db` blocks of async tools.

        Tools that are plain functions run inside both already.
        """
        with tenant_scope(self.principal.tenant_id), transaction.atomic():
            yield


@dataclass(frozen=True)
class ById:
    """Marks a parameter whose argument is the `lookup` of a row of the annotated model.

    The tool is given the row, found through `for_principal`; a foreign value
    and a missing one get the same answer.
    """

    lookup: str = "pk"


ObjectId = Annotated[M, ById()]


@dataclass(frozen=True)
class InjectedArgument:
    """Marks a parameter that is filled from the caller and never shown to the model."""

    fill: Callable[[ToolContext], Any]


@dataclass(frozen=True)
class Limits:
    """Bounds of a number, or of the length of a text or list; both ends included."""

    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a tool. `build` makes the Python value of a validated argument."""

    name: str
    build: Callable[[Any], Any]
    model: type[models.Model] | None = None
    by_id: ById | None = None
    many: bool = False
    bound: InjectedArgument | None = None


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A registered function. `schema` is what the model sees of its parameters.

    `timeout` is in seconds, None for the installation's default. Tools with
    `always` may be called in every run without being switched on; one with
    `builtin` is switched on by the wire tool of that type, as `file_search` is.
    Calls that come together run side by side, those of one with `in_order` one
    after another.
    """

    name: str
    description: str
    label: str | Promise
    effect: Effect
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    schema: dict[str, Any]
    version: str
    needs_approval: bool = False
    untrusted_output: bool = False
    always: bool = False
    builtin: str = ""
    in_order: bool = False
    timeout: float | None = None
    is_async: bool = False

    def wire(self) -> dict[str, Any]:
        """Return it as a function tool of the Assistants API."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.schema,
            "strict": False,
        }
        return {"type": "function", "function": function}
