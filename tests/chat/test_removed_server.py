"""A model server that was taken out of the settings: no other is asked in its place."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from chat.actions.assistants.manage import update_assistant
from chat.admin.offered_models import test_connection as try_connection
from chat.models import Assistant, ThreadMapping
from tenants.db import in_db
from tests.api.conftest import assert_error, program_of
from tests.chat.test_admin_pages import ASSISTANTS, assistant_data, page_of, save
from tests.chat.test_erasure import deleted_thread, erase, kept
from tests.world import World


@pytest.fixture
def assistant(world: World) -> Assistant:
    """An assistant whose server is no longer set up."""
    with world.acme.scope():
        Assistant.objects.update(upstream="removed", model="its-model")
        found: Assistant = Assistant.objects.get(pk=world.acme.assistant.pk)
        return found


@pytest.mark.parametrize("chosen", [{}, {"model": "its-model"}])
def test_programs_are_told_that_its_model_is_unknown(
    world: World, assistant: Assistant, chosen: dict[str, str]
) -> None:
    program = program_of(world.acme, "alice")
    refused = program.post("threads/runs", assistant_id=assistant.pk, **chosen)
    assert_error(refused, 400, param="model", code="model_not_found")


def test_programs_do_not_find_its_model(world: World, assistant: Assistant) -> None:
    listed = program_of(world.acme, "alice").get("models").json()["data"]
    assert [model["id"] for model in listed] == ["demo-scripted"]


def test_a_program_gives_it_a_model_that_is_there(world: World, assistant: Assistant) -> None:
    adam = program_of(world.acme, "adam")
    adam.made(f"assistants/{assistant.pk}", model="demo-scripted")
    alice = program_of(world.acme, "alice")
    assert alice.made("threads/runs", assistant_id=assistant.pk)["model"] == "demo-scripted"


def test_a_model_of_the_same_name_elsewhere_is_found_when_it_is_named_again(
    world: World, assistant: Assistant
) -> None:
    adam = world.acme.principal("adam")
    with world.acme.scope():
        Assistant.objects.update(model="demo-scripted")
        assert update_assistant(adam, assistant.pk, model="demo-scripted").upstream == ""


@pytest.mark.parametrize("page", ["list", "form"])
def test_admins_see_it_at_the_assistant(world: World, assistant: Assistant, page: str) -> None:
    address = ASSISTANTS if page == "list" else page_of(assistant)
    content = world.acme.client("adam").get(address).content.decode()
    assert "removed (no longer configured)" in content


def test_an_admin_changes_the_rest_of_it(world: World, assistant: Assistant) -> None:
    data = assistant_data(upstream="removed", model="its-model", name="Resting")
    assert save(world.acme.client("adam"), assistant, data).status_code == 302
    with world.acme.scope():
        now = Assistant.objects.get(pk=assistant.pk)
    assert (now.name, now.upstream, now.model) == ("Resting", "removed", "its-model")


def test_the_connection_test_asks_no_other_server() -> None:
    works, sentence = try_connection("removed", "its-model")
    assert not works
    assert sentence == "removed is no longer configured. Choose another model server."


def test_check_upstream_asks_no_other_server(world: World, assistant: Assistant) -> None:
    with pytest.raises(CommandError, match="The model server removed is no longer configured"):
        call_command("check_upstream", "--tenant", world.acme.tenant.slug)


async def test_what_it_kept_of_a_chat_does_not_hold_up_erasure(world: World) -> None:
    thread = await in_db(deleted_thread, world.acme, seconds_ago=1_000_000, copy="conv_1")

    def mapped_there() -> None:
        with world.acme.scope():
            ThreadMapping.objects.update(upstream="removed")

    await in_db(mapped_there)
    await erase()
    assert await in_db(kept, world.acme, thread) == (False, False)
