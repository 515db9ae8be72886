"""Every frame of the websocket, with each id it may hold being somebody else's.

Frames and fields come from `chat.web.frames.FRAMES`; a field without a recipe fails the test.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from django.conf import settings as django_settings

from chat.web.frames import FRAMES
from tenants.db import in_db
from tests.database import TestDatabase
from tests.isolation.rows import PEOPLE, Ids, Rows, blotted, contents, unknown
from tests.isolation.socket_in_process import SocketInProcess, socket_of

Frame = dict[str, Any]

# What each field takes: the kinds of id that fit, or a value that is no id.
RECIPES: dict[str, dict[str, Any]] = {
    "subscribe": {
        "thread": ["thread", "busy_thread", "deleted_thread"],
        "cursor": {
            "run": ["run", "active_run"],
            "state": 0,
            "items": [[["message", "queued"], 0, "text", 0]],
        },
    },
    "unsubscribe": {"thread": ["thread"]},
    "message.create": {
        "thread": ["thread", "busy_thread"],
        "assistant": ["assistant"],
        "client_id": "made-here",
        "content": [
            {"type": "text", "text": "Hello"},
            {"type": "image_file", "image_file": {"file_id": ["picture"]}},
        ],
        "attachments": [{"file_id": ["file"], "tools": [{"type": "file_search"}]}],
        "busy": "queue",
    },
    "message.delete_queued": {"message": ["queued", "message"]},
    "run.cancel": {"run": ["active_run", "run"]},
    "run.retry": {"thread": ["thread", "busy_thread"], "assistant": ["assistant"]},
    "tool.decide": {
        "run": ["active_run", "run"],
        "call": ["call"],
        "decision": "decline",
        "arguments_hash": "0" * 64,
    },
    "ping": {},
}


def slots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], str]]:
    """Return (path, kind) for each id of a recipe, nested ones too."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return [(path, kind) for kind in value]
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [slot for key, one in inner for slot in slots(one, (*path, key))]


def own_frame(recipe: Any, ids: Ids) -> Any:
    """Return the recipe filled with ids of one's own."""
    if isinstance(recipe, list) and recipe and all(isinstance(item, str) for item in recipe):
        return ids[recipe[0]]
    if isinstance(recipe, dict):
        return {key: own_frame(one, ids) for key, one in recipe.items()}
    return [own_frame(item, ids) for item in recipe] if isinstance(recipe, list) else recipe


def placed(frame: Frame, path: tuple[Any, ...], value: str) -> Frame:
    """Return a copy of `frame` with `value` at `path`."""
    changed: Any = copy.deepcopy(frame)
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return {"id": "1", **changed}


SLOTS = [(kind, path, of) for kind, recipe in RECIPES.items() for path, of in slots(recipe)]


def test_every_frame_and_field_has_a_recipe() -> None:
    fields = {kind: set(checks) - {"id"} for kind, checks in FRAMES.items()}
    assert fields == {kind: set(recipe) for kind, recipe in RECIPES.items()}


@pytest.fixture(autouse=True)
def _many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """One socket sends every frame of a test, as quickly as it can."""
    monkeypatch.setitem(django_settings.CHAT, "FRAMES_PER_SECOND", 1_000_000)


@pytest.fixture(params=PEOPLE)
def person(request: pytest.FixtureRequest) -> str:
    """Somebody who acts for acme: a member, an admin, and one who is in globex too."""
    return str(request.param)


def without_present(frame: Frame) -> Frame:
    """Leave out when a lost message and its step were ended: at the moment of asking."""
    if frame.get("event") not in ("thread.message.incomplete", "thread.run.step.failed"):
        return frame
    data = {name: value for name, value in frame["data"].items() if not name.endswith("_at")}
    return {**frame, "data": data}


async def answers(socket: SocketInProcess, rows: Rows, frame: Frame, *ids: str) -> list[str]:
    # A message that no row has is answered with the end of its step, whose id is made of its own.
    ids += tuple(f"step_{name.removeprefix('msg_')}" for name in ids if name.startswith("msg_"))
    found = await socket.ask(frame)
    if frame["type"] == "subscribe":
        await socket.ask({"type": "unsubscribe", "id": "2", "thread": frame["thread"]})
    told = [blotted(json.dumps(without_present(item)), *ids) for item in found]
    assert rows.world.globex.canary not in "".join(told), frame
    return told


async def test_ids_of_others_answer_like_unknown_ones(
    rows: Rows, person: str, walls: str, database: TestDatabase
) -> None:
    before = await in_db(contents, database)
    mine = rows.of["acme"][person]
    async with socket_of(rows.world.acme, person) as socket:
        for kind, path, of in SLOTS:
            frame = {"type": kind, **own_frame(RECIPES[kind], mine)}
            missing = unknown(of)
            for other in rows.others(person, of):
                theirs = await answers(socket, rows, placed(frame, path, other), other, missing)
                nobodys = await answers(socket, rows, placed(frame, path, missing), other, missing)
                assert theirs == nobodys, (kind, path, other)
    assert await in_db(contents, database) == before


@pytest.mark.parametrize("kind", RECIPES)
async def test_the_recipes_are_accepted_where_the_ids_are_ones_own(rows: Rows, kind: str) -> None:
    frame = {"type": kind, "id": "1", **own_frame(RECIPES[kind], rows.of["acme"]["alice"])}
    async with socket_of(rows.world.acme, "alice") as socket:
        answer = (await socket.ask(frame))[0]
    assert answer["type"] == "ack", answer


async def test_anothers_client_id_makes_a_message_of_ones_own(rows: Rows, walls: str) -> None:
    mine = rows.of["acme"]["alice"]
    frame = {"type": "message.create", **own_frame(RECIPES["message.create"], mine)}
    async with socket_of(rows.world.acme, "alice") as socket:
        for other in rows.others("alice", "client_id"):
            answer = (await socket.ask({"id": "1", **frame, "client_id": other}))[0]
            assert answer["message"]["content"][0]["text"]["value"] == "Hello"
            assert answer["thread"]["id"] == mine["thread"]
