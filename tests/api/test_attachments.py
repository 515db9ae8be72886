"""Files that come with messages, and what assistants and threads refer to."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from chat.models import StoreFile, VectorStore
from tests.api.conftest import Api, assert_error, uploaded
from tests.world import World

pytestmark = pytest.mark.usefixtures("stored")
SEARCH, COMPUTE = {"type": "file_search"}, {"type": "code_interpreter"}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


def message(*attachments: tuple[str, list[dict[str, str]]]) -> dict[str, Any]:
    given = [{"file_id": file_id, "tools": tools} for file_id, tools in attachments]
    return {"role": "user", "content": "Read this", "attachments": given}


def stores_of(thread: dict[str, Any]) -> list[str]:
    return list(thread["tool_resources"].get("file_search", {}).get("vector_store_ids", []))


def test_attachments_go_to_the_tools_of_the_thread(alice: Api, world: World) -> None:
    thread = alice.made("threads")["id"]
    first, second = (uploaded(alice, b"words")["id"] for _twice in range(2))
    sent = message((first, [SEARCH]), (second, [SEARCH, COMPUTE]))
    made = alice.made(f"threads/{thread}/messages", sent)
    assert made["attachments"] == sent["attachments"]
    found = alice.get(f"threads/{thread}").json()
    assert found["tool_resources"]["code_interpreter"] == {"file_ids": [second]}
    [store] = stores_of(found)
    listed = alice.get(f"vector_stores/{store}/files").json()["data"]
    assert {item["id"] for item in listed} == {first, second}
    jobs = ProcrastinateJob.objects.filter(task_name="chat.tasks.index_store_file")
    assert jobs.count() == 2


def test_later_ones_join_the_same_store(alice: Api) -> None:
    sent = message((uploaded(alice, b"a")["id"], [SEARCH]))
    thread = alice.made("threads", messages=[sent])
    more = message((uploaded(alice, b"b")["id"], [SEARCH]))
    alice.made(f"threads/{thread['id']}/messages", more)
    now = alice.get(f"threads/{thread['id']}").json()
    assert stores_of(now) == stores_of(thread)
    store = alice.get(f"vector_stores/{stores_of(now)[0]}").json()
    assert store["file_counts"]["total"] == 2


def test_a_file_of_somebody_else_is_not_attached(alice: Api, adam: Api, world: World) -> None:
    theirs = uploaded(adam, b"a")["id"]
    thread = alice.made("threads")["id"]
    answer = alice.post(f"threads/{thread}/messages", message((theirs, [SEARCH])))
    assert_error(answer, 404, param="attachments[0].file_id")
    answer = alice.post("threads", {"messages": [message((theirs, [SEARCH]))]})
    assert_error(answer, 404, param="messages[0].attachments[0].file_id")
    with world.acme.scope(), transaction.atomic():
        assert not (StoreFile.objects.exists() or VectorStore.objects.exists())


def test_what_one_attaches_is_not_put_into_the_companys_store(adam: Api, world: World) -> None:
    shared = adam.made("vector_stores")["id"]
    given = {"file_search": {"vector_store_ids": [shared]}}
    thread = adam.made("threads", tool_resources=given)["id"]
    own = uploaded(adam, b"a", purpose="user_data")["id"]
    adam.made(f"threads/{thread}/messages", message((own, [SEARCH])))
    stores = stores_of(adam.get(f"threads/{thread}").json())
    assert stores[0] == shared
    with world.acme.scope(), transaction.atomic():
        row = VectorStore.objects.get(pk=stores[1])
        assert row.member_id == world.acme.people["adam"].pk
        assert not StoreFile.objects.filter(store_id=shared).exists()


def test_an_assistant_gets_a_store_made_of_files(adam: Api) -> None:
    files = [uploaded(adam, b"words")["id"]]
    described = {"file_search": {"vector_stores": [{"file_ids": files}]}}
    made = adam.made("assistants", model="demo-scripted", tools=[SEARCH], tool_resources=described)
    [store] = made["tool_resources"]["file_search"]["vector_store_ids"]
    assert adam.get(f"vector_stores/{store}/files").json()["data"][0]["id"] == files[0]


def test_the_older_spelling_of_an_assistant_with_files(adam: Api) -> None:
    files = [uploaded(adam, b"words")["id"]]
    adam.headers["OpenAI-Beta"] = "assistants=v1"
    made = adam.made(
        "assistants", model="demo-scripted", tools=[{"type": "retrieval"}], file_ids=files
    )
    assert (made["tools"], made["file_ids"]) == ([{"type": "retrieval"}], files)


def test_files_given_later_in_the_older_spelling_take_the_place_of_others(adam: Api) -> None:
    first, second = (uploaded(adam, b"words")["id"] for _twice in range(2))
    adam.headers["OpenAI-Beta"] = "assistants=v1"
    tools = [{"type": "retrieval"}, {"type": "code_interpreter"}]
    made = adam.made("assistants", model="demo-scripted", tools=tools, file_ids=[first])
    where = f"assistants/{made['id']}"
    assert adam.made(where, file_ids=[second])["file_ids"] == [second]
    assert adam.made(where, name="Renamed")["file_ids"] == [second]
    resources = adam.get(where).json()["tool_resources"]
    assert resources["code_interpreter"] == {"file_ids": [second]}
    assert adam.made(where, file_ids=[])["file_ids"] == []


def test_files_of_a_message_in_the_older_spelling(alice: Api) -> None:
    files = [uploaded(alice, b"words")["id"]]
    alice.headers["OpenAI-Beta"] = "assistants=v1"
    thread = alice.made("threads")["id"]
    sent = {"role": "user", "content": "Read this", "file_ids": files}
    assert alice.made(f"threads/{thread}/messages", sent)["file_ids"] == files
    [store] = stores_of(alice.get(f"threads/{thread}").json())
    alice.headers["OpenAI-Beta"] = "assistants=v2"
    listed = alice.get(f"vector_stores/{store}/files").json()["data"]
    assert [item["id"] for item in listed] == files


def test_an_assistant_has_the_companys_files_only(adam: Api) -> None:
    own = uploaded(adam, b"words", purpose="user_data")["id"]
    resources = {"code_interpreter": {"file_ids": [own]}}
    answer = adam.post("assistants", {"model": "demo-scripted", "tool_resources": resources})
    assert_error(answer, 404, param="tool_resources.code_interpreter.file_ids[0]")
    resources = {"file_search": {"vector_stores": [{"file_ids": [own]}]}}
    answer = adam.post("assistants", {"model": "demo-scripted", "tool_resources": resources})
    place = "tool_resources.file_search.vector_stores[0].file_ids[0]"
    assert_error(answer, 404, param=place)


def test_a_thread_refers_to_ones_own(alice: Api, adam: Api) -> None:
    store = alice.made("vector_stores")["id"]
    resources = {"file_search": {"vector_store_ids": [store]}}
    thread = alice.made("threads", tool_resources=resources)
    assert thread["tool_resources"] == resources
    answer = adam.post("threads", {"tool_resources": resources})
    assert_error(answer, 404, param="tool_resources.file_search.vector_store_ids[0]")


def test_a_picture_is_shown_by_who_has_it(alice: Api, adam: Api) -> None:
    picture = uploaded(alice, PNG, "a.png", purpose="vision")["id"]
    part = {"type": "image_file", "image_file": {"file_id": picture}}
    sent = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}
    thread = alice.made("threads", messages=[sent])["id"]
    [kept] = alice.get(f"threads/{thread}/messages").json()["data"]
    assert kept["content"][1]["image_file"]["file_id"] == picture
    answer = adam.post("threads", {"messages": [sent]})
    assert_error(answer, 404, param="messages[0].content[1].image_file.file_id")
