"""Build the request of a model round for the model server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from chat.runs import upstreams
from chat.runs.billing.limits import limit_by_cost
from chat.runs.billing.metering import estimate_overhead
from chat.runs.endings import Ending
from chat.runs.prompt.images import embed_images
from chat.runs.state.transactions import Round
from chat.runs.state.turn import Turn
from chat.tools import code_files, code_interpreter, registry
from chat.upstream.base import FunctionOutput, KeepsConversations, ModelRequest, ToolSpec


async def build_request(turn: Turn, plan: Round) -> ModelRequest:
    """Return the request of this round; creates the server-side conversation if needed."""
    run, prompt = turn.run, plan.prompt
    items = prompt.items
    upstream = upstreams.get_upstream(run.upstream)
    if upstreams.has_server_conversations(run.upstream) and isinstance(
        upstream, KeepsConversations
    ):
        if turn.conversation is None:
            turn.conversation = await upstream.create_conversation()
        elif turn.answered:
            items = tuple(
                FunctionOutput(call_id=call.server_call_id, output=call.output or "")
                for call in turn.answered
            )
        elif turn.synced_through is not None:
            items = prompt.new_items
    names = registry.list_offered_names(run.tools, dropped=prompt.dropped)
    tools = await _describe_code_tool(registry.build_specs(run.tools, names), plan)
    turn.sent = {
        "round": turn.rounds,
        "model": run.model,
        "items": len(items),
        "estimated_tokens": prompt.tokens,
        "older_left_out": prompt.dropped,
        "tools": [tool.name for tool in tools],
        "conversation": turn.conversation,
    }
    return ModelRequest(
        model=run.model,
        items=await embed_images(run, items),
        instructions=run.instructions or None,
        tools=tools,
        tool_choice=_build_tool_choice(turn, [tool.name for tool in tools]),
        parallel_tool_calls=run.parallel_tool_calls,
        temperature=run.temperature,
        top_p=run.top_p,
        reasoning_effort=run.reasoning_effort or None,
        response_format=run.response_format,
        max_output_tokens=plan.limit.tokens if plan.limit else None,
        conversation=turn.conversation,
        safety_id=run.member_id.hex,
    )


def limit_request(turn: Turn, plan: Round, request: ModelRequest) -> ModelRequest | Ending:
    """Return the request with its output limited by the rest of the tenant's cost limit.

    Returns an ending if the limit allows no answer.
    """
    if plan.budget is None:
        turn.output_limit = plan.limit
        return request
    # A server-side conversation is billed in full, even if only new items are sent.
    tokens = plan.prompt.tokens + estimate_overhead(request.instructions, request.tools)
    limit = limit_by_cost(plan.limit, plan.budget, input_tokens=tokens)
    if isinstance(limit, Ending):
        return limit
    turn.output_limit = limit
    return replace(request, max_output_tokens=limit.tokens if limit else None)


async def _describe_code_tool(tools: tuple[ToolSpec, ...], plan: Round) -> tuple[ToolSpec, ...]:
    """Describe the code environment and its files in the specification of the code tool."""
    if plan.code_files is None:
        return tools
    text = await code_interpreter.build_description(plan.code_files)
    return tuple(
        replace(tool, description=text) if tool.name == code_files.NAME else tool for tool in tools
    )


def _build_tool_choice(turn: Turn, offered: Collection[str]) -> str | dict[str, Any]:
    """Return the tool choice for the model. A forced call is forced only once.

    Otherwise the run could end only by reaching a limit.
    """
    choice = turn.run.tool_choice
    if choice is None or not offered:
        return "auto"
    if choice in ("auto", "none"):
        return str(choice)
    if turn.calls_made:
        return "auto"
    if choice == "required":
        return "required"
    if choice["type"] == "function":
        name = choice["function"]["name"]
    else:
        name = registry.get_builtin_name(choice["type"])
    return {"type": "function", "function": {"name": name}} if name in offered else "auto"
