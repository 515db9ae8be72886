"""Every POST is safe to be sent again, as the official clients do by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import models
from django.test import Client
from django.urls import URLPattern
from pytest_django import Settings

from chat.api import urls
from chat.api.vector_stores import SearchView
from chat.models import (
    Assistant,
    File,
    FileBatch,
    IdempotencyRecord,
    Run,
    StorageUse,
    StoreFile,
    Thread,
    Upload,
    UploadPart,
    VectorStore,
)
from tests.api.conftest import Api, assert_error, upload, uploaded
from tests.api.racing import at_once
from tests.api.test_idempotency import begin, counted, named
from tests.api.test_uploads import NEW, begun, send
from tests.world import World

pytestmark = pytest.mark.usefixtures("stored")
# It changes nothing: sent again, it searches again.
UNCHANGING = {SearchView}
COUNTED: tuple[type[models.Model], ...] = (
    *(Assistant, File, FileBatch, Run, StoreFile, Thread, Upload, VectorStore),
)


def posting_views() -> Iterator[Any]:
    """Yield the view of each address below /v1 that takes a POST."""
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        view = getattr(pattern.callback, "view_class", None)
        if view is not None and hasattr(view, "post"):
            yield view


@pytest.mark.parametrize("view", list(posting_views()), ids=lambda view: view.__name__)
def test_every_post_is_guarded(view: Any) -> None:
    guarded = view.post
    if view.guards_itself and view not in UNCHANGING:
        (guarded,) = [value for name, value in vars(view).items() if name.endswith("_once")]
    is_guarded = view.guards_retries and hasattr(guarded, "__wrapped__")
    assert is_guarded == (view not in UNCHANGING)


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the requests of these tests speak of."""

    world: World
    assistant: str
    thread: str
    file: str
    store: str
    upload: str
    part: str
    batch: str
    run: str


@pytest.fixture
def place(adam: Api, world: World) -> Place:
    """Something of everything, of the company's admin."""
    file, other = (uploaded(adam, b"words", name)["id"] for name in ("a.txt", "b.txt"))
    store = adam.made("vector_stores")["id"]
    batch = adam.made(f"vector_stores/{store}/file_batches", file_ids=[other])["id"]
    upload_id, [part] = begun(adam, b"words")
    run = begin(adam, world).json()
    assistant = adam.made("assistants", model="demo-scripted")["id"]
    return Place(
        world=world,
        assistant=assistant,
        thread=run["thread_id"],
        file=file,
        store=store,
        upload=upload_id,
        part=part,
        batch=batch,
        run=run["id"],
    )


Request = Callable[[Api, Place], Any]


def post(path: str, **body: Any) -> Request:
    """Return a request; {names} of `Place` are filled in."""

    def filled(value: Any, place: Place) -> Any:
        if isinstance(value, str):
            return value.format_map(vars(place))
        return [filled(item, place) for item in value] if isinstance(value, list) else value

    return lambda api, place: api.post(
        filled(path, place), {name: filled(value, place) for name, value in body.items()}
    )


REQUESTS: dict[str, Request] = {
    "assistants": post("assistants", model="demo-scripted", name="New"),
    "assistant": post("assistants/{assistant}", name="Changed"),
    "thread": post("threads"),
    "thread change": post("threads/{thread}", metadata={"a": "b"}),
    "thread copy": post("threads/{thread}/copy"),
    "thread and run": post("threads/runs", assistant_id="{assistant}"),
    "run change": post("threads/{thread}/runs/{run}", metadata={"a": "b"}),
    "run cancel": post("threads/{thread}/runs/{run}/cancel"),
    "file": lambda api, _place: upload(api, b"new words", "new.txt"),
    "store": post("vector_stores", name="New", file_ids=["{file}"]),
    "store change": post("vector_stores/{store}", name="Changed"),
    "store file": post("vector_stores/{store}/files", file_id="{file}"),
    "batch": post("vector_stores/{store}/file_batches", file_ids=["{file}"]),
    "batch cancel": post("vector_stores/{store}/file_batches/{batch}/cancel"),
    "upload": post("uploads", **NEW, bytes=7),
    "upload complete": post("uploads/{upload}/complete", part_ids=["{part}"]),
    "upload cancel": post("uploads/{upload}/cancel"),
}


def amounts(world: World) -> dict[str, int]:
    """Return how many rows of each kind the company has, and its stored bytes."""
    with world.acme.scope():
        found = {model.__name__: model._default_manager.count() for model in COUNTED}
        # Files and parts that nobody kept are removed in the background.
        found["File"] = File.objects.filter(stored_at__isnull=False).count()
        found["UploadPart"] = UploadPart.objects.filter(stored_at__isnull=False).count()
        found["bytes"] = StorageUse.objects.values_list("bytes", flat=True).first() or 0
    return found


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_sent_again_is_done_once(adam: Api, place: Place, name: str) -> None:
    request = REQUESTS[name]
    first = request(counted(adam, 0), place)
    assert first.status_code == 200, first.content
    after = amounts(place.world)
    again = request(counted(adam, 1), place)
    assert (again.status_code, again.json()) == (200, first.json())
    assert amounts(place.world) == after


@pytest.mark.parametrize("name", REQUESTS)
def test_a_retry_that_meets_its_original_is_the_same(adam: Api, place: Place, name: str) -> None:
    request = REQUESTS[name]
    attempts = iter([1, 2, 3, 4])

    def attempt() -> Any:
        # Both before either is committed, and however they overtake each other.
        return request(counted(Api(secret=adam.secret, client=Client()), next(attempts)), place)

    answers = at_once(4, attempt)
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.json() == answers[0].json() for answer in answers)


@pytest.mark.parametrize("name", ["thread", "file", "store", "assistants", "upload"])
def test_the_same_again_on_purpose_is_something_new(adam: Api, place: Place, name: str) -> None:
    first = REQUESTS[name](counted(adam, 0), place).json()
    assert REQUESTS[name](counted(adam, 0), place).json()["id"] != first["id"]


@pytest.mark.parametrize(
    "form",
    [
        {"data": b"others"},
        {"name": "b.txt"},
        {"purpose": "user_data"},
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
    ],
)
def test_another_form_is_another_upload(adam: Api, form: dict[str, Any]) -> None:
    first = upload(counted(adam, 0), b"words").json()
    second = upload(counted(adam, 1), **{"data": b"words", **form}).json()
    assert second["id"] != first["id"]


def test_a_part_is_kept_once(adam: Api, world: World) -> None:
    made = adam.made("uploads", {**NEW, "bytes": 5})["id"]
    first = send(counted(adam, 0), made, b"words")
    after = amounts(world)
    # All announced bytes are there: as something new it would be refused.
    again = send(counted(adam, 1), made, b"words")
    assert again.json() == first.json()
    assert amounts(world) == after
    adam.made(f"uploads/{made}/complete", part_ids=[first.json()["id"]])
    assert send(counted(adam, 2), made, b"words").json() == first.json()
    assert_error(send(counted(adam, 0), made, b"words"), 400, code="upload_ended")


def test_an_upload_that_took_the_last_room_is_answered_again(adam: Api, settings: Settings) -> None:
    settings.CHAT = {**settings.CHAT, "STORAGE_BYTES": 1500}
    first = upload(counted(adam, 0), b"w" * 1000)
    assert upload(counted(adam, 1), b"w" * 1000).json() == first.json()
    assert upload(counted(adam, 0), b"w" * 1000).status_code != 200


def test_a_key_answers_an_upload_that_took_the_last_room(adam: Api, settings: Settings) -> None:
    settings.CHAT = {**settings.CHAT, "STORAGE_BYTES": 1500}
    first = upload(named(adam), b"w" * 1000)
    assert upload(named(adam), b"w" * 1000).json() == first.json()


@pytest.mark.parametrize("body", [b"no form", b""])
def test_a_refused_form_is_an_error_as_ever(adam: Api, body: bytes) -> None:
    answer = counted(adam, 0).post("files", body)
    assert answer.status_code in (400, 415)
    assert set(answer.json()) == {"error"}


def test_what_was_answered_goes_with_its_file_and_store(adam: Api, world: World) -> None:
    file = upload(named(adam, "one"), b"words").json()["id"]
    store = named(adam, "two").made("vector_stores", name="Secret")["id"]
    adam.delete(f"files/{file}")
    adam.delete(f"vector_stores/{store}")
    with world.acme.scope():
        assert not IdempotencyRecord.objects.exists()
