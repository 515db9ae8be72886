"""Threads over the API."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from chat.models import Message, Run, Thread
from tests.api.conftest import Api, assert_error
from tests.api.published import assert_published
from tests.world import World

HELLO = {"role": "user", "content": "Hello there"}


def test_an_empty_thread(alice: Api) -> None:
    made = assert_published(alice.made("threads", {}))
    assert (made["metadata"], made["tool_resources"]) == ({}, {})
    assert alice.get(f"threads/{made['id']}").json() == made
    assert alice.get(f"threads/{made['id']}/messages").json()["data"] == []


def test_no_body_is_an_empty_one(alice: Api) -> None:
    answer = alice.client.generic("POST", "/v1/threads", headers=alice._headers())
    assert answer.status_code == 200, answer.content


def test_a_thread_begins_with_its_messages_in_their_order(alice: Api) -> None:
    asked = [HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "So"}]
    made = alice.made("threads", messages=asked, metadata={"k": "v"})
    listed = assert_published(alice.get(f"threads/{made['id']}/messages", order="asc").json())
    assert [item["content"][0]["text"]["value"] for item in listed["data"]] == [
        "Hello there", "Hi", "So",
    ]  # fmt: skip
    assert [item["role"] for item in listed["data"]] == ["user", "assistant", "user"]
    assert made["atrium"]["title"] == "Hello there"


def test_a_fault_in_one_message_makes_no_thread(world: World, alice: Api) -> None:
    before = len(alice.get("threads").json()["data"])
    answer = alice.post("threads", messages=[HELLO, {"role": "user", "content": ""}])
    assert_error(answer, 400, param="messages[1].content", code="invalid_value")
    assert len(alice.get("threads").json()["data"]) == before


def test_metadata_changes_and_nothing_else(alice: Api) -> None:
    made = alice.made("threads", messages=[HELLO], metadata={"k": "v"})
    changed = alice.made(f"threads/{made['id']}", metadata={"other": "w"})
    assert changed == {**made, "metadata": {"other": "w"}}
    assert alice.made(f"threads/{made['id']}", {}) == changed
    assert alice.made(f"threads/{made['id']}", metadata=None)["metadata"] == {}


def test_a_deleted_thread_is_gone_at_once_and_the_page_may_undo(world: World, alice: Api) -> None:
    made = alice.made("threads", messages=[HELLO])
    path = f"threads/{made['id']}"
    answer = assert_published(alice.delete(path).json())
    assert answer == {"id": made["id"], "object": "thread.deleted", "deleted": True}
    for gone in (alice.get(path), alice.post(path), alice.delete(path)):
        assert_error(gone, 404, param="thread_id")
    assert_error(alice.get(f"{path}/messages"), 404, param="thread_id")
    page = world.acme.client("alice")
    url = f"/page/threads/{made['id']}/restore"
    assert page.post(url, {}, content_type="application/json").status_code == 200
    assert alice.get(path).status_code == 200


def test_the_page_shows_what_the_program_wrote(world: World, alice: Api) -> None:
    made = alice.made("threads", messages=[HELLO])
    page = world.acme.client("alice")
    listed = page.get("/page/threads").json()["data"]
    assert listed[0]["id"] == made["id"]
    history = page.get(f"/page/threads/{made['id']}/messages").json()
    assert history["data"][0]["content"][0]["text"]["value"] == "Hello there"


def test_threads_are_listed_by_their_last_activity(alice: Api) -> None:
    first, second = (alice.made("threads", {})["id"] for _ in range(2))
    alice.made(f"threads/{first}/messages", HELLO)
    listed = assert_published(alice.get("threads").json())
    assert [item["id"] for item in listed["data"]][:2] == [first, second]


def test_threads_are_found_by_title_and_by_what_was_said(alice: Api) -> None:
    by_text = alice.made("threads", messages=[HELLO, {"role": "user", "content": 'A "Quince"'}])
    alice.made("threads", messages=[HELLO])

    def found(text: str) -> list[str]:
        return [item["id"] for item in alice.get("threads", query=text).json()["data"]]

    assert found('"quince"') == [by_text["id"]]
    assert len(found("HELLO there")) == 2
    assert found("100%") == found("_uince") == []


def test_a_copy_goes_on_by_itself(alice: Api) -> None:
    asked = [HELLO, {"role": "assistant", "content": "Hi", "metadata": {"n": "1"}}]
    made = alice.made("threads", messages=asked, metadata={"k": "v"})
    copy = assert_published(alice.made(f"threads/{made['id']}/copy", {}))
    assert copy["metadata"] == {"k": "v"}
    alice.made(f"threads/{copy['id']}/messages", role="user", content="Only here")
    assert texts(alice, copy["id"]) == ["Hello there", "Hi", "Only here"]
    assert texts(alice, made["id"]) == ["Hello there", "Hi"]


def test_a_copy_leaves_out_what_is_still_being_written(world: World, alice: Api) -> None:
    made = alice.made("threads", messages=[HELLO])
    with world.acme.scope():
        Message.objects.create(
            thread_id=made["id"], position=2, role="assistant", status="in_progress"
        )
        Thread.objects.filter(pk=made["id"]).update(last_position=2)
    copy = alice.made(f"threads/{made['id']}/copy", {})
    assert texts(alice, copy["id"]) == ["Hello there"]


def test_a_copy_has_no_runs(world: World, alice: Api) -> None:
    source = world.acme.threads["alice"].pk
    copy = alice.made(f"threads/{source}/copy", {})
    assert len(texts(alice, copy["id"])) == 2
    with world.acme.scope():
        assert not Run.objects.filter(thread_id=copy["id"]).exists()


def test_a_thread_that_is_too_long_is_not_copied(
    world: World, alice: Api, settings: Settings
) -> None:
    settings.CHAT = {**settings.CHAT, "COPIED_MESSAGES": 1}
    made = alice.made("threads", messages=[HELLO, HELLO])
    threads = len(alice.get("threads").json()["data"])
    assert_error(alice.post(f"threads/{made['id']}/copy", {}), 400, code="thread_too_long")
    assert len(alice.get("threads").json()["data"]) == threads


def test_a_long_copy_counts_as_the_requests_it_is_worth(
    world: World, alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenants.clock.time.time", lambda: 60_000_005.0)
    made = alice.made("threads", messages=[HELLO])
    with world.acme.scope():
        Thread.objects.filter(pk=made["id"]).update(last_position=2_500)
    before = int(alice.get("models")["x-ratelimit-remaining-requests"])
    copied = alice.post(f"threads/{made['id']}/copy", {})
    assert int(copied["x-ratelimit-remaining-requests"]) == before - 1 - 5


def texts(api: Api, thread_id: str) -> list[Any]:
    listed = api.get(f"threads/{thread_id}/messages", order="asc").json()["data"]
    return [item["content"][0]["text"]["value"] for item in listed]


def test_what_cannot_work_is_refused_by_name(world: World, alice: Api) -> None:
    thread = world.acme.threads["alice"].pk
    files = {"code_interpreter": {"file_ids": ["file-abc"]}}
    for path, body, param, status, code in (
        ("threads", {"messages": "x"}, "messages", 400, "invalid_type"),
        ("threads", {"messages": [7]}, "messages[0]", 400, "invalid_type"),
        ("threads", {"messages": [{"role": "user"}]}, "messages[0].content", 400,
         "missing_required_parameter"),
        ("threads", {"messages": [{**HELLO, "x": 1}]}, "messages[0]", 400, "unknown_parameter"),
        ("threads", {"tool_resources": files}, "tool_resources.code_interpreter.file_ids[0]", 404,
         None),
        ("threads", {"title": "x"}, "title", 400, "unknown_parameter"),
        (f"threads/{thread}", {"messages": []}, "messages", 400, "unknown_parameter"),
        (f"threads/{thread}", {"metadata": "x"}, "metadata", 400, "invalid_type"),
        (f"threads/{thread}", {"tool_resources": {"file_search": {"vector_stores": [{}]}}},
         "tool_resources.file_search", 400, "unknown_parameter"),
        (f"threads/{thread}/copy", {"title": "x"}, "title", 400, "unknown_parameter"),
    ):  # fmt: skip
        assert_error(alice.post(path, body), status, param=param, code=code)


def test_other_peoples_threads_are_unknown(world: World, alice: Api, gina: Api, adam: Api) -> None:
    made = alice.made("threads", messages=[HELLO])
    for other in (adam, gina):
        for answer in (
            other.get(f"threads/{made['id']}"),
            other.post(f"threads/{made['id']}", metadata={}),
            other.post(f"threads/{made['id']}/copy", {}),
            other.delete(f"threads/{made['id']}"),
        ):
            message = assert_error(answer, 404, param="thread_id")
            assert message == f"No thread found with id '{made['id']}'."
        assert made["id"] not in str(other.get("threads").json())
