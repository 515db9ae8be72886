"""What goes to the model when a thread, or what tools told, is longer than its prompt may be."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from chat.models import Message, Run, RunStep, Thread, ToolCall
from chat.runs.prompt.build import CUT_NOTE, OUTPUT_REMOVED, Prompt, build_prompt
from chat.runs.prompt.history import History
from chat.runs.state import transactions
from chat.upstream.base import FunctionOutput, InputMessage, TextPart
from tests.chat.at_work import assistant_on, idle, say, working
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import Company, World

BUDGET = 1000  # tokens: 4,000 characters


@pytest.fixture(autouse=True)
def _small_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.CHAT, "PROMPT_TOKENS", BUDGET)


class Talk:
    """A thread of alice's that grows, without anybody executing its runs."""

    def __init__(self, company: Company) -> None:
        self.company = company
        with company.scope():
            self.thread = Thread.objects.create(member=company.people["alice"])

    def say(self, text: str, run: Run | None = None) -> None:
        """Add a message: of the run where there is one, else alice's."""
        with self.company.scope():
            self.thread.last_position += 1
            Message.objects.create(
                thread=self.thread,
                position=self.thread.last_position,
                role="assistant" if run else "user",
                run_ref=run.pk if run else "",
                content=[{"type": "text", "text": {"value": text, "annotations": []}}],
            )

    def run(self, *rounds: list[str], status: str = "completed") -> Run:
        """Add a run whose tools told these outputs, round by round."""
        with self.company.scope():
            run: Run = Run.objects.create(
                thread=self.thread,
                member=self.company.people["alice"],
                assistant_ref="asst_x",
                status=status,
                model="m",
                rounds=len(rounds),
                through_position=self.thread.last_position,
                expires_at=timezone.now(),
            )
            for number, outputs in enumerate(rounds):
                step = RunStep.objects.create(run=run, index=number, type="tool_calls")
                for index, output in enumerate(outputs):
                    place: dict[str, Any] = {"round": number, "index": index}
                    ToolCall.objects.create(
                        run=run, step=step, name="t", status="completed", output=output, **place
                    )
        return run

    def prompt(self, run: Run) -> Prompt:
        """Return the prompt of the run's next round."""
        with self.company.scope():
            return build_prompt(History.of(run))


def outputs(prompt: Prompt) -> list[str]:
    return [item.output for item in prompt.items if isinstance(item, FunctionOutput)]


def texts(prompt: Prompt) -> list[str]:
    messages = [item for item in prompt.items if isinstance(item, InputMessage)]
    return [
        part.text for message in messages for part in message.parts if isinstance(part, TextPart)
    ]


@pytest.fixture
def talk(world: World) -> Talk:
    """An empty thread."""
    return Talk(world.acme)


def test_the_oldest_outputs_of_a_run_give_way_and_the_newest_is_cut(talk: Talk) -> None:
    talk.say("Question?")
    run = talk.run(["a" * 3000], ["b" * 9000], status="in_progress")
    prompt = talk.prompt(run)
    first, second = outputs(prompt)
    assert first == OUTPUT_REMOVED
    assert second.startswith("bbb")
    assert second.endswith(CUT_NOTE)
    assert prompt.tokens <= BUDGET


def test_the_question_stays_beside_what_tools_told(talk: Talk) -> None:
    talk.say("The first thing I said.")
    talk.say("Q" * 2000)
    run = talk.run(["a" * 9000, "b" * 9000], status="in_progress")
    prompt = talk.prompt(run)
    assert "Q" * 2000 in texts(prompt)
    assert prompt.tokens <= BUDGET


def test_outputs_of_earlier_runs_give_way_before_what_was_said(talk: Talk) -> None:
    talk.say("My name is Ada.")
    run = talk.run(["a" * 3000])
    talk.say("Hello Ada.", run)
    talk.say("Q" * 1600)
    prompt = talk.prompt(talk.run(status="in_progress"))
    assert texts(prompt) == ["My name is Ada.", "Hello Ada.", "Q" * 1600]
    assert outputs(prompt) == [OUTPUT_REMOVED]
    assert (prompt.dropped, prompt.tokens <= BUDGET) == (False, True)


def test_what_fits_is_told_as_it_was(talk: Talk) -> None:
    talk.say("Question?")
    run = talk.run(["a" * 300], ["b" * 900], status="in_progress")
    assert outputs(talk.prompt(run)) == ["a" * 300, "b" * 900]


def test_the_first_message_does_not_take_the_place_of_the_newest(talk: Talk) -> None:
    talk.say("F" * 2000)
    talk.say("lost" * 900)
    talk.say("Q" * 2400)
    prompt = talk.prompt(talk.run(["a" * 400], status="in_progress"))
    assert texts(prompt) == ["Q" * 2400]


async def test_what_a_process_remembers_of_its_rounds_is_what_another_would_read(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[tuple[Prompt, Prompt]] = []

    def built(history: History, **given: Any) -> Prompt:
        prompts.append(
            (build_prompt(history, **given), build_prompt(History.of(history.run), **given))
        )
        return prompts[-1][0]

    monkeypatch.setattr(transactions, "build_prompt", built)
    looking = Answer(say=("Looking. ",), calls=(Call(name="get_order"), Call(name="nothing")))
    for answer in (looking, Answer(calls=looking.calls[:1]), Answer(say=("There.",))):
        upstream_server.expect(answer)
    async with working(monkeypatch, upstream_server):
        await say(world.acme, assistant=await assistant_on(world.acme, "responses"))
        await idle()
    assert [remembered for remembered, _read in prompts] == [read for _remembered, read in prompts]
    assert [len(remembered.items) for remembered, _read in prompts] == [1, 6, 8]
