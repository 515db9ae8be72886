"""What only the present official client can do, beside the program of all generations."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIError, AssistantEventHandler, AsyncOpenAI, OpenAI
from typing_extensions import override

from tenants.actions import create_api_key
from tests.api.conftest import program_of
from tests.api.streaming import DEPRECATED, names_of, text_of
from tests.model_server import ModelServer
from tests.upstream.script import Answer
from tests.world import World

pytestmark = pytest.mark.filterwarnings(DEPRECATED)
HELLO: Any = {"role": "user", "content": "Hello"}


@pytest.fixture
def client(model: ModelServer, world: World) -> Iterator[OpenAI]:
    """A client with a key of adam's."""
    key = program_of(world.acme, "adam").secret
    with OpenAI(base_url=f"{model.server.url}/v1", api_key=key, max_retries=0) as made:
        yield made


@pytest.fixture
def thread(client: OpenAI) -> str:
    """A thread with a question."""
    return client.beta.threads.create(messages=[HELLO]).id


class Listener(AssistantEventHandler):
    """Notes what the client's own handler is told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    @override
    def on_text_created(self, text: object) -> None:
        self.heard.append("created")

    @override
    def on_text_delta(self, delta: object, snapshot: object) -> None:
        self.heard.append(str(getattr(delta, "value", "")))

    @override
    def on_text_done(self, text: object) -> None:
        self.heard.append(f"done: {getattr(text, 'value', '')}")


def test_its_event_handler_is_told_everything(
    model: ModelServer, client: OpenAI, thread: str
) -> None:
    model.upstream.expect(say=("Hel", "lo"), pace=0.05)
    listener = Listener()
    with client.beta.threads.runs.stream(
        thread_id=thread, assistant_id=model.acme, event_handler=listener
    ) as stream:
        stream.until_done()
    assert listener.heard[0] == "created"
    assert "".join(listener.heard[1:-1]) == "Hello"
    assert listener.heard[-1] == "done: Hello"


def test_its_older_streaming_helper_works(model: ModelServer, client: OpenAI, thread: str) -> None:
    model.upstream.expect(say=("Hello",))
    with client.beta.threads.runs.create_and_stream(
        thread_id=thread, assistant_id=model.acme
    ) as stream:
        assert "".join(stream.text_deltas) == "Hello"


def test_it_streams_without_a_helper(model: ModelServer, client: OpenAI, thread: str) -> None:
    model.upstream.expect(say=("Hel", "lo"))
    events = list(
        client.beta.threads.runs.create(thread_id=thread, assistant_id=model.acme, stream=True)
    )
    assert text_of(events) == "Hello"
    assert names_of(events)[-1] == "thread.run.completed"


def test_it_polls_a_run_that_was_created_before(
    model: ModelServer, client: OpenAI, thread: str
) -> None:
    model.upstream.expect(say=("Hello",))
    run = client.beta.threads.runs.create(thread_id=thread, assistant_id=model.acme)
    assert client.beta.threads.runs.poll(run.id, thread_id=thread).status == "completed"


def test_it_reads_the_headers(client: OpenAI, thread: str) -> None:
    answer = client.beta.threads.with_raw_response.retrieve(thread)
    assert answer.headers["x-request-id"].startswith("req_")
    assert int(answer.headers["x-ratelimit-remaining-requests"]) > 0
    assert answer.parse().id == thread


def test_it_pages_backwards(client: OpenAI, thread: str) -> None:
    messages = client.beta.threads.messages
    ids = [messages.create(thread, role="user", content=str(n)).id for n in range(4)]
    page = messages.list(thread, order="asc", before=ids[3], limit=2)
    assert [message.id for message in page.data] == ids[1:3]
    assert page.has_more


def test_an_error_within_a_stream_is_raised(
    model: ModelServer, client: OpenAI, world: World, thread: str
) -> None:
    model.upstream.expect(say=("Hel", "lo"), stall_after=1)
    with client.beta.threads.runs.stream(thread_id=thread, assistant_id=model.acme) as stream:
        next(iter(stream.text_deltas))
        with world.acme.scope():
            world.acme.people["adam"].disabled_at = world.acme.tenant.created_at
            world.acme.people["adam"].save()
        with pytest.raises(APIError, match="access"):
            stream.until_done()


def test_many_users_of_one_program_stream_at_the_same_time(
    model: ModelServer, world: World
) -> None:
    names = [f"customer-{number}" for number in range(5)]
    for name in names:
        model.upstream.when(f"I am {name}", Answer(say=(f"Hello {name}.",), pace=0.05))
    olga = world.acme.principal("olga")
    scopes = ["read", "write", "act_for_users"]
    key = create_api_key(olga, name="Shop", program="Shop", scopes=scopes)[1]

    async def ask(name: str) -> str:
        headers = {"Atrium-User": name}
        url = f"{model.server.url}/v1"
        async with AsyncOpenAI(base_url=url, api_key=key, default_headers=headers) as client:
            question: Any = {"role": "user", "content": f"I am {name}"}
            async with client.beta.threads.create_and_run_stream(
                assistant_id=model.acme,
                thread={"messages": [question]},
            ) as stream:
                texts = await stream.get_final_messages()
            content = texts[0].content[0]
            assert content.type == "text"
            return content.text.value

    async def ask_all() -> list[str]:
        return await asyncio.gather(*map(ask, names))

    assert asyncio.run(ask_all()) == [f"Hello {name}." for name in names]
