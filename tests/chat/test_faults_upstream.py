"""What goes wrong at a model server, told by the run: status, reason, code, words, usage."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from chat import wire
from tests.chat.at_work import (
    BACKENDS,
    Stored,
    Told,
    assistant_on,
    idle,
    lose_patience,
    say,
    stored,
    working,
)
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import World

OK = Answer(say=("All ", "is ", "well."))
HTML: dict[str, Any] = {"body": "<html>Bad gateway</html>", "content_type": "text/html"}
SOON = format_datetime(datetime.now(UTC) - timedelta(seconds=5), usegmt=True)
LETTERS = ("Grüße ", "an 👩‍🚀 ", "alle ", "drei.")


def error(code: str, message: str = "m") -> str:
    return f'{{"error": {{"code": "{code}", "message": "{message}"}}}}'


def waiting(name: str, value: str) -> Answer:
    return Answer(status=429, headers={name: value}, body="{}")


TRANSIENT: dict[str, list[Answer]] = {
    "429": [Answer(status=429, body="{}")],
    "429, seconds": [waiting("Retry-After", "0")],
    "429, parts of a second": [waiting("Retry-After", "0.01")],
    "429, milliseconds": [waiting("retry-after-ms", "5")],
    "429, a date": [waiting("Retry-After", SOON)],
    "429, unreadable": [waiting("Retry-After", "soon")],
    "429, negative": [waiting("Retry-After", "-3")],
    "408": [Answer(status=408)],
    "500, a page": [Answer(status=500, **HTML)],
    "502, a page": [Answer(status=502, **HTML)],
    "503": [Answer(status=503)],
    "529": [Answer(status=529, body=error("overloaded_error"))],
    "reset": [Answer(reset=True)],
    "empty": [Answer(malformed="")],
    "a page": [Answer(**HTML)],
    "not events": [Answer(malformed="hello\n\n")],
    "not JSON": [Answer(say=("x",), broken_after=0)],
    "nothing but a beginning": [Answer(final=False)],
    "error event": [Answer(error={"code": "server_error", "message": "m"})],
    "rate limit event": [Answer(error={"code": "rate_limit_exceeded", "message": "m"})],
    "three in a row": [Answer(status=429), Answer(reset=True), Answer(status=503)],
    "three of a kind each": [Answer(status=429), Answer(malformed=""), Answer(status=503)],
}


async def answered(
    world: World, upstream: ScriptedServer, told: Told, wire_format: str, answers: list[Answer]
) -> Stored:
    """Ask a model server that answers so, and return how the run ended."""
    for answer in answers:
        upstream.expect(answer)
    sent = await say(world.acme, assistant=await assistant_on(world.acme, wire_format))
    assert sent.run is not None
    await see_silences(upstream, told, answers)
    await idle()
    return await stored(world.acme, sent.run.pk)


async def see_silences(upstream: ScriptedServer, told: Told, answers: list[Answer]) -> None:
    """Let each of these answers be waited for in vain that goes silent, and cut one be read."""
    said = ""
    for number, answer in enumerate(answers, 1):
        if answer.stall or answer.stall_after:
            await asyncio.to_thread(upstream.wait_for_requests, number)
            said += "".join(answer.say[: answer.stall_after])
            await told.until_said(said)
            lose_patience()
        elif answer.reset_after:
            await told.until("text")
            upstream.model_requests()[number - 1].read.set()


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The answers, and how the run ends with them."""

    answers: list[Answer]
    status: str = "failed"
    reason: str
    code: str | None = "server_error"
    texts: tuple[tuple[str, str], ...] = ()


def over_both(cases: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Parametrize by case and wire format; a refusal by HTTP has no format, so one does."""
    found = []
    for number, (name, case) in enumerate(cases.items()):
        answers = case.answers if isinstance(case, Ends) else case
        by_http = any(answer.status != 200 or answer.reset or answer.stall for answer in answers)
        formats = [list(BACKENDS)[number % 2]] if by_http else list(BACKENDS)
        found += [pytest.param(case, format_, id=f"{name}, {format_}") for format_ in formats]
    return pytest.mark.parametrize(("case", "format_"), found)


PLAIN = [
    "thread.message.created",
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "text",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
]


@over_both(TRANSIENT)
async def test_a_passing_fault_is_invisible(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    case: list[Answer],
    format_: str,
) -> None:
    async with working(monkeypatch, upstream_server) as told:
        one = await answered(world, upstream_server, told, format_, [*case, OK])
    assert told.of(one.run.pk) == PLAIN
    assert one.answers == [("completed", "All is well.")]
    assert (one.attempts("failed"), one.attempts("used")) == (len(case), 1)
    assert one.spent("used") == [one.run.prompt_tokens, one.run.completion_tokens] == [11, 7]


CUT = Answer(say=LETTERS, stall_after=2)


def twice(answer: Answer) -> list[Answer]:
    return [answer, answer]


ENDS: dict[str, Ends] = {
    "429 for ever": Ends(
        answers=[Answer(status=429)] * 5, reason="upstream_rate_limited", code="rate_limit_exceeded"
    ),
    "429 for an hour": Ends(
        answers=[waiting("Retry-After", "3600")],
        reason="upstream_rate_limited",
        code="rate_limit_exceeded",
    ),
    "quota": Ends(
        answers=[Answer(status=429, body=error("insufficient_quota"))], reason="upstream_refused"
    ),
    "503 for ever": Ends(answers=[Answer(status=503)] * 5, reason="upstream_unavailable"),
    "resets for ever": Ends(answers=[Answer(reset=True)] * 5, reason="upstream_unavailable"),
    "400": Ends(answers=[Answer(status=400, body=error("bad"))], reason="upstream_refused"),
    "401": Ends(answers=[Answer(status=401)], reason="upstream_refused"),
    "403": Ends(answers=[Answer(status=403)], reason="upstream_refused"),
    "404": Ends(answers=[Answer(status=404)], reason="upstream_refused"),
    "redirect": Ends(
        answers=[Answer(status=302, headers={"Location": "/x"})], reason="upstream_refused"
    ),
    "context too long": Ends(
        answers=[Answer(status=400, body=error("context_length_exceeded"))],
        reason="context_too_long",
        code="invalid_prompt",
    ),
    "413": Ends(answers=[Answer(status=413)], reason="context_too_long", code="invalid_prompt"),
    "context too long, in the stream": Ends(
        answers=[Answer(error={"code": "context_length_exceeded", "message": "m"})],
        reason="context_too_long",
        code="invalid_prompt",
    ),
    "content filter": Ends(
        answers=[Answer(status=400, body=error("content_filter"))],
        reason="content_refused",
        code="invalid_prompt",
    ),
    "invalid prompt, in the stream": Ends(
        answers=[Answer(error={"code": "invalid_prompt", "message": "m"})],
        reason="upstream_refused",
    ),
    "empty success": Ends(answers=twice(Answer()), reason="stream_broken"),
    "a web page": Ends(answers=twice(Answer(**HTML)), reason="stream_broken"),
    # The server may be computing still.
    "stall": Ends(answers=[Answer(stall=True)], reason="upstream_timeout"),
    "stalls in the stream": Ends(
        answers=twice(CUT), reason="upstream_timeout", texts=(("incomplete", "Grüße an 👩‍🚀 "),) * 2
    ),
    "cut in JSON": Ends(
        answers=twice(Answer(say=LETTERS, broken_after=1)),
        reason="stream_broken",
        texts=(("incomplete", "Grüße "),) * 2,
    ),
    "no final event": Ends(
        answers=twice(Answer(say=LETTERS, final=False)),
        reason="stream_broken",
        texts=(("incomplete", "".join(LETTERS)),) * 2,
    ),
    "error after words": Ends(
        answers=twice(Answer(say=LETTERS, error={"code": "server_error", "message": "m"})),
        reason="upstream_unavailable",
        texts=(("incomplete", "".join(LETTERS)),) * 2,
    ),
    "refused after words": Ends(
        answers=[Answer(say=("Well, ",), error={"code": "content_filter", "message": "m"})],
        reason="content_refused",
        code="invalid_prompt",
        texts=(("incomplete", "Well, "),),
    ),
    "length": Ends(
        answers=[Answer(say=("So ", "far"), finish="length")],
        status="incomplete",
        reason="max_completion_tokens",
        code=None,
        texts=(("incomplete", "So far"),),
    ),
    "length before any word": Ends(
        answers=[Answer(finish="length")],
        status="incomplete",
        reason="max_completion_tokens",
        code=None,
    ),
    "length in a call": Ends(
        answers=[Answer(calls=(Call(name="get_order", arguments='{"ord'),), finish="length")],
        status="incomplete",
        reason="max_completion_tokens",
        code=None,
    ),
    "filtered": Ends(
        answers=[Answer(say=("So ", "far"), finish="content_filter")],
        status="incomplete",
        reason="content_filter",
        code=None,
        texts=(("incomplete", "So far"),),
    ),
    "filtered before any word": Ends(
        answers=[Answer(finish="content_filter")],
        status="incomplete",
        reason="content_filter",
        code=None,
    ),
}


@over_both(ENDS)
async def test_a_lasting_fault_ends_the_run_with_its_reason(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    case: Ends,
    format_: str,
) -> None:
    async with working(monkeypatch, upstream_server) as told:
        one = await answered(world, upstream_server, told, format_, case.answers)
    assert (one.run.status, one.run.reason) == (case.status, case.reason)
    assert tuple(one.answers) == case.texts
    rendered = wire.run_object(one.run)
    found = rendered["last_error"]
    assert (found and found["code"]) == case.code
    assert rendered["atrium"]["sentence"]
    assert told.of(one.run.pk)[-1] == f"thread.run.{case.status}"
    assert one.spent("used") == [one.run.prompt_tokens, one.run.completion_tokens]
    assert one.attempts("failed") + one.attempts("used") == len(case.answers)


ODD: dict[str, Answer] = {
    "unknown events and comments": Answer(say=LETTERS, noise=True),
    "doubled events": Answer(say=LETTERS, doubled=True),
    "byte by byte": Answer(say=LETTERS, write_size=1),
    "carriage returns": Answer(say=LETTERS, newline="\r\n", write_size=5),
    "no end mark": Answer(say=LETTERS, done=False),
    "one document": Answer(say=LETTERS, unstreamed=True),
    "no usage": Answer(say=LETTERS, usage=None),
}


@pytest.mark.parametrize("format_", BACKENDS)
@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
async def test_an_odd_answer_is_stored_to_the_letter(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    format_: str,
) -> None:
    async with working(monkeypatch, upstream_server) as told:
        one = await answered(world, upstream_server, told, format_, [answer])
    assert told.of(one.run.pk) == PLAIN
    assert one.answers == [("completed", "".join(LETTERS))]
    assert told.text == "".join(LETTERS)


@pytest.mark.parametrize("fault", ["dup_events", "reorder_events"])
async def test_numbered_events_are_put_right(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    given: dict[str, Any] = {"say": LETTERS, fault: True}
    async with working(monkeypatch, upstream_server) as told:
        answers = [Answer.from_json(given)]
        one = await answered(world, upstream_server, told, "responses", answers)
    assert one.answers == [("completed", "".join(LETTERS))]
    assert told.text == "".join(LETTERS)


@pytest.mark.parametrize("fault", ["dup_events", "reorder_events"])
async def test_an_answer_that_is_not_its_final_text_is_asked_for_again(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """This server sends no numbers: the comparison with the final event tells."""
    upstream_server.dialect = "llamacpp"
    given: dict[str, Any] = {"say": LETTERS, fault: True}
    async with working(monkeypatch, upstream_server) as told:
        answers = [Answer.from_json(given), OK]
        one = await answered(world, upstream_server, told, "responses", answers)
    assert [status for status, _text in one.answers] == ["incomplete", "completed"]
    assert one.answers[-1] == ("completed", "All is well.")


@pytest.mark.parametrize("format_", BACKENDS)
@pytest.mark.parametrize("how", ["reset_after", "end_after"])
@pytest.mark.parametrize("bytes_", [1501, 1503, 1530])
async def test_a_cut_anywhere_is_begun_again_as_a_new_message(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    bytes_: int,
    format_: str,
) -> None:
    broken = Answer(say=("👩‍🚀👩‍🚀👩‍🚀👩‍🚀",) * 30, **{how: bytes_})  # type: ignore[arg-type]
    async with working(monkeypatch, upstream_server) as told:
        one = await answered(world, upstream_server, told, format_, [broken, OK])
    (first, half), last = one.answers
    assert (first, last) == ("incomplete", ("completed", "All is well."))
    assert half
    assert set(half) <= set("👩‍🚀")
    assert [step.status for step in one.steps] == ["failed", "completed"]


@pytest.mark.parametrize("format_", BACKENDS)
async def test_a_refusal_is_a_complete_answer(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    async with working(monkeypatch, upstream_server) as told:
        one = await answered(
            world, upstream_server, told, format_, [Answer(refuse=("I ", "won't."))]
        )
    assert one.run.status == "completed"
    assert one.messages[-1].content == [{"type": "refusal", "refusal": "I won't."}]


@pytest.mark.parametrize("format_", BACKENDS)
@pytest.mark.parametrize(
    "calls",
    [
        (Call(name="get_order", arguments='{"order_number": 1'),),
        (Call(name="get_order", arguments=""),),
        (Call(name="get_order", arguments="[1]"),),
        (Call(name="no_such_tool"),),
        (Call(name="get_order", id=""), Call(name="get_order", id="")),
        (Call(name="get_order", id="same"), Call(name="get_order", id="same")),
        (Call(name="get_order"), Call(name="list_orders"), Call(name="get_order")),
    ],
    ids=["cut", "empty", "no object", "unknown", "empty ids", "repeated ids", "parallel"],
)
async def test_malformed_calls_are_refused_to_the_model_and_the_run_goes_on(
    world: World,
    upstream_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    calls: tuple[Call, ...],
    format_: str,
) -> None:
    async with working(monkeypatch, upstream_server) as told:
        one = await answered(world, upstream_server, told, format_, [Answer(calls=calls), OK])
    assert one.run.status == "completed"
    assert [call.status for call in one.calls] == ["refused"] * len(calls)
    assert all(call.output for call in one.calls)


async def test_the_words_of_a_model_server_reach_nobody(
    world: World, upstream_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = Answer(status=400, body=error("bad", "org-4711 has no more credit"))
    async with working(monkeypatch, upstream_server) as told:
        one = await answered(world, upstream_server, told, "responses", [secret])
    assert "4711" not in str(told.events)
    assert "4711" not in str(wire.run_object(one.run))
