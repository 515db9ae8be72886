"""Messages over the API."""

from __future__ import annotations

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from procrastinate.contrib.django.models import ProcrastinateJob

from chat.models import Message, Thread, ThreadMapping
from chat.runs.state.create import insert_run
from tests.api.conftest import Api, assert_error
from tests.api.published import assert_published
from tests.clock import WAIT_SECONDS
from tests.server import Server
from tests.world import World


@pytest.fixture
def thread(alice: Api) -> str:
    """An empty thread of alice."""
    made = alice.made("threads", {})
    return f"threads/{made['id']}"


def said(path: str, api: Api, *texts: str) -> list[str]:
    """Add messages and return their ids."""
    return [api.made(f"{path}/messages", role="user", content=text)["id"] for text in texts]


def test_text_becomes_one_part(alice: Api, thread: str) -> None:
    made = alice.made(f"{thread}/messages", role="user", content=" Hi\n", metadata={"k": "v"})
    assert_published(made)
    assert made["content"] == [{"type": "text", "text": {"value": " Hi\n", "annotations": []}}]
    assert (made["role"], made["status"], made["metadata"]) == ("user", "completed", {"k": "v"})
    assert (made["assistant_id"], made["run_id"], made["attachments"]) == (None, None, [])
    assert made["completed_at"] == made["created_at"]
    assert alice.get(f"{thread}/messages/{made['id']}").json() == made


def test_parts_are_kept_in_their_order(alice: Api, thread: str) -> None:
    image = {"url": "https://example.com/a.png"}
    parts = [{"type": "image_url", "image_url": image}, {"type": "text", "text": "What is it?"}]
    made = assert_published(alice.made(f"{thread}/messages", role="user", content=parts))
    assert made["content"] == [
        {"type": "image_url", "image_url": {**image, "detail": "auto"}},
        {"type": "text", "text": {"value": "What is it?", "annotations": []}},
    ]


def test_a_program_may_tell_what_an_assistant_said(alice: Api, thread: str) -> None:
    made = assert_published(alice.made(f"{thread}/messages", role="assistant", content="Hi"))
    assert (made["role"], made["assistant_id"]) == ("assistant", None)


def test_no_message_is_added_while_a_run_is_active(world: World, alice: Api, thread: str) -> None:
    [first] = said(thread, alice, "Go")
    thread_id = thread.removeprefix("threads/")
    with world.acme.scope():
        run = insert_run(
            Thread.objects.get(pk=thread_id),
            assistant=world.acme.assistant,
            member_id=world.acme.alice.pk,
        )
    message = assert_error(alice.post(f"{thread}/messages", role="user", content="More"), 400)
    assert message == f"Can't add messages to {thread_id} while a run {run.pk} is active."
    assert_error(alice.delete(f"{thread}/messages/{first}"), 400)
    assert alice.made(f"{thread}/messages/{first}", metadata={"k": "v"})["metadata"] == {"k": "v"}


def test_positions_stay_dense_beside_the_page(world: World, alice: Api, thread: str) -> None:
    said(thread, alice, "One", "Two")
    body = {
        "thread": thread.removeprefix("threads/"),
        "assistant": world.acme.assistant.pk,
        "content": "Three",
        "client_id": "c",
    }
    page = world.acme.client("alice")
    answer = page.post("/page/messages", body, content_type="application/json")
    assert answer.status_code == 200, answer.content
    alice.made(f"{thread}/runs/{answer.json()['run']['id']}/cancel", {})
    said(thread, alice, "Four")
    with world.acme.scope():
        rows = Message.objects.filter(thread_id=body["thread"]).order_by("position")
        assert [(row.position, row.text()) for row in rows] == [
            (1, "One"), (2, "Two"), (3, "Three"), (4, "Four"),
        ]  # fmt: skip


def test_metadata_changes_and_nothing_else(alice: Api, thread: str) -> None:
    made = alice.made(f"{thread}/messages", role="user", content="Hi", metadata={"k": "v"})
    path = f"{thread}/messages/{made['id']}"
    assert alice.made(path, metadata={"other": "w"}) == {**made, "metadata": {"other": "w"}}
    assert alice.made(path, {})["metadata"] == {"other": "w"}
    answer = alice.post(path, content="Other")
    assert_error(answer, 400, param="content", code="unknown_parameter")


def test_a_deleted_message_is_gone_and_its_copies_are_forgotten(
    world: World, alice: Api, thread: str
) -> None:
    first, second = said(thread, alice, "One", "Two")
    with world.acme.scope():
        ThreadMapping.objects.create(
            thread_id=thread.removeprefix("threads/"), upstream="demo", external_id="conv_1"
        )
    answer = assert_published(alice.delete(f"{thread}/messages/{first}").json())
    assert answer == {"id": first, "object": "thread.message.deleted", "deleted": True}
    for gone in (alice.get, alice.post, alice.delete):
        assert_error(gone(f"{thread}/messages/{first}"), 404, param="message_id")
    assert ids(alice, thread) == [second]
    job = ProcrastinateJob.objects.get(task_name="chat.tasks.forget_conversation")
    assert job.args == {"upstream": "demo", "conversation": "conv_1"}


def ids(api: Api, thread: str, **query: Any) -> list[str]:
    """Return the ids of a page, which has to be as published where it holds something."""
    listed = assert_published(api.get(f"{thread}/messages", **query).json())
    found = [item["id"] for item in listed["data"]]
    ends = (listed["first_id"], listed["last_id"])
    assert ends == ((found[0], found[-1]) if found else (None, None))
    return found


def test_pages_in_both_orders_and_directions(alice: Api, thread: str) -> None:
    a, b, c, d, e = said(thread, alice, *"abcde")
    assert ids(alice, thread) == [e, d, c, b, a]
    assert ids(alice, thread, order="asc") == [a, b, c, d, e]
    assert ids(alice, thread, limit=2) == [e, d]
    assert ids(alice, thread, limit=2, after=d) == [c, b]
    assert ids(alice, thread, limit=2, before=b) == [d, c]
    assert ids(alice, thread, limit=2, order="asc", after=b) == [c, d]
    assert ids(alice, thread, limit=2, order="asc", before=d) == [b, c]
    assert ids(alice, thread, order="asc", after=a, before=d) == [b, c]
    assert ids(alice, thread, after=a) == ids(alice, thread, before=e) == []


def test_a_page_tells_whether_there_is_more(alice: Api, thread: str) -> None:
    a, b, c = said(thread, alice, *"abc")

    def more(**query: Any) -> bool:
        return bool(alice.get(f"{thread}/messages", **query).json()["has_more"])

    assert more(limit=2)
    assert more(limit=1, after=c)
    assert more(limit=1, before=a)
    assert not more(limit=3)
    assert not more(limit=2, after=c)
    assert not more(limit=1, before=b)


def test_walking_page_by_page_meets_each_once(alice: Api) -> None:
    many = [{"role": "user", "content": str(number)} for number in range(23)]
    thread = f"threads/{alice.made('threads', messages=many)['id']}"
    walked: list[str] = []
    while page := ids(alice, thread, limit=5, **({"after": walked[-1]} if walked else {})):
        walked += page
    assert walked == ids(alice, thread, limit=100)
    assert len(set(walked)) == 23


def test_messages_of_one_run(world: World, alice: Api) -> None:
    thread, run = (world.acme.threads["alice"].pk, world.acme.runs["alice"].pk)
    path = f"threads/{thread}"
    [written] = assert_published(alice.get(f"{path}/messages", run_id=run).json())["data"]
    assert (written["role"], written["run_id"]) == ("assistant", run)
    assert written["assistant_id"] == world.acme.assistant.pk
    assert ids(alice, path, run_id="run_" + "a" * 24) == []


def test_what_waits_in_the_page_has_no_place_yet(world: World, alice: Api, thread: str) -> None:
    [first] = said(thread, alice, "One")
    with world.acme.scope():
        Message.objects.create(thread_id=thread.removeprefix("threads/"), role="user")
    assert ids(alice, thread) == [first]


def test_the_longest_text_is_taken_and_one_more_character_is_not(alice: Api, thread: str) -> None:
    longest = "é" * 256_000
    made = alice.made(f"{thread}/messages", role="user", content=longest)
    assert made["content"][0]["text"]["value"] == longest
    answer = alice.post(f"{thread}/messages", role="user", content=longest + "x")
    assert_error(answer, 400, param="content", code="invalid_value")
    halves = [{"type": "text", "text": "x" * 128_001}] * 2
    answer = alice.post(f"{thread}/messages", role="user", content=halves)
    assert_error(answer, 400, param="content", code="invalid_value")


def test_a_full_thread_takes_no_more(
    alice: Api, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.CHAT, "MESSAGES_PER_THREAD", 2)
    said(thread, alice, "One", "Two")
    answer = alice.post(f"{thread}/messages", role="user", content="Three")
    assert_error(answer, 400, code="thread_full")


def image(**fields: Any) -> list[Any]:
    return [{"type": "image_url", "image_url": fields}]


FILE = [{"type": "image_file", "image_file": {"file_id": "file-abc"}}]
SEARCH = [{"type": "file_search"}]
PART = "content[0]"
BAD: list[tuple[dict[str, Any], str, int, str | None]] = [
    ({"content": ""}, "content", 400, "invalid_value"),
    ({"content": " \n\t"}, "content", 400, "invalid_value"),
    ({"content": []}, "content", 400, "invalid_value"),
    ({"content": None}, "content", 400, "invalid_type"),
    ({"content": 7}, "content", 400, "invalid_type"),
    ({"content": ["x"]}, PART, 400, "invalid_type"),
    ({"content": [{"type": "text"}]}, f"{PART}.text", 400, "invalid_type"),
    ({"content": [{"type": "text", "text": ""}]}, "content", 400, "invalid_value"),
    ({"content": [{"type": "text", "text": {"value": "x"}}]}, f"{PART}.text", 400,
     "invalid_type"),
    ({"content": [{"type": "text", "text": "x", "x": 1}]}, PART, 400, "unknown_parameter"),
    ({"content": [{"type": "audio"}]}, f"{PART}.type", 400, "invalid_value"),
    ({"content": [{"type": ["text"]}]}, f"{PART}.type", 400, "invalid_value"),
    ({"content": image()}, f"{PART}.image_url.url", 400, "invalid_type"),
    ({"content": image(url="file:///etc/passwd")}, f"{PART}.image_url.url", 400,
     "invalid_value"),
    ({"content": image(url="data:image/png;base64,AA")}, f"{PART}.image_url.url", 400,
     "invalid_value"),
    ({"content": image(url="http://[::1")}, f"{PART}.image_url.url", 400, "invalid_value"),
    ({"content": image(url="https://a.example", detail="x")}, f"{PART}.image_url.detail", 400,
     "invalid_value"),
    ({"content": image(url="https://a.example", detail=None)}, f"{PART}.image_url.detail", 400,
     "invalid_value"),
    ({"content": image(url="https://a.example", detail={})}, f"{PART}.image_url.detail", 400,
     "invalid_value"),
    ({"content": FILE}, f"{PART}.image_file.file_id", 404, None),
    ({"role": "system"}, "role", 400, "invalid_value"),
    ({"role": None}, "role", 400, "invalid_type"),
    ({"role": 1}, "role", 400, "invalid_type"),
    ({"metadata": {"a": 1}}, "metadata.a", 400, "invalid_type"),
    ({"attachments": "x"}, "attachments", 400, "invalid_type"),
    ({"attachments": [{}]}, "attachments[0].file_id", 400, "missing_required_parameter"),
    ({"attachments": [{"file_id": "file-abc"}]}, "attachments[0].tools", 400,
     "missing_required_parameter"),
    ({"attachments": [{"file_id": "file-abc", "tools": SEARCH}]}, "attachments[0].file_id", 404,
     None),
    ({"attachments": [{"file_id": "vs_abc", "tools": SEARCH}]}, "attachments[0].file_id", 400,
     "invalid_value"),
    ({"attachments": [{"file_id": "file-abc", "tools": [{"type": "x"}]}]},
     "attachments[0].tools[0]", 400, "invalid_type"),
    ({"file_ids": ["file-abc"]}, "file_ids", 400, "unknown_parameter"),
    ({"run_id": "run_x"}, "run_id", 400, "unknown_parameter"),
]  # fmt: skip


def test_what_cannot_work_is_refused_by_name(alice: Api, thread: str) -> None:
    for fields, param, status, code in BAD:
        body = {"role": "user", "content": "x", **fields}
        assert_error(alice.post(f"{thread}/messages", body), status, param=param, code=code)
    assert ids(alice, thread) == []


def test_parameters_of_a_list_are_checked(alice: Api, thread: str) -> None:
    for query, param, status, code in (
        ({"limit": "0"}, "limit", 400, "invalid_value"),
        ({"limit": "101"}, "limit", 400, "invalid_value"),
        ({"limit": "ten"}, "limit", 400, "invalid_type"),
        ({"limit": "9" * 5000}, "limit", 400, "invalid_type"),
        ({"limit": ""}, "limit", 400, "invalid_type"),
        ({"order": "up"}, "order", 400, "invalid_value"),
        ({"after": "thread_abc"}, "after", 400, "invalid_value"),
        ({"after": "msg_" + "a" * 24}, "after", 404, None),
        ({"before": "msg_abc"}, "before", 404, None),
        ({"run_id": "msg_abc"}, "run_id", 400, "invalid_value"),
        ({"offset": "1"}, "offset", 400, "unknown_parameter"),
    ):
        answer = alice.get(f"{thread}/messages", **query)
        assert_error(answer, status, param=param, code=code)
    assert alice.get(f"{thread}/messages", after=["a", "b"]).status_code == 400
    assert alice.get(f"{thread}/messages?after=%00").status_code == 400


def test_a_cursor_of_another_thread_is_unknown(alice: Api, thread: str) -> None:
    other = f"threads/{alice.made('threads', {})['id']}"
    [elsewhere] = said(other, alice, "x")
    assert_error(alice.get(f"{thread}/messages", after=elsewhere), 404, param="after")
    assert_error(alice.get(f"{thread}/messages/{elsewhere}"), 404, param="message_id")


def test_the_older_spelling_of_files(alice: Api, thread: str) -> None:
    alice.headers = {"OpenAI-Beta": "assistants=v1"}
    made = alice.made(f"{thread}/messages", role="user", content="x", file_ids=[])
    assert made["file_ids"] == []
    body = {"role": "user", "content": "x", "file_ids": ["file-abc"]}
    answer = alice.post(f"{thread}/messages", body)
    assert_error(answer, 404, param="attachments[0].file_id")
    answer = alice.post("threads", messages=[body])
    assert_error(answer, 404, param="messages[0].attachments[0].file_id")


def test_messages_of_one_moment_get_a_place_each(
    world: World, server: Server, alice: Api, thread: str
) -> None:
    def add(number: int) -> int:
        body = json.dumps({"role": "user", "content": str(number)}).encode()
        headers = {**alice._headers(), "Content-Type": "application/json"}
        asked = urllib.request.Request(
            f"{server.url}/v1/{thread}/messages", data=body, headers=headers
        )
        with urllib.request.urlopen(asked, timeout=WAIT_SECONDS) as answer:
            return int(answer.status)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(add, range(16))) == {200}
    with world.acme.scope():
        rows = Message.objects.filter(thread_id=thread.removeprefix("threads/"))
        assert sorted(rows.values_list("position", flat=True)) == list(range(1, 17))
        assert {row.text() for row in rows} == {str(number) for number in range(16)}
