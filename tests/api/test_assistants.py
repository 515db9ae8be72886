"""Assistants over the API."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from chat.models import Assistant
from tests.api.conftest import Api, assert_error
from tests.api.published import assert_published
from tests.world import World

MODEL = "demo-scripted"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
        "strict": False,
    },
}
FORM = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
}
FULL: dict[str, Any] = {
    "model": MODEL,
    "name": "Tutor ",
    "description": "Explains",
    "instructions": "  Be brief.\n",
    "reasoning_effort": "low",
    "tools": [WEATHER, {"type": "code_interpreter"}, {"type": "file_search"}],
    "tool_resources": {"code_interpreter": {"file_ids": []}},
    "metadata": {"team": "a"},
    "temperature": 0.5,
    "top_p": 0.25,
    "response_format": FORM,
}


def test_a_created_assistant_is_as_it_was_asked_for(adam: Api) -> None:
    made = assert_published(adam.made("assistants", FULL))
    assert {name: made[name] for name in FULL} == FULL
    assert adam.get(f"assistants/{made['id']}").json() == made


def test_a_model_is_enough_and_everything_else_has_its_default(adam: Api) -> None:
    made = assert_published(adam.made("assistants", model=MODEL))
    empty = ("name", "description", "instructions", "reasoning_effort")
    assert {made[name] for name in empty} == {None}
    assert (made["tools"], made["metadata"], made["tool_resources"]) == ([], {}, {})
    assert (made["temperature"], made["top_p"], made["response_format"]) == (1.0, 1.0, "auto")


def test_it_is_not_offered_in_the_page_before_an_admin_says_so(world: World, adam: Api) -> None:
    made = adam.made("assistants", model=MODEL)
    assert not made["atrium"]["in_page"]
    shown = world.acme.client("alice").get("/page/assistants").json()
    assert made["id"] not in str(shown)


def test_only_what_is_named_changes(adam: Api) -> None:
    made = adam.made("assistants", FULL)
    changed = adam.made(f"assistants/{made['id']}", name="Other", metadata={"k": "v"})
    assert changed == {
        **made,
        "name": "Other",
        "metadata": {"k": "v"},
        "atrium": {**made["atrium"], "name": "Other"},
    }


def test_null_takes_a_setting_back(adam: Api) -> None:
    made = adam.made("assistants", FULL)
    nullable = [name for name in FULL if name not in ("model", "tools")]
    changed = adam.made(f"assistants/{made['id']}", dict.fromkeys(nullable))
    plain = adam.made("assistants", model=MODEL, tools=FULL["tools"])
    assert {name: changed[name] for name in FULL} == {name: plain[name] for name in FULL}


def test_no_change_is_no_fault(adam: Api) -> None:
    made = adam.made("assistants", FULL)
    assert adam.made(f"assistants/{made['id']}", {}) == made


def test_a_deleted_assistant_is_gone(adam: Api) -> None:
    made = adam.made("assistants", model=MODEL)
    answer = assert_published(adam.delete(f"assistants/{made['id']}").json())
    assert answer == {"id": made["id"], "object": "assistant.deleted", "deleted": True}
    for gone in (adam.get, adam.post, adam.delete):
        message = assert_error(gone(f"assistants/{made['id']}"), 404, param="assistant_id")
        assert message == f"No assistant found with id '{made['id']}'."


def test_members_use_what_is_enabled_and_change_nothing(alice: Api, adam: Api) -> None:
    made = adam.made("assistants", model=MODEL)
    path = f"assistants/{made['id']}"
    assert alice.get(path).json() == made
    for refused in (alice.post(path, name="x"), alice.delete(path), alice.post("assistants", FULL)):
        assert_error(refused, 403, code="permission_denied")


def test_members_do_not_see_what_is_switched_off(world: World, alice: Api, adam: Api) -> None:
    made = adam.made("assistants", model=MODEL)
    with world.acme.scope():
        Assistant.objects.filter(pk=made["id"]).update(enabled=False)
    assert_error(alice.get(f"assistants/{made['id']}"), 404, param="assistant_id")
    assert [item["id"] for item in alice.get("assistants").json()["data"]] == [
        world.acme.assistant.pk
    ]
    assert adam.get(f"assistants/{made['id']}").status_code == 200


def test_a_registered_tool_is_kept_by_name_and_a_programs_own_as_defined(adam: Api) -> None:
    theirs = {"type": "function", "function": {"name": "get_order", "description": "Mine"}}
    made = adam.made("assistants", model=MODEL, tools=[theirs, WEATHER])
    assert made["tools"] == [{"type": "function", "function": {"name": "get_order"}}, WEATHER]


def test_limits_hold_to_the_last_character(adam: Api) -> None:
    made = adam.made(
        "assistants",
        model=MODEL,
        name="n" * 256,
        description="d" * 512,
        instructions="i" * 256_000,
        metadata={str(number).rjust(64): "v" * 512 for number in range(16)},
        tools=[function(f"f{number}") for number in range(128)],
        temperature=2,
        top_p=0,
    )
    assert (len(made["tools"]), len(made["metadata"]), made["temperature"]) == (128, 16, 2)


def function(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


SEARCH = "file_search"
OWN_SCHEMA = {"$ref": "https://elsewhere.example/schema"}
STORES = "tool_resources.file_search.vector_stores[0]"
BAD: list[tuple[str, Any, str, int, str | None]] = [
    ("model", None, "model", 400, "invalid_type"),
    ("model", 7, "model", 400, "invalid_type"),
    ("model", "gpt-9", "model", 400, "model_not_found"),
    ("model", "", "model", 400, "invalid_value"),
    ("model", "m" * 257, "model", 400, "invalid_value"),
    ("name", "n" * 257, "name", 400, "invalid_value"),
    ("name", 1, "name", 400, "invalid_type"),
    ("name", True, "name", 400, "invalid_type"),
    ("description", "d" * 513, "description", 400, "invalid_value"),
    ("instructions", "i" * 256_001, "instructions", 400, "invalid_value"),
    ("temperature", 2.01, "temperature", 400, "invalid_value"),
    ("temperature", -0.01, "temperature", 400, "invalid_value"),
    ("temperature", "0.5", "temperature", 400, "invalid_type"),
    ("temperature", True, "temperature", 400, "invalid_type"),
    ("top_p", 1.01, "top_p", 400, "invalid_value"),
    ("reasoning_effort", "extreme", "reasoning_effort", 400, "invalid_value"),
    ("response_format", {"type": "xml"}, "response_format.type", 400, "invalid_value"),
    ("response_format", "text", "response_format", 400, "invalid_type"),
    ("response_format", {"type": "json_schema"}, "response_format.json_schema", 400,
     "invalid_type"),
    ("metadata", {str(n): "v" for n in range(17)}, "metadata", 400, "invalid_value"),
    ("metadata", {"k" * 65: "v"}, "metadata", 400, "invalid_value"),
    ("metadata", {"k": "v" * 513}, "metadata.k", 400, "invalid_value"),
    ("metadata", {"k": 1}, "metadata.k", 400, "invalid_type"),
    ("metadata", [], "metadata", 400, "invalid_type"),
    ("tools", None, "tools", 400, "invalid_type"),
    ("tools", "function", "tools", 400, "invalid_type"),
    ("tools", [function(f"f{n}") for n in range(129)], "tools", 400, "invalid_value"),
    ("tools", [function("f", parameters={"description": "d" * 65_537})],
     "tools[0].function.parameters", 400, "invalid_value"),
    ("tools", [function(f"f{n}", description="d" * 16_000) for n in range(17)], "tools", 400,
     "invalid_value"),
    ("tools", [{"type": "web"}], "tools[0].type", 400, "invalid_value"),
    ("tools", [{}], "tools[0].type", 400, "invalid_value"),
    ("tools", [7], "tools[0]", 400, "invalid_type"),
    ("tools", [{"type": "function"}], "tools[0].function", 400, "invalid_type"),
    ("tools", [function("a b")], "tools[0].function.name", 400, "invalid_value"),
    ("tools", [function("f" * 65)], "tools[0].function.name", 400, "invalid_value"),
    ("tools", [function("f"), function("f")], "tools[1]", 400, "invalid_value"),
    ("tools", [function("f", x=1)], "tools[0].function", 400, "unknown_parameter"),
    ("tools", [function("f", strict="yes")], "tools[0].function.strict", 400, "invalid_value"),
    ("tools", [function("f", parameters=[])], "tools[0].function.parameters", 400, "invalid_type"),
    ("tools", [function("f", parameters={"type": 7})], "tools[0].function.parameters", 400,
     "invalid_value"),
    ("tools", [function("f", parameters={"type": "string"})], "tools[0].function.parameters", 400,
     "invalid_value"),
    ("tools", [function("f", parameters={"pattern": "(" * 20_000 + ")" * 20_000})],
     "tools[0].function.parameters", 400, "invalid_value"),
    ("tools", [function("f", parameters={"pattern": "a{99999999999999999999}"})],
     "tools[0].function.parameters", 400, "invalid_value"),
    ("tools", [function("f", parameters={"anyOf": [{}] * 5_000})], "tools", 400, "invalid_value"),
    ("tools", [function("f", parameters={"properties": {"a": OWN_SCHEMA}})],
     "tools[0].function.parameters", 400, "invalid_value"),
    ("tools", [{"type": SEARCH, SEARCH: {"max_num_results": 51}}],
     "tools[0].file_search.max_num_results", 400, "invalid_value"),
    ("tools", [{"type": SEARCH, SEARCH: {"ranking_options": {}}}],
     "tools[0].file_search.ranking_options.score_threshold", 400, "missing_required_parameter"),
    ("tools", [{"type": SEARCH, "function": {"name": "f"}}], "tools[0].function", 400,
     "invalid_value"),
    ("tool_resources", {"code_interpreter": {"file_ids": ["file-abc"]}},
     "tool_resources.code_interpreter.file_ids[0]", 404, None),
    ("tool_resources", {"code_interpreter": {"file_ids": ["vs_abc"]}},
     "tool_resources.code_interpreter.file_ids[0]", 400, "invalid_value"),
    ("tool_resources", {SEARCH: {"vector_store_ids": ["vs_abc"]}},
     "tool_resources.file_search.vector_store_ids[0]", 404, None),
    ("tool_resources", {SEARCH: {"vector_store_ids": ["vs_a", "vs_b"]}},
     "tool_resources.file_search.vector_store_ids", 400, "invalid_value"),
    ("tool_resources", {SEARCH: {"vector_stores": [{"file_ids": ["file-abc"]}]}},
     f"{STORES}.file_ids[0]", 404, None),
    ("tool_resources", {SEARCH: {"vector_stores": [{}], "vector_store_ids": ["vs_a"]}},
     "tool_resources.file_search.vector_stores", 400, "invalid_value"),
    ("tool_resources", {SEARCH: {"vector_stores": [{"chunking_strategy": {"type": "x"}}]}},
     f"{STORES}.chunking_strategy.type", 400, "invalid_value"),
    ("tool_resources", {"web": {}}, "tool_resources", 400, "unknown_parameter"),
    ("colour", "blue", "colour", 400, "unknown_parameter"),
    ("in_page", True, "in_page", 400, "unknown_parameter"),
    ("upstream", "demo", "upstream", 400, "unknown_parameter"),
]  # fmt: skip


def test_what_cannot_work_is_refused_by_name(world: World, adam: Api) -> None:
    path = f"assistants/{world.acme.assistant.pk}"
    for field, value, param, status, code in BAD:
        for answer in (adam.post("assistants", {"model": MODEL, field: value}),
                       adam.post(path, {field: value})):  # fmt: skip
            assert_error(answer, status, param=param, code=code)
    with world.acme.scope():
        assert Assistant.objects.get().name == world.acme.assistant.name


def test_unknown_fields_and_missing_ones_are_named(adam: Api) -> None:
    answer = adam.post("assistants", model=MODEL, colour="blue")
    message = assert_error(answer, 400, param="colour", code="unknown_parameter")
    assert message == "Unknown parameter: 'colour'."
    message = assert_error(
        adam.post("assistants", {}), 400, param="model", code="missing_required_parameter"
    )
    assert message == "Missing required parameter: 'model'."


def test_an_id_of_another_kind_is_told_apart_from_an_unknown_one(adam: Api) -> None:
    for wrong in ("thread_abc", "x", "ASST_" + "a" * 24):
        answer = adam.get(f"assistants/{wrong}")
        message = assert_error(answer, 400, param="assistant_id", code="invalid_value")
        assert message.endswith("Expected an ID that begins with 'asst'.")
    for unknown in ("asst_", "asst_abc", "asst_" + "a" * 24, "asst_%00" + "a" * 23):
        assert_error(adam.get(f"assistants/{unknown}"), 404, param="assistant_id")


def test_a_model_of_the_operators_list_may_be_named(
    adam: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = {**settings.UPSTREAMS["demo"], "MODELS": ["other-model"]}
    monkeypatch.setitem(settings.CHAT["UPSTREAMS"], "demo", server)
    made = adam.made("assistants", model="other-model")
    assert adam.get("models/other-model").json()["owned_by"] == "demo"
    assert made["model"] == "other-model"


def test_the_older_spelling_is_understood_and_spoken(adam: Api) -> None:
    adam.headers = {"OpenAI-Beta": "assistants=v1"}
    made = adam.made("assistants", model=MODEL, tools=[{"type": "retrieval"}], file_ids=[])
    assert (made["tools"], made["file_ids"]) == ([{"type": "retrieval"}], [])
    listed = adam.get("assistants").json()["data"]
    assert made in listed
    retrieval = [{"type": "retrieval"}]
    answer = adam.post("assistants", model=MODEL, tools=retrieval, file_ids=["file-abc"])
    assert "file-abc" in assert_error(answer, 404, param=f"{STORES}.file_ids[0]")


def test_the_header_is_asked_for(adam: Api) -> None:
    for headers in ({}, {"OpenAI-Beta": "assistants=v3"}, {"OpenAI-Beta": "realtime=v1"}):
        adam.headers = headers
        message = assert_error(adam.get("assistants"), 400, code="invalid_beta")
        assert message.startswith("You must provide the 'OpenAI-Beta' header")
    adam.headers = {"OpenAI-Beta": "realtime=v1, assistants=v2"}
    assert adam.get("assistants").status_code == 200


def test_the_page_cannot_send_to_an_assistant_for_programs_alone(world: World, adam: Api) -> None:
    body = {
        "thread": None,
        "assistant": adam.made("assistants", model=MODEL)["id"],
        "content": "Hi",
        "client_id": "c",
    }
    page = world.acme.client("alice")
    answer = page.post("/page/messages", body, content_type="application/json")
    assert answer.json()["error"]["code"] == "assistant_disabled"
