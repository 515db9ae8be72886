"""Registry of all tools by name. Installed apps register tools in their `tools.py`."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.utils.functional import Promise

from chat.tools.base import Effect, Tool
from chat.tools.schema import UnusableTool, build_closed_object, build_parameter
from chat.upstream.base import ToolSpec

F = TypeVar("F", bound=Callable[..., Any])

MAX_SECONDS = 120.0
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}\Z")
_ARGUMENT_LINE = re.compile(r"\s+(\w+): (.+)")

TOOLS: dict[str, Tool] = {}


def tool(
    *,
    label: str | Promise,
    effect: Effect = Effect.WRITE_ONCE,
    needs_approval: bool = False,
    untrusted_output: bool = False,
    always: bool = False,
    builtin: str = "",
    in_order: bool = False,
    timeout: float | None = None,
) -> Callable[[F], F]:
    """Register a function as a tool; its name, description and schema are derived from it.

    A synchronous function runs in the tools thread pool, in the tenant's scope and in one
    transaction that also ends its call, so it should only access the database. An async function
    may do other I/O and opens `ctx.scope()` within `in_db` to access rows. `label` is the name
    shown to people; see `chat.tools.base.Tool` for the other parameters.

    Raises:
        UnusableTool: at import: the name is taken, a parameter is reserved, or a type has no
            schema.
    """

    def register(function: F) -> F:
        new_tool = make_tool(
            function,
            label=label,
            effect=effect,
            needs_approval=needs_approval,
            untrusted_output=untrusted_output,
            always=always,
            builtin=builtin,
            in_order=in_order,
            timeout=timeout,
        )
        if new_tool.name in TOOLS:
            raise UnusableTool(f"There is a tool {new_tool.name!r} already.")
        TOOLS[new_tool.name] = new_tool
        return function

    return register


def make_tool(
    function: Callable[..., Any],
    *,
    label: str | Promise = "",
    effect: Effect = Effect.WRITE_ONCE,
    needs_approval: bool = False,
    untrusted_output: bool = False,
    always: bool = False,
    builtin: str = "",
    in_order: bool = False,
    timeout: float | None = None,
) -> Tool:
    """Build a Tool from `function` without registering it.

    Raises:
        UnusableTool: the name or timeout is invalid, a parameter is reserved or has no type, or
            a type has no schema.
    """
    name = function.__name__
    if not _NAME.match(name):
        raise UnusableTool(f"{name!r} is not a valid tool name.")
    if timeout is not None and not 0 < timeout <= MAX_SECONDS:
        raise UnusableTool(f"{name}: the timeout must be between 0 and {MAX_SECONDS:.0f} s.")
    description, notes = _parse_docstring(function)
    hints = typing.get_type_hints(function, include_extras=True)
    parameters, properties, required = [], {}, []
    for each in _list_parameters(function):
        if each.name not in hints:
            raise UnusableTool(f"{name}: parameter {each.name} has no type.")
        built, schema = build_parameter(each.name, hints[each.name], notes.get(each.name, ""))
        parameters.append(built)
        if schema is not None:
            properties[each.name] = schema
            if each.default is inspect.Parameter.empty:
                required.append(each.name)
    schema = build_closed_object(properties, required)
    return Tool(
        name=name,
        description=description,
        label=label or name,
        effect=Effect(effect),
        function=function,
        parameters=tuple(parameters),
        schema=schema,
        version=_compute_version(function, schema, effect),
        needs_approval=needs_approval,
        untrusted_output=untrusted_output,
        always=always,
        builtin=builtin,
        in_order=in_order,
        timeout=timeout,
        is_async=inspect.iscoroutinefunction(function),
    )


def find(name: str) -> Tool | None:
    """Return the tool with exactly this name, or None."""
    return TOOLS.get(name)


def list_tools() -> list[Tool]:
    """Return the tools that an admin can enable, sorted by name."""
    listed = (TOOLS[name] for name in sorted(TOOLS))
    return [entry for entry in listed if not entry.always and not entry.builtin]


def get_enabled_names(run_tools: Iterable[dict[str, Any]]) -> frozenset[str]:
    """Return the names of the functions a run may call: its wire tools' and the `always` tools'."""
    always = {entry.name for entry in TOOLS.values() if entry.always}
    return frozenset(always.union(_list_enabled(run_tools)))


def get_builtin_name(kind: str) -> str | None:
    """Return the name of the function that a wire tool of this type enables, or None."""
    return next((entry.name for entry in TOOLS.values() if entry.builtin == kind != ""), None)


def _list_enabled(run_tools: Iterable[dict[str, Any]]) -> list[str]:
    """Return the names of the functions that wire tools enable, in their order.

    A built-in tool is only enabled by its type, because a client-side function may have its name.
    """
    listed = list(run_tools)
    client_functions = get_client_function_names(listed)
    names = []
    for item in listed:
        if item["type"] != "function":
            names.append(get_builtin_name(item["type"]))
        elif (name := item["function"]["name"]) in client_functions or not is_builtin(name):
            names.append(name)
    return [name for name in names if name is not None]


def is_in_order(name: str) -> bool:
    """Return True if concurrent calls of this tool run one after another."""
    return name in TOOLS and TOOLS[name].in_order


def is_builtin(name: str) -> bool:
    """Return True if the tool is enabled by its own wire tool type."""
    return name in TOOLS and TOOLS[name].builtin != ""


def get_client_function_names(run_tools: Iterable[dict[str, Any]]) -> frozenset[str]:
    """Return the names of the functions among wire tools that the API client runs itself.

    Client-side functions are stored with their definition, registered tools by name only. So a
    tool that is registered later does not replace a client-side function, and a tool that is no
    longer registered does not become one.
    """
    functions = [item["function"] for item in run_tools if item["type"] == "function"]
    return frozenset(
        function["name"]
        for function in functions
        if "strict" in function or (function.keys() > {"name"} and function["name"] not in TOOLS)
    )


def list_offered_names(run_tools: Iterable[dict[str, Any]], *, dropped: bool) -> tuple[str, ...]:
    """Return the names of the functions to offer to the model server, in order.

    The `always` tools are included if `dropped`, i.e. if older messages did not fit the prompt.
    """
    extra = [entry.name for entry in TOOLS.values() if entry.always] if dropped else []
    return tuple(dict.fromkeys([*_list_enabled(run_tools), *extra]))


def build_specs(run_tools: Iterable[dict[str, Any]], names: Iterable[str]) -> tuple[ToolSpec, ...]:
    """Return the specifications of the named functions for a model server.

    A registered tool is described by its code, a client-side function by its definition in the
    run's wire tools. Unknown names are skipped.
    """
    listed = list(run_tools)
    client_functions = get_client_function_names(listed)
    defined = {
        item["function"]["name"]: item["function"] for item in listed if item["type"] == "function"
    }
    found = []
    for name in names:
        if name in client_functions:
            found.append(_build_client_spec(defined[name]))
        elif name in TOOLS:
            found.append(_build_spec(TOOLS[name]))
    return tuple(found)


def get_labels() -> dict[str, str]:
    """Return the label of each tool by name, in the active language."""
    return {name: str(entry.label) for name, entry in TOOLS.items()}


def _build_spec(entry: Tool) -> ToolSpec:
    return ToolSpec(name=entry.name, description=entry.description, parameters=entry.schema)


def _build_client_spec(function: dict[str, Any]) -> ToolSpec:
    return ToolSpec(
        name=function["name"],
        description=function.get("description") or "",
        parameters=function.get("parameters") or build_closed_object({}, []),
        strict=bool(function.get("strict")),
    )


def _list_parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    found = [*inspect.signature(function).parameters.values()]
    if not found or found[0].name != "ctx":
        raise UnusableTool(f"{function.__name__}: the first parameter of a tool must be ctx.")
    rest = found[1:]
    if any(each.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for each in rest):
        raise UnusableTool(
            f"{function.__name__}: a tool's parameters must be positional-or-keyword."
        )
    return rest


def _parse_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Return the tool's description and its parameter descriptions ("Args:", one line each)."""
    text, _, arguments = (inspect.getdoc(function) or "").partition("\nArgs:\n")
    if not text.strip():
        raise UnusableTool(
            f"{function.__name__}: a tool needs a docstring, which is sent to the model."
        )
    notes = (_ARGUMENT_LINE.match(line) for line in arguments.splitlines())
    return text.strip(), {note[1]: note[2].strip() for note in notes if note}


def _compute_version(function: Callable[..., Any], schema: dict[str, Any], effect: Effect) -> str:
    digest = hashlib.sha256(json.dumps(schema, sort_keys=True).encode())
    digest.update(str(effect).encode())
    digest.update(inspect.getsource(function).encode())
    return digest.hexdigest()[:32]
