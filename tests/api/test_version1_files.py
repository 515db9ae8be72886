"""Files of assistants and messages one by one, as programs of version 1 ask for them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api, assert_error, program_of, uploaded
from tests.world import World

pytestmark = pytest.mark.usefixtures("stored")
MODEL = "demo-scripted"
RETRIEVAL, CODE = {"type": "retrieval"}, {"type": "code_interpreter"}


@pytest.fixture
def adam(world: World) -> Api:
    """A program of version 1, an admin's."""
    api = program_of(world.acme, "adam")
    api.headers["OpenAI-Beta"] = "assistants=v1"
    return api


def assistant_with(api: Api, *tools: dict[str, str], **fields: Any) -> str:
    made = api.made("assistants", model=MODEL, tools=list(tools), **fields)
    return f"assistants/{made['id']}"


def ids(api: Api, path: str, **query: Any) -> list[str]:
    return [item["id"] for item in api.get(path, **query).json()["data"]]


def test_a_file_is_given_to_an_assistant_and_taken_back(adam: Api) -> None:
    where, file = assistant_with(adam, RETRIEVAL), uploaded(adam, b"words")
    given = adam.made(f"{where}/files", file_id=file["id"])
    assert given == {
        "id": file["id"],
        "object": "assistant.file",
        "created_at": file["created_at"],
        "assistant_id": where.removeprefix("assistants/"),
    }
    assert adam.get(f"{where}/files/{file['id']}").json() == given
    gone = adam.delete(f"{where}/files/{file['id']}").json()
    assert gone == {"id": file["id"], "object": "assistant.file.deleted", "deleted": True}
    assert adam.get(where).json()["file_ids"] == ids(adam, f"{where}/files") == []
    assert adam.get(f"files/{file['id']}").status_code == 200


def test_what_an_assistant_searches_stays_one_store(adam: Api) -> None:
    first, second = (uploaded(adam, b"words")["id"] for _twice in range(2))
    where = assistant_with(adam, RETRIEVAL, file_ids=[first])
    before = adam.get(where).json()["tool_resources"]
    adam.made(f"{where}/files", file_id=second)
    after = adam.get(where).json()
    assert after["tool_resources"] == before
    assert after["file_ids"] == ids(adam, f"{where}/files", order="asc") == [first, second]


def test_the_tools_decide_what_a_file_is_for(adam: Api) -> None:
    file = uploaded(adam, b"words")["id"]
    searched, computed, both = (
        assistant_with(adam, *tools) for tools in ([], [CODE], [RETRIEVAL, CODE])
    )
    for where in (searched, computed, both):
        adam.made(f"{where}/files", file_id=file)
    kinds = [set(adam.get(where).json()["tool_resources"]) for where in (searched, computed, both)]
    assert kinds == [{"file_search"}, {"code_interpreter"}, {"file_search", "code_interpreter"}]
    adam.delete(f"{both}/files/{file}")
    assert adam.get(both).json()["file_ids"] == []
    assert adam.get(computed).json()["file_ids"] == [file]


def test_a_file_that_is_not_the_companys_is_not_given(adam: Api, alice: Api) -> None:
    where = assistant_with(adam, RETRIEVAL)
    own = uploaded(adam, b"words", purpose="user_data")["id"]
    for file in (own, uploaded(alice, b"words")["id"], "file-abc"):
        assert_error(adam.post(f"{where}/files", file_id=file), 404, param="file_id")
    assert_error(adam.post(f"{where}/files", file_id=7), 400, param="file_id", code="invalid_value")
    assert_error(adam.delete(f"{where}/files/{own}"), 404, param="file_id")
    assert ids(adam, f"{where}/files") == []


def test_code_gets_no_more_files_than_it_may_have(adam: Api) -> None:
    files = [uploaded(adam, b"words")["id"] for _many in range(21)]
    where = assistant_with(adam, CODE, file_ids=files[:20])
    assert_error(
        adam.post(f"{where}/files", file_id=files[20]), 400, param="file_id", code="invalid_value"
    )
    assert adam.made(f"{where}/files", file_id=files[0])["id"] == files[0]
    assert ids(adam, f"{where}/files", limit=100, order="asc") == files[:20]


def test_members_see_which_files_there_are_and_change_nothing(adam: Api, alice: Api) -> None:
    file = uploaded(adam, b"words")["id"]
    where = assistant_with(adam, RETRIEVAL, file_ids=[file])
    assert ids(alice, f"{where}/files") == [file]
    for answer in (
        alice.post(f"{where}/files", file_id=file),
        alice.delete(f"{where}/files/{file}"),
    ):
        assert_error(answer, 403, code="permission_denied")
    assert_error(alice.get(f"files/{file}"), 404, param="file_id")


def test_the_files_of_a_message(alice: Api) -> None:
    alice.headers["OpenAI-Beta"] = "assistants=v1"
    first, second, other = (uploaded(alice, b"words") for _thrice in range(3))
    sent = {"role": "user", "content": "Read", "file_ids": [first["id"], second["id"]]}
    thread = alice.made("threads", messages=[sent])["id"]
    [message] = ids(alice, f"threads/{thread}/messages")
    where = f"threads/{thread}/messages/{message}/files"
    assert ids(alice, where, order="asc", limit=1) == [first["id"]]
    assert ids(alice, where, after=second["id"]) == [first["id"]]
    found = alice.get(f"{where}/{second['id']}").json()
    assert (found["object"], found["message_id"]) == ("thread.message.file", message)
    assert_error(alice.get(f"{where}/{other['id']}"), 404, param="file_id")
    alice.delete(f"files/{first['id']}")
    assert ids(alice, where) == [second["id"]]
