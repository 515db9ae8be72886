"""Pictures of messages reach models that look at them, whatever the wire format."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from chat.actions.files.manage import create_file, delete_file
from chat.actions.runs.create import create_thread_and_run
from chat.models import File, Run
from chat.runs.prompt import images
from chat.upstream.base import InputMessage, TextPart
from chat.upstream.classify import build_status_error
from chat.upstream.errors import ImagesRefused
from tenants.db import in_db
from tests.chat.at_work import assistant_on, idle, working
from tests.upstream.server import ScriptedServer
from tests.world import World

pytestmark = pytest.mark.usefixtures("stored")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def drawn(world: World, data: bytes = PNG) -> File:
    alice = world.acme.principal("alice")
    return create_file(alice, BytesIO(data), filename="a.png", purpose="vision")


def showing(*files: File) -> dict[str, Any]:
    shown = [
        {"type": "image_file", "image_file": {"file_id": file.pk, "detail": "low"}}
        for file in files
    ]
    content = [{"type": "text", "text": "What is it?"}, *shown]
    return {"messages": [{"role": "user", "content": content}]}


async def asked(
    world: World, upstream: ScriptedServer, patch: pytest.MonkeyPatch, *files: File, wire: str
) -> list[Any]:
    """Ask what these files show; return the parts of the question as the model server got them."""
    upstream.expect(say=("A walnut.",))
    async with working(patch, upstream):
        assistant = await assistant_on(world.acme, wire)
        alice = world.acme.principal("alice")
        thread = showing(*files)
        await in_db(create_thread_and_run, alice, assistant_id=assistant, thread=thread)
        await idle()
    body = upstream.model_requests()[0].body
    [question] = body["input"] if wire == "responses" else body["messages"]
    content: list[Any] = question["content"]
    return content


async def test_a_picture_is_sent_with_the_question_over_responses(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await in_db(drawn, world)
    parts = await asked(world, upstream_server, monkeypatch, file, wire="responses")
    assert parts == [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": URL, "detail": "low"},
    ]


async def test_a_picture_is_sent_with_the_question_over_chat_completions(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await in_db(drawn, world)
    parts = await asked(world, upstream_server, monkeypatch, file, wire="chat")
    assert parts == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
    ]


async def read(world: World, *files: File) -> list[Any]:
    """Return what is made of a question about these files, and of an answer that shows one."""
    parts = tuple(images.build_placeholder(file.pk, "auto") for file in files)
    question = InputMessage(role="user", parts=parts)
    run = Run(tenant=world.acme.tenant, member=world.acme.alice)
    [found] = await images.embed_images(run, [question])
    assert isinstance(found, InputMessage)
    return [part.text if isinstance(part, TextPart) else part.url for part in found.parts]


async def test_a_deleted_picture_is_told_of(world: World) -> None:
    file = await in_db(drawn, world)
    await in_db(delete_file, world.acme.principal("alice"), file.pk)
    assert await read(world, file) == [images.GONE]


async def test_a_colleagues_picture_is_not_there(world: World) -> None:
    adam = world.acme.principal("adam")
    file = await in_db(create_file, adam, BytesIO(PNG), filename="a.png", purpose="vision")
    assert await read(world, file) == [images.GONE]


async def test_what_is_no_picture_by_content_is_not_sent(world: World) -> None:
    file = await in_db(drawn, world)
    await in_db(default_storage.delete, file.storage_key)
    await in_db(default_storage.save, file.storage_key, ContentFile(b"%PDF-1.7 words"))
    assert await read(world, file) == [images.UNREADABLE]


async def test_of_too_many_the_newest_are_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 2 * len(PNG))
    files = [await in_db(drawn, world) for _each in range(3)]
    assert await read(world, *files) == [images.LEFT_OUT, URL, URL]


async def test_pictures_that_an_assistant_showed_stay_here(world: World) -> None:
    file = await in_db(drawn, world)
    words = TextPart(text="Here it is.")
    picture = images.build_placeholder(file.pk, "auto")
    said = InputMessage(role="assistant", parts=(picture, words))
    alone = InputMessage(role="assistant", parts=(picture,))
    run = Run(tenant=world.acme.tenant, member=world.acme.alice)
    found = await images.embed_images(run, [said, alone])
    assert found == (InputMessage(role="assistant", parts=(words,)),)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "Invalid content type. image_url is only supported by certain models."),
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
        (400, "this model does not support image input"),
        (400, "At most 0 image(s) may be provided in one prompt."),
        (500, 'Failed to parse messages: Unsupported content part type: "image_url"'),
        (400, "test-model is not a multimodal model"),
        (400, "You uploaded an unsupported image. Please make sure your image is valid."),
        (500, "Failed to load image or audio file"),
    ],
)
def test_servers_that_cannot_look_are_understood(status: int, words: str) -> None:
    error = build_status_error(status, {"error": {"message": words}}, {})
    assert (type(error), error.retryable) == (ImagesRefused, False)
