"""The readers of the crash suite notice text that is lost, doubled or told of no message."""

from __future__ import annotations

from typing import Any

import pytest

from tests.crash.seen import Seen

Told = tuple[str, str]
BEGUN, DONE = ("in_progress", ""), ("completed", "One two")
STORED = {"msg_1": DONE}


def seen(*connections: list[Told]) -> list[str]:
    """Return what is wrong for a reader that is told this, over one connection after the other."""
    reader = Seen(thread="thread_1", run="run_1")
    for told in connections:
        reader.begin_connection()
        for status, text in told:
            take(reader, status, text)
    return reader.breaches(STORED)


def take(reader: Seen, status: str, text: str) -> None:
    content = [{"type": "text", "text": {"value": text}}]
    data: dict[str, Any] = {"id": "msg_1", "status": status, "role": "assistant", "atrium": {}}
    if status == "delta":
        reader.take("thread.message.delta", {"id": "msg_1", "delta": {"content": content}})
    else:
        reader.take(f"thread.message.{status}", {**data, "content": content})


@pytest.mark.parametrize(
    "connections",
    [
        [[BEGUN, ("delta", "One"), ("delta", " two"), DONE]],
        [[BEGUN, ("delta", "One")], [("delta", " two"), DONE]],
        [[BEGUN, ("delta", "One")], [DONE]],
        [[BEGUN, ("delta", "One two")], [DONE, DONE]],
    ],
    ids=["at once", "gone on", "replaced by its end", "told twice"],
)
def test_nothing_is_found_where_all_is_told(connections: list[list[Told]]) -> None:
    assert seen(*connections) == []


@pytest.mark.parametrize(
    "connections",
    [
        [[("delta", "One two"), DONE]],
        [[BEGUN, ("delta", "One"), DONE]],
        [[BEGUN, ("delta", "One")], [("delta", " tw"), DONE]],
        [[BEGUN, ("delta", "One")], [("delta", "One two"), DONE]],
        [[BEGUN, ("delta", "two")], [DONE]],
        [[BEGUN, ("delta", "One two"), DONE, ("delta", "!")]],
        [[BEGUN, ("delta", "One")]],
        [[]],
    ],
    ids=["no beginning", "lost", "lost later", "doubled", "other", "after its end", "open", "none"],
)
def test_what_is_told_wrongly_is_found(connections: list[list[Told]]) -> None:
    assert seen(*connections)
