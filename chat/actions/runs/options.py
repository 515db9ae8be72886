"""Per-run options that override the assistant's settings; limits are those of decisions/0003."""

from __future__ import annotations

from typing import Any

from chat.actions.assistants.manage import EFFORTS
from chat.actions.assistants.tool_definitions import (
    MAX_RUN_TOOLS,
    TOOL_TYPES,
    clean_name,
    clean_response_format,
    clean_tools,
)
from chat.actions.fields import (
    clean_boolean,
    clean_choice,
    clean_integer,
    clean_metadata,
    clean_number,
    clean_object,
    clean_text,
)
from chat.conf import conf
from chat.errors import InvalidInput, UnknownParameter
from chat.models import Assistant
from chat.runs.engine.model_catalog import build_unknown_model_error, get_model_upstream
from chat.runs.state.create import RunOptions
from chat.tools import registry

MIN_TOKENS, MAX_TOKENS = 256, 2**31 - 1
TOOL_CHOICES = ("none", "auto", "required")
TRUNCATION_STRATEGIES = ("auto", "last_messages")
OPTION_NAMES = frozenset(
    {
        "model", "instructions", "additional_instructions", "tools", "metadata", "temperature",
        "top_p", "reasoning_effort", "response_format", "max_prompt_tokens",
        "max_completion_tokens", "truncation_strategy", "tool_choice", "parallel_tool_calls",
    }
)  # fmt: skip


def clean_run_options(assistant: Assistant, given: dict[str, Any]) -> RunOptions:
    """Validate run options named as in the Assistants API; None leaves an option unset.

    Call within a tenant transaction.

    Raises:
        InvalidInput: an option is invalid; `param` names it.
        UnknownModel: the company may not use the model, or the assistant's model server
            has been removed.
    """
    options = {name: value for name, value in given.items() if value is not None}
    unknown = options.keys() - OPTION_NAMES
    if unknown:
        raise UnknownParameter(f"Unknown parameter: '{min(unknown)}'.", param=min(unknown))
    tools = _clean_tools(assistant, options["tools"]) if "tools" in options else None
    model = options.get("model")
    offered = assistant.tools if tools is None else tools
    # The assistant's own model uses the server that its admin chose.
    other_model = model not in (None, assistant.model)
    if not other_model and not conf.has_upstream(assistant.upstream):
        raise build_unknown_model_error(assistant.model)
    return RunOptions(
        model=None if model is None else clean_text(model, param="model", limit=256),
        upstream=get_model_upstream(str(model)) if other_model else None,
        instructions=_clean_instructions(options, "instructions"),
        additional_instructions=_clean_instructions(options, "additional_instructions"),
        tools=tools,
        metadata=clean_metadata(options.get("metadata")),
        temperature=clean_number(options.get("temperature"), param="temperature", least=0, most=2),
        top_p=clean_number(options.get("top_p"), param="top_p", least=0, most=1),
        reasoning_effort=_clean_effort(options),
        response_format=_clean_response_format(options),
        max_prompt_tokens=_clean_tokens(options, "max_prompt_tokens"),
        max_completion_tokens=_clean_tokens(options, "max_completion_tokens"),
        truncation_strategy=_clean_truncation(options.get("truncation_strategy")),
        tool_choice=_clean_tool_choice(options.get("tool_choice"), offered),
        parallel_tool_calls=clean_boolean(
            options.get("parallel_tool_calls", True), param="parallel_tool_calls"
        ),
    )


def _clean_instructions(options: dict[str, Any], name: str) -> str | None:
    if name not in options:
        return None
    return clean_text(options[name], param=name, limit=conf.instruction_characters)


def _clean_effort(options: dict[str, Any]) -> str | None:
    if "reasoning_effort" not in options:
        return None
    return clean_choice(options["reasoning_effort"], param="reasoning_effort", choices=EFFORTS[1:])


def _clean_response_format(options: dict[str, Any]) -> Any:
    # An explicit "auto", unlike None, overrides the assistant's setting.
    given = options.get("response_format")
    return "auto" if given == "auto" else clean_response_format(given)


def _clean_tokens(options: dict[str, Any], name: str) -> int | None:
    if name not in options:
        return None
    return clean_integer(options[name], param=name, least=MIN_TOKENS, most=MAX_TOKENS)


def _clean_tools(assistant: Assistant, value: Any) -> list[dict[str, Any]]:
    """Return the run's own tools.

    They may omit the assistant's tools or add functions of the program. Tools of this
    server must be enabled for the assistant.
    """
    tools = clean_tools(value, limit=MAX_RUN_TOOLS)
    enabled = {*assistant.list_function_names()} - registry.get_client_function_names(
        assistant.tools
    )
    for index, tool in enumerate(tools):
        name = tool["function"]["name"] if tool["type"] == "function" else None
        # Functions may share the name of a built-in tool: that one is selected by its type.
        registered = name is not None and registry.find(name) and not registry.is_builtin(name)
        if registered and name not in enabled:
            param = f"tools[{index}].function.name"
            raise InvalidInput(
                f"'{name}' is a server tool that is not enabled for this assistant.",
                param=param,
            )
    return tools


def _clean_truncation(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    param = "truncation_strategy"
    given = clean_object(value, param=param, allowed=("type", "last_messages"))
    kind = clean_choice(given.get("type"), param=f"{param}.type", choices=TRUNCATION_STRATEGIES)
    count, place = given.get("last_messages"), f"{param}.last_messages"
    if kind == "auto":
        if count is not None:
            raise InvalidInput("Only allowed with type 'last_messages'.", param=place)
        return {"type": kind, "last_messages": None}
    last = clean_integer(count, param=place, least=1, most=MAX_TOKENS)
    return {"type": kind, "last_messages": last}


def _clean_tool_choice(value: Any, offered: list[dict[str, Any]]) -> Any:
    if value is None or isinstance(value, str):
        return value and clean_choice(value, param="tool_choice", choices=TOOL_CHOICES)
    param = "tool_choice"
    given = clean_object(value, param=param, allowed=("type", "function"))
    kind = clean_choice(given.get("type"), param=f"{param}.type", choices=TOOL_TYPES)
    if kind != "function":
        if all(tool["type"] != kind for tool in offered):
            raise InvalidInput(f"The run has no tool '{kind}'.", param=param)
        return {"type": kind}
    inner = f"{param}.function"
    function = clean_object(given.get("function"), param=inner, allowed=("name",))
    name = clean_name(function.get("name"), param=f"{inner}.name")
    names = [tool["function"]["name"] for tool in offered if tool["type"] == kind]
    if name not in names:
        raise InvalidInput(f"The run has no function '{name}'.", param=f"{inner}.name")
    return {"type": kind, "function": {"name": name}}
