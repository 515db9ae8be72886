"""What can be a tool, and the schema a model sees of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from chat.actions.assistants.tool_definitions import clean_tools
from chat.models import Run, Thread
from chat.tools import registry
from chat.tools.base import Effect, InjectedArgument, Limits, ObjectId, ToolContext
from chat.tools.registry import TOOLS, make_tool, tool
from chat.tools.reserved import is_reserved
from chat.tools.schema import UnusableTool
from tenants.models import AuditEvent, Tenant


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Box:
    width: int
    note: str = ""


class Address(TypedDict):
    street: str
    lines: NotRequired[list[str]]


def everything(
    ctx: ToolContext,
    text: Annotated[str, Limits(1, 9), "A text."],
    whole: int,
    size: Size,
    kind: Literal["a", "b"],
    price: Decimal,
    day: date,
    box: Box,
    address: Address,
    thread: ObjectId[Thread],
    runs: list[ObjectId[Run]],
    role: Annotated[str, InjectedArgument(lambda ctx: ctx.role)],
    ratio: float = 1.0,
    sure: bool = False,
    maybe: int | None = None,
) -> str:
    """Take one of each.

    Args:
        whole: A whole number.
    """
    return "taken"


def test_schema_of_every_supported_type() -> None:
    properties = make_tool(everything).schema["properties"]
    assert properties["text"] == {
        "type": "string", "minLength": 1, "maxLength": 9, "description": "A text.",
    }  # fmt: skip
    assert properties["whole"] == {"type": "integer", "description": "A whole number."}
    assert properties["size"] == {"type": "string", "enum": ["s", "l"]}
    assert properties["kind"] == {"type": "string", "enum": ["a", "b"]}
    assert properties["price"]["type"] == "string"
    assert properties["day"]["format"] == "date"
    assert properties["thread"] == {"type": "string"}
    assert properties["runs"]["items"] == {"type": "string"}
    assert properties["maybe"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def test_every_object_of_a_schema_is_closed() -> None:
    schema = make_tool(everything).schema
    parts = [schema, schema["properties"]["box"], schema["properties"]["address"]]
    assert [part["additionalProperties"] for part in parts] == [False, False, False]
    assert [part["required"] for part in parts[1:]] == [["width"], ["street"]]


def test_bound_parameters_are_not_shown() -> None:
    assert "role" not in make_tool(everything).schema["properties"]


def test_parameters_with_a_default_may_be_left_out() -> None:
    required = make_tool(everything).schema["required"]
    assert "text" in required
    assert not {"ratio", "sure", "maybe", "role"} & set(required)


def test_description_comes_without_the_notes_on_parameters() -> None:
    assert make_tool(everything).description == "Take one of each."


@pytest.mark.parametrize(
    "name",
    [
        "tenant", "tenant_id", "tenantId", "organisation", "organization_id", "org_id", "user",
        "user_id", "userEmail", "member", "membership", "role", "token", "access_token",
        "api_key", "apiKey", "password", "new_password", "credentials", "client_secret",
    ],
)  # fmt: skip
def test_reserved_names_are_known(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["order_number", "address", "tokens", "keyword", "memo", "rolex"])
def test_ordinary_names_are_not_reserved(name: str) -> None:
    assert not is_reserved(name)


def test_a_reserved_parameter_fails_at_import() -> None:
    with pytest.raises(UnusableTool, match="tenant_id"):

        @tool(label="Bad")
        def peek(ctx: ToolContext, tenant_id: str) -> None:
            """Look elsewhere."""


def test_a_reserved_field_of_an_object_fails_at_import() -> None:
    class Filter(TypedDict):
        user_id: str

    def peek(ctx: ToolContext, wanted: Filter) -> None:
        """Look elsewhere."""

    peek.__annotations__["wanted"] = Filter
    with pytest.raises(UnusableTool, match="user_id"):
        make_tool(peek)


def test_a_taken_name_fails_at_import() -> None:
    with pytest.raises(UnusableTool, match="already"):

        @tool(label="Another")
        def get_order(ctx: ToolContext) -> None:
            """Pretend."""


def _no_docstring(ctx: ToolContext) -> None: ...


def _no_context(number: int) -> None:
    """Lack the context."""


def _no_type(ctx: ToolContext, number) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Lack a type."""


def _free_object(ctx: ToolContext, data: dict[str, Any]) -> None:
    """Take anything."""


def _several(ctx: ToolContext, *numbers: int) -> None:
    """Take several."""


def _mixed(ctx: ToolContext, kind: Literal["a", 1]) -> None:
    """Choose from a mixture."""


def _unguarded(ctx: ToolContext, tenant_row: ObjectId[Tenant]) -> None:
    """Name a row that has no visible_to."""


@pytest.mark.parametrize(
    "function", [_no_docstring, _no_context, _no_type, _free_object, _several, _mixed, _unguarded]
)
def test_a_signature_that_cannot_be_offered_fails(function: Any) -> None:
    with pytest.raises(UnusableTool):
        make_tool(function)


def test_a_longer_timeout_than_allowed_fails() -> None:
    with pytest.raises(UnusableTool, match="timeout"):
        make_tool(everything, timeout=121)


def test_version_changes_with_schema_source_and_effect() -> None:
    def other(ctx: ToolContext, number: int) -> str:
        """Take one of each."""
        return "other"

    versions = {
        make_tool(everything).version,
        make_tool(everything, effect=Effect.READ).version,
        make_tool(other).version,
    }
    assert len(versions) == 3
    assert make_tool(everything).version == make_tool(everything).version


def test_default_effect_is_write_once() -> None:
    assert make_tool(everything).effect == Effect.WRITE_ONCE


def test_admins_choose_among_all_but_the_built_in() -> None:
    names = [each.name for each in registry.list_tools()]
    assert "get_order" in names
    assert "search_thread" not in names
    assert TOOLS["search_thread"].always


def test_a_client_s_function_is_described_by_the_client() -> None:
    mine = {"name": "mine", "description": "My own.", "parameters": {"type": "object"}}
    run_tools: list[dict[str, Any]] = [
        {"type": "function", "function": mine},
        {"type": "function", "function": {"name": "get_order", "description": "Forged."}},
        {"type": "code_interpreter"},
    ]
    names = registry.list_offered_names(run_tools, dropped=False)
    described = {spec.name: spec.description for spec in registry.build_specs(run_tools, names)}
    ours = {name: TOOLS[name].description for name in ("get_order", "code_interpreter")}
    assert described == {"mine": "My own.", **ours}


def test_a_tool_registered_later_takes_no_programs_place() -> None:
    theirs = {"name": "get_order", "description": "Theirs.", "strict": False}
    run_tools = [{"type": "function", "function": theirs}]
    [spec] = registry.build_specs(run_tools, ["get_order"])
    assert spec.description == "Theirs."
    assert registry.get_client_function_names(run_tools) == {"get_order"}


def test_a_tool_that_is_registered_no_more_is_nobodys() -> None:
    run_tools = [{"type": "function", "function": {"name": "gone"}}]
    assert registry.build_specs(run_tools, ["gone"]) == ()
    assert registry.get_client_function_names(run_tools) == frozenset()


def test_search_comes_along_when_messages_were_dropped() -> None:
    assert registry.list_offered_names([], dropped=True) == ("search_thread",)


def test_every_registered_tool_has_a_label_and_a_description() -> None:
    assert all(each.description and str(each.label) != each.name for each in TOOLS.values())


def test_audit_rows_can_be_named_by_their_rule() -> None:
    def look(ctx: ToolContext, event: ObjectId[AuditEvent]) -> None:
        """Look at an event."""

    assert make_tool(look).parameters[0].model is AuditEvent


def look_up(ctx: ToolContext) -> str:
    """Look it up."""
    return "looked up"


def test_a_builtin_is_switched_on_by_its_type_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOOLS, "look_up", make_tool(look_up, builtin="look_up"))
    named = [{"type": "function", "function": {"name": "look_up"}}]
    assert registry.list_offered_names([{"type": "look_up"}], dropped=False) == ("look_up",)
    assert registry.list_offered_names(named, dropped=False) == ()
    assert "look_up" not in registry.get_enabled_names(named)
    assert "look_up" not in {made.name for made in registry.list_tools()}


def test_a_programs_function_may_bear_the_name_of_a_builtin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(TOOLS, "look_up", make_tool(look_up, builtin="look_up"))
    stored = clean_tools([{"type": "function", "function": {"name": "look_up"}}], limit=9)
    assert registry.get_client_function_names(stored) == {"look_up"}
    assert registry.list_offered_names(stored, dropped=False) == ("look_up",)
