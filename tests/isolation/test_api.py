"""Every address of the API, with each id it may hold being somebody else's: as for unknown ids.

Addresses, methods and the ids in paths come from the resolver. Ids elsewhere are in RECIPES: a
method without a recipe fails the test, and so does a list that is not walked with cursors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.cache import cache
from django.urls import get_resolver

from tests.api.conftest import Api, program_of
from tests.database import TestDatabase
from tests.isolation.conftest import BOTH, NOTHING_ELSE, SECOND_ALONE
from tests.isolation.rows import PEOPLE, Ids, Rows, blotted, contents, unknown
from tests.isolation.test_routes import routes
from tests.world import World

SLOT = re.compile(r"<(?:\w+:)?(\w+)>")
# Which ids fit into a path, with those of the other slots that belong to them.
FINISHED = {
    "thread_id": "thread",
    "run_id": "run",
    "message_id": "message",
    "file_id": "file",
    "vector_store_id": "store",
    "batch_id": "batch",
    "upload_id": "upload",
}
# The file that is taken out of a store with the store's id asked for is not there afterwards.
SHELF = {**FINISHED, "file_id": "second_file"}
WITH_ASSISTANT = {"assistant_id": "assistant"}
WAITING = {"thread_id": "busy_thread", "run_id": "active_run", "step_id": "step"}
PATHS: dict[str, dict[str, dict[str, str]]] = {
    "thread_id": {"thread": FINISHED, "busy_thread": WAITING, "deleted_thread": WAITING},
    "message_id": {"message": FINISHED, "queued": WAITING},
    "run_id": {"run": FINISHED, "active_run": WAITING},
    "step_id": {"step": WAITING},
    "assistant_id": {"assistant": {"file_id": "second_company_file"}},
    "file_id": {"file": FINISHED, "company_file": WITH_ASSISTANT},
    "vector_store_id": {"store": SHELF},
    "batch_id": {"batch": FINISHED},
    "upload_id": {"upload": FINISHED},
}
# What is no row's id.
GIVEN = {"model": "demo-scripted"}
EMPTY: dict[str, Any] = {}
MESSAGE = {"role": "user", "content": "Hello"}
OUTPUT = [{"tool_call_id": "{own call}", "output": "decline"}]
ASSISTANT, ELSEWHERE = {"assistant_id": "{own assistant}"}, {"assistant_id": "{assistant}"}
THEIR_CALL = {"tool_outputs": [{"tool_call_id": "{call}", "output": "decline"}]}
STORE = "vector_stores/<str:vector_store_id>"
BATCH = f"{STORE}/file_batches/<str:batch_id>"
UPLOAD = "uploads/<str:upload_id>"
TEXT = {"filename": "a.txt", "purpose": "user_data", "mime_type": "text/plain", "bytes": 4}
SHOWN = [{"type": "image_file", "image_file": {"file_id": "{file}"}}]
ATTACHED = [{"file_id": "{file}", "tools": [{"type": "file_search"}]}]
# Bodies by address and method: the first is sound, the others hold an id of another kind.
RECIPES: dict[str, tuple[dict[str, Any], ...]] = {
    "POST assistants": ({"model": "demo-scripted"},),
    "POST assistants/<str:assistant_id>": ({"name": "Mine now"},),
    "POST assistants/<str:assistant_id>/files": (
        {"file_id": "{own company_file}"},
        {"file_id": "{company_file}"},
    ),
    "POST files": (EMPTY,),
    "POST uploads": (TEXT,),
    f"POST {UPLOAD}/parts": (EMPTY,),
    f"POST {UPLOAD}/complete": ({"part_ids": ["{own part}"]}, {"part_ids": ["{part}"]}),
    f"POST {UPLOAD}/cancel": (EMPTY,),
    "POST vector_stores": (EMPTY, {"file_ids": ["{file}"]}),
    f"POST {STORE}": ({"name": "Mine now"},),
    f"POST {STORE}/search": ({"query": "anything"},),
    f"POST {STORE}/files": ({"file_id": "{own file}"}, {"file_id": "{file}"}),
    f"POST {STORE}/files/<str:file_id>": ({"attributes": {"mine": True}},),
    f"POST {STORE}/file_batches": (
        {"file_ids": ["{own file}"]},
        {"files": [{"file_id": "{file}"}]},
    ),
    f"POST {BATCH}/cancel": (EMPTY,),
    "DELETE files/<str:file_id>": (EMPTY,),
    f"DELETE {STORE}": (EMPTY,),
    f"DELETE {STORE}/files/<str:file_id>": (EMPTY,),
    "POST threads": (
        EMPTY,
        {"tool_resources": {"code_interpreter": {"file_ids": ["{file}"]}}},
        {"tool_resources": {"file_search": {"vector_store_ids": ["{store}"]}}},
        {"messages": [{"role": "user", "content": SHOWN}]},
    ),
    "POST threads/runs": (ASSISTANT, ELSEWHERE),
    "POST threads/<str:thread_id>": ({"metadata": {"mine": "now"}},),
    "POST threads/<str:thread_id>/copy": (EMPTY,),
    "POST threads/<str:thread_id>/messages": (MESSAGE, {**MESSAGE, "attachments": ATTACHED}),
    "POST threads/<str:thread_id>/messages/<str:message_id>": ({"metadata": {"mine": "now"}},),
    "POST threads/<str:thread_id>/runs": (ASSISTANT, ELSEWHERE),
    "POST threads/<str:thread_id>/runs/<str:run_id>": ({"metadata": {"mine": "now"}},),
    "POST threads/<str:thread_id>/runs/<str:run_id>/submit_tool_outputs": (
        {"tool_outputs": OUTPUT},
        THEIR_CALL,
    ),
    "POST threads/<str:thread_id>/runs/<str:run_id>/cancel": (EMPTY,),
    "DELETE assistants/<str:assistant_id>": (EMPTY,),
    "DELETE assistants/<str:assistant_id>/files/<str:file_id>": (EMPTY,),
    "DELETE threads/<str:thread_id>": (EMPTY,),
    "DELETE threads/<str:thread_id>/messages/<str:message_id>": (EMPTY,),
}
# The query parameters of lists, with the ids they take.
LISTS: dict[str, dict[str, tuple[str, ...]]] = {
    "assistants": {"after": ("assistant",), "before": ("assistant",)},
    "assistants/<str:assistant_id>/files": {
        "after": ("company_file",),
        "before": ("company_file",),
    },
    "threads": {"after": ("thread", "deleted_thread"), "before": ("thread",)},
    "files": {"after": ("file",)},
    "vector_stores": {"after": ("store",), "before": ("store",)},
    f"{STORE}/files": {"after": ("file",), "before": ("file",)},
    f"{BATCH}/files": {"after": ("file",), "before": ("file",)},
    "threads/<str:thread_id>/messages": {
        "after": ("message", "queued"),
        "before": ("message",),
        "run_id": ("run",),
    },
    "threads/<str:thread_id>/messages/<str:message_id>/files": {
        "after": ("file",),
        "before": ("file",),
    },
    "threads/<str:thread_id>/runs": {"after": ("run",), "before": ("run",)},
    "threads/<str:thread_id>/runs/<str:run_id>/steps": {"after": ("step",), "before": ("step",)},
}


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request; `kind` is the one id in it that is not one's own, "{kind}" where it stands."""

    method: str
    route: str
    path: str
    kind: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)

    def send(self, api: Api, own: Ids, row_id: str) -> Any:
        """Send it with `row_id` in the place of the foreign id."""
        cache.clear()  # so that no rate limit answers in the place of the view
        path, body = (self.filled(text, own, row_id) for text in (self.path, json.dumps(self.body)))
        if self.method == "GET":
            query = {name: self.filled(text, own, row_id) for name, text in self.query.items()}
            return api.get(path, **query)
        return api.delete(path) if self.method == "DELETE" else api.post(path, json.loads(body))

    def filled(self, text: str, own: Ids, row_id: str) -> str:
        """Return `text` with ids in it."""
        text = text.replace(f"{{{self.kind}}}", row_id) if self.kind else text
        return re.sub(r"\{own (\w+)\}", lambda found: own[found[1]], text)


def methods() -> Iterator[tuple[str, str]]:
    """Yield (method, address below /v1) of everything there is."""
    resolver = get_resolver()
    for route in routes():
        if route.startswith("v1/"):
            sample = SLOT.sub(lambda slot: GIVEN.get(slot[1], "x"), route)
            view = resolver.resolve(f"/{sample}").func
            kind = getattr(view, "view_class", None)
            for name in ("get", "post", "delete"):
                if (kind is None and name == "get") or hasattr(kind, name):
                    yield name.upper(), route.removeprefix("v1/")


def asks() -> Iterator[Ask]:
    for method, route in methods():
        bodies = RECIPES[f"{method} {route}"] if method != "GET" else (EMPTY,)
        yield from _in_path(method, route, bodies[0])
        for body in bodies[1:]:
            [kind] = re.findall(r"\{(\w+)\}", json.dumps(body))
            others = {**(WAITING if kind == "call" else FINISHED), **WITH_ASSISTANT}
            yield Ask(method=method, route=route, path=_path(route, others), kind=kind, body=body)
        for name, kinds in LISTS.get(route, {}).items() if method == "GET" else ():
            for kind in kinds:
                others = WAITING if kind in ("step", "queued") else {**FINISHED, **WITH_ASSISTANT}
                query = {name: f"{{{kind}}}"}
                yield Ask(
                    method=method, route=route, path=_path(route, others), kind=kind, query=query
                )


def _in_path(method: str, route: str, body: dict[str, Any]) -> Iterator[Ask]:
    slots = [slot for slot in SLOT.findall(route) if slot not in GIVEN]
    if not slots:
        yield Ask(method=method, route=route, path=_path(route, {}), body=body)
    for slot in slots:
        for kind, others in PATHS[slot].items():
            if set(slots) <= {slot, *others}:
                yield Ask(
                    method=method,
                    route=route,
                    path=_path(route, others, {slot: f"{{{kind}}}"}),
                    kind=kind,
                    body=body,
                )


def _path(route: str, others: dict[str, str], asked: dict[str, str] = EMPTY) -> str:
    def filled(slot: re.Match[str]) -> str:
        name = slot[1]
        return GIVEN.get(name) or asked.get(name) or f"{{own {others[name]}}}"

    return SLOT.sub(filled, route)


# Everybody with both walls up; under one alone, who may most and who is in both companies.
STANDING = pytest.mark.parametrize(
    ("walls", "person"),
    [*((BOTH, person) for person in PEOPLE), (SECOND_ALONE, "pat"), (NOTHING_ELSE, "adam")],
    indirect=True,
)


@pytest.fixture
def person(request: pytest.FixtureRequest) -> str:
    """Whose program asks: a member's, an admin's, and of somebody who is in globex too."""
    return str(request.param)


@pytest.fixture
def api(rows: Rows, person: str) -> Api:
    """A program whose key has been used already: the first time is written down."""
    program = program_of(rows.world.acme, person)
    assert program.get("models").status_code == 200
    return program


def seen(api: Api, ask: Ask, rows: Rows, person: str, row_id: str, *ids: str) -> Any:
    """Return everything of an answer that may be compared; globex's marks must not be in it."""
    response = ask.send(api, rows.of["acme"][person], row_id)
    body = "" if response.streaming else blotted(response.content.decode(), *ids)
    assert rows.world.globex.canary not in body + str(response.headers), ask
    assert response.status_code < 500, ask
    return response.status_code, sorted(response.headers), sorted(response.cookies), body


def test_every_method_that_writes_has_a_recipe() -> None:
    writing = {f"{method} {route}" for method, route in methods() if method != "GET"}
    assert writing == set(RECIPES)


def test_every_list_is_walked_with_cursors(rows: Rows) -> None:
    adam = program_of(rows.world.acme, "adam")
    lists = set()
    for ask in asks():
        if ask.method == "GET" and ask.kind not in ("queued", "deleted_thread") and not ask.query:
            own = rows.of["acme"]["adam"]
            response = ask.send(adam, own, own.get(ask.kind, ""))
            is_json = response.headers["Content-Type"] == "application/json"
            found = response.json() if is_json else {}
            if found.get("object") == "list" and "has_more" in found:
                lists.add(ask.route)
    assert lists == set(LISTS)


@STANDING
def test_ids_of_others_answer_like_unknown_ones(
    rows: Rows, person: str, api: Api, walls: str, database: TestDatabase
) -> None:
    before = contents(database)
    for ask in (ask for ask in asks() if ask.kind):
        missing = unknown(ask.kind)
        # Under one wall alone the other company is what counts; its rows come last.
        others = list(rows.others(person, ask.kind))[0 if walls == BOTH else -1 :]
        assert others, ask
        expected = None
        for other in others:
            theirs = seen(api, ask, rows, person, other, other, missing)
            expected = expected or seen(api, ask, rows, person, missing, other, missing)
            assert theirs == expected, (ask, other)
    assert contents(database) == before


def test_the_recipes_reach_rows_where_the_id_is_ones_own(rows: Rows) -> None:
    adam = program_of(rows.world.acme, "adam")
    own = rows.of["acme"]["adam"]
    order = ["GET", "POST", "DELETE"]

    # What deletes comes last, what is within something before that, and faulty bodies first.
    def late(ask: Ask) -> tuple[int, int, bool]:
        return (
            order.index(ask.method),
            -len(ask.route),
            ask.kind not in ("call", "assistant", "part"),
        )

    for ask in sorted(asks(), key=late):
        if ask.kind and "deleted" not in ask.kind:
            missing = unknown(ask.kind)
            answer = seen(adam, ask, rows, "adam", own[ask.kind], own[ask.kind], missing)
            elsewhere = seen(adam, ask, rows, "adam", missing, own[ask.kind], missing)
            # What waits has no place to begin a page at, and a foreign run has written nothing.
            silent = (ask.kind, *ask.query) in (("queued", "after"), ("run", "run_id"))
            assert (answer != elsewhere) is not silent, ask


@STANDING
def test_lists_show_nothing_of_others(rows: Rows, person: str, api: Api, walls: str) -> None:
    for ask in (ask for ask in asks() if not ask.kind and ask.method == "GET"):
        seen(api, ask, rows, person, "")


def test_a_foreign_id_in_an_address_with_own_ones_changes_nothing(world: World) -> None:
    """A run of one's own, named below another thread of one's own, is not there either."""
    api = program_of(world.acme, "alice")
    elsewhere = api.made("threads", {})["id"]
    run = world.acme.runs["alice"].pk
    for path in (f"runs/{run}", f"runs/{run}/steps", f"runs/{run}/events"):
        assert api.get(f"threads/{elsewhere}/{path}").status_code == 404
    assert api.post(f"threads/{elsewhere}/runs/{run}/cancel", {}).status_code == 404
