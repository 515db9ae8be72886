"""The code interpreter: one session for each thread, whose state goes from process to process."""

from __future__ import annotations

import pytest
from django.conf import settings

from tests.chat.coding import coding, compute, other_process, result, told
from tests.sandbox.opened import working_bubblewrap
from tests.world import World


@pytest.fixture(params=["monty", "bubblewrap"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each sandbox in turn is the one that runs code here."""
    if request.param == "bubblewrap":
        environment = working_bubblewrap().environment
        monkeypatch.setitem(settings.CHAT, "CODE_ENVIRONMENT", environment)
    monkeypatch.setitem(settings.CHAT, "CODE_SANDBOX", request.param)
    return str(request.param)


@pytest.fixture
def monty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code runs in the sandbox that is there everywhere."""
    monkeypatch.setitem(settings.CHAT, "CODE_SANDBOX", "monty")


async def test_variables_and_files_are_there_for_the_next_code(world: World, backend: str) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "total = 41\nopen('a.txt', 'w').write('one')")
        found = await result(world.acme, run, "print(open('a.txt').read())\ntotal + 1")
    assert (found["logs"], found["value"]) == ("one\n", "42")


async def test_another_process_goes_on_and_the_first_one_notices(
    world: World, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "numbers = [1]\nopen('a.txt', 'w').write('one')")
        async with other_process(monkeypatch):
            await compute(world.acme, run, "numbers.append(2)")
        found = await result(world.acme, run, "numbers.append(3)\n(numbers, open('a.txt').read())")
    assert found["value"] == "([1, 2, 3], 'one')"


async def test_calls_of_one_round_run_one_after_another(world: World, monty: None) -> None:
    async with coding(world.acme) as run:
        await compute(world.acme, run, "numbers = []")
        rows = await compute(world.acme, run, *(f"numbers.append({n})\nnumbers" for n in range(4)))
    assert [len(told(row)["value"]) for row in rows] == [3, 6, 9, 12]
