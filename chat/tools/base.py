"""Base types of tools: definition, parameters, context, results, errors; a run's resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from django.db import models, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from chat.errors import ChatError
from chat.models import Assistant, Run, Thread
from chat.models.resources import Resources
from tenants.authentication import Principal
from tenants.models import Tenant
from tenants.scope import tenant_scope

M = TypeVar("M", bound=models.Model)


class Effect(models.TextChoices):
    """The side effects of a tool, which decide on approval and on repetition after a crash."""

    READ = "read", _("only reads")
    WRITE_IDEMPOTENT = "write_idempotent", _("makes changes; safe to repeat")
    WRITE_ONCE = "write_once", _("makes changes; not safe to repeat")
    DESTRUCTIVE = "destructive", _("cannot be undone; asks for approval")


REPEATABLE = frozenset({Effect.READ, Effect.WRITE_IDEMPOTENT})


class ToolError(ChatError):
    """An error returned to the model instead of a result: a stable code and a plain sentence."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """A tool result with details. Tools may also return a bare value.

    `output` is sent to the model; `details` (JSON) is stored with the call and shown in its step.
    """

    output: Any
    details: dict[str, Any] | None = None


@dataclass(frozen=True)
class DeferredResult:
    """The result of an async tool that stores data in the transaction that ends its call.

    `settle` runs in that transaction, in the tenant's scope, and returns the result. If the call
    no longer belongs to this process, everything is rolled back. `settle` may run again after a
    lost connection. `ended` is always called afterwards, also after an error.
    """

    settle: Callable[[], ToolResult]
    ended: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class ToolContext:
    """The first parameter of every tool. The principal is the run's; arguments cannot change it.

    `idempotency_key` stays the same if a call is repeated after a crash.
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
        """The role of the member the call acts for."""
        return self.principal.role

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Open the tenant's scope and a transaction, for the `in_db` blocks of async tools.

        Synchronous tools already run inside both.
        """
        with tenant_scope(self.principal.tenant_id), transaction.atomic():
            yield


@dataclass(frozen=True)
class ById:
    """Marker of a parameter whose argument identifies a row of the annotated model by `lookup`.

    The tool receives the row, resolved with `visible_to`. Rows that the principal cannot see
    and rows that do not exist cause the same error.
    """

    lookup: str = "pk"


ObjectId = Annotated[M, ById()]


@dataclass(frozen=True)
class InjectedArgument:
    """Marker of a parameter that is filled from the context and hidden from the model."""

    fill: Callable[[ToolContext], Any]


@dataclass(frozen=True)
class Limits:
    """Inclusive bounds of a number, or of the length of a text or list."""

    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of a tool. `build` converts a validated argument to its Python value."""

    name: str
    build: Callable[[Any], Any]
    model: type[models.Model] | None = None
    by_id: ById | None = None
    many: bool = False
    injected: InjectedArgument | None = None


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A registered function. `schema` describes its parameters to the model.

    `timeout` is in seconds; None means the installation's default. Tools with `always` are
    enabled in every run. A tool with `builtin` is enabled by the wire tool of that type, e.g.
    `file_search`. The calls of one response run concurrently, except that calls of a tool with
    `in_order` run one after another.
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
        """Return the tool as a function tool of the Assistants API."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.schema,
            "strict": False,
        }
        return {"type": "function", "function": function}


def get_resources(run: Run) -> tuple[Resources, Resources]:
    """Return the tool resources of a run's assistant (as it is now) and of its thread.

    Callers must resolve the assistant's resources among those of the company only, and the
    thread's resources among those visible to the run's principal. Call within the tenant's scope
    and a transaction.
    """
    rows = Assistant.objects.filter(pk=run.assistant_id).only("tools", "tool_resources")
    assistant: Assistant | None = rows.first()
    threads = Thread.objects.filter(pk=run.thread_id).values_list("tool_resources", flat=True)
    return assistant.get_usable_resources() if assistant is not None else {}, threads.first() or {}
