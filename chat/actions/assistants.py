"""What admins do with assistants. Limits are the Assistants API's (docs/decisions/0003)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from chat.actions.fields import clean_choice, clean_flag, clean_number, clean_text
from chat.conf import conf
from chat.errors import InvalidInput, NotFound
from chat.models import Assistant
from chat.models.assistants import BusyPolicy
from chat.tools import registry
from tenants import audit
from tenants.access import Principal
from tenants.models import Role, Tenant

MAX_TOOLS = 128
MAX_PROMPTS, MAX_PROMPT_CHARACTERS = 12, 300
EFFORTS = ("", "none", "minimal", "low", "medium", "high", "xhigh", "max")
FORMATS = ("text", "json_object", "json_schema")


def create_assistant(principal: Principal, *, name: str, model: str, **fields: Any) -> Assistant:
    """Add an assistant to the principal's tenant; the first one becomes the default.

    `fields` are those of `update_assistant`.

    Raises:
        NotAllowed: for members.
        InvalidInput: naming the field in `param`.
    """
    principal.require(Role.ADMIN)
    cleaned = _cleaned({"name": name, "model": model, **fields}, kept_tools=[])
    with transaction.atomic():
        _lock_tenant()
        cleaned.setdefault("is_default", False)
        if cleaned["is_default"]:
            _clear_default()
        elif cleaned.get("enabled", True):
            cleaned["is_default"] = not Assistant.objects.filter(is_default=True).exists()
        assistant: Assistant = Assistant.objects.create(**cleaned)
        audit.record(principal, "assistant.created", assistant.pk, name=assistant.name)
    return assistant


def update_assistant(principal: Principal, assistant: Assistant, **fields: Any) -> Assistant:
    """Change the named fields and return the assistant as it is now.

    `tools` takes names of registered tools; a program's own function tools stay.

    Raises:
        NotAllowed: for members.
        NotFound: when it is gone.
        InvalidInput: naming the field in `param`.
    """
    principal.require(Role.ADMIN)
    with transaction.atomic():
        _lock_tenant()
        row = _locked(assistant)
        cleaned = _cleaned(fields, kept_tools=row.tools)
        changed = [name for name, value in cleaned.items() if getattr(row, name) != value]
        if not changed:
            return row
        if cleaned.get("is_default"):
            _clear_default()
        for name in changed:
            setattr(row, name, cleaned[name])
        row.save(update_fields=changed)
        audit.record(principal, "assistant.changed", row.pk, name=row.name, fields=changed)
    return row


def set_default_assistant(principal: Principal, assistant: Assistant) -> Assistant:
    """Make new chats of the tenant begin with `assistant`; raises as `update_assistant`."""
    if not assistant.enabled:
        raise InvalidInput(_("An assistant that is switched off cannot be the default."))
    return update_assistant(principal, assistant, is_default=True)


def delete_assistant(principal: Principal, assistant: Assistant) -> None:
    """Delete it; its chats and answers stay readable.

    Raises:
        NotAllowed: for members.
        NotFound: when it is gone already.
    """
    principal.require(Role.ADMIN)
    with transaction.atomic():
        row = _locked(assistant)
        audit.record(principal, "assistant.deleted", row.pk, name=row.name)
        row.delete()


def _lock_tenant() -> None:
    """One change of the default at a time."""
    Tenant.objects.select_for_update(no_key=True).get()


def _locked(assistant: Assistant) -> Assistant:
    row: Assistant | None = (
        Assistant.objects.select_for_update(no_key=True).filter(pk=assistant.pk).first()
    )
    if row is None:
        raise NotFound(_("This assistant is gone: somebody deleted it."))
    return row


def _clear_default() -> None:
    Assistant.objects.filter(is_default=True).update(is_default=False)


def _cleaned(fields: dict[str, Any], *, kept_tools: list[dict[str, Any]]) -> dict[str, Any]:
    unknown = fields.keys() - _CHECKS.keys() - {"tools"}
    if unknown:
        raise InvalidInput(_("There is no such setting."), param=min(unknown))
    cleaned = {name: _CHECKS[name](value) for name, value in fields.items() if name != "tools"}
    if "tools" in fields:
        cleaned["tools"] = _tools(fields["tools"], kept=kept_tools)
    return cleaned


def _tools(names: Iterable[str], *, kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if registry.find(name) is None:
            raise InvalidInput(_("There is no tool of this name."), param="tools")
    foreign = [tool for tool in kept if not _is_registered(tool)]
    tools = [{"type": "function", "function": {"name": name}} for name in wanted]
    if len(foreign) + len(tools) > MAX_TOOLS:
        raise InvalidInput(
            _("An assistant may have at most {count} tools.").format(count=MAX_TOOLS),
            param="tools",
        )
    return [*foreign, *tools]


def _is_registered(tool: dict[str, Any]) -> bool:
    return tool["type"] == "function" and registry.find(tool["function"]["name"]) is not None


def _prompts(value: Any) -> list[str]:
    param = "suggested_prompts"
    if not isinstance(value, list):
        raise InvalidInput(_("This must be a list of texts."), param=param)
    prompts = [clean_text(line, param=param, limit=MAX_PROMPT_CHARACTERS) for line in value]
    prompts = [prompt for prompt in prompts if prompt]
    if len(prompts) > MAX_PROMPTS:
        raise InvalidInput(
            _("At most {count} prompts can be suggested.").format(count=MAX_PROMPTS), param=param
        )
    return prompts


def _metadata(value: Any) -> dict[str, str]:
    param = "metadata"
    if not isinstance(value, dict) or len(value) > 16:
        raise InvalidInput(_("This must be an object of at most 16 pairs."), param=param)
    return {
        clean_text(key, param=param, limit=64): clean_text(text, param=param, limit=512)
        for key, text in value.items()
    }


def _response_format(value: Any) -> Any:
    if value is None or value == "auto":
        return value
    if not isinstance(value, dict) or value.get("type") not in FORMATS:
        raise InvalidInput(_("Choose one of what is offered."), param="response_format")
    return value


def _upstream(value: Any) -> str:
    return clean_choice(value, param="upstream", choices=("", *conf.upstreams))


def _text(param: str, limit: int, *, required: bool = False) -> Callable[[Any], str]:
    return lambda value: clean_text(value, param=param, limit=limit, required=required)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": _text("name", 256, required=True),
    "description": _text("description", 512),
    "instructions": _text("instructions", conf.instruction_characters),
    "model": _text("model", 256, required=True),
    "upstream": _upstream,
    "temperature": lambda value: clean_number(value, param="temperature", least=0, most=2),
    "top_p": lambda value: clean_number(value, param="top_p", least=0, most=1),
    "reasoning_effort": lambda value: clean_choice(
        value, param="reasoning_effort", choices=EFFORTS
    ),
    "response_format": _response_format,
    "metadata": _metadata,
    "suggested_prompts": _prompts,
    "busy_policy": lambda value: clean_choice(
        value, param="busy_policy", choices=tuple(BusyPolicy.values)
    ),
    "enabled": lambda value: clean_flag(value, param="enabled"),
    "is_default": lambda value: clean_flag(value, param="is_default"),
}
