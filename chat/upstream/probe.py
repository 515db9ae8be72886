"""Probe of the features of a model server: its claims are unreliable, so each is tried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from chat.upstream.base import Capabilities
from chat.upstream.errors import UpstreamError

SendRequest = Callable[[str, str, dict[str, Any] | None], Awaitable[dict[str, Any]]]
QUESTION = "Call the function atrium_probe with word set to hello."
PARAMETERS = {
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "required": ["word"],
    "additionalProperties": False,
}
FUNCTION = {"name": "atrium_probe", "description": "Answers the probe.", "parameters": PARAMETERS}
MAX_TOKENS = 64


async def probe(
    list_models: Callable[[], Awaitable[list[str]]],
    call: SendRequest,
    *,
    model: str | None,
    is_openai: bool,
) -> Capabilities:
    """Return what the server supports. Raises nothing: an error is stored in `problem`."""
    problem: str | None = None
    models: list[str] = []
    try:
        models = await list_models()
    except UpstreamError as error:
        problem = f"Listing the models failed: {error.message_for_operators}"
    chosen = model or (models[0] if models else None)
    if chosen is None:
        return Capabilities(problem=problem or "The server lists no models. Specify one.")
    responses, tools_a, problem_a = await _try_responses(call, chosen)
    chat, tools_b, problem_b = await _try_chat(call, chosen, is_openai=is_openai)
    if not responses and not chat:
        problem = problem_a or problem_b or problem
    return Capabilities(
        models=tuple(models),
        responses=responses,
        chat_completions=chat,
        tools=tools_a or tools_b,
        conversations=responses and await _try_conversations(call),
        problem=problem,
    )


async def _try_responses(call: SendRequest, model: str) -> tuple[bool, bool, str | None]:
    body = {
        "model": model,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}],
        "tools": [{"type": "function", **FUNCTION, "strict": False}],
        "max_output_tokens": MAX_TOKENS,
        "store": False,
    }
    try:
        answer = await call("POST", "/responses", body)
    except UpstreamError as error:
        return False, False, error.message_for_operators
    output = answer.get("output")
    if not isinstance(output, list):
        return False, False, "/responses returned JSON of an unexpected form."
    called = any(isinstance(i, dict) and i.get("type") == "function_call" for i in output)
    return True, called, None


async def _try_chat(
    call: SendRequest, model: str, *, is_openai: bool
) -> tuple[bool, bool, str | None]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        # Each server knows one of the names; without a limit a small model may ramble until the
        # timeout.
        "max_completion_tokens" if is_openai else "max_tokens": MAX_TOKENS,
        "tools": [{"type": "function", "function": FUNCTION}],
    }
    try:
        answer = await call("POST", "/chat/completions", body)
    except UpstreamError as error:
        return False, False, error.message_for_operators
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        return False, False, "/chat/completions returned JSON of an unexpected form."
    return True, bool((choices[0].get("message") or {}).get("tool_calls")), None


async def _try_conversations(call: SendRequest) -> bool:
    try:
        created = await call("POST", "/conversations", {})
        if not isinstance(created.get("id"), str):
            return False
        await call("DELETE", f"/conversations/{created['id']}", None)
    except UpstreamError:
        return False
    return True
