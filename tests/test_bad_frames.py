"""Invalid websocket frames cause one error frame, change nothing and leave the socket open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.web.frames import FRAMES
from tenants.db import in_db
from tests.bad_json import ID_FORMS, WRONG_VALUES, build_bad_bodies
from tests.database import TestDatabase
from tests.isolation.rows import Rows, build_rows, contents
from tests.isolation.socket_in_process import SocketInProcess, socket_of
from tests.isolation.test_frames import RECIPES, own_frame
from tests.server import Server
from tests.socket_client import chat_socket
from tests.test_bad_input import NESTED
from tests.world import World

LIMIT = 65_536
# Values that a field accepts although they look wrong, such as null for "none".
TAKEN: dict[tuple[str, str], tuple[Any, ...]] = {
    ("message.create", "thread"): (None,),
    ("message.create", "busy"): (None,),
    ("message.create", "attachments"): (None, []),
    ("subscribe", "cursor"): (None,),
    ("run.retry", "assistant"): (None,),
}
# Fields of free text, which accept any non-empty text.
FREE = {("message.create", "content"), ("message.create", "client_id")}
FREE |= {(kind, "id") for kind in FRAMES} | {("tool.decide", "arguments_hash")}
CURSORS: tuple[Any, ...] = (
    {"run": "run_x", "state": 0, "items": []},
    {"run": "run_" + "a" * 24, "state": -1, "items": []},
    {"run": "run_" + "a" * 24, "state": True, "items": []},
    {"run": "run_" + "a" * 24, "state": 1.0, "items": []},
    {"run": "run_" + "a" * 24, "state": 2**53, "items": []},
    {"run": "run_" + "a" * 24, "state": 0},
    {"run": "run_" + "a" * 24, "state": 0, "items": [], "tenant": "globex"},
    {"run": "run_" + "a" * 24, "state": 0, "items": [["msg_x", 0, "text", 0]]},
    {"run": "run_" + "a" * 24, "state": 0, "items": [["msg_" + "a" * 24, 0, "text", -1]]},
    {"run": "run_" + "a" * 24, "state": 0, "items": [["msg_" + "a" * 24, 0, "text"]]},
    {"run": "run_" + "a" * 24, "state": 0, "items": [["msg_" + "a" * 24, 1, "text", 0]]},
    {"run": "run_" + "a" * 24, "state": 0, "items": [{}] * 3},
    {"run": "run_" + "a" * 24, "state": 0, "items": [["msg_" + "a" * 24, 0, "text", 0]] * 101},
)


@pytest.fixture(autouse=True)
def _many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open socket that sends all frames of a test as fast as possible."""
    monkeypatch.setitem(django_settings.CHAT, "FRAMES_PER_SECOND", 1_000_000)


@pytest.fixture
def rows(world: World) -> Rows:
    return build_rows(world)


def sound(kind: str, rows: Rows) -> dict[str, Any]:
    filled = own_frame(RECIPES[kind], rows.of["acme"]["alice"])
    return {"type": kind, "id": "1", **filled}


async def assert_refused(socket: SocketInProcess, raw: str, *, code: str | None = None) -> None:
    """Assert that exactly one error frame is received."""
    answers = await socket.ask_raw(raw)
    assert [answer["type"] for answer in answers] == ["error"], (raw[:200], answers)
    error = answers[0]["error"]
    assert set(error) == {"code", "message", "param"}
    assert error["code"] and error["message"]
    assert code in (None, error["code"]), (raw[:200], error)


async def assert_alive(socket: SocketInProcess) -> None:
    assert await socket.ask({"type": "ping", "id": "p"}) == [{"type": "ack", "id": "p"}]


async def test_bad_json_is_answered(rows: Rows, database: TestDatabase) -> None:
    before = await in_db(contents, database)
    async with socket_of(rows.world.acme, "alice") as socket:
        for raw in build_bad_bodies("id").values():
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                continue  # rejected by the protocol before it reaches the application
            await assert_refused(socket, text, code="invalid_json")
        await assert_alive(socket)
    assert await in_db(contents, database) == before


def bad_values(kind: str, field: str) -> list[Any]:
    """Return the values that this field must reject."""
    values = [v for v in WRONG_VALUES if v not in TAKEN.get((kind, field), ()) or v is False]
    if (kind, field) in FREE:
        long = (kind, field) != ("message.create", "content")
        return [v for v in values if not isinstance(v, str) or v == "" or (long and len(v) > 64)]
    return [*values, *ID_FORMS, *(CURSORS if field == "cursor" else ())]


@pytest.mark.parametrize("kind", FRAMES)
async def test_wrong_values_are_answered(rows: Rows, database: TestDatabase, kind: str) -> None:
    before = await in_db(contents, database)
    async with socket_of(rows.world.acme, "alice") as socket:
        for field in (*FRAMES[kind], "type"):
            for value in bad_values(kind, field):
                await assert_refused(socket, json.dumps({**sound(kind, rows), field: value}))
        await assert_alive(socket)
    assert await in_db(contents, database) == before


@pytest.mark.parametrize("kind", FRAMES)
async def test_unknown_and_missing_fields_are_answered(
    rows: Rows, database: TestDatabase, kind: str
) -> None:
    before = await in_db(contents, database)
    frame = sound(kind, rows)
    optional = {field for of, field in TAKEN if of == kind}
    async with socket_of(rows.world.acme, "alice") as socket:
        for extra in ("tenant", "membership", "", "Type", "__proto__"):
            await assert_refused(socket, json.dumps({**frame, extra: "x"}))
        for missing in set(frame) - optional:
            rest = {field: value for field, value in frame.items() if field != missing}
            await assert_refused(socket, json.dumps(rest))
        await assert_alive(socket)
    assert await in_db(contents, database) == before


@pytest.mark.parametrize("text", [" ", "\n\t", "\u00a0", "x" * 300_000], ids=ascii)
async def test_text_that_is_no_message_is_answered(
    rows: Rows, database: TestDatabase, text: str
) -> None:
    before = await in_db(contents, database)
    async with socket_of(rows.world.acme, "alice") as socket:
        frame = {**sound("message.create", rows), "content": text}
        await assert_refused(socket, json.dumps(frame))
        await assert_alive(socket)
    assert await in_db(contents, database) == before


async def test_binary_empty_and_long_frames_are_answered(rows: Rows) -> None:
    async with socket_of(rows.world.acme, "alice") as socket:
        answers = await socket.ask_raw(None, b'{"type": "ping", "id": "1"}')
        assert [answer["type"] for answer in answers] == ["error"]
        for raw in ("", " " * LIMIT + "{}", json.dumps({"type": "ping", "id": "é" * LIMIT})):
            await assert_refused(socket, raw)
        await assert_alive(socket)


def test_whatever_frame_is_sent_is_answered(rows: Rows) -> None:
    frames = st.fixed_dictionaries({"type": st.sampled_from(sorted(FRAMES)), "id": st.just("1")})
    names = st.sampled_from(sorted({field for fields in FRAMES.values() for field in fields}))

    @settings(
        max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(frame=frames, more=st.dictionaries(names | st.text(), NESTED, max_size=5))
    def send(frame: dict[str, Any], more: dict[str, Any]) -> None:
        async def exchange() -> None:
            async with socket_of(rows.world.acme, "alice") as socket:
                answers = await socket.ask({**frame, **more})
                assert [answer["type"] for answer in answers] in (["error"], ["ack"])
                await assert_alive(socket)

        async_to_sync(exchange)()

    send()


async def test_a_real_socket_survives_bad_frames(world: World, server: Server) -> None:
    async with chat_socket(server, world.acme, "alice") as socket:
        for bad in ("{", b"\x00\xff", "[" * 30_000, " " * LIMIT + "{}", ""):
            await socket.connection.send(bad)
            assert (await socket.answer(None))["type"] == "error"
        assert (await socket.ask("ping"))["type"] == "ack"


async def test_a_frame_that_can_be_read_gets_its_id_back(world: World, server: Server) -> None:
    async with chat_socket(server, world.acme, "alice") as socket:
        answer = await socket.ask("subscribe", thread="thread_x")
    assert (answer["type"], answer["error"]["param"]) == ("error", "thread")
