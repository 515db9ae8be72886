"""What a program does with the official client, in any of its versions since 1.2.

Run by the client's own Python: `python scenario.py`, with OPENAI_BASE_URL and OPENAI_API_KEY in
the environment. Prints what it saw as one JSON object; `scenario.mjs` does the same in Node.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from typing import Any

import openai

warnings.simplefilter("ignore", DeprecationWarning)
# The first versions read no address from the environment.
BASE_URL = os.environ["OPENAI_BASE_URL"]
client = openai.OpenAI(base_url=BASE_URL, max_retries=0, timeout=30)
threads: Any = client.beta.threads
runs: Any = threads.runs
HAS_HELPERS = hasattr(runs, "create_and_poll")
ENDS = ("requires_action", "completed", "failed", "cancelled", "expired", "incomplete")
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def asked(text: str, assistant: Any) -> tuple[Any, dict[str, Any]]:
    """Return a new thread with this question, and what a run of it takes."""
    thread = threads.create(messages=[{"role": "user", "content": text}])
    return thread, {"thread_id": thread.id, "assistant_id": assistant.id}


def polled(run: Any) -> Any:
    """Wait as programs did before the client could."""
    while run.status not in ENDS:
        time.sleep(0.05)
        run = runs.retrieve(run.id, thread_id=run.thread_id)
    return run


def answer_of(run: Any) -> str:
    """Return the newest message's text."""
    message = threads.messages.list(run.thread_id, limit=1).data[0]
    return str(message.content[0].text.value)


def outputs_of(run: Any) -> list[dict[str, str]]:
    """Answer every call with the city it names."""
    return [
        {"tool_call_id": call.id, "output": json.loads(call.function.arguments)["city"]}
        for call in run.required_action.submit_tool_outputs.tool_calls
    ]


def event_names(stream: Any) -> list[str]:
    """Return the names of a stream's events, neighbouring deltas as one."""
    names: list[str] = []
    for event in stream:
        if not (names and event.event == names[-1] and event.event.endswith("delta")):
            names.append(event.event)
    return names


def manage_assistants() -> dict[str, Any]:
    """Create, change, page through and delete assistants."""
    made = [client.beta.assistants.create(model="test-model", name=f"Number {n}") for n in range(3)]
    changed = client.beta.assistants.update(made[0].id, name="Changed", metadata={"a": "b"})
    listed = [item.name for item in client.beta.assistants.list(limit=2, order="desc")]
    gone = [client.beta.assistants.delete(item.id).deleted for item in made]
    return {
        "changed": [changed.name, changed.metadata],
        "listed": listed[:3],
        "deleted": gone,
        "left": sum(item.id in {m.id for m in made} for item in client.beta.assistants.list()),
    }


def manage_threads() -> dict[str, Any]:
    """Create, change, fill, page through and delete a thread."""
    thread = threads.create(metadata={"case": "7"})
    for number in range(5):
        threads.messages.create(thread.id, role="user", content=f"Number {number}")
    texts = [
        message.content[0].text.value
        for message in threads.messages.list(thread.id, limit=2, order="asc")
    ]
    changed = threads.update(thread.id, metadata={"case": "8"}).metadata
    kept = threads.retrieve(thread.id).metadata
    deleted = threads.delete(thread.id).deleted
    return {"texts": texts, "changed": changed, "kept": kept, "deleted": deleted}


def run_by_hand(assistant: Any) -> dict[str, Any]:
    """Create a run and poll it, with a tool of the program in between."""
    _thread, where = asked("The weather by hand, please", assistant)
    run = polled(runs.create(**where))
    waiting = run.status
    run = runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs_of(run))
    run = polled(run)
    steps = runs.steps.list(run_id=run.id, thread_id=run.thread_id, order="asc")
    return {
        "waiting": waiting,
        "status": run.status,
        "answer": answer_of(run),
        "steps": [step.type for step in steps],
    }


def run_with_helpers(assistant: Any) -> dict[str, Any]:
    """Let the client poll, plainly and through a tool of the program."""
    _thread, where = asked("Say hello", assistant)
    plain = runs.create_and_poll(**where)
    _thread, where = asked("The weather with helpers, please", assistant)
    run = runs.create_and_poll(**where)
    waiting = run.status
    run = runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs_of(run)
    )
    message = {"role": "user", "content": "Say hello"}
    both = threads.create_and_run_poll(assistant_id=assistant.id, thread={"messages": [message]})
    return {
        "plain": [plain.status, answer_of(plain), plain.usage.total_tokens],
        "tool": [waiting, run.status, answer_of(run)],
        "create_and_run": [both.status, answer_of(both)],
    }


def run_as_streams(assistant: Any) -> dict[str, Any]:
    """Stream a run, one through a tool of the program, and one with its thread."""
    _thread, where = asked("Say hello", assistant)
    with runs.stream(**where) as stream:
        names = event_names(stream)
        texts = [message.content[0].text.value for message in stream.get_final_messages()]
    _thread, where = asked("The weather as a stream, please", assistant)
    with runs.stream(**where) as stream:
        first = event_names(stream)
        run = stream.get_final_run()
    with runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs_of(run)
    ) as stream:
        second = event_names(stream)
        run = stream.get_final_run()
    message = {"role": "user", "content": "Say hello"}
    with threads.create_and_run_stream(
        assistant_id=assistant.id, thread={"messages": [message]}
    ) as stream:
        both = event_names(stream)
    return {
        "plain": [names, texts],
        "tool": [first, second, run.status, answer_of(run)],
        "create_and_run": both,
    }


def cancel(assistant: Any) -> dict[str, Any]:
    """Stop a run that waits for the program; the thread is free again."""
    thread, where = asked("The weather, cancelled", assistant)
    run = polled(runs.create(**where))
    refused = []
    attempts: list[Any] = [
        lambda: runs.create(**where),
        lambda: threads.messages.create(thread.id, role="user", content="More"),
    ]
    for attempt in attempts:
        try:
            attempt()
        except openai.BadRequestError as error:
            text = error.response.json()["error"]["message"]
            refused.append(text.replace(thread.id, "THREAD").replace(run.id, "RUN"))
    run = polled(runs.cancel(run.id, thread_id=thread.id))
    threads.messages.create(thread.id, role="user", content="More")
    return {"status": run.status, "refused": refused}


def fail() -> dict[str, Any]:
    """Ask for what is not there, for what cannot be, and with a key that opens nothing."""
    seen: dict[str, Any] = {}
    stranger = openai.OpenAI(base_url=BASE_URL, api_key="atr_nothing", max_retries=0)
    attempts: dict[str, Any] = {
        "unknown": lambda: threads.retrieve("thread_" + "0" * 26),
        "prefix": lambda: threads.retrieve("asst_" + "0" * 26),
        "model": lambda: client.beta.assistants.create(model="no-such-model"),
        "key": lambda: stranger.models.list(),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except openai.APIStatusError as error:
            told = error.response.json()["error"]
            seen[name] = [type(error).__name__, error.status_code, told["code"], told["param"]]
    return seen


def main() -> None:
    """Do all of it; the helpers where this version of the client has them."""
    assistant = client.beta.assistants.create(
        model="test-model", name="Weather desk", instructions="Be brief.", tools=[WEATHER]
    )
    seen = {
        "models": [model.id for model in client.models.list() if model.id == "test-model"],
        "assistants": manage_assistants(),
        "threads": manage_threads(),
        "by_hand": run_by_hand(assistant),
        "cancel": cancel(assistant),
        "errors": fail(),
    }
    if HAS_HELPERS:
        seen["helpers"] = run_with_helpers(assistant)
        seen["streams"] = run_as_streams(assistant)
    client.beta.assistants.delete(assistant.id)
    json.dump({"version": openai.__version__, "saw": seen}, sys.stdout)


if __name__ == "__main__":
    main()
