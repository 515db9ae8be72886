"""Create, update and delete assistants; field limits are those of docs/decisions/0003."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils.translation import gettext as _

from chat.actions.assistants.tool_definitions import (
    BUILT_IN_TOOLS,
    MAX_TOOLS,
    clean_response_format,
    clean_tools,
)
from chat.actions.assistants.tool_resources import clean_tool_resources, resolve_tool_resources
from chat.actions.fields import (
    clean_boolean,
    clean_choice,
    clean_list,
    clean_metadata,
    clean_number,
    clean_text,
    get_row,
)
from chat.conf import conf
from chat.errors import AssistantDisabled, InvalidInput, NotFound
from chat.models import Assistant, IdempotencyRecord
from chat.models.assistants import BusyPolicy
from chat.runs.engine.model_catalog import get_model_upstream
from chat.tools import registry
from tenants import audit
from tenants.authentication import Principal
from tenants.compiled_queries import CompiledQuery
from tenants.errors import EditConflict
from tenants.models import Role, Tenant
from tenants.scope import tenant_scope

MAX_PROMPTS, MAX_PROMPT_CHARACTERS = 12, 300
EFFORTS = ("", "none", "minimal", "low", "medium", "high", "xhigh", "max")


def create_assistant(principal: Principal, *, model: str, **fields: Any) -> Assistant:
    """Create an assistant; the first one offered in the chat page becomes the default.

    `fields` are those of `update_assistant`.

    Raises:
        NotAllowed: the principal is not an admin.
        UnknownModel: no `upstream` is given and no model server offers the model.
        InvalidInput: a field is invalid; `param` names it.
    """
    principal.require(Role.ADMIN)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        _lock_tenant()
        row = Assistant(model="")
        cleaned = _clean_columns(principal, row, {"model": model, **fields})
        cleaned.setdefault("is_default", False)
        if cleaned["is_default"]:
            _clear_default(principal)
        elif cleaned.get("enabled", True) and cleaned.get("in_page", True):
            cleaned["is_default"] = not Assistant.objects.filter(is_default=True).exists()
        for name, value in cleaned.items():
            setattr(row, name, value)
        row.save(force_insert=True)
        if row.is_default:
            _count_default_change()
        audit.record(principal, "assistant.created", row.pk, name=row.name)
    return row


def update_assistant(
    principal: Principal, assistant_id: str, *, version: int | None = None, **fields: Any
) -> Assistant:
    """Change the given fields, keep the others, and return the updated assistant.

    `tools` takes names of registered tools; the client's own function tools are kept.
    `built_in` takes types of built-in tools; those already enabled keep their options.
    `tool_definitions` takes the API's list of tools and replaces all of them.

    Raises:
        NotAllowed: the principal is not an admin.
        NotFound: the assistant does not exist.
        UnknownModel: the model is new, no `upstream` is given and no model server offers it.
        InvalidInput: a field is invalid; `param` names it.
        EditConflict: `version` is given and is not the stored version.
    """
    principal.require(Role.ADMIN)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        _lock_tenant()
        row = lock_assistant(principal, assistant_id)
        EditConflict.check(row, version)
        cleaned = _clean_columns(principal, row, fields)
        changed = [name for name, value in cleaned.items() if getattr(row, name) != value]
        if not changed:
            return row
        if "is_default" in changed:
            if cleaned["is_default"]:
                _clear_default(principal)
            _count_default_change()
        for name in changed:
            setattr(row, name, cleaned[name])
        row.save(update_fields=changed)
        row.refresh_from_db(fields=["version"])
        audit.record(principal, "assistant.changed", row.pk, name=row.name, fields=changed)
    return row


def set_default_assistant(principal: Principal, assistant_id: str) -> Assistant:
    """Make the assistant the tenant's default for new chats; raises like `update_assistant`."""
    return update_assistant(principal, assistant_id, is_default=True)


def delete_assistant(principal: Principal, assistant_id: str) -> None:
    """Delete an assistant; its chats and answers stay readable.

    Raises:
        NotAllowed: the principal is not an admin.
        NotFound: the assistant does not exist.
    """
    principal.require(Role.ADMIN)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        row = lock_assistant(principal, assistant_id)
        audit.record(principal, "assistant.deleted", row.pk, name=row.name)
        IdempotencyRecord.objects.about(row.pk).delete()
        if row.is_default:
            _count_default_change()
        row.delete()


def _lock_tenant() -> None:
    """Lock the tenant's row to serialise changes of the default assistant."""
    Tenant.objects.select_for_update(no_key=True).get()


def lock_assistant(principal: Principal, assistant_id: str) -> Assistant:
    """Return an assistant locked for update. Call within a tenant transaction.

    Raises:
        InvalidInput: the ID is malformed.
        NotFound: the assistant does not exist.
    """
    rows = Assistant.objects.visible_to(principal).select_for_update(no_key=True)
    row: Assistant = get_row(rows, assistant_id, param="assistant_id", prefix="asst_")
    return row


def get_offered_assistant(assistant_id: str) -> Assistant:
    """Return an assistant that is offered in the chat page. Call within a tenant transaction.

    Raises:
        NotFound: the assistant does not exist.
        AssistantDisabled: the assistant is not offered in the chat page.
    """
    row = _get_assistant.first(assistant_id=assistant_id)
    if row is None:
        raise NotFound(f"No assistant found with id '{assistant_id}'.", param="assistant")
    if not row.is_offered:
        raise AssistantDisabled()
    return row


@CompiledQuery
def _get_assistant(*, assistant_id: Any) -> QuerySet[Assistant]:
    rows: QuerySet[Assistant] = Assistant.objects.filter(pk=assistant_id)
    return rows


def _clear_default(principal: Principal) -> None:
    """Unset the current default assistant."""
    former = Assistant.objects.filter(is_default=True).first()
    if former is not None:
        Assistant.objects.filter(pk=former.pk).update(is_default=False)
        audit.record(
            principal, "assistant.changed", former.pk, name=former.name, fields=["is_default"]
        )


def _count_default_change() -> None:
    """Increment the version of the company's settings: their form shows the default assistant."""
    Tenant.objects.update(version=F("version") + 1)


def _clean_columns(principal: Principal, row: Assistant, fields: dict[str, Any]) -> dict[str, Any]:
    """Validate `fields` and return the column values to store on `row`."""
    given = dict(fields)
    removed = not conf.has_upstream(row.upstream)
    finds_server = removed and "upstream" not in given
    if removed and given.get("upstream") == row.upstream:
        # Forms send every field. Ignore the removed server so that the other fields can be
        # changed and a new model selects its own server.
        del given["upstream"]
    cleaned: dict[str, Any] = {}
    if "tools" in given:
        cleaned["tools"] = _select_tools(given.pop("tools"), kept=row.tools)
    if "built_in" in given:
        kept = cleaned.get("tools", row.tools)
        cleaned["tools"] = _select_built_in_tools(given.pop("built_in"), kept=kept)
    if "tool_definitions" in given:
        cleaned["tools"] = clean_tools(given.pop("tool_definitions"), limit=MAX_TOOLS)
    resources = None
    if "tool_resources" in given:
        resources = clean_tool_resources(given.pop("tool_resources"))
    unknown = given.keys() - _CHECKS.keys()
    if unknown:
        raise InvalidInput(_("Unknown setting."), param=min(unknown))
    cleaned |= {name: _CHECKS[name](value) for name, value in given.items()}
    model = cleaned.get("model", row.model)
    if "upstream" not in cleaned and (model != row.model or (finds_server and "model" in given)):
        cleaned["upstream"] = get_model_upstream(model)
    _check_default(row, cleaned)
    if resources is not None:
        cleaned["tool_resources"] = resolve_tool_resources(principal, resources, owner=None)
    return cleaned


def _check_default(row: Assistant, cleaned: dict[str, Any]) -> None:
    """Require the default assistant to be enabled and offered in the chat page."""
    if cleaned.get("is_default"):
        if not cleaned.get("enabled", row.enabled):
            raise InvalidInput(_("A disabled assistant cannot be the default."))
        if not cleaned.get("in_page", row.in_page):
            raise InvalidInput(_("The default assistant must be offered in the chat page."))


def _select_tools(names: Iterable[str], *, kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if registry.find(name) is None:
            raise InvalidInput(_("There is no tool with this name."), param="tools")
    unregistered = [tool for tool in kept if not _is_registered(tool)]
    tools = [{"type": "function", "function": {"name": name}} for name in wanted]
    return clean_list([*unregistered, *tools], param="tools", limit=MAX_TOOLS)


def _select_built_in_tools(
    types: Iterable[str], *, kept: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    wanted = [clean_choice(kind, param="built_in", choices=BUILT_IN_TOOLS) for kind in types]
    enabled = {tool["type"]: tool for tool in kept if tool["type"] in wanted}
    functions = [tool for tool in kept if tool["type"] == "function"]
    tools = [
        *(enabled.get(kind, {"type": kind}) for kind in dict.fromkeys(wanted)),
        *functions,
    ]
    return clean_list(tools, param="tools", limit=MAX_TOOLS)


def _is_registered(tool: dict[str, Any]) -> bool:
    return tool["type"] == "function" and registry.find(tool["function"]["name"]) is not None


def _clean_prompts(value: Any) -> list[str]:
    param = "suggested_prompts"
    if not isinstance(value, list):
        raise InvalidInput(_("Must be a list of strings."), param=param)
    prompts = [clean_text(line, param=param, limit=MAX_PROMPT_CHARACTERS) for line in value]
    prompts = [prompt for prompt in prompts if prompt]
    if len(prompts) > MAX_PROMPTS:
        raise InvalidInput(
            _("Enter at most {count} suggested prompts.").format(count=MAX_PROMPTS), param=param
        )
    return prompts


def _clean_upstream(value: Any) -> str:
    return clean_choice(value, param="upstream", choices=("", *conf.upstreams))


def _build_text_check(param: str, limit: int, *, required: bool = False) -> Callable[[Any], str]:
    return lambda value: clean_text(value, param=param, limit=limit, required=required)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": _build_text_check("name", 256),
    "description": _build_text_check("description", 512),
    "instructions": _build_text_check("instructions", conf.instruction_characters),
    "model": _build_text_check("model", 256, required=True),
    "upstream": _clean_upstream,
    "temperature": lambda value: clean_number(value, param="temperature", least=0, most=2),
    "top_p": lambda value: clean_number(value, param="top_p", least=0, most=1),
    "reasoning_effort": lambda value: clean_choice(
        value, param="reasoning_effort", choices=EFFORTS
    ),
    "response_format": clean_response_format,
    "metadata": clean_metadata,
    "suggested_prompts": _clean_prompts,
    "busy_policy": lambda value: clean_choice(
        value, param="busy_policy", choices=tuple(BusyPolicy.values)
    ),
    "enabled": lambda value: clean_boolean(value, param="enabled"),
    "in_page": lambda value: clean_boolean(value, param="in_page"),
    "is_default": lambda value: clean_boolean(value, param="is_default"),
}
